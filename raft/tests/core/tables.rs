//! Exhaustive tables: majorities, completions in every order, bytes of a membership, spread of
//! timeouts.

use crate::world::member;
use proptest::prelude::*;
use raft::config::Config;
use raft::effect::Effect;
use raft::input::Input;
use raft::message::{Append, Body, Message};
use raft::quorum::{self, Outcome};
use raft::types::{
    Base, Entry, EntryKind, HardState, Index, Membership, NodeId, PersistSeq, ReplicaId, Term, Tick,
};
use raft::{Node, Start};

/// All memberships of up to 7 voters, plain and joint, up to renaming: (incoming, outgoing, in
/// both).
fn memberships() -> Vec<Membership> {
    let mut all = Vec::new();
    for incoming in 1..=7u64 {
        for outgoing in 0..=7u64 {
            for both in 0..=incoming.min(outgoing) {
                let count = incoming + outgoing - both;
                if count > 7 {
                    continue;
                }
                let first_out = incoming - both;
                all.push(Membership {
                    voters: (1..=incoming).map(member).collect(),
                    outgoing: (first_out + 1..=first_out + outgoing).map(member).collect(),
                    learners: vec![member(8), member(9)],
                });
            }
        }
    }
    all
}

fn voters(membership: &Membership) -> u32 {
    let all = membership.all_members();
    all.iter()
        .filter(|m| membership.is_voter(m.replica))
        .count() as u32
}

fn halves(membership: &Membership) -> Vec<Vec<u64>> {
    let ids = |set: &[raft::types::Member]| set.iter().map(|m| m.replica.0).collect::<Vec<_>>();
    let mut halves = vec![ids(&membership.voters), ids(&membership.outgoing)];
    halves.retain(|half| !half.is_empty());
    halves
}

/// `number` in base `base`, digit by digit: one value per voter.
fn digits(mut number: u32, base: u32) -> impl FnMut() -> u32 {
    move || {
        let digit = number % base;
        number /= base;
        digit
    }
}

#[test]
fn r4_every_membership_against_the_naive_majority() {
    let mut seen = 0;
    for membership in memberships() {
        let count = voters(&membership);
        for number in 0..4u32.pow(count) {
            let mut digit = digits(number, 4);
            let values: Vec<u64> = (0..count).map(|_| u64::from(digit())).collect();
            // Learners claim the most.
            let value = |r: ReplicaId| values.get(r.0 as usize - 1).copied().unwrap_or(99);
            let reached = |v: u64| {
                let more = |half: &Vec<u64>| {
                    let yes = half.iter().filter(|r| value(ReplicaId(**r)) >= v).count();
                    yes * 2 > half.len()
                };
                halves(&membership).iter().all(more)
            };
            let naive = (0..4).rev().find(|v| reached(*v)).unwrap_or(0);
            assert_eq!(
                quorum::agreed(&membership, value),
                naive,
                "{membership:?} {values:?}"
            );
            seen += 1;
        }
    }
    assert!(seen > 500_000, "{seen}");
}

#[test]
fn l3_every_vote_against_the_naive_majority() {
    for membership in memberships() {
        let count = voters(&membership);
        for number in 0..3u32.pow(count) {
            let mut digit = digits(number, 3);
            let votes: Vec<Option<bool>> = (0..count)
                .map(|_| [None, Some(true), Some(false)][digit() as usize])
                .collect();
            let vote = |r: ReplicaId| votes.get(r.0 as usize - 1).copied().unwrap_or(Some(true));
            let share = |half: &[u64], say: &dyn Fn(Option<bool>) -> bool| {
                half.iter().filter(|r| say(vote(ReplicaId(**r)))).count() * 2 > half.len()
            };
            let halves = halves(&membership);
            let won = halves.iter().all(|half| share(half, &|v| v == Some(true)));
            let lost = halves
                .iter()
                .any(|half| !share(half, &|v| v != Some(false)));
            let expected = match (won, lost) {
                (true, false) => Outcome::Won,
                (false, true) => Outcome::Lost,
                (false, false) => Outcome::Open,
                (true, true) => panic!("won and lost"),
            };
            assert_eq!(
                quorum::count(&membership, vote),
                expected,
                "{membership:?} {votes:?}"
            );
            assert_eq!(quorum::has(&membership, |r| vote(r) == Some(true)), won);
        }
    }
}

