//! What a topic may be called.

use protocol::error_code::ErrorCode;
use std::collections::HashMap;

use super::Failure;
use crate::metadata::Image;

/// Longest topic name, in bytes: with the partition's number behind it, it must be a file name for Kafka.
const LONGEST: usize = 249;

/// Whether a topic may have this name.
///
/// # Errors
/// `INVALID_TOPIC_EXCEPTION` with the reason.
pub fn validate_topic_name(name: &str) -> Result<(), Failure> {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let why = if name.is_empty() {
        "Topic name is invalid: the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        "Topic name is invalid: '.' or '..' is not allowed".to_owned()
    } else if name.len() > LONGEST {
        format!("Topic name is invalid: the length of the name is longer than {LONGEST}")
    } else if !name.bytes().all(is_legal) {
        "Topic name is invalid: it contains one or more characters other than ASCII alphanumerics, \
         '.', '_' and '-'"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::new(ErrorCode::InvalidTopic, why))
}

/// Finds names that differ only in '.' and '_': in the names of metrics they would be one.
pub(super) struct Collisions {
    /// Names by their form with underscores. Only filled when a name could collide at all.
    names: HashMap<String, String>,
}

impl Collisions {
    /// Knows the image's topics, if one of the new names could collide.
    pub(super) fn new<'a>(image: &Image, mut new: impl Iterator<Item = &'a str>) -> Self {
        let mut names = HashMap::new();
        if new.any(can_collide) {
            let existing = image.topics().filter(|topic| can_collide(&topic.name));
            names.extend(existing.map(|topic| (topic.name.replace('.', "_"), topic.name.clone())));
        }
        Self { names }
    }

    /// Takes the name in.
    pub(super) fn add(&mut self, name: &str) -> Result<(), Failure> {
        if !can_collide(name) {
            return Ok(());
        }
        let other = self
            .names
            .entry(name.replace('.', "_"))
            .or_insert_with(|| name.to_owned());
        if other == name {
            return Ok(());
        }
        let why = format!("Topic '{name}' collides with existing topic: {other}");
        Err(Failure::new(ErrorCode::InvalidTopic, why))
    }
}

fn can_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}
