//! Each topic on its own: its partitions are cut into ranges, one for each subscriber, as even as can be. Subscribers of
//! the same topics with as many partitions get the same ranges of all of them. Static members come first, by instance,
//! so that a restart moves nothing.

use std::collections::BTreeMap;

use super::{Partitions, Subscriber, subscribers};
use crate::metadata::TopicId;

pub(super) fn assign<'a>(
    members: &BTreeMap<&'a str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<&'a str, Partitions> {
    let mut given: BTreeMap<&str, Partitions> = BTreeMap::new();
    for (topic, mut ids) in subscribers(members) {
        ids.sort_by_key(|id| {
            let instance = members[id].instance;
            (instance.is_none(), instance, *id)
        });
        let count = topics.get(&topic).copied().unwrap_or(0).max(0);
        let each = count / i32::try_from(ids.len()).unwrap_or(i32::MAX);
        let mut extra = count - each * i32::try_from(ids.len()).unwrap_or(0);
        let mut next = 0;
        for id in ids {
            let end = next + each + i32::from(extra > 0);
            extra -= 1;
            for partition in next..end {
                given.entry(id).or_default().insert(topic, partition);
            }
            next = end;
        }
    }
    given
}
