//! Groups of the consumer protocol: one file for each kind of rule, and a random one for all of them.

mod assignment;
mod membership;
mod migration;
mod mixed;
mod neighbours;
mod old;
mod random;
mod statics;
mod survival;

use std::collections::BTreeMap;

use protocol::error_code::ErrorCode;

use super::harness::{Harness, REBALANCE, member};
use crate::coordinator::catalog::Catalog;
use crate::coordinator::consumer::partitions::Partitions;
use crate::coordinator::reply::{ConsumerBeaten, ConsumerDescribed, GroupReply};
use crate::coordinator::request::{ConsumerBeat, GroupRequest};
use crate::shard::Ticket;

/// By topic's name.
type Owned = BTreeMap<String, Vec<i32>>;

/// A client: what it knows, and what it has been told.
#[derive(Clone, Debug)]
struct Consumer {
    id: String,
    epoch: i32,
    owned: Partitions,
}

fn beat(group: &str, id: &str, epoch: i32) -> ConsumerBeat {
    ConsumerBeat {
        group: group.to_owned(),
        member: member(id),
        epoch,
        ..ConsumerBeat::default()
    }
}

/// One who comes, and subscribes to these.
fn join(id: &str, topics: &[&str]) -> ConsumerBeat {
    ConsumerBeat {
        rebalance_timeout_ms: Some(REBALANCE),
        topics: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
        owned: Some(Partitions::default()),
        ..beat("g", id, 0)
    }
}

fn owned(pairs: &[(&str, &[i32])]) -> Owned {
    let pairs = pairs.iter();
    pairs
        .map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec()))
        .collect()
}

fn beaten(reply: &GroupReply) -> ConsumerBeaten {
    match reply {
        GroupReply::ConsumerBeaten(beaten) => beaten.clone(),
        other => panic!("not taken: {other:?}"),
    }
}

impl Consumer {
    /// It comes, and takes what it is told.
    fn join(h: &mut Harness, id: &str, topics: &[&str]) -> Self {
        Self::enter(h, join(id, topics))
    }

    fn enter(h: &mut Harness, request: ConsumerBeat) -> Self {
        let told = beaten(&h.ask(GroupRequest::ConsumerBeat(request)));
        let mut consumer = Self {
            id: told.member.clone(),
            epoch: 0,
            owned: Partitions::default(),
        };
        consumer.hears(&told);
        consumer
    }

    /// A heartbeat that tells nothing but what it owns.
    fn says(&self) -> ConsumerBeat {
        ConsumerBeat {
            owned: Some(self.owned.clone()),
            ..beat("g", &self.id, self.epoch)
        }
    }

    /// One heartbeat, and what it is told becomes what it owns. Whether anything has changed.
    fn beats(&mut self, h: &mut Harness) -> bool {
        let told = beaten(&h.ask(GroupRequest::ConsumerBeat(self.says())));
        self.hears(&told)
    }

    fn hears(&mut self, told: &ConsumerBeaten) -> bool {
        let before = (self.epoch, self.owned.clone());
        self.epoch = told.epoch;
        if let Some(assignment) = &told.assignment {
            self.owned = assignment.clone();
        }
        before != (self.epoch, self.owned.clone())
    }

    fn sends(&self, h: &mut Harness) -> Ticket {
        h.send(GroupRequest::ConsumerBeat(self.says()))
    }

    fn fails(&self, h: &mut Harness, code: ErrorCode) {
        h.assert_failed(GroupRequest::ConsumerBeat(self.says()), code);
    }

    fn leaves(self, h: &mut Harness) {
        let told = beaten(&h.ask(GroupRequest::ConsumerBeat(beat("g", &self.id, -1))));
        assert_eq!((told.epoch, told.assignment), (-1, None));
    }

    fn owns(&self, h: &Harness) -> Owned {
        let topics = self.owned.topics();
        topics
            .map(|(id, partitions)| {
                let name = h.topics.name(id).unwrap_or("gone").to_owned();
                (name, partitions.iter().copied().collect())
            })
            .collect()
    }
}

/// All send heartbeats until nothing changes any more.
fn settle(h: &mut Harness, consumers: &mut [Consumer]) {
    for _ in 0..50 {
        let changed = consumers.iter_mut().map(|one| one.beats(h));
        if !changed.fold(false, |any, one| any | one) {
            return;
        }
    }
    panic!("it never ends");
}

fn describe(h: &mut Harness) -> ConsumerDescribed {
    let group = "g".to_owned();
    match h.ask(GroupRequest::ConsumerDescribe { group }) {
        GroupReply::ConsumerDescribed(described) => described,
        other => panic!("{other:?}"),
    }
}

/// A cluster with a topic `t` of so many partitions.
fn harness(partitions: i32) -> Harness {
    let mut h = Harness::new();
    h.topics.put("t", partitions);
    h
}
