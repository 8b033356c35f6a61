//! The names of all objects, relative to the store's root. `FORMAT.md` has the same table.

use std::fmt;

use uuid::Uuid;

use crate::cut::{self, Standing};
use crate::manifest::Age;
use crate::source::{Incarnation, Source};
use crate::tail;

/// Where the cuts of the whole cluster are.
pub const CUTS_PREFIX: &str = "cuts/";
/// Where the lives of the cluster are written down.
pub const INCARNATIONS_PREFIX: &str = "incarnations/";
/// Where the metadata of the whole cluster is.
pub const METADATA_PREFIX: &str = "metadata/";
/// Where damaged objects are kept aside.
pub const QUARANTINE_PREFIX: &str = "quarantine/";
/// Where the tails of all brokers are.
pub const TAILS_PREFIX: &str = "tails/";
/// Where all partitions are.
pub const TOPICS_PREFIX: &str = "topics/";
/// Where everything is but the owner, and what is damaged.
pub const PREFIXES: [&str; 5] = [
    METADATA_PREFIX,
    TOPICS_PREFIX,
    CUTS_PREFIX,
    TAILS_PREFIX,
    INCARNATIONS_PREFIX,
];

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
    Key(format!("{INCARNATIONS_PREFIX}{incarnation}.json"))
}

/// Where a damaged object is kept aside: one place for each, whatever happens to it how often.
#[must_use]
pub fn quarantined(key: &Key) -> Key {
    Key(format!("{QUARANTINE_PREFIX}{key}"))
}

/// The cluster's metadata, in whose name the newer one sorts later.
#[must_use]
pub fn metadata(age: Age) -> Key {
    Key(format!("{METADATA_PREFIX}{}", aged(age)))
}

/// Of when an object of the cluster's metadata is. None for every other name.
#[must_use]
pub fn metadata_age(key: &Key) -> Option<Age> {
    age_of(key.as_str().strip_prefix(METADATA_PREFIX)?)
}

/// A cut, in whose name the newer one sorts later.
#[must_use]
pub fn cut(name: cut::Name, standing: Standing) -> Key {
    let cut::Name {
        incarnation,
        number,
    } = name;
    let folder = match standing {
        Standing::Open => "open",
        Standing::Whole => "whole",
    };
    Key(format!(
        "{CUTS_PREFIX}{folder}/{incarnation}-{number:020}.json"
    ))
}

/// Which cut it is. None for every other name.
#[must_use]
pub fn cut_name(key: &Key) -> Option<(cut::Name, Standing)> {
    let (folder, name) = key.as_str().strip_prefix(CUTS_PREFIX)?.split_once('/')?;
    let standing = match folder {
        "open" => Standing::Open,
        "whole" => Standing::Whole,
        _ => return None,
    };
    let (incarnation, number_of) = name.strip_suffix(".json")?.split_once('-')?;
    let name = cut::Name {
        incarnation: Incarnation(number(incarnation, 8)?),
        number: number(number_of, 20)?,
    };
    Some((name, standing))
}

/// All that a partition has in the store.
#[must_use]
pub fn partition_prefix(topic_id: Uuid, partition: i32) -> String {
    format!("{TOPICS_PREFIX}{topic_id}/{partition}/")
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
    let age = Age {
        incarnation,
        leader_epoch: epoch,
        index,
    };
    Key(format!("{}{}", manifests_prefix(source), aged(age)))
}

/// The last part of a name.
fn aged(age: Age) -> String {
    let Age {
        incarnation,
        leader_epoch,
        index,
    } = age;
    format!("{incarnation}-{leader_epoch:010}-{index:020}.json")
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

/// A tail.
#[must_use]
pub fn tail(name: &tail::Name) -> Key {
    let tail::Name {
        incarnation,
        broker,
        created_ms,
        directory_bytes,
        directory_crc32,
    } = name;
    let directory = format!("{directory_bytes:010}-{directory_crc32:010}");
    Key(format!(
        "{TAILS_PREFIX}{incarnation}-{broker:010}-{created_ms:020}-{directory}.gz"
    ))
}

/// Which tail it is. None for every other name.
#[must_use]
pub fn tail_name(key: &Key) -> Option<tail::Name> {
    let name = key.as_str().strip_prefix(TAILS_PREFIX)?;
    let mut parts = name.strip_suffix(".gz")?.split('-');
    let name = tail::Name {
        incarnation: Incarnation(number(parts.next()?, 8)?),
        broker: number(parts.next()?, 10)?,
        created_ms: number(parts.next()?, 20)?,
        directory_bytes: number(parts.next()?, 10)?,
        directory_crc32: number(parts.next()?, 10)?,
    };
    parts.next().is_none().then_some(name)
}

/// An object of a partition, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// What it is.
    pub kind: Kind,
}

/// See [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A manifest, with its place among the partition's.
    Manifest(Age),
    /// A chunk.
    Chunk,
}

