//! Subscriptions and assignments, and what the leader of a group gives to whom.

use std::collections::BTreeMap;

use broker::coordinator::reply::Joined;
use bytes::{BufMut, Bytes, BytesMut};

/// Each member gets neighbours.
pub(super) const RANGE: &str = "range";
/// Partitions go round.
pub(super) const ROUND_ROBIN: &str = "roundrobin";
/// Round, but nobody gets what another one has not given up.
pub(super) const COOPERATIVE: &str = "cooperative";

/// Kafka's `ConsumerProtocolSubscription` 1 of one topic, with what the member holds.
pub(super) fn subscription(owned: impl ExactSizeIterator<Item = i32>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(1);
    out.put_i16(1);
    out.put_u8(b't');
    out.put_i32(-1);
    out.put_slice(&assignment(owned));
    out.freeze()
}

/// What such a subscription says that the member holds.
fn held(subscription: &[u8]) -> Vec<i32> {
    const BEFORE: usize = 2 + 4 + 2 + 1 + 4;
    partitions(subscription.get(BEFORE..).unwrap_or_default())
}

/// Partitions as bytes.
pub(super) fn assignment(of: impl Iterator<Item = i32>) -> Bytes {
    of.map(|partition| u8::try_from(partition).expect("few"))
        .collect()
}

/// What [`assignment`] made of them.
pub(super) fn partitions(assignment: &[u8]) -> Vec<i32> {
    assignment.iter().copied().map(i32::from).collect()
}

/// What each member gets of so many partitions.
pub(super) fn assign(joined: &Joined, count: i32) -> Vec<(String, Bytes)> {
    let members = i32::try_from(joined.members.len()).expect("few");
    let each = (count + members - 1) / members;
    let mut holders: BTreeMap<i32, usize> = BTreeMap::new();
    if joined.protocol_name == COOPERATIVE {
        for (at, member) in joined.members.iter().enumerate() {
            for partition in held(&member.subscription) {
                holders.entry(partition).or_insert(at);
            }
        }
    }
    let target = |partition: i32| match joined.protocol_name.as_str() {
        RANGE => usize::try_from(partition / each).expect("at least 0"),
        _ => usize::try_from(partition % members).expect("at least 0"),
    };
    let is_for = |partition: &i32, at: usize| {
        let holder = holders.get(partition);
        target(*partition) == at && holder.is_none_or(|holder| *holder == at)
    };
    let members = joined.members.iter().enumerate();
    members
        .map(|(at, member)| {
            let own = (0..count).filter(|partition| is_for(partition, at));
            (member.id.clone(), assignment(own))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use broker::coordinator::reply::JoinedMember;

    use super::*;

    fn shared(protocol: &str, held: &[&[i32]], count: i32) -> Vec<Vec<i32>> {
        let member = |(at, held): (usize, &&[i32])| JoinedMember {
            id: at.to_string(),
            instance: None,
            subscription: subscription(held.iter().copied()),
        };
        let joined = Joined {
            protocol_name: protocol.to_owned(),
            members: held.iter().enumerate().map(member).collect(),
            ..Joined::default()
        };
        let assigned = assign(&joined, count).into_iter();
        assigned.map(|(_, bytes)| partitions(&bytes)).collect()
    }

    #[test]
    fn each_partition_has_one_owner() {
        assert_eq!(shared(RANGE, &[&[], &[]], 4), [[0, 1], [2, 3]]);
        assert_eq!(shared(ROUND_ROBIN, &[&[], &[]], 4), [[0, 2], [1, 3]]);
        assert_eq!(shared(RANGE, &[&[], &[]], 1), [vec![0], vec![]]);
    }

    #[test]
    fn nobody_gets_what_another_one_holds() {
        let first = shared(COOPERATIVE, &[&[0, 1, 2, 3], &[]], 4);
        assert_eq!(first, [vec![0, 2], vec![]]);
        let second = shared(COOPERATIVE, &[&[0, 2], &[]], 4);
        assert_eq!(second, [[0, 2], [1, 3]]);
    }
}
