//! The topics that a member of a consumer group subscribes to: the beginning of Kafka's `ConsumerProtocolSubscription`,
//! the same in all its versions.

use std::collections::BTreeSet;

use bytes::Buf;

/// The protocol type whose members' subscriptions have this form.
pub(super) const CONSUMER: &str = "consumer";

/// None when the bytes are of another form. Allocates no more than the bytes hold.
pub(super) fn topics(mut bytes: &[u8]) -> Option<BTreeSet<String>> {
    let version = bytes.try_get_i16().ok()?;
    if version < 0 {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..usize::try_from(bytes.try_get_i32().ok()?).ok()? {
        let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (topic, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        topics.insert(String::from_utf8(topic.to_vec()).ok()?);
    }
    Some(topics)
}
