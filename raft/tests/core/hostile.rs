//! A peer that says anything at all must not bring a member down. (What it says may still mislead:
//! peers are authenticated, Byzantine ones are outside of the fault model.)

use crate::world::{Chance, Disk, member};
use bytes::Bytes;
use raft::Node;
use raft::config::Config;
use raft::effect::Effect;
use raft::input::Input;
use raft::message::{Append, AppendResponse, AppendResult, Body, Campaign, Message};
use raft::types::{Base, Entry, EntryKind, Index, Membership, NodeId, ReplicaId, Term, Tick};

fn number(chance: &mut Chance) -> u64 {
    match chance.below(12) {
        0 => u64::MAX,
        1 => u64::MAX - 1,
        2 => 1 << 60,
        _ => chance.below(9),
    }
}

fn membership(chance: &mut Chance) -> Membership {
    let mut set = || {
        let mask = chance.below(32);
        (1..=5)
            .filter(|r| mask >> r & 1 == 1)
            .map(member)
            .collect::<Vec<_>>()
    };
    Membership {
        voters: set(),
        outgoing: set(),
        learners: set(),
    }
}

fn entries(chance: &mut Chance, prev: u64) -> Vec<Entry> {
    let mut term = chance.below(4);
    let mut index = prev;
    let mut entries = Vec::new();
    for _ in 0..chance.below(4) {
        index = index.wrapping_add(u64::from(!chance.percent(5)));
        term += u64::from(chance.percent(20));
        let kind = EntryKind::from_u8(chance.below(4) as u8).unwrap();
        let membership = membership(chance);
        let valid = kind == EntryKind::Membership && membership.is_valid() && chance.percent(80);
        let payload = if valid {
            membership.encode()
        } else {
            Bytes::from_static(b"anything")
        };
        entries.push(Entry {
            index: Index(index),
            term: Term(term),
            kind,
            payload,
        });
    }
    entries
}

fn body(chance: &mut Chance) -> Body {
    let mut n = || number(chance);
    let (a, b, c, d) = (n(), n(), n(), n());
    let claim = Campaign {
        last_index: Index(a),
        last_term: Term(b),
        forced: c % 2 == 0,
    };
    let answer = |result| {
        Body::AppendResponse(AppendResponse {
            result,
            session: c,
            read_round: d,
        })
    };
    match chance.below(14) {
        0 => Body::PreVote(claim),
        1 => Body::PreVoteResponse {
            granted: a % 2 == 0,
        },
        2 => Body::Vote(claim),
        3 => Body::VoteResponse {
            granted: a % 2 == 0,
        },
        4..7 => Body::Append(Append {
            prev_index: Index(a),
            prev_term: Term(b),
            commit: Index(c),
            entries: entries(chance, a),
            session: d,
            read_round: b,
        }),
        7 => answer(AppendResult::Matched(Index(a))),
        8 => {
            let (hint_index, hint_term) = (Index(b), Term(d));
            answer(AppendResult::Conflict {
                rejected: Index(a),
                hint_index,
                hint_term,
            })
        }
        9 => answer(AppendResult::Full),
        10 => Body::Heartbeat {
            commit: Index(a),
            read_round: b,
            quiesce: c % 2 == 0,
        },
        11 => Body::HeartbeatResponse {
            read_round: a,
            last_index: Index(b),
        },
        12 => {
            let membership = membership(chance);
            let (index, term, state) = (Index(a), Term(b), Bytes::new());
            Body::Install {
                base: Base {
                    index,
                    term,
                    membership,
                    state,
                },
                session: c,
            }
        }
        _ if a % 2 == 0 => Body::InstallResponse {
            index: Index(b),
            session: c,
        },
        _ => Body::TimeoutNow,
    }
}

#[test]
fn any_message_leaves_a_member_standing() {
    let mut violations = 0;
    let mut leaders = 0;
    for seed in 0..3000 {
        let mut chance = Chance(seed);
        let mut disk = Disk::default();
        disk.base.membership.voters = (1..=1 + seed % 3).map(member).collect();
        let mut node = Node::new(Config::tiny(), disk.start(member(1), seed), Tick(0));
        let mut out = Vec::new();
        for now in 0..60 {
            let now = Tick(now * 10);
            let from = 1 + chance.below(5);
            let message = Message {
                from: ReplicaId(from),
                to: ReplicaId(1),
                term: Term(if chance.percent(60) {
                    node.term().0
                } else {
                    number(&mut chance)
                }),
                body: body(&mut chance),
            };
            node.step(
                now,
                Input::Message {
                    node: NodeId(from as i32),
                    message,
                },
                &mut out,
            );
            node.step(now, Input::Tick, &mut out);
            let seq = out.iter().rev().find_map(|e| match e {
                Effect::Persist(persist) => Some(persist.seq),
                _ => None,
            });
            if let Some(seq) = seq.filter(|_| chance.percent(50)) {
                node.step(now, Input::Persisted(seq), &mut out);
            }
            let _ = node.propose(now, EntryKind::Records, Bytes::from_static(b"x"));
        }
        violations += out
            .iter()
            .filter(|e| matches!(e, Effect::Violation { .. }))
            .count();
        leaders += usize::from(node.leader() == Some(ReplicaId(1)));
    }
    assert!(
        violations > 100 && leaders > 100,
        "{violations} violations, {leaders} leaders"
    );
}
