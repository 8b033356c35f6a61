//! Each figure is moved by its own cause, and by nothing else.

use bytes::Bytes;
use raft::message::{Append, AppendResponse, Campaign};
use raft::types::{Entry, EntryKind, Index, ReplicaId, Term};

use super::*;

const NODE: NodeId = NodeId(2);
const TIMEOUT: Duration = Duration::from_secs(1);

fn message(body: Body) -> (GroupId, Message) {
    let message = Message {
        from: ReplicaId(1),
        to: ReplicaId(2),
        term: Term(3),
        body,
    };
    (GroupId(7), message)
}

fn append(prev: u64, count: u64) -> (GroupId, Message) {
    let entry = |at| Entry {
        index: Index(prev + 1 + at),
        term: Term(3),
        kind: EntryKind::Records,
        payload: Bytes::from_static(&[0; 1000]),
    };
    message(Body::Append(Append {
        prev_index: Index(prev),
        prev_term: Term(3),
        commit: Index(0),
        entries: (0..count).map(entry).collect(),
        session: 1,
        read_round: 0,
    }))
}

fn answered(result: AppendResult) -> (GroupId, Message) {
    message(Body::AppendResponse(AppendResponse {
        result,
        session: 1,
        read_round: 0,
    }))
}

fn heartbeat(read_round: u64) -> (GroupId, Message) {
    message(Body::Heartbeat {
        commit: Index(0),
        read_round,
        quiesce: false,
    })
}

fn campaign() -> Campaign {
    Campaign {
        last_index: Index(1),
        last_term: Term(1),
        forced: false,
    }
}

fn metrics(messages: &Messages, now: Instant) -> RaftMetrics {
    let mut metrics = RaftMetrics::default();
    messages.read(now, [NODE].into_iter(), &mut metrics);
    metrics
}

fn row(messages: &Messages, now: Instant, rpc: &str) -> RpcMetrics {
    let rows = metrics(messages, now).rpcs;
    rows.into_iter().find(|row| row.rpc == rpc).expect("a row")
}

#[test]
fn every_node_has_its_rows_before_anything_happens() {
    let messages = Messages::new(TIMEOUT);
    let names: Vec<_> = metrics(&messages, Instant::now())
        .rpcs
        .iter()
        .map(|row| (row.rpc, row.node, row.sent, row.seconds.count()))
        .collect();
    let expected = ["append", "heartbeat", "prevote", "snapshot", "vote"];
    assert_eq!(names, expected.map(|rpc| (rpc, 2, 0, 0)));
}

#[test]
fn an_append_is_timed_to_the_answer_that_covers_it() {
    let messages = Messages::new(TIMEOUT);
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    messages.sent(start, NODE, &[append(10, 2)]);
    messages.sent(after(1), NODE, &[append(12, 1)]);
    // The answer of an earlier append covers neither.
    messages.received(
        after(2),
        NODE,
        &[answered(AppendResult::Matched(Index(11)))],
    );
    assert_eq!(row(&messages, after(2), "append").seconds.count(), 0);
    messages.received(
        after(40),
        NODE,
        &[answered(AppendResult::Matched(Index(13)))],
    );
    let found = row(&messages, after(40), "append");
    assert_eq!((found.sent, found.ok, found.refused), (2, 2, 0));
    assert_eq!(found.seconds.count(), 1);
    assert!((found.seconds.sum - 0.04).abs() < 1e-9);
    let sizes = metrics(&messages, after(40)).partition.append_bytes;
    assert_eq!((sizes.count(), sizes.sum), (2, 3000.0));
    let none = metrics(&messages, after(40)).metadata.append_bytes;
    assert_eq!(none.count(), 0);
}

#[test]
fn what_is_not_answered_in_time_or_lost_is_told_apart() {
    let messages = Messages::new(TIMEOUT);
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    messages.sent(start, NODE, &[append(1, 1), heartbeat(5)]);
    let early = row(&messages, after(900), "append");
    assert_eq!((early.timeouts, early.network), (0, 0));
    let late = row(&messages, after(1100), "append");
    assert_eq!((late.timeouts, late.network), (1, 0));
    assert_eq!(row(&messages, after(1200), "append").timeouts, 1, "once");
    messages.sent(after(1200), NODE, &[append(1, 1)]);
    messages.disconnected(NodeId(3));
    assert_eq!(row(&messages, after(1200), "append").network, 0);
    messages.disconnected(NODE);
    assert_eq!(row(&messages, after(1200), "append").network, 1);
    messages.unsent(NODE, &[append(1, 1)], SendError::NotConnected);
    messages.unsent(NODE, &[append(1, 1)], SendError::TooLarge);
    let unsent = row(&messages, after(1200), "append");
    assert_eq!((unsent.network, unsent.other, unsent.sent), (2, 1, 2));
}

#[test]
fn votes_heartbeats_and_refusals() {
    let messages = Messages::new(TIMEOUT);
    let now = Instant::now();
    messages.sent(now, NODE, &[message(Body::PreVote(campaign()))]);
    messages.sent(now, NODE, &[message(Body::Vote(campaign())), heartbeat(1)]);
    messages.sent(now, NODE, &[]);
    messages.received(
        now,
        NODE,
        &[message(Body::PreVoteResponse { granted: true })],
    );
    messages.received(now, NODE, &[message(Body::VoteResponse { granted: false })]);
    let conflict = AppendResult::Conflict {
        rejected: Index(4),
        hint_index: Index(2),
        hint_term: Term(1),
    };
    messages.received(now, NODE, &[append(4, 1)]);
    messages.sent(
        now,
        NODE,
        &[answered(conflict), answered(AppendResult::Full)],
    );
    let all = metrics(&messages, now);
    assert_eq!((all.votes_requested, all.heartbeats), (2, 2));
    assert_eq!((all.rejected_inconsistency, all.rejected_storage), (1, 1));
    let prevote = row(&messages, now, "prevote");
    assert_eq!((prevote.ok, prevote.refused), (1, 0));
    let vote = row(&messages, now, "vote");
    assert_eq!((vote.ok, vote.refused), (0, 1));
    let appends = row(&messages, now, "append");
    assert_eq!((appends.received, appends.sent, appends.refused), (1, 0, 0));
    // What a follower refuses is a refusal here.
    messages.received(now, NODE, &[answered(conflict)]);
    assert_eq!(row(&messages, now, "append").refused, 1);
}
