//! Tests of a shard without I/O: the test syncs, delivers and drops by hand.

mod cluster;
mod coordinate;
mod copies;
mod disk;
mod hold;
mod leadership;
mod lifecycle;
mod pieces;
mod produce;
mod restart;
mod retention;
mod snapshots;
mod space;
mod tail;
mod tails;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::record_batch::BatchBuilder;
use raft::types::{GroupId, NodeId};

use super::Answer;
use crate::broker::{Acks, FetchAt, Produced, Rejection};
use cluster::Cluster;

/// The one partition of the topic that every cluster begins with.
const GROUP: GroupId = GroupId(1);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// A batch of `count` records.
fn batch(count: usize) -> Bytes {
    sized(count, 10)
}

fn sized(count: usize, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    fill(&mut builder, count, value_bytes)
}

/// One record of an idempotent producer.
fn of_producer(id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new().producer(id, epoch, sequence);
    fill(&mut builder, 1, 10)
}

fn fill(builder: &mut BatchBuilder, count: usize, value_bytes: usize) -> Bytes {
    for _ in 0..count {
        builder.value(1000, &vec![7; value_bytes]);
    }
    builder.try_build().unwrap()
}

fn fetch(offset: i64) -> FetchAt {
    FetchAt {
        group: GROUP,
        offset,
        max_bytes: 1 << 20,
        current_leader_epoch: -1,
        read_committed: false,
    }
}

fn is_refused(answer: Option<&Result<Produced, Rejection>>, code: ErrorCode) -> bool {
    matches!(answer, Some(Err(why)) if why.code == code)
}

fn base_offset(answer: Option<&Result<Produced, Rejection>>) -> i64 {
    answer
        .expect("answered")
        .as_ref()
        .expect("accepted")
        .base_offset
}

const ALL: [Acks; 3] = [Acks::None, Acks::Leader, Acks::All];