#[test]
fn nobody_decides_for_an_empty_membership() {
    assert!(!quorum::has(&Membership::default(), |_| true));
    assert_eq!(quorum::agreed(&Membership::default(), |_| 7), 0);
    assert_ne!(
        quorum::count(&Membership::default(), |_| Some(true)),
        Outcome::Won
    );
}

fn node(seed: u64, config: Config) -> Node {
    let membership = Membership {
        voters: (1..=3).map(member).collect(),
        ..Membership::default()
    };
    let start = Start {
        me: member(1),
        hard_state: HardState::default(),
        base: Base {
            membership,
            ..Base::default()
        },
        last_index: Index(0),
        terms: Vec::new(),
        memberships: Vec::new(),
        seed,
        priority: 0,
    };
    Node::new(config, start, Tick(0))
}

/// An append of `count` entries of `term` after (index, term) from replica `from`.
fn append(from: u64, term: u64, prev: (u64, u64), count: u64) -> Input {
    let entry = |index| Entry {
        index: Index(index),
        term: Term(term),
        kind: EntryKind::Records,
        payload: bytes::Bytes::from_static(b"x"),
    };
    let append = Append {
        prev_index: Index(prev.0),
        prev_term: Term(prev.1),
        commit: Index(0),
        entries: (prev.0 + 1..=prev.0 + count).map(entry).collect(),
        session: 1,
        read_round: 0,
    };
    let body = Body::Append(append);
    let message = Message {
        from: ReplicaId(from),
        to: ReplicaId(1),
        term: Term(term),
        body,
    };
    Input::Message {
        node: NodeId(from as i32),
        message,
    }
}

