//! The rules of own copies.

use broker::shard::MemberStatus;

use super::*;
use crate::snapshots::own::judge::{Disk, Judge};

/// A broker's disk with two snapshots of four records, and the judge.
struct Own {
    bench: Bench,
    newer: Stored,
    judge: Judge,
    writes: u64,
}

impl Own {
    fn new() -> Self {
        let bench = Bench::new(4);
        let [_, newer] = bench.two();
        Self {
            bench,
            newer,
            judge: Judge::default(),
            writes: 0,
        }
    }

    fn disk(&mut self) -> Disk {
        self.writes += 1;
        Disk {
            node: NODE,
            memory: self.bench.memory.clone(),
            writes: self.writes,
        }
    }

    fn observe(&mut self, status: &GroupStatus) -> Result<Vec<ReplicaId>, String> {
        let disk = self.disk();
        let history = &mut self.bench.history;
        self.judge.observe(&disk, status, &source(), history)
    }

    fn trimmed(&mut self) -> Held {
        let status = status(Some(self.newer), 4, 0);
        self.observe(&status).map(|_| ())
    }

    fn first_chunk(&self) -> Key {
        key::chunk(&source(), Incarnation(1), 0, 1, 2)
    }

    fn flip(&self, key: &Key) {
        let mut bytes = self.bench.memory.objects()[key].to_vec();
        bytes[20] ^= 1;
        self.bench.memory.tamper(key, Some(bytes.into()));
    }
}

#[test]
fn what_the_log_has_dropped_is_held() {
    let mut own = Own::new();
    assert_eq!(own.trimmed(), Ok(()));
    own.bench.memory.tamper(&own.first_chunk(), None);
    says(&own.trimmed(), "is not there");
}

#[test]
fn a_log_that_begins_behind_every_manifest() {
    let mut own = Own::new();
    let newer = name_of(&source(), &own.newer).key();
    own.bench.memory.tamper(&newer, None);
    says(&own.trimmed(), "it holds 0 to 3");
}

#[test]
fn a_flipped_bit_that_nobody_flipped() {
    let mut own = Own::new();
    own.flip(&own.first_chunk());
    says(&own.trimmed(), "is not what it has to be");
}

#[test]
fn what_was_damaged_on_purpose_is_awaited_and_whole_in_the_end() {
    let mut own = Own::new();
    let (chunk, newer) = (own.first_chunk(), own.newer);
    let whole = own.bench.memory.objects()[&chunk].clone();
    own.flip(&chunk);
    own.judge.damages(NODE, &chunk);
    assert_eq!(own.trimmed(), Ok(()));
    let (disk, of) = (own.disk(), source());
    let with_identity = Stored {
        identity: Some(identity_of(&own.bench, &newer)),
        ..newer
    };
    let held = |own: &mut Own| {
        let history = &mut own.bench.history;
        own.judge
            .is_held(&disk, (GROUP, &of), &with_identity, history)
    };
    says(&held(&mut own), "is not what it has to be");
    own.bench.memory.tamper(&chunk, Some(whole));
    assert_eq!(held(&mut own), Ok(()));
    assert!(own.judge.damaged_on(NODE).is_empty());
}

fn identity_of(bench: &Bench, stored: &Stored) -> snapshot::digest::Digest {
    let key = name_of(&source(), stored).key();
    let bytes = &bench.memory.objects()[&key];
    Manifest::decode(bytes, &key, &source()).unwrap().identity()
}

/// Whoever is new among the voters is told, and held against what its disk has, whatever it says of itself.
#[test]
fn a_new_voter_that_lacks_something() {
    let mut own = Own::new();
    let member = |replica: u64| MemberStatus {
        replica: ReplicaId(replica),
        node: NODE,
        voter: true,
        outgoing: false,
        matched: None,
        lag_ms: 0,
    };
    let mut first = status(None, 0, 0);
    first.members = vec![member(2)];
    assert_eq!(own.observe(&first), Ok(Vec::new()));
    let mut lacking = status(Some(own.newer), 4, 0);
    lacking.members = vec![member(1), member(2)];
    lacking.lacks_copies = true;
    own.bench.memory.tamper(&own.first_chunk(), None);
    assert_eq!(own.observe(&lacking), Ok(vec![ReplicaId(1)]));
    let disk = own.disk();
    let of = (GROUP, ReplicaId(1));
    assert_eq!(own.judge.node_of(of), Some(NODE));
    let history = &mut own.bench.history;
    let held = own.judge.has_all(&disk, of, &source(), history);
    says(&held, "is not there");
}
