//! What the text of a value means: sizes with units, durations with units, counts, words, addresses.

use std::path::PathBuf;

use super::address::{Address, Seed};
use super::store::StoreAddress;
use crate::coordinator::consumer::assignor::Assignors;

/// One KiB.
pub const KIB: i64 = 1024;
/// One MiB.
pub const MIB: i64 = 1024 * KIB;
/// One GiB.
pub const GIB: i64 = 1024 * MIB;
/// One second in milliseconds.
pub const SECOND: i64 = 1000;
/// One day in milliseconds.
pub const DAY: i64 = 24 * 3600 * SECOND;

/// The kind of a key's value, with the range that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A size: a number of bytes, or with B, KiB, MiB, GiB, TiB.
    Bytes {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A duration: a number of milliseconds, or with ms, s, m, h, d.
    Millis {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A plain number.
    Count {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// true or false.
    Flag,
    /// Any text.
    Text,
    /// A path in the file system.
    Path,
    /// `host:port`.
    Address,
    /// A list of `id@host:port`.
    Seeds,
    /// A folder or a bucket.
    Store,
    /// One of these words.
    Words(&'static [&'static str]),
}

impl Kind {
    /// The unit for people and documentation.
    #[must_use]
    pub fn unit(&self) -> String {
        match self {
            Self::Bytes { .. } => "bytes".to_owned(),
            Self::Millis { .. } => "ms".to_owned(),
            Self::Count { .. } => "count".to_owned(),
            Self::Flag => "true, false".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Address => "host:port".to_owned(),
            Self::Seeds => "id@host:port, ...".to_owned(),
            Self::Store => "/folder or s3://bucket/prefix".to_owned(),
            Self::Words(words) => words.join(", "),
        }
    }

    fn number(&self, text: &str) -> Result<i64, String> {
        let (units, min, max): (&[(&str, i64)], i64, i64) = match *self {
            Self::Bytes { min, max } => (BYTE_UNITS, min, max),
            Self::Millis { min, max } => (TIME_UNITS, min, max),
            Self::Count { min, max } => (&[], min, max),
            _ => return Err("is not a number".to_owned()),
        };
        let value = with_unit(text, units)?;
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        Err(format!(
            "must be from {} to {}",
            self.show_number(min),
            self.show_number(max)
        ))
    }

    fn show_number(&self, value: i64) -> String {
        let units: &[(&str, i64)] = match self {
            Self::Bytes { .. } => &[
                ("TiB", 1024 * GIB),
                ("GiB", GIB),
                ("MiB", MIB),
                ("KiB", KIB),
            ],
            Self::Millis { .. } => &[
                ("d", DAY),
                ("h", 3600 * SECOND),
                ("m", 60 * SECOND),
                ("s", SECOND),
            ],
            _ => &[],
        };
        let whole = units
            .iter()
            .find(|(_, size)| value >= *size && value % size == 0);
        match (whole, self) {
            (Some((unit, size)), _) => format!("{} {unit}", value / size),
            (None, Self::Millis { .. }) if value > 0 => format!("{value} ms"),
            _ => value.to_string(),
        }
    }
}

const BYTE_UNITS: &[(&str, i64)] = &[
    ("B", 1),
    ("KiB", KIB),
    ("MiB", MIB),
    ("GiB", GIB),
    ("TiB", 1024 * GIB),
];
const TIME_UNITS: &[(&str, i64)] = &[
    ("ms", 1),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", DAY),
];

fn with_unit(text: &str, units: &[(&str, i64)]) -> Result<i64, String> {
    let text = text.trim();
    let split = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '_' || (*at == 0 && *c == '-')))
        .map_or(text.len(), |(at, _)| at);
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim();
    let number: i64 = digits
        .replace('_', "")
        .parse()
        .map_err(|_| "is not a number".to_owned())?;
    if unit.is_empty() {
        return Ok(number);
    }
    let Some((_, size)) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
    else {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        return Err(match names.is_empty() {
            true => "must be a plain number".to_owned(),
            false => format!(
                "has the unknown unit '{unit}' (known: {})",
                names.join(", ")
            ),
        });
    };
    number
        .checked_mul(*size)
        .ok_or_else(|| "is too large".to_owned())
}

/// A value that the configuration can hold: from text, and back to text that parses to the same value.
pub trait Value: Sized {
    /// Reads the text; the error completes the sentence "the value ...".
    ///
    /// # Errors
    /// When the text is not of the kind, or out of its range.
    fn parse(kind: &Kind, text: &str) -> Result<Self, String>;

    /// The text.
    fn show(&self, kind: &Kind) -> String;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn parse(kind: &Kind, text: &str) -> Result<Self, String> {
                Self::try_from(kind.number(text)?).map_err(|_| "is out of range".to_owned())
            }

            fn show(&self, kind: &Kind) -> String {
                i64::try_from(*self).map_or_else(|_| self.to_string(), |value| kind.show_number(value))
            }
        }
    )*};
}
numbers!(i16, i32, i64, u16, u32, u64, usize);

impl Value for bool {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        Ok(text.trim().to_owned())
    }

    fn show(&self, _: &Kind) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn show(&self, _: &Kind) -> String {
        self.display().to_string()
    }
}

impl Value for Address {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

impl Value for Option<Address> {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some),
        }
    }

    fn show(&self, _: &Kind) -> String {
        self.as_ref().map(Address::to_string).unwrap_or_default()
    }
}

impl Value for Assignors {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

impl Value for Option<StoreAddress> {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(None),
            text => match text.parse() {
                Ok(address) => Ok(Some(address)),
                Err(why) => Err(format!("cannot be used: {why}")),
            },
        }
    }

    fn show(&self, _: &Kind) -> String {
        self.as_ref()
            .map_or_else(String::new, |address| address.text().to_owned())
    }
}

impl Value for Vec<Seed> {
    fn parse(_: &Kind, text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::parse)
            .collect()
    }

    fn show(&self, _: &Kind) -> String {
        self.iter()
            .map(Seed::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
