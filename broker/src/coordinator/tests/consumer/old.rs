//! A client of the classic protocol: it gives up before it joins (eager) or when it is told to (cooperative).

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::error_code::ErrorCode;

use super::*;
use crate::coordinator::request::{Join, Sync};
use crate::coordinator::subscription::Assignment;
use crate::coordinator::tests::harness;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Old {
    pub(super) id: String,
    pub(super) generation: i32,
    pub(super) topics: Vec<&'static str>,
    pub(super) is_eager: bool,
    pub(super) owned: BTreeSet<(String, i32)>,
}

pub(super) fn partitions(pairs: &[(&str, i32)]) -> BTreeSet<(String, i32)> {
    let pairs = pairs.iter();
    pairs.map(|(topic, p)| ((*topic).to_owned(), *p)).collect()
}

/// As a leader of the classic protocol writes it.
pub(super) fn given(owned: &BTreeSet<(String, i32)>) -> Bytes {
    let mut topics = BTreeMap::<&str, Vec<i32>>::new();
    for (topic, partition) in owned {
        topics.entry(topic).or_default().push(*partition);
    }
    Assignment::encode(1, topics.iter().map(|(name, set)| (*name, set.as_slice())))
}

impl Old {
    pub(super) fn new(is_eager: bool) -> Self {
        Self {
            id: String::new(),
            generation: -1,
            topics: vec!["t"],
            is_eager,
            owned: BTreeSet::new(),
        }
    }

    pub(super) fn subscription(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_slice(&harness::subscription(&self.topics));
        bytes.truncate(bytes.len() - 4);
        // What it owns, in the form of an assignment between its version and its user data.
        let owned = given(&self.owned);
        bytes.put_slice(&owned[2..owned.len() - 4]);
        bytes.freeze()
    }

    pub(super) fn request(&self) -> Join {
        Join {
            protocols: vec![("one".to_owned(), self.subscription())],
            id_required: true,
            ..harness::join("g", &self.id)
        }
    }

    pub(super) fn sync(&self) -> Sync {
        harness::sync("g", self.generation, &self.id)
    }

    pub(super) fn beat(&self) -> GroupRequest {
        harness::heartbeat("g", self.generation, &self.id)
    }

    pub(super) fn before_join(&mut self) {
        if self.is_eager {
            self.owned.clear();
        }
    }

    /// What it was given. Whether it has to give up something, and to join again.
    pub(super) fn hears(&mut self, assignment: &[u8]) -> bool {
        let told = Assignment::decode(assignment).expect("it can be read");
        let told = told.partitions.into_iter().collect();
        let loses = !self.owned.is_subset(&told);
        self.owned = told;
        loses
    }

    /// Into a group of the consumer protocol, which answers at once.
    pub(super) fn joins(&mut self, h: &mut Harness) {
        for _ in 0..10 {
            self.before_join();
            match h.ask(GroupRequest::Join(self.request())) {
                GroupReply::Failed { code, member } => {
                    assert_eq!(code, ErrorCode::MemberIdRequired);
                    self.id = member;
                    continue;
                }
                GroupReply::Joined(joined) => {
                    assert_eq!((joined.leader.as_str(), joined.members.len()), ("", 0));
                    assert_eq!(joined.protocol_name, "one");
                    self.generation = joined.generation;
                }
                other => panic!("{other:?}"),
            }
            let reply = h.ask(GroupRequest::Sync(self.sync()));
            if !self.hears(harness::assignment(Some(&reply))) {
                return;
            }
        }
        panic!("it never ends");
    }

    /// One heartbeat, and what follows from it. Whether it had to join again.
    pub(super) fn beats(&mut self, h: &mut Harness) -> bool {
        match harness::failure(&h.ask(self.beat())) {
            ErrorCode::None => false,
            ErrorCode::RebalanceInProgress => {
                self.joins(h);
                true
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn owns(&self) -> Vec<i32> {
        self.owned.iter().map(|(_, partition)| *partition).collect()
    }
}
