//! Both assignors: what they give, and what they leave where it was.

use super::*;

const T: TopicId = TopicId(1);
const U: TopicId = TopicId(2);

fn subscriber(topics: &[TopicId]) -> Subscriber<'static> {
    Subscriber {
        topics: topics.iter().copied().collect(),
        ..Subscriber::default()
    }
}

/// Every partition has one owner, who subscribes to it.
fn check(
    members: &BTreeMap<&str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
    given: &BTreeMap<String, Partitions>,
) {
    let mut owners = BTreeMap::new();
    for (id, own) in given {
        for (topic, partition) in own.iter() {
            assert!(members[id.as_str()].topics.contains(&topic));
            assert_eq!(owners.insert((topic, partition), id), None);
        }
    }
    let read = topics
        .iter()
        .filter(|(topic, _)| members.values().any(|m| m.topics.contains(topic)));
    let count: i32 = read.map(|(_, count)| *count).sum();
    assert_eq!(i32::try_from(owners.len()), Ok(count));
}

fn give(
    assignor: Assignor,
    members: &BTreeMap<&str, Subscriber<'_>>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<String, Partitions> {
    let given = assign(assignor, members, topics);
    check(members, topics, &given);
    assert_eq!(given, assign(assignor, members, topics));
    given
}

fn sizes(given: &BTreeMap<String, Partitions>) -> Vec<usize> {
    given.values().map(Partitions::len).collect()
}

fn sorted(given: &BTreeMap<String, Partitions>) -> Vec<usize> {
    let mut sizes = sizes(given);
    sizes.sort_unstable();
    sizes
}

#[test]
fn quotas_differ_by_one_at_most_and_a_newcomer_moves_no_more_than_it_gets() {
    let topics = BTreeMap::from([(T, 7), (U, 4)]);
    let mut members = BTreeMap::from([("a", subscriber(&[T, U])), ("b", subscriber(&[T, U]))]);
    let first = give(Assignor::Uniform, &members, &topics);
    assert_eq!(sizes(&first), [6, 5]);
    for (id, own) in &first {
        members
            .entry(id)
            .and_modify(|member| member.had = own.clone());
    }
    assert_eq!(give(Assignor::Uniform, &members, &topics), first);
    members.insert("c", subscriber(&[T, U]));
    let second = give(Assignor::Uniform, &members, &topics);
    assert_eq!(sizes(&second), [4, 4, 3]);
    for id in ["a", "b"] {
        assert!(
            second[id].is_subset(&first[id]),
            "nothing moves between the others"
        );
    }
    // One goes: what it had is spread, and nothing else moves.
    for (id, own) in &second {
        members
            .entry(id)
            .and_modify(|member| member.had = own.clone());
    }
    members.remove("a");
    let third = give(Assignor::Uniform, &members, &topics);
    assert_eq!(sizes(&third), [6, 5]);
    for id in ["b", "c"] {
        assert!(second[id].is_subset(&third[id]));
    }
}

#[test]
fn of_different_subscriptions_loads_are_as_even_as_single_moves_make_them() {
    let topics = BTreeMap::from([(T, 4), (U, 4)]);
    let mut members = BTreeMap::from([
        ("a", subscriber(&[T])),
        ("b", subscriber(&[T, U])),
        ("c", subscriber(&[U])),
    ]);
    let given = give(Assignor::Uniform, &members, &topics);
    assert_eq!(sorted(&given), [2, 3, 3]);
    // What one had before and may have no more, or two claim.
    members.entry("a").and_modify(|member| {
        member.had = [(U, 0), (T, 0), (T, 9)].into_iter().collect();
    });
    members.entry("b").and_modify(|member| {
        member.had = [(T, 0), (T, 1), (U, 0), (U, 1), (U, 2), (U, 3)]
            .into_iter()
            .collect();
    });
    let given = give(Assignor::Uniform, &members, &topics);
    assert_eq!(sorted(&given), [2, 3, 3]);
    assert!(given["a"].contains(T, 0));
}

#[test]
fn ranges_are_the_same_for_topics_with_as_many_partitions() {
    let topics = BTreeMap::from([(T, 5), (U, 5)]);
    let mut members = BTreeMap::from([
        ("a", subscriber(&[T, U])),
        ("b", subscriber(&[T, U])),
        ("c", subscriber(&[T])),
    ]);
    members.remove("c");
    let given = give(Assignor::Range, &members, &topics);
    for topic in [T, U] {
        for partition in 0..5 {
            assert_eq!(given["a"].contains(topic, partition), partition < 3);
        }
    }
    // A static member comes first, whatever its id.
    members.insert(
        "z",
        Subscriber {
            instance: Some("i"),
            ..subscriber(&[T])
        },
    );
    let given = give(Assignor::Range, &members, &topics);
    assert!(given["z"].contains(T, 0) && given["z"].contains(T, 1));
    assert!(given["b"].contains(T, 4));
    assert_eq!(given["z"].len(), 2);
}

#[test]
fn nobody_and_nothing() {
    for assignor in Assignor::ALL {
        assert!(assign(assignor, &BTreeMap::new(), &BTreeMap::from([(T, 3)])).is_empty());
        let members = BTreeMap::from([("a", subscriber(&[])), ("b", subscriber(&[]))]);
        let given = give(assignor, &members, &BTreeMap::from([(T, 3)]));
        assert_eq!(sizes(&given), [0, 0]);
        let members = BTreeMap::from([("a", subscriber(&[T])), ("b", subscriber(&[T]))]);
        let given = give(assignor, &members, &BTreeMap::from([(T, 1)]));
        assert_eq!(sizes(&given), [1, 0]);
    }
}

#[test]
fn random_subscriptions_are_balanced_and_sticky() {
    let mut state = 7_u64;
    let mut roll = |sides: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let ids: Vec<String> = (0..12).map(|n| format!("m{n}")).collect();
    for _ in 0..300 {
        let topics: BTreeMap<TopicId, i32> = (0..roll(5))
            .map(|n| (TopicId(u128::from(n)), i32::try_from(roll(20)).unwrap_or(0)))
            .collect();
        let same = roll(2) == 0;
        let mut members: BTreeMap<&str, Subscriber<'_>> = BTreeMap::new();
        for id in &ids[..1 + usize::try_from(roll(11)).unwrap_or(0)] {
            let own = topics.keys().copied().filter(|_| same || roll(2) == 0);
            members.insert(id, subscriber(&own.collect::<Vec<_>>()));
        }
        give(Assignor::Range, &members, &topics);
        let given = give(Assignor::Uniform, &members, &topics);
        if same {
            let sizes = sizes(&given);
            assert!(sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) <= 1);
        }
        for (id, own) in &given {
            members
                .entry(id)
                .and_modify(|member| member.had = own.clone());
        }
        assert_eq!(give(Assignor::Uniform, &members, &topics), given);
    }
}
