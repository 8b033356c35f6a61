//! How identities look in JSON: plain numbers and hex strings (`#[serde(with = "form")]`).

use raft::types::{DirectoryId, GroupId, Index, Member, NodeId, ReplicaId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::BTreeMap;

use super::TopicId;

/// A type that JSON knows in another form.
pub(crate) trait Form: Sized {
    /// What is written.
    type Plain: Serialize + for<'de> Deserialize<'de>;
    fn to_plain(&self) -> Self::Plain;
    fn from_plain(plain: Self::Plain) -> Option<Self>;
}

pub(crate) fn serialize<T: Form, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.to_plain().serialize(to)
}

pub(crate) fn deserialize<'de, T: Form, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::from_plain(T::Plain::deserialize(from)?).ok_or_else(|| D::Error::custom("malformed id"))
}

macro_rules! number {
    ($($name:ident $plain:ty),*) => {$(
        impl Form for $name {
            type Plain = $plain;
            fn to_plain(&self) -> $plain {
                self.0
            }
            fn from_plain(plain: $plain) -> Option<Self> {
                Some(Self(plain))
            }
        }
    )*};
}
number!(NodeId i32, ReplicaId u64, GroupId u64, Index u64);

macro_rules! hex {
    ($($name:ident),*) => {$(
        impl Form for $name {
            type Plain = String;
            fn to_plain(&self) -> String {
                format!("{:032x}", self.0)
            }
            fn from_plain(plain: String) -> Option<Self> {
                let right = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_hexdigit());
                right.then(|| u128::from_str_radix(&plain, 16).ok().map(Self)).flatten()
            }
        }
    )*};
}
hex!(TopicId, DirectoryId);

impl Form for Member {
    type Plain = (u64, i32, String);
    fn to_plain(&self) -> Self::Plain {
        (self.replica.0, self.node.0, self.directory.to_plain())
    }
    fn from_plain((replica, node, directory): Self::Plain) -> Option<Self> {
        Some(Self {
            replica: ReplicaId(replica),
            node: NodeId(node),
            directory: DirectoryId::from_plain(directory)?,
        })
    }
}

impl Form for i32 {
    type Plain = Self;
    fn to_plain(&self) -> Self {
        *self
    }
    fn from_plain(plain: Self) -> Option<Self> {
        Some(plain)
    }
}

impl<A: Form, B: Form> Form for (A, B) {
    type Plain = (A::Plain, B::Plain);
    fn to_plain(&self) -> Self::Plain {
        (self.0.to_plain(), self.1.to_plain())
    }
    fn from_plain((a, b): Self::Plain) -> Option<Self> {
        Some((A::from_plain(a)?, B::from_plain(b)?))
    }
}

impl<T: Form> Form for Vec<T> {
    type Plain = Vec<T::Plain>;
    fn to_plain(&self) -> Self::Plain {
        self.iter().map(Form::to_plain).collect()
    }
    fn from_plain(plain: Self::Plain) -> Option<Self> {
        plain.into_iter().map(T::from_plain).collect()
    }
}

impl<T: Form> Form for Option<T> {
    type Plain = Option<T::Plain>;
    fn to_plain(&self) -> Self::Plain {
        self.as_ref().map(Form::to_plain)
    }
    fn from_plain(plain: Self::Plain) -> Option<Self> {
        match plain {
            None => Some(None),
            Some(plain) => T::from_plain(plain).map(Some),
        }
    }
}

/// A map is written as a list of pairs: JSON keys are strings, ours are not.
impl<K: Form + Ord, V: Form> Form for BTreeMap<K, V> {
    type Plain = Vec<(K::Plain, V::Plain)>;
    fn to_plain(&self) -> Self::Plain {
        self.iter()
            .map(|(k, v)| (k.to_plain(), v.to_plain()))
            .collect()
    }
    fn from_plain(plain: Self::Plain) -> Option<Self> {
        plain
            .into_iter()
            .map(|(k, v)| Some((K::from_plain(k)?, V::from_plain(v)?)))
            .collect()
    }
}
