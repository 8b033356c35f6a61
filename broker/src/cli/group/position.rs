//! Where a group is to go, as it is written on the command line.

use std::str::FromStr;

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
            (_, Some(("@", rest))) => match number(rest) {
                Ok(ms) => Ok(Self::Time(ms)),
                Err(_) => utc_ms(rest).map(Self::Time).ok_or_else(wrong),
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

/// `YYYY-MM-DDTHH:MM:SS[.fff]Z` in milliseconds since 1970.
fn utc_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let parts = |text: &str, separator: char| -> Option<[i64; 3]> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let numbers: Option<Vec<i64>> = text.split(separator).map(number).collect();
        numbers?.try_into().ok()
    };
    let [year, month, day] = parts(date, '-')?;
    let [hour, minute, second] = parts(time, ':')?;
    let valid = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && (1970..10_000).contains(&year)
        && hour < 24
        && minute < 60
        && second < 60
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|b| b.is_ascii_digit());
    if !valid {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    let days = days_before(year) + (1..month).map(|m| days_of(year, m)).sum::<i64>() + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first day of this year.
fn days_before(year: i64) -> i64 {
    (1970..year)
        .map(|y| if is_leap(y) { 366 } else { 365 })
        .sum()
}