/// What an object of a partition is. None for every name that this format does not give.
#[must_use]
pub fn object(key: &Key) -> Option<Object> {
    let path = key.as_str().strip_prefix(TOPICS_PREFIX)?;
    let mut parts = path.split('/');
    let topic_id = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    let kind = match (parts.next()?, parts.next()?) {
        ("manifests", name) => Kind::Manifest(age_of(name)?),
        ("chunks", name) if is_chunk(name) => Kind::Chunk,
        _ => return None,
    };
    // A name is written in one way only.
    let prefix = partition_prefix(topic_id, partition);
    (parts.next().is_none() && key.as_str().starts_with(&prefix)).then_some(Object {
        topic_id,
        partition,
        kind,
    })
}

/// Whether it is a sealed object that says of which store it is: a manifest, metadata, a cut.
#[must_use]
pub fn names_cluster(key: &Key) -> bool {
    let is_manifest = |object: Object| matches!(object.kind, Kind::Manifest(_));
    object(key).is_some_and(is_manifest) || metadata_age(key).is_some() || cut_name(key).is_some()
}

/// In which life, and as of which index of the partition's log, a chunk was written. None for every other name.
#[must_use]
pub fn chunk_written(key: &Key) -> Option<(Incarnation, u64)> {
    object(key).filter(|object| object.kind == Kind::Chunk)?;
    let name = key.as_str().rsplit('/').next()?.strip_suffix(".gz")?;
    let mut parts = name.split('-');
    let incarnation = Incarnation(number(parts.next()?, 8)?);
    Some((incarnation, number(parts.nth(2)?, 20)?))
}

fn age_of(name: &str) -> Option<Age> {
    let mut parts = name.strip_suffix(".json")?.split('-');
    let age = Age {
        incarnation: Incarnation(number(parts.next()?, 8)?),
        leader_epoch: number(parts.next()?, 10)?,
        index: number(parts.next()?, 20)?,
    };
    parts.next().is_none().then_some(age)
}

fn is_chunk(name: &str) -> bool {
    let parts = name.strip_suffix(".gz").map(|name| name.split('-'));
    let lengths =
        parts.map(|parts| parts.map(|part| number::<u64>(part, part.len()).map(|_| part.len())));
    lengths.is_some_and(|lengths| lengths.eq([Some(8), Some(20), Some(10), Some(20)]))
}

fn number<T: std::str::FromStr>(text: &str, digits: usize) -> Option<T> {
    let is_plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_by_its_name_and_by_no_other() {
        let source = Source {
            cluster_id: "any".to_owned(),
            topic_id: Uuid::from_u128(0xabcd),
            partition: 12,
        };
        let named = |kind| Object {
            topic_id: source.topic_id,
            partition: 12,
            kind,
        };
        let age = Age {
            incarnation: Incarnation(7),
            leader_epoch: i32::MAX,
            index: u64::MAX,
        };
        let manifest = manifest(&source, age.incarnation, age.leader_epoch, age.index);
        assert_eq!(object(&manifest), Some(named(Kind::Manifest(age))));
        let chunk = chunk(&source, Incarnation(7), i64::MAX, i32::MAX, u64::MAX);
        assert_eq!(object(&chunk), Some(named(Kind::Chunk)));
        assert_eq!(chunk_written(&chunk), Some((Incarnation(7), u64::MAX)));
        assert_eq!(chunk_written(&manifest), None);
        for key in [manifest, chunk] {
            let name = key.as_str();
            let bent = [
                format!("{name}.gz"),
                format!("{name}/x"),
                name.replace("abcd", "ABCD"),
                name.replace("/12/", "/012/"),
                name.replace("/12/", "/x/"),
                name.replace("00000007-", "7-"),
                name.replace("00000007-", "0000000x-"),
                name.replace("00000007-", "00000007-1-"),
                name.replace("manifests", "others")
                    .replace("chunks", "others"),
                name.replace("topics/", "topic/"),
                name.replace("2147483647", "2147483648")
                    .replace(".gz", ".json"),
            ];
            for bent in bent {
                let key = Key::parse(&bent).expect("a name");
                assert_eq!(object(&key), None, "{bent}");
            }
        }
        let name = tail::Name {
            incarnation: Incarnation(7),
            broker: i32::MAX,
            created_ms: i64::MAX,
            directory_bytes: 9_999_999_999,
            directory_crc32: u32::MAX,
        };
        let tail = tail(&name);
        assert_eq!(tail_name(&tail), Some(name));
        for bent in ["-1.gz", ".gz.gz", ".json"] {
            let bent = Key::parse(&tail.as_str().replace(".gz", bent)).expect("a name");
            assert_eq!(tail_name(&bent), None, "{bent}");
        }
        assert_eq!((object(&tail), metadata_age(&tail)), (None, None));
        let name = cut::Name {
            incarnation: Incarnation(7),
            number: u64::MAX,
        };
        for standing in [Standing::Open, Standing::Whole] {
            let cut = cut(name, standing);
            assert_eq!(cut_name(&cut), Some((name, standing)));
            for bent in ["x.json", "-1.json", ".gz"] {
                let bent = Key::parse(&cut.as_str().replace(".json", bent)).expect("a name");
                assert_eq!(cut_name(&bent), None, "{bent}");
            }
        }
        assert_eq!(object(&owner()), None);
        assert_eq!(object(&metadata(age)), None);
        assert_eq!(metadata_age(&metadata(age)), Some(age));
        assert_eq!(metadata_age(&owner()), None);
        assert_eq!(object(&incarnation(Incarnation(1))), None);
    }
}
