//! Balanced, and sticky: members keep what they had as far as balance allows.
//!
//! Where all subscribe to the same topics each gets its quota. Else partitions go to the subscriber that has least, and
//! are then moved one by one while that makes two loads more even.

use std::collections::{BTreeMap, BTreeSet};

use super::{Partitions, Subscriber, subscribers};
use crate::metadata::TopicId;

pub(super) fn assign<'a>(
    members: &BTreeMap<&'a str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<&'a str, Partitions> {
    let mut all = members.values().map(|member| &member.topics);
    let Some(first) = all.next() else {
        return BTreeMap::new();
    };
    if all.all(|topics| topics == first) {
        by_quota(members, first, topics)
    } else {
        by_load(members, topics)
    }
}

/// What members had and may have still. Of two that claim one partition, the first by id keeps it.
fn kept<'a>(
    members: &BTreeMap<&'a str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
    taken: &mut BTreeSet<(TopicId, i32)>,
) -> BTreeMap<&'a str, Vec<(TopicId, i32)>> {
    let mut kept = BTreeMap::new();
    for (id, member) in members {
        let may_keep = |(topic, partition): &(TopicId, i32)| {
            let exists = topics.get(topic).is_some_and(|count| partition < count);
            exists && member.topics.contains(topic)
        };
        let had = member.had.iter().filter(may_keep);
        let own = had.filter(|partition| taken.insert(*partition));
        kept.insert(*id, own.collect::<Vec<_>>());
    }
    kept
}

/// The partitions of a topic.
fn partitions(
    topic: TopicId,
    topics: &BTreeMap<TopicId, i32>,
) -> impl Iterator<Item = (TopicId, i32)> + use<> {
    let count = topics.get(&topic).copied().unwrap_or(0);
    (0..count).map(move |partition| (topic, partition))
}

fn by_quota<'a>(
    members: &BTreeMap<&'a str, Subscriber<'_>>,
    subscribed: &BTreeSet<TopicId>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<&'a str, Partitions> {
    let all = subscribed
        .iter()
        .flat_map(|topic| partitions(*topic, topics));
    let mut free: BTreeSet<(TopicId, i32)> = all.collect();
    let least = free.len() / members.len();
    let mut extra = free.len() % members.len();
    let mut given = kept(members, topics, &mut BTreeSet::new());
    // Those who had most may keep one more.
    let mut order: Vec<&str> = given.keys().copied().collect();
    order.sort_by_key(|id| std::cmp::Reverse(given[id].len()));
    let mut room = Vec::new();
    for id in order {
        let own = given.get_mut(id).expect("everybody is there");
        let quota = least + usize::from(extra > 0);
        extra -= usize::from(extra > 0);
        own.truncate(quota);
        for partition in own.iter() {
            free.remove(partition);
        }
        room.push((id, quota));
    }
    // In turn, so that each topic is spread over many.
    let mut free = free.into_iter();
    while !room.is_empty() {
        room.retain(|(id, quota)| {
            let own = given.get_mut(id).expect("everybody is there");
            if own.len() == *quota {
                return false;
            }
            own.push(free.next().expect("the quotas are as many as partitions"));
            true
        });
    }
    assert!(
        free.next().is_none(),
        "the quotas are as many as partitions"
    );
    let given = given.into_iter();
    given
        .map(|(id, own)| (id, own.into_iter().collect()))
        .collect()
}

/// Partitions of one topic, by owner.
type Owners<'a> = BTreeMap<&'a str, Vec<i32>>;

fn by_load<'a>(
    members: &BTreeMap<&'a str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<&'a str, Partitions> {
    let by_topic = subscribers(members);
    let mut taken = BTreeSet::new();
    let kept = kept(members, topics, &mut taken);
    let mut load: BTreeMap<&str, usize> = kept.iter().map(|(id, own)| (*id, own.len())).collect();
    let mut owners: BTreeMap<TopicId, Owners<'_>> = BTreeMap::new();
    for (id, own) in kept {
        for (topic, partition) in own {
            let of = owners.entry(topic).or_default();
            of.entry(id).or_default().push(partition);
        }
    }
    // Topics that few may have come first.
    let mut order: Vec<TopicId> = by_topic.keys().copied().collect();
    order.sort_by_key(|topic| (by_topic[topic].len(), *topic));
    for topic in &order {
        for place in partitions(*topic, topics).filter(|place| !taken.contains(place)) {
            let least = by_topic[topic].iter().min_by_key(|id| load[*id]);
            let least = *least.expect("a topic is there because of a subscriber");
            let of = owners.entry(*topic).or_default();
            of.entry(least).or_default().push(place.1);
            *load.get_mut(least).expect("everybody is there") += 1;
        }
    }
    // Each move makes the sum of all squares smaller, so this ends.
    while order.iter().fold(false, |moved, topic| {
        let of = owners.entry(*topic).or_default();
        level(of, &by_topic[topic], &mut load) || moved
    }) {}
    let mut given: BTreeMap<&str, Partitions> = BTreeMap::new();
    for (topic, of) in owners {
        for (id, own) in of {
            for partition in own {
                given.entry(id).or_default().insert(topic, partition);
            }
        }
    }
    given
}

/// Moves partitions of one topic from who has most to who has least of all. Whether any was moved.
fn level<'a>(of: &mut Owners<'a>, ids: &[&'a str], load: &mut BTreeMap<&'a str, usize>) -> bool {
    let mut moved = false;
    loop {
        let owning = of.iter().filter(|(_, own)| !own.is_empty());
        let most = owning.map(|(id, _)| *id).max_by_key(|id| load[id]);
        let least = ids.iter().copied().min_by_key(|id| load[id]);
        let (Some(most), Some(least)) = (most, least) else {
            return moved;
        };
        if load[most] <= load[least] + 1 {
            return moved;
        }
        let own = of.get_mut(most).expect("just seen");
        let partition = own.pop().expect("it owns one");
        of.entry(least).or_default().push(partition);
        *load.get_mut(most).expect("everybody is there") -= 1;
        *load.get_mut(least).expect("everybody is there") += 1;
        moved = true;
    }
}
