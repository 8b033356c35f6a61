//! The identity of a topic.

use std::fmt;

/// A topic's UUID: a topic that is deleted and created again has another one. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub u128);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for TopicId {
    /// 22 characters of URL-safe base64 without padding, as Kafka's tools print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in 0..22_u32 {
            // 128 bits in groups of six from the top; the last group has two bits and four zeros.
            let digit = match 122_u32.checked_sub(character * 6) {
                Some(shift) => (self.0 >> shift) & 0x3f,
                None => (self.0 << 4) & 0x3f,
            };
            let letter = ALPHABET[usize::try_from(digit).unwrap_or(0)];
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}
