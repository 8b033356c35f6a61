//! One config key: its type, its limits, what it means.

/// The type of a value, with Kafka's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A decimal fraction.
    Double = 6,
    /// Words with commas between them.
    List = 7,
}

/// What values are allowed, beyond the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// All of the type.
    Any,
    /// Numbers from here to there, both included.
    Within(i64, i64),
    /// Fractions from here to there, both included.
    Fraction(f64, f64),
    /// One of these, or each of these in a list.
    Words(&'static [&'static str]),
    /// Whole numbers from 1 to this, or -1.
    LevelOrDefault(i64),
    /// `partition:broker` pairs, or `*`.
    ThrottledReplicas,
}

/// A config key.
#[derive(Debug)]
pub struct Key {
    /// As clients write it.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// The value when nobody set one; None for a value that only the broker can tell.
    pub default: Option<&'static str>,
    /// The limits.
    pub check: Check,
    /// Whether it does anything here. The documentation of those that do nothing says so.
    pub effective: bool,
    /// Whether it can only be set before the broker starts.
    pub read_only: bool,
    /// For a topic config: the broker config that is its default.
    pub broker_name: Option<&'static str>,
    /// Known values that are not built: the reason, if this value is one.
    pub unsupported: fn(&str) -> Option<&'static str>,
    /// For people.
    pub doc: &'static str,
}

/// As in Kafka: what fits into a string of the older formats.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// Every value is supported.
pub(super) fn all_supported(_: &str) -> Option<&'static str> {
    None
}

impl Key {
    /// Whether `value` may be set under `name` (the key's own, or its broker-wide one).
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn validate(&self, name: &str, value: &str) -> Result<(), String> {
        if value.len() > VALUE_BYTES_MAX {
            let bytes = value.len();
            return Err(format!(
                "Invalid value for configuration {name}: {bytes} bytes, a value has at most {VALUE_BYTES_MAX}"
            ));
        }
        let value = value.trim();
        let wrong = |why: &str| {
            Err(format!(
                "Invalid value {value} for configuration {name}: {why}"
            ))
        };
        if let Err(why) = self.well_formed(value) {
            return wrong(&why);
        }
        match (self.unsupported)(value) {
            Some(why) => wrong(why),
            None => Ok(()),
        }
    }

    fn well_formed(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Boolean => words(&["true", "false"], &value.to_ascii_lowercase()),
            Kind::Short => self.whole(value, i64::from(i16::MIN), i64::from(i16::MAX)),
            Kind::Int => self.whole(value, i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::Long => self.whole(value, i64::MIN, i64::MAX),
            Kind::Double => self.fraction(value),
            Kind::String => self.text(value),
            Kind::List => items(value).try_for_each(|item| self.text(item)),
        }
    }

    fn whole(&self, value: &str, least: i64, most: i64) -> Result<(), String> {
        let number: i64 = value
            .parse()
            .map_err(|_| "Not a number of the type".to_owned())?;
        let (min, max) = match self.check {
            Check::Within(min, max) => (min.max(least), max.min(most)),
            Check::LevelOrDefault(max) if number != -1 => (1, max),
            _ => (least, most),
        };
        if number < min {
            return Err(format!("Value must be at least {min}"));
        }
        if number > max {
            return Err(format!("Value must be no more than {max}"));
        }
        Ok(())
    }

    fn fraction(&self, value: &str) -> Result<(), String> {
        let number: f64 = value
            .parse()
            .map_err(|_| "Not a number of the type".to_owned())?;
        match self.check {
            Check::Fraction(min, max) if !(min..=max).contains(&number) => {
                Err(format!("Value must be from {min} to {max}"))
            }
            _ if !number.is_finite() => Err("Not a finite number".to_owned()),
            _ => Ok(()),
        }
    }

    fn text(&self, value: &str) -> Result<(), String> {
        match self.check {
            Check::Words(allowed) => words(allowed, value),
            Check::ThrottledReplicas if !is_throttled_replica(value) => {
                Err("Must be * or partition:broker pairs".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The items of a list value: an empty value has none, an empty item between commas counts.
pub(crate) fn items(value: &str) -> impl Iterator<Item = &str> {
    let is_empty = value.trim().is_empty();
    value.split(',').map(str::trim).filter(move |_| !is_empty)
}

fn words(allowed: &[&str], value: &str) -> Result<(), String> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(format!("String must be one of: {}", allowed.join(", ")))
}

fn is_throttled_replica(item: &str) -> bool {
    let is_number = |text: &str| text.parse::<i32>().is_ok_and(|n| n >= 0);
    item == "*"
        || item
            .split_once(':')
            .is_some_and(|(p, b)| is_number(p) && is_number(b))
}