fn orders(rest: &[u64]) -> Vec<Vec<u64>> {
    if rest.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in rest {
        let others: Vec<u64> = rest.iter().copied().filter(|r| r != first).collect();
        for mut order in orders(&others) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

/// Four writes in flight, the third truncates what the first two wrote: whatever the order in which
/// their completions arrive, what counts as synced is what the highest of them covers in the log as
/// it is now.
#[test]
fn r6_completions_in_every_order() {
    let orders = orders(&[1, 2, 3, 4]);
    assert_eq!(orders.len(), 24);
    for order in orders {
        let mut node = node(1, Config::tiny());
        let mut out = Vec::new();
        node.step(Tick(1), append(2, 1, (0, 0), 2), &mut out);
        node.step(Tick(1), append(2, 1, (2, 1), 2), &mut out);
        node.step(Tick(1), append(3, 2, (1, 1), 1), &mut out);
        node.step(Tick(1), append(3, 2, (2, 2), 3), &mut out);
        let persists = out
            .iter()
            .filter(|e| matches!(e, Effect::Persist(_)))
            .count();
        assert_eq!((persists, node.last_index()), (4, Index(5)));
        let mut highest = 0;
        for seq in &order {
            node.step(Tick(2), Input::Persisted(PersistSeq(*seq)), &mut out);
            highest = highest.max(*seq);
            let synced = [0, 1, 1, 2, 5][highest as usize];
            assert_eq!(node.durable_index(), Index(synced), "{order:?} at {seq}");
        }
    }
}

/// Deadlines do not fall together: not those of a thousand groups, and not those of one group that
/// wakes at once.
#[test]
fn e19_timeouts_are_spread() {
    let config = Config::default();
    let mut due = vec![0; 2000];
    for seed in 0..1000 {
        due[node(seed, config).deadline().unwrap().0 as usize] += 1;
    }
    let first = due.iter().position(|count| *count > 0).unwrap();
    let last = due.iter().rposition(|count| *count > 0).unwrap();
    assert!(first as u64 >= config.election_timeout_min_ms);
    assert!(last - first > 400, "{first}..{last}");
    assert!(
        due.iter().all(|count| *count <= 12),
        "{}",
        due.iter().max().unwrap()
    );
}

#[test]
fn g2_a_lost_node_wakes_its_groups_spread_out() {
    let config = Config::default();
    let mut due = vec![0; 3000];
    for seed in 0..1000 {
        let mut node = node(seed, config);
        let mut out = Vec::new();
        let body = Body::Heartbeat {
            commit: Index(0),
            read_round: 0,
            quiesce: true,
        };
        let message = Message {
            from: ReplicaId(2),
            to: ReplicaId(1),
            term: Term(1),
            body,
        };
        node.step(
            Tick(1000),
            Input::Message {
                node: NodeId(2),
                message,
            },
            &mut out,
        );
        assert_eq!(node.deadline(), None);
        node.step(Tick(2000), Input::NodeDown(NodeId(2)), &mut out);
        due[node.deadline().unwrap().0 as usize] += 1;
    }
    let first = due.iter().position(|count| *count > 0).unwrap();
    let last = due.iter().rposition(|count| *count > 0).unwrap();
    assert!(
        last - first > 80 && last < 2000 + 2 * 100,
        "{first}..{last}"
    );
    assert!(
        due.iter().all(|count| *count <= 30),
        "{}",
        due.iter().max().unwrap()
    );
}

#[test]
fn the_higher_priority_campaigns_sooner() {
    let due = |priority| {
        let mut total = 0;
        for seed in 0..200 {
            let mut start_node = node(seed, Config::default());
            let start = Start {
                me: start_node.me(),
                hard_state: HardState::default(),
                base: Base {
                    membership: start_node.membership().clone(),
                    ..Base::default()
                },
                last_index: Index(0),
                terms: Vec::new(),
                memberships: Vec::new(),
                seed,
                priority,
            };
            start_node = Node::new(Config::default(), start, Tick(0));
            total += start_node.deadline().unwrap().0;
        }
        total / 200
    };
    assert!(due(0) > due(1) + 50, "{} {}", due(0), due(1));
    assert!(due(1) > due(2), "{} {}", due(1), due(2));
    assert_eq!(due(100), due(1000));
}

#[test]
fn a_membership_survives_its_bytes() {
    for membership in memberships() {
        let bytes = membership.encode();
        assert_eq!(Membership::decode(&bytes), Some(membership));
        for cut in 0..bytes.len() {
            assert_eq!(Membership::decode(&bytes[..cut]), None, "{cut} bytes");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(Membership::decode(&longer), None);
    }
}

proptest! {
    #[test]
    fn random_bytes_are_no_membership_or_a_valid_one(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Some(membership) = Membership::decode(&bytes) {
            prop_assert!(membership.is_valid());
            prop_assert_eq!(&membership.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn flipped_bits_never_break_the_decoder(at in 0usize..150, bit in 0u8..8) {
        let membership = memberships().pop().unwrap();
        let mut bytes = membership.encode().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Some(other) = Membership::decode(&bytes) {
            prop_assert!(other.is_valid() && other != membership);
        }
    }
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    assert!(Config::default().validate().is_ok());
    assert!(Config::tiny().validate().is_ok());
    let broken: [fn(&mut Config); 9] = [
        |c| c.heartbeat_ms = 0,
        |c| c.heartbeat_ms = c.election_timeout_min_ms,
        |c| c.election_timeout_max_ms = c.election_timeout_min_ms,
        |c| c.election_timeout_max_ms = u64::MAX,
        |c| c.quiesce_after_ms = 0,
        |c| c.transfer_timeout_ms = 0,
        |c| c.append_max_bytes = 0,
        |c| c.append_max_bytes = c.inflight_max_bytes + 1,
        |c| c.uncommitted_max_bytes = 0,
    ];
    for change in broken {
        let mut config = Config::default();
        change(&mut config);
        assert!(config.validate().is_err(), "{config:?}");
    }
}

#[test]
fn a_dormant_group_is_a_small_struct() {
    let size = size_of::<Node>();
    assert!(size <= 800, "{size} bytes");
}
