use raft::types::{DirectoryId, NodeId, ReplicaId, Tick};

use super::*;

fn setup(me: i32, seeds: &[i32]) -> Setup {
    Setup {
        me: NodeId(me),
        directory: DirectoryId(100 + me as u128),
        seeds: seeds.iter().map(|id| NodeId(*id)).collect(),
        seeds_fingerprint: 7,
        tries: 3,
        retry_min_ms: 500,
        retry_max_ms: 2000,
        held: None,
        new_cluster: ClusterId(1000 + me as u128),
    }
}

fn step(formation: &mut Formation, now: u64, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    formation.step(Tick(now), event, &mut out);
    out
}

fn message(from: i32, seen: u128, record: Option<BootstrapRecord>) -> Event {
    let directory = DirectoryId(100 + from as u128);
    let seen = DirectoryId(seen);
    let message = Message {
        directory,
        seen,
        seeds_fingerprint: 7,
        record,
    };
    Event::Presented {
        node: NodeId(from),
        message,
    }
}

fn record(cluster: u128) -> BootstrapRecord {
    let nodes = [1, 2, 3].map(|id| (NodeId(id), DirectoryId(100 + id as u128)));
    BootstrapRecord::new(ClusterId(cluster), nodes.to_vec())
}

fn sends(effects: &[Effect]) -> Vec<(i32, u128, bool)> {
    let send = |effect: &Effect| match effect {
        Effect::Send { to, message } => Some((to.0, message.seen.0, message.record.is_some())),
        _ => None,
    };
    effects.iter().filter_map(send).collect()
}

#[test]
fn one_node_alone_forms_at_once() {
    for seeds in [&[][..], &[4][..]] {
        let mut alone = Formation::new(setup(4, seeds));
        let effects = step(&mut alone, 0, Event::Tick);
        let nodes = vec![(NodeId(4), DirectoryId(104))];
        let expected = BootstrapRecord::new(ClusterId(1004), nodes);
        assert_eq!(effects, [Effect::SyncRecord(expected.clone())]);
        assert!(alone.record().is_none());
        assert_eq!(
            step(&mut alone, 0, Event::RecordSynced),
            [Effect::Formed(expected.clone())]
        );
        assert_eq!(alone.record(), Some(&expected));
        assert_eq!(
            expected.replica(NodeId(4), DirectoryId(104)),
            Some(ReplicaId(1))
        );
    }
}

#[test]
fn a_held_record_is_formed_at_the_first_tick_once() {
    let mut node = Formation::new(Setup {
        held: Some(record(9)),
        ..setup(2, &[1, 2, 3])
    });
    assert_eq!(step(&mut node, 0, Event::Tick), [Effect::Formed(record(9))]);
    assert_eq!(step(&mut node, 9999, Event::Tick), []);
}

#[test]
fn the_lowest_founds_when_all_have_spoken_to_it() {
    let mut one = Formation::new(setup(1, &[3, 1, 2]));
    assert_eq!(
        sends(&step(&mut one, 0, Event::Tick)),
        [(2, 0, false), (3, 0, false)]
    );
    assert_eq!(
        sends(&step(&mut one, 1, message(2, 0, None))),
        [(2, 102, false)]
    );
    assert_eq!(
        sends(&step(&mut one, 1, message(3, 101, None))),
        [(3, 103, false)]
    );
    let effects = step(&mut one, 2, message(2, 101, None));
    assert_eq!(effects, [Effect::SyncRecord(record(1001))]);
    assert_eq!(
        step(&mut one, 2, message(2, 101, None)),
        [],
        "silent until it is synced"
    );
    let effects = step(&mut one, 3, Event::RecordSynced);
    assert_eq!(sends(&effects), [(2, 102, true), (3, 103, true)]);
    assert_eq!(effects.last(), Some(&Effect::Formed(record(1001))));
    assert_eq!(
        sends(&step(&mut one, 4, message(3, 0, None))),
        [(3, 103, true)]
    );
    assert_eq!(step(&mut one, 9000, Event::Tick), []);
}

