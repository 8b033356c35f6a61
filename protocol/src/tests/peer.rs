//! The peer protocol: what goes out comes back, entry payloads are never copied, and nothing
//! hostile passes.

use super::random::Random;
use crate::frame::next_frame;
use crate::peer::*;
use crate::wire::{DecodeError, EncodeError};
use bytes::{Bytes, BytesMut};
use raft::message::{Append, AppendResponse, AppendResult, Body, Campaign, Message};
use raft::types::*;

const BODIES: u64 = 13;

fn member(random: &mut Random) -> Member {
    Member {
        replica: ReplicaId(random.next()),
        node: NodeId(random.next() as i32),
        directory: DirectoryId(u128::from(random.next()) << 64 | u128::from(random.next())),
    }
}

fn members(random: &mut Random) -> Vec<Member> {
    (0..random.below(4)).map(|_| member(random)).collect()
}

fn campaign(random: &mut Random) -> Campaign {
    let (last_index, last_term) = (Index(random.next()), Term(random.next()));
    Campaign {
        last_index,
        last_term,
        forced: random.bool(),
    }
}

fn append(random: &mut Random) -> Append {
    let prev_index = Index(random.next() >> 1);
    let kinds = [
        EntryKind::Noop,
        EntryKind::Membership,
        EntryKind::Records,
        EntryKind::Command,
    ];
    let entries = (1..=random.below(6)).map(|nth| Entry {
        index: Index(prev_index.0 + nth),
        term: Term(random.next()),
        kind: kinds[random.below(4) as usize],
        payload: random.bytes(),
    });
    let entries = entries.collect();
    Append {
        prev_index,
        prev_term: Term(random.next()),
        commit: Index(random.next()),
        entries,
        session: random.next(),
        read_round: random.next(),
    }
}

fn result(random: &mut Random, which: u64) -> AppendResult {
    match which {
        0 => AppendResult::Matched(Index(random.next())),
        1 => AppendResult::Conflict {
            rejected: Index(random.next()),
            hint_index: Index(random.next()),
            hint_term: Term(random.next()),
        },
        _ => AppendResult::Full,
    }
}

fn base(random: &mut Random) -> Base {
    Base {
        index: Index(random.next()),
        term: Term(random.next()),
        membership: Membership {
            voters: members(random),
            outgoing: members(random),
            learners: members(random),
        },
        state: random.bytes(),
    }
}

fn body(random: &mut Random, which: u64) -> Body {
    match which {
        0 => Body::PreVote(campaign(random)),
        1 => Body::PreVoteResponse {
            granted: random.bool(),
        },
        2 => Body::Vote(campaign(random)),
        3 => Body::VoteResponse {
            granted: random.bool(),
        },
        4 => Body::Append(append(random)),
        5 => Body::Heartbeat {
            commit: Index(random.next()),
            read_round: random.next(),
            quiesce: random.bool(),
        },
        6 => Body::HeartbeatResponse {
            read_round: random.next(),
            last_index: Index(random.next()),
        },
        7 => Body::Install {
            base: base(random),
            session: random.next(),
        },
        8 => Body::InstallResponse {
            index: Index(random.next()),
            session: random.next(),
        },
        9 => Body::TimeoutNow,
        which => {
            let result = result(random, which - 10);
            let (session, read_round) = (random.next(), random.next());
            Body::AppendResponse(AppendResponse {
                result,
                session,
                read_round,
            })
        }
    }
}

fn message(random: &mut Random, which: u64) -> Message {
    Message {
        from: ReplicaId(random.next()),
        to: ReplicaId(random.next()),
        term: Term(random.next()),
        body: body(random, which),
    }
}

fn batch(random: &mut Random) -> Batch {
    let messages = (0..BODIES).map(|which| (GroupId(random.next()), message(random, which)));
    let messages = messages.collect();
    let soft = (0..random.below(4)).map(|_| LeaderInfo {
        group: GroupId(random.next()),
        term: Term(random.next()),
        leader: NodeId(random.next() as i32),
        in_sync: (0..random.below(4))
            .map(|_| NodeId(random.next() as i32))
            .collect(),
    });
    let soft = soft.collect();
    Batch {
        messages,
        soft,
        heartbeat: random.next(),
        heard: random.next(),
    }
}

fn hello(random: &mut Random) -> Hello {
    Hello {
        versions: VERSIONS,
        cluster: u128::from(random.next()),
        node: NodeId(1 + random.below(9) as i32),
        directory: DirectoryId(u128::from(random.next()) << 7),
        fingerprint: random.next(),
        boot: random.next(),
        kafka: Endpoint {
            host: "::1".into(),
            port: 65_535,
        },
        peer: Endpoint {
            host: random.string().to_string(),
            port: random.next() as u16,
        },
    }
}

fn frames(random: &mut Random) -> Vec<Frame> {
    let reasons = [
        Reason::Version,
        Reason::Cluster,
        Reason::Fingerprint,
        Reason::Identity,
        Reason::NotReady,
        Reason::Other,
    ];
    let reason = reasons[random.below(6) as usize];
    vec![
        Frame::Hello(hello(random)),
        Frame::HelloReply(hello(random)),
        Frame::Refused(Refused {
            reason,
            text: random.string().to_string(),
        }),
        Frame::Batch(batch(random)),
        Frame::Batch(Batch::default()),
        Frame::Request(PeerRequest {
            id: random.next(),
            kind: 200,
            body: random.bytes(),
        }),
        Frame::Response(PeerResponse {
            id: random.next(),
            status: -1,
            body: random.bytes(),
        }),
        Frame::Formation(random.bytes()),
    ]
}

