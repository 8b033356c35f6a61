//! Three members of one group on disks that sync at once, and nothing else.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::Config;
use raft::effect::{Effect, Role};
use raft::input::Input;
use raft::message::Message;
use raft::node::{Node, Start};
use raft::types::{
    Base, DirectoryId, EntryKind, HardState, Index, Member, Membership, NodeId, ReplicaId, Tick,
};

const MEMBERS: i32 = 3;

/// The group, led by its first member.
pub struct RaftGroup {
    now: Tick,
    nodes: Vec<Node>,
    wire: VecDeque<(Member, Member, Message)>,
}

impl RaftGroup {
    /// Elected and at rest.
    #[must_use]
    pub fn new() -> Self {
        let now = Tick(1_000);
        let base = Base {
            membership: Membership {
                voters: (1..=MEMBERS).map(member).collect(),
                ..Membership::default()
            },
            ..Base::default()
        };
        let node = |number: i32| {
            let start = Start {
                me: member(number),
                hard_state: HardState::default(),
                base: base.clone(),
                last_index: Index(0),
                terms: Vec::new(),
                memberships: Vec::new(),
                seed: number.unsigned_abs().into(),
                priority: 1,
            };
            Node::new(Config::default(), start, now)
        };
        let mut group = Self {
            now,
            nodes: (1..=MEMBERS).map(node).collect(),
            wire: VecDeque::new(),
        };
        group.step(0, Input::Campaign { forced: true });
        group.settle();
        assert_eq!(group.nodes[0].role(), Role::Leader);
        group
    }

    /// So many proposals in one tick, until the leader has committed them.
    pub fn commit(&mut self, payload: &Bytes, together: usize) {
        self.now.0 += 1;
        for _ in 0..together {
            let proposed = self.nodes[0].propose(self.now, EntryKind::Records, payload.clone());
            proposed.expect("it leads, and all before is committed");
        }
        let mut effects = Vec::new();
        self.nodes[0].flush(self.now, &mut effects);
        self.execute(0, effects);
        self.settle();
        let leader = &self.nodes[0];
        assert_eq!(leader.commit(), leader.last_index());
        // The broker keeps tails in bounds as well.
        for node in &mut self.nodes {
            node.evict(node.commit());
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let mut effects = Vec::new();
        self.nodes[at].step(self.now, input, &mut effects);
        self.execute(at, effects);
    }

    fn execute(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(persist) => self.step(at, Input::Persisted(persist.seq)),
                // What waits for a persist comes after it, and all are synced.
                Effect::Send { to, message, .. } => {
                    self.wire.push_back((self.nodes[at].me(), to, message));
                }
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.wire.pop_front() {
            let node = from.node;
            self.step(
                to.node.0.unsigned_abs() as usize - 1,
                Input::Message { node, message },
            );
        }
    }
}

impl Default for RaftGroup {
    fn default() -> Self {
        Self::new()
    }
}

fn member(number: i32) -> Member {
    Member {
        replica: ReplicaId(number.unsigned_abs().into()),
        node: NodeId(number),
        directory: DirectoryId(number.unsigned_abs().into()),
    }
}