#[test]
fn others_never_found() {
    let mut two = Formation::new(setup(2, &[1, 2, 3]));
    step(&mut two, 0, Event::Tick);
    for event in [
        message(1, 102, None),
        message(3, 102, None),
        message(1, 102, None),
    ] {
        assert!(
            !step(&mut two, 1, event)
                .iter()
                .any(|e| matches!(e, Effect::SyncRecord(_)))
        );
    }
}

#[test]
fn a_presentation_to_a_lost_directory_does_not_count() {
    let mut one = Formation::new(setup(1, &[1, 2]));
    step(&mut one, 0, Event::Tick);
    let effects = step(&mut one, 1, message(2, 999, None));
    assert_eq!(sends(&effects), [(2, 102, false)]);
    assert_eq!(effects.len(), 1);
}

#[test]
fn a_record_is_adopted_synced_and_passed_on() {
    let mut three = Formation::new(setup(3, &[1, 2, 3]));
    step(&mut three, 0, Event::Tick);
    assert_eq!(
        step(&mut three, 1, message(2, 0, Some(record(5)))),
        [Effect::SyncRecord(record(5))]
    );
    assert_eq!(
        step(&mut three, 1, message(1, 0, None)),
        [],
        "silent until it is synced"
    );
    let effects = step(&mut three, 2, Event::RecordSynced);
    assert_eq!(effects.last(), Some(&Effect::Formed(record(5))));
    assert_eq!(
        sends(&step(&mut three, 3, message(1, 0, None))),
        [(1, 101, true)]
    );
}

#[test]
fn another_record_is_refused_once_and_never_adopted() {
    let mut node = Formation::new(Setup {
        held: Some(record(5)),
        ..setup(1, &[1, 2, 3])
    });
    step(&mut node, 0, Event::Tick);
    let refusal = Refusal::OtherCluster {
        theirs: ClusterId(6),
        ours: ClusterId(5),
    };
    let effects = step(&mut node, 1, message(2, 0, Some(record(6))));
    assert_eq!(
        effects,
        [Effect::Refused {
            node: NodeId(2),
            refusal
        }]
    );
    assert_eq!(step(&mut node, 2, message(2, 0, Some(record(6)))), []);
    assert_eq!(node.record(), Some(&record(5)));
}

#[test]
fn a_joining_node_asks_and_adopts_and_never_founds() {
    let mut joiner = Formation::new(setup(9, &[1, 2]));
    assert_eq!(
        sends(&step(&mut joiner, 0, Event::Tick)),
        [(1, 0, false), (2, 0, false)]
    );
    for event in [message(1, 109, None), message(2, 109, None)] {
        assert!(sends(&step(&mut joiner, 1, event)).len() <= 1);
    }
    assert_eq!(
        step(&mut joiner, 1, message(2, 0, Some(record(5)))),
        [Effect::SyncRecord(record(5))]
    );
    let mut seed = Formation::new(setup(1, &[1, 2]));
    step(&mut seed, 0, Event::Tick);
    assert_eq!(
        step(&mut seed, 1, message(9, 101, None)),
        [],
        "no cluster yet, and no founder"
    );
    let mut formed = Formation::new(Setup {
        held: Some(record(5)),
        ..setup(1, &[1, 2])
    });
    assert_eq!(
        sends(&step(&mut formed, 1, message(9, 0, None))),
        [(9, 109, true)]
    );
}

#[test]
fn tries_are_spaced_and_then_it_fails_naming_the_missing() {
    let mut one = Formation::new(setup(1, &[1, 2, 3]));
    let mut asked = Vec::new();
    let mut now = 0;
    let failed = loop {
        let effects = step(&mut one, now, Event::Tick);
        if let Some(Effect::Failed(failure)) = effects.first() {
            break failure.clone();
        }
        asked.push(now);
        assert_eq!(step(&mut one, now, Event::Tick), [], "not before its time");
        if now == 0 {
            step(&mut one, 0, message(3, 101, None));
        }
        now = one.wakeup().unwrap().0;
    };
    assert_eq!((asked, now), (vec![0, 500, 1500], 3500));
    assert_eq!(failed.missing, [NodeId(2)]);
    assert!(
        failed.to_string().contains("3 tries; missing: node 2 "),
        "{failed}"
    );
    assert_eq!(step(&mut one, 9999, Event::Tick), []);
    assert_eq!(one.wakeup(), None);
}

