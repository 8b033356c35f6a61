//! What consumers of the classic protocol say to one another through the coordinator: Kafka's
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, versions 0 to 3. What a later version adds comes
//! after that, and is not looked at.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The protocol type whose members' subscriptions have this form.
pub(super) const CONSUMER: &str = "consumer";
/// From this version on a subscription tells what its member owns.
const OWNED_SINCE: i16 = 1;
/// From this version on it tells where the member is, after a generation (since version 2).
const RACK_SINCE: i16 = 3;
const GENERATION_SINCE: i16 = 2;

/// A member's subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Of this and of the assignments that the member understands.
    pub(super) version: i16,
    pub(super) topics: BTreeSet<String>,
    /// What it owns. Members that give up everything before they join own nothing, and so do those of version 0.
    pub(super) owned: Vec<(String, i32)>,
    pub(super) rack: Option<String>,
}

/// What a member was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) partitions: Vec<(String, i32)>,
    /// There are words of its assignor for the member, which nobody else understands.
    pub(super) has_user_data: bool,
}

impl Subscription {
    /// None when the bytes are of another form. Allocates no more than the bytes hold.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let (version, topics) = beginning(bytes)?;
        let mut subscription = Self {
            version,
            topics,
            ..Self::default()
        };
        user_data(bytes)?;
        if version >= OWNED_SINCE {
            subscription.owned = partitions(bytes)?;
        }
        if version >= GENERATION_SINCE {
            bytes.try_get_i32().ok()?;
        }
        if version >= RACK_SINCE {
            let len = bytes.try_get_i16().ok()?;
            if let Ok(len) = usize::try_from(len) {
                subscription.rack = Some(text(bytes, len)?);
            }
        }
        Some(subscription)
    }
}

impl Assignment {
    /// None when the bytes are of another form. No bytes at all are no partitions.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let bytes = &mut bytes;
        if bytes.try_get_i16().ok()? < 0 {
            return None;
        }
        Some(Self {
            partitions: partitions(bytes)?,
            has_user_data: user_data(bytes)? > 0,
        })
    }

    /// By topic, in the order of topics; all versions are written alike.
    pub(super) fn encode<'a>(
        version: i16,
        topics: impl ExactSizeIterator<Item = (&'a str, &'a [i32])>,
    ) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(version);
        put_len(&mut out, topics.len());
        for (topic, partitions) in topics {
            let len = i16::try_from(topic.len()).expect("topics have short names");
            out.put_i16(len);
            out.put_slice(topic.as_bytes());
            put_len(&mut out, partitions.len());
            for partition in partitions {
                out.put_i32(*partition);
            }
        }
        out.put_i32(-1);
        out.freeze()
    }
}

/// The topics of a subscription, which stand at the beginning of all versions.
pub(super) fn topics(mut bytes: &[u8]) -> Option<BTreeSet<String>> {
    beginning(&mut bytes).map(|(_, topics)| topics)
}

fn beginning(bytes: &mut &[u8]) -> Option<(i16, BTreeSet<String>)> {
    let version = bytes.try_get_i16().ok()?;
    if version < 0 {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..usize::try_from(bytes.try_get_i32().ok()?).ok()? {
        topics.insert(name(bytes)?);
    }
    Some((version, topics))
}

fn partitions(bytes: &mut &[u8]) -> Option<Vec<(String, i32)>> {
    let mut all = Vec::new();
    for _ in 0..usize::try_from(bytes.try_get_i32().ok()?).ok()? {
        let topic = name(bytes)?;
        for _ in 0..usize::try_from(bytes.try_get_i32().ok()?).ok()? {
            all.push((topic.clone(), bytes.try_get_i32().ok()?));
        }
    }
    Some(all)
}

/// How much there is.
fn user_data(bytes: &mut &[u8]) -> Option<usize> {
    let len = usize::try_from(bytes.try_get_i32().ok()?).unwrap_or(0);
    let (_, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(len)
}

fn name(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    text(bytes, len)
}

fn text(bytes: &mut &[u8], len: usize) -> Option<String> {
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn put_len(out: &mut BytesMut, len: usize) {
    out.put_i32(i32::try_from(len).expect("entries are smaller"));
}
