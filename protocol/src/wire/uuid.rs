use std::fmt;
use std::str::FromStr;

/// A topic id or directory id. Shown as Kafka shows it: 22 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// No id.
    pub const ZERO: Self = Self(0);

    /// Whether this is no id.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits are 21 digits of 6 bits and one of 2, which stands in the upper bits of its
        // digit.
        for digit in 0..22 {
            let bits = if digit < 21 {
                self.0 >> (122 - 6 * digit)
            } else {
                self.0 << 4
            };
            let letter = ALPHABET[(bits & 63) as usize];
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

/// The text is not 22 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of 22 characters of URL-safe base64")]
pub struct InvalidUuid;

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        if text.len() != 22 {
            return Err(InvalidUuid);
        }
        let mut value = 0;
        for (at, letter) in text.bytes().enumerate() {
            let digit = ALPHABET
                .iter()
                .position(|known| *known == letter)
                .ok_or(InvalidUuid)?;
            let digit = digit as u128;
            if at < 21 {
                value = value << 6 | digit;
            } else if digit & 15 == 0 {
                value = value << 2 | digit >> 4;
            } else {
                return Err(InvalidUuid);
            }
        }
        Ok(Self(value))
    }
}