#[test]
fn seeds_that_differ_are_named_and_do_not_count() {
    let mut one = Formation::new(Setup {
        tries: 1,
        ..setup(1, &[1, 2])
    });
    step(&mut one, 0, Event::Tick);
    let directory = DirectoryId(102);
    let other = Message {
        directory,
        seen: DirectoryId(101),
        seeds_fingerprint: 8,
        record: None,
    };
    let event = Event::Presented {
        node: NodeId(2),
        message: other,
    };
    let refusal = Refusal::SeedsDiffer;
    let effects = step(&mut one, 1, event.clone());
    assert_eq!(
        effects,
        [Effect::Refused {
            node: NodeId(2),
            refusal
        }]
    );
    assert_eq!(step(&mut one, 2, event), []);
    let effects = step(&mut one, 500, Event::Tick);
    let Effect::Failed(failure) = &effects[0] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (failure.differing.as_slice(), failure.missing.len()),
        (&[NodeId(2)][..], 0)
    );
}

#[test]
fn a_silent_founder_is_named() {
    let mut two = Formation::new(Setup {
        tries: 1,
        ..setup(2, &[1, 2])
    });
    step(&mut two, 0, Event::Tick);
    step(&mut two, 1, message(1, 102, None));
    let effects = step(&mut two, 500, Event::Tick);
    let Effect::Failed(failure) = &effects[0] else {
        panic!("{effects:?}")
    };
    assert_eq!(failure.waiting_for, Some(NodeId(1)));
    assert!(failure.to_string().contains("node 1 founds"), "{failure}");
}

#[test]
fn voters_are_odd_and_at_most_five() {
    for (seeds, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (9, 5)] {
        let nodes = (1..=seeds)
            .rev()
            .map(|id| (NodeId(id), DirectoryId(id as u128)))
            .collect();
        let record = BootstrapRecord::new(ClusterId(1), nodes);
        assert_eq!(record.voters.len(), voters);
        assert_eq!(record.defect(), None);
        assert_eq!(record.voters[0].node, NodeId(1));
        assert_eq!(record.membership().voters.len(), voters);
        assert_eq!(
            record.replica(NodeId(1), DirectoryId(2)),
            None,
            "another disk"
        );
    }
}

#[test]
fn messages_survive_their_bytes_and_bad_ones_are_refused() {
    let Event::Presented { message: with, .. } = message(1, 5, Some(record(77))) else {
        panic!()
    };
    assert_eq!(Message::decode(&with.encode()).unwrap(), with);
    let without = Message {
        record: None,
        ..with.clone()
    };
    assert_eq!(Message::decode(&without.encode()).unwrap(), without);
    let mut even = with.clone();
    even.record.as_mut().unwrap().voters.pop();
    let mut nil = with.clone();
    nil.record.as_mut().unwrap().cluster = ClusterId(0);
    let mut order = with.clone();
    order.record.as_mut().unwrap().voters.reverse();
    let mut replica = with.clone();
    replica.record.as_mut().unwrap().voters[2].replica = ReplicaId(8);
    for bad in [even, nil, order, replica] {
        Message::decode(&bad.encode()).unwrap_err();
    }
    for bytes in [&b""[..], b"{}", b"\x00\x01", &with.encode()[..40]] {
        Message::decode(bytes).unwrap_err();
    }
}

#[test]
fn cluster_ids_look_like_kafkas() {
    assert_eq!(ClusterId(0).to_string(), "A".repeat(22));
    assert_eq!(
        ClusterId(u128::MAX).to_string(),
        format!("{}w", "_".repeat(21))
    );
    assert_eq!(
        ClusterId(1 << 127).to_string(),
        format!("g{}", "A".repeat(21))
    );
    assert_eq!(ClusterId(1).to_string(), format!("{}Q", "A".repeat(21)));
}
