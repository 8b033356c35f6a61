//! Where a group is to go, as it is written on the command line.

use std::str::FromStr;

use crate::cli::time::Time;

/// Where offsets are moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The first offset that is there.
    Start,
    /// After the last one.
    End,
    /// This offset.
    At(i64),
    /// So far from what is committed.
    Shift(i64),
    /// The first record at or after this time, in milliseconds.
    Time(i64),
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not start, end, N, +N, -N or @TIME");
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| text.parse::<i64>().ok()).flatten();
            number.ok_or_else(wrong)
        };
        match (text, text.split_at_checked(1)) {
            ("start", _) => Ok(Self::Start),
            ("end", _) => Ok(Self::End),
            (_, Some(("+", rest))) => Ok(Self::Shift(number(rest)?)),
            (_, Some(("-", rest))) => Ok(Self::Shift(-number(rest)?)),
            (_, Some(("@", rest))) => match rest.parse() {
                Ok(Time(ms)) => Ok(Self::Time(ms)),
                Err(_) => Err(wrong()),
            },
            _ => Ok(Self::At(number(text)?)),
        }
    }
}

impl Position {
    /// The offset to commit: never outside of what is there. `of_time` is the offset of the time, where one was asked
    /// for and a record was found.
    pub fn resolve(
        self,
        committed: Option<i64>,
        (start, end): (i64, i64),
        of_time: Option<i64>,
    ) -> i64 {
        let wanted = match self {
            Self::Start => start,
            Self::End => end,
            Self::At(offset) => offset,
            Self::Shift(by) => committed.unwrap_or(start).saturating_add(by),
            Self::Time(_) => of_time.unwrap_or(end),
        };
        wanted.clamp(start, end.max(start))
    }
}

/// Partitions that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The topic.
    pub topic: String,
    /// One partition, or all.
    pub partition: Option<i32>,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partition) = match text.rsplit_once('/') {
            None => (text, None),
            Some((topic, number)) => {
                let number = number.parse().ok().filter(|p| *p >= 0);
                let wrong = || format!("{text:?} is not TOPIC or TOPIC/PARTITION");
                (topic, Some(number.ok_or_else(wrong)?))
            }
        };
        if topic.is_empty() {
            return Err("the topic has no name".to_owned());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partition,
        })
    }
}
