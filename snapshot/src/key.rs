//! The names of all objects, relative to the store's root. `FORMAT.md` has the same table.

use std::fmt;

use uuid::Uuid;

use crate::source::{Incarnation, Source};

/// An object's name: parts of letters, digits, `.` and `-`, separated by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// A name that was read somewhere. None when it could lead out of the store or is no name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_part = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
        };
        (text.len() <= 512 && text.split('/').all(is_part)).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the name of an object"))
    }
}

/// Whose store this is: written once, by the first cluster.
#[must_use]
pub fn owner() -> Key {
    Key("owner.json".to_owned())
}

/// A life of the cluster: written once, by whoever begins it.
#[must_use]
pub fn incarnation(incarnation: Incarnation) -> Key {
    Key(format!("incarnations/{incarnation}.json"))
}

/// All that a partition has in the store.
#[must_use]
pub fn partition_prefix(topic_id: Uuid, partition: i32) -> String {
    format!("topics/{topic_id}/{partition}/")
}

/// All of a partition's manifests.
#[must_use]
pub fn manifests_prefix(source: &Source) -> String {
    format!(
        "{}manifests/",
        partition_prefix(source.topic_id, source.partition)
    )
}

/// A manifest, in whose name the newer one sorts later.
#[must_use]
pub fn manifest(source: &Source, incarnation: Incarnation, epoch: i32, index: u64) -> Key {
    let prefix = manifests_prefix(source);
    Key(format!(
        "{prefix}{incarnation}-{epoch:010}-{index:020}.json"
    ))
}

/// A chunk. Its name says where it begins and who wrote it when: the leader of this epoch, of its log up to this index.
/// What is committed up to an index never changes, so one name never has two contents.
#[must_use]
pub fn chunk(
    source: &Source,
    incarnation: Incarnation,
    first_offset: i64,
    epoch: i32,
    index: u64,
) -> Key {
    let prefix = partition_prefix(source.topic_id, source.partition);
    Key(format!(
        "{prefix}chunks/{incarnation}-{first_offset:020}-{epoch:010}-{index:020}.gz"
    ))
}