fn unframed(frame: &Frame) -> Bytes {
    let mut bytes = BytesMut::from(&frame.encode(1).unwrap().concat()[..]);
    let whole = next_frame(&mut bytes, 64 << 20)
        .unwrap()
        .expect("a whole frame");
    assert!(bytes.is_empty());
    whole
}

#[test]
fn every_frame_and_message_round_trips() {
    for seed in 0..200 {
        for frame in frames(&mut Random::new(seed)) {
            assert_eq!(Frame::decode(unframed(&frame)), Ok(frame), "seed {seed}");
        }
    }
}

#[test]
fn every_truncation_is_an_error_and_so_is_every_extra_byte() {
    for frame in frames(&mut Random::new(5)) {
        let bytes = unframed(&frame);
        for length in 0..bytes.len() {
            assert!(
                Frame::decode(bytes.slice(..length)).is_err(),
                "{length} of {frame:?}"
            );
        }
        let longer = Frame::decode([&bytes[..], &[0]].concat().into());
        let greeting = matches!(
            frame,
            Frame::Hello(_) | Frame::HelloReply(_) | Frame::Refused(_)
        );
        if greeting {
            assert_eq!(
                longer,
                Ok(frame),
                "a later version may say more in its greeting"
            );
        } else {
            assert_eq!(longer, Err(DecodeError::Trailing { left: 1 }));
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let random = &mut Random::new(17);
    let bytes = unframed(&Frame::Batch(batch(random)));
    let mut refused = 0;
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] = value;
            refused += usize::from(Frame::decode(changed.into()).is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn entry_payloads_are_linked_out_and_sliced_in() {
    let payload = Bytes::from(vec![3; 100_000]);
    let entry = Entry {
        index: Index(1),
        term: Term(1),
        kind: EntryKind::Records,
        payload: payload.clone(),
    };
    let append = Append {
        prev_index: Index(0),
        prev_term: Term(0),
        commit: Index(0),
        entries: vec![entry],
        session: 1,
        read_round: 0,
    };
    let (from, to) = (ReplicaId(1), ReplicaId(2));
    let message = Message {
        from,
        to,
        term: Term(1),
        body: Body::Append(append),
    };
    let chain = encode_batch(1, [(GroupId(9), &message)].into_iter(), &[], 1, 2).unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(
        chain[1].as_ptr(),
        payload.as_ptr(),
        "the same memory, not a copy"
    );

    let frame: Bytes = chain.concat().into();
    let Ok(Frame::Batch(batch)) = Frame::decode(frame.slice(4..)) else {
        panic!("a batch")
    };
    let Body::Append(append) = &batch.messages[0].1.body else {
        panic!("an append")
    };
    assert_eq!(append.entries[0].payload, payload);
    assert!(
        frame
            .as_ptr_range()
            .contains(&append.entries[0].payload.as_ptr())
    );
}

#[test]
fn unknown_kinds_and_versions_are_named() {
    let unknown = |field, value| Err(DecodeError::Unknown { field, value });
    assert_eq!(
        Frame::decode(Bytes::from_static(&[1, 99])),
        unknown("peer frame", 99)
    );
    assert_eq!(
        Frame::decode(Bytes::from_static(&[2, 4])),
        unknown("peer version", 2)
    );
    assert_eq!(
        Frame::decode(Bytes::from_static(&[0, 4])),
        unknown("peer version", 0)
    );
    let http = Frame::decode(Bytes::from_static(b"\x01\x01GET / HTTP"));
    assert_eq!(
        http,
        unknown("peer magic", u64::from(u32::from_be_bytes(*b"GET ")))
    );
    let random = &mut Random::new(1);
    let one = Batch {
        messages: vec![(GroupId(1), message(random, 9))],
        ..Batch::default()
    };
    let mut bytes = unframed(&Frame::Batch(one)).to_vec();
    let kind = 2 + 16 + 4 + 32;
    assert_eq!(bytes[kind], 11, "the kind of TimeoutNow");
    bytes[kind] = 12;
    assert_eq!(Frame::decode(bytes.into()), unknown("raft message", 12));
}

#[test]
fn counts_are_bounded_by_the_bytes() {
    let mut bytes = unframed(&Frame::Batch(Batch::default())).to_vec();
    bytes[18..22].copy_from_slice(&u32::MAX.to_be_bytes());
    let expected = DecodeError::Count {
        field: "messages",
        count: u32::MAX.into(),
        left: 4,
    };
    assert_eq!(Frame::decode(bytes.into()), Err(expected));
}

#[test]
fn a_gap_between_entries_cannot_be_sent() {
    let random = &mut Random::new(2);
    let mut append = append(random);
    while append.entries.len() < 2 {
        append = self::append(random);
    }
    append.entries[1].index = append.entries[1].index.next();
    let message = Message {
        body: Body::Append(append),
        ..message(random, 9)
    };
    let encoded = encode_batch(1, [(GroupId(1), &message)].into_iter(), &[], 0, 0);
    assert!(
        matches!(encoded, Err(EncodeError::Contradiction { .. })),
        "{encoded:?}"
    );
}

#[test]
fn the_highest_common_version_wins() {
    let range = |min, max| VersionRange { min, max };
    assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
    assert_eq!(range(1, 1).common(range(1, 1)), Some(1));
    assert_eq!(range(1, 2).common(range(3, 4)), None);
}
