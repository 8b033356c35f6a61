//! The bootstrap record: what every node of a cluster knows from its first day.

use std::fmt;

use raft::types::{DirectoryId, Member, Membership, NodeId, ReplicaId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The cluster's identity: random, made once, never nil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u128())
    }
}

/// As Kafka writes cluster ids: 22 letters of URL-safe base64 without padding.
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for group in 0..22_u32 {
            let bits = match 128_u32.checked_sub(6 * (group + 1)) {
                Some(shift) => self.0 >> shift,
                None => self.0 << 4,
            };
            let letter = LETTERS[(bits & 63) as usize];
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

impl Serialize for ClusterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Uuid::from_u128(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let uuid = Uuid::deserialize(deserializer)?;
        match uuid.is_nil() {
            true => Err(serde::de::Error::custom("a cluster id is never nil")),
            false => Ok(Self(uuid.as_u128())),
        }
    }
}

/// A founding voter of the metadata group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// Its node.
    #[serde(with = "node")]
    pub node: NodeId,
    /// Its disk as presented.
    #[serde(with = "directory")]
    pub directory: DirectoryId,
    /// Its replica of the metadata group.
    #[serde(with = "replica")]
    pub replica: ReplicaId,
}

/// The cluster id and the first voters of the metadata group. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapRecord {
    /// The cluster's identity.
    pub cluster: ClusterId,
    /// By node id; 1, 3 or 5. Replica ids 1, 2, 3, ... in this order.
    pub voters: Vec<Voter>,
}

impl BootstrapRecord {
    /// Of these founding nodes at most 5, an odd number, the lowest ids.
    ///
    /// # Panics
    /// Without any node.
    #[must_use]
    pub fn new(cluster: ClusterId, mut nodes: Vec<(NodeId, DirectoryId)>) -> Self {
        assert!(
            !nodes.is_empty(),
            "a cluster is founded by at least one node"
        );
        nodes.sort_unstable();
        nodes.dedup_by_key(|(node, _)| *node);
        nodes.truncate(5);
        if nodes.len().is_multiple_of(2) {
            nodes.pop();
        }
        let voters = (1..).zip(nodes).map(|(replica, (node, directory))| Voter {
            node,
            directory,
            replica: ReplicaId(replica),
        });
        Self {
            cluster,
            voters: voters.collect(),
        }
    }

    /// What is wrong with a record that came from elsewhere.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let voters = &self.voters;
        if !matches!(voters.len(), 1 | 3 | 5) {
            return Some("it does not have 1, 3 or 5 voters");
        }
        if !voters.windows(2).all(|pair| pair[0].node < pair[1].node) || voters[0].node.0 < 1 {
            return Some("its voters are not in order of their node ids");
        }
        let numbered = (1..)
            .zip(voters)
            .all(|(number, voter)| voter.replica == ReplicaId(number));
        (!numbered).then_some("its replica ids are not 1, 2, 3, ...")
    }

    /// The replica of this node with this disk; none when it is no founding voter, or has lost that disk since.
    #[must_use]
    pub fn replica(&self, node: NodeId, directory: DirectoryId) -> Option<ReplicaId> {
        let voter = self
            .voters
            .iter()
            .find(|v| v.node == node && v.directory == directory);
        voter.map(|voter| voter.replica)
    }

    /// The metadata group's membership at its index 0.
    #[must_use]
    pub fn membership(&self) -> Membership {
        let member = |v: &Voter| Member {
            replica: v.replica,
            node: v.node,
            directory: v.directory,
        };
        Membership {
            voters: self.voters.iter().map(member).collect(),
            ..Membership::default()
        }
    }
}

/// A node id as a number.
pub(crate) mod node {
    use super::{Deserialize, Deserializer, NodeId, Serializer};

    pub fn serialize<S: Serializer>(node: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(node.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        i32::deserialize(deserializer).map(NodeId)
    }
}

/// A directory id as a UUID.
pub(crate) mod directory {
    use super::{Deserialize, Deserializer, DirectoryId, Serialize, Serializer, Uuid};

    pub fn serialize<S: Serializer>(id: &DirectoryId, serializer: S) -> Result<S::Ok, S::Error> {
        Uuid::from_u128(id.0).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<DirectoryId, D::Error> {
        Uuid::deserialize(d).map(|uuid| DirectoryId(uuid.as_u128()))
    }
}

mod replica {
    use super::{Deserialize, Deserializer, ReplicaId, Serializer};

    pub fn serialize<S: Serializer>(id: &ReplicaId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(id.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ReplicaId, D::Error> {
        u64::deserialize(d).map(ReplicaId)
    }
}
