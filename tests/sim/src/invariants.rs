//! Safety, checked on every event against an account of its own: what each disk has synced, what was ever committed.

use std::collections::BTreeMap;

use broker::shard::{GroupStatus, PeerBatch};
use raft::effect::Role;
use raft::message::{AppendResult, Body};
use raft::types::{Entry, GroupId, HardState, Index, NodeId, ReplicaId, Term};
use wal::Record;

/// What one disk has synced of one replica, kept from the records that the log acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// The base index.
    pub base: Index,
    /// Term and vote.
    pub hard_state: HardState,
    /// Term and digest of every live entry.
    pub entries: BTreeMap<Index, (Term, u64)>,
}

impl Synced {
    fn last(&self) -> Index {
        self.entries
            .last_key_value()
            .map_or(self.base, |(index, _)| *index)
    }
}

/// The account.
#[derive(Debug, Default)]
pub struct Account {
    synced: BTreeMap<(NodeId, GroupId, ReplicaId), Synced>,
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    /// Term and digest of every committed entry, whoever committed it first.
    committed: BTreeMap<GroupId, BTreeMap<Index, (Term, u64)>>,
    /// Per replica and process life: the highest commit seen.
    commits: BTreeMap<(NodeId, GroupId), Index>,
    /// Highest term ever seen per replica.
    terms: BTreeMap<(NodeId, GroupId, ReplicaId), Term>,
    /// Elections won.
    pub elections: u64,
}

/// A short digest of an entry's content.
#[must_use]
pub fn digest(entry: &Entry) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64 ^ u64::from(entry.kind as u8);
    for byte in entry.payload.iter() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash
}

type Broken = Result<(), String>;

impl Account {
    /// The log acknowledged these records.
    pub fn written(&mut self, node: NodeId, records: &[Record]) {
        for record in records {
            match record {
                Record::Entries {
                    group,
                    replica,
                    entries,
                } => {
                    let synced = self.synced.entry((node, *group, *replica)).or_default();
                    for entry in entries {
                        synced
                            .entries
                            .insert(entry.index, (entry.term, digest(entry)));
                    }
                }
                Record::HardState {
                    group,
                    replica,
                    state,
                } => {
                    self.synced
                        .entry((node, *group, *replica))
                        .or_default()
                        .hard_state = *state;
                }
                Record::Truncate {
                    group,
                    replica,
                    from,
                } => {
                    let synced = self.synced.entry((node, *group, *replica)).or_default();
                    synced.entries.split_off(from);
                }
                Record::Base {
                    group,
                    replica,
                    base,
                } => {
                    let synced = self.synced.entry((node, *group, *replica)).or_default();
                    synced.base = base.index;
                    synced.entries = synced.entries.split_off(&base.index.next());
                }
                Record::Remove { group, replica } => {
                    self.synced.remove(&(node, *group, *replica));
                }
                Record::Derived { .. } => {}
            }
        }
    }

    /// A disk was wiped.
    pub fn wiped(&mut self, node: NodeId) {
        self.synced.retain(|(at, _, _), _| *at != node);
        self.terms.retain(|(at, _, _), _| *at != node);
    }

    /// A process ended: what it knew of commits is forgotten with it.
    pub fn crashed(&mut self, node: NodeId) {
        self.commits.retain(|(at, _), _| *at != node);
    }

    /// Nothing may be said that is not synced (invariant 10).
    pub fn sending(&self, node: NodeId, batch: &PeerBatch) -> Broken {
        for (group, message) in &batch.messages {
            let key = (node, *group, message.from);
            let none = Synced::default();
            let synced = self.synced.get(&key).unwrap_or(&none);
            match &message.body {
                Body::VoteResponse { granted: true } => {
                    let vote = synced.hard_state;
                    let as_said = vote.term > message.term
                        || (vote.term == message.term && vote.vote == Some(message.to));
                    if !as_said {
                        return Err(format!(
                            "{node} {group}: a vote that is not synced: {vote:?}"
                        ));
                    }
                }
                Body::AppendResponse(response) => {
                    if let AppendResult::Matched(index) = response.result
                        && synced.last() < index
                    {
                        let last = synced.last();
                        return Err(format!("{node} {group}: says {index}, synced {last}"));
                    }
                }
                Body::InstallResponse { index, .. } if synced.last() < *index => {
                    return Err(format!(
                        "{node} {group}: says installed {index}, is not synced"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a broker says of its groups, after each of its events. `entries` reads committed entries of it.
    pub fn observe(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        entries: impl FnOnce(Index, Index) -> Vec<Entry>,
    ) -> Broken {
        let (group, replica) = (status.group, status.replica);
        let term = self.terms.entry((node, group, replica)).or_default();
        if status.term < *term {
            return Err(format!(
                "{node} {group}: term went back from {term} to {}",
                status.term
            ));
        }
        *term = status.term;
        if status.role == Role::Leader {
            match self.leaders.insert((group, status.term), node) {
                Some(other) if other != node => {
                    return Err(format!("{group} {}: {other} and {node} lead", status.term));
                }
                Some(_) => {}
                None => self.elections += 1,
            }
        }
        if !(status.base_index <= status.applied
            && status.applied <= status.commit
            && status.commit <= status.last_index)
        {
            return Err(format!("{node} {group}: indexes out of order: {status:?}"));
        }
        self.commit_of(node, status, entries)
    }

    fn commit_of(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        entries: impl FnOnce(Index, Index) -> Vec<Entry>,
    ) -> Broken {
        let group = status.group;
        let known = self
            .commits
            .entry((node, group))
            .or_insert(status.base_index);
        if status.commit < *known {
            return Err(format!("{node} {group}: commit went back from {known}"));
        }
        let from = known.next().max(status.base_index.next());
        *known = status.commit;
        if from > status.commit {
            return Ok(());
        }
        let committed = self.committed.entry(group).or_default();
        for entry in entries(from, status.commit) {
            let content = (entry.term, digest(&entry));
            match committed.insert(entry.index, content) {
                Some(before) if before != content => {
                    let index = entry.index;
                    return Err(format!(
                        "{node} {group} {index}: committed twice, differently"
                    ));
                }
                _ => {}
            }
        }
        if status.role == Role::Leader {
            return self.on_a_quorum(node, status);
        }
        Ok(())
    }

    /// What a leader calls committed is synced on a majority (invariant 5).
    fn on_a_quorum(&self, node: NodeId, status: &GroupStatus) -> Broken {
        let voters: Vec<_> = status.members.iter().filter(|m| m.voter).collect();
        let joint = status.joint;
        let holds = |m: &&&broker::shard::MemberStatus| {
            let synced = self.synced.get(&(m.node, status.group, m.replica));
            synced.is_some_and(|s| s.last() >= status.commit)
        };
        let have = voters.iter().filter(holds).count();
        if !joint && have < voters.len() / 2 + 1 {
            return Err(format!(
                "{node} {}: {} is committed but synced on {have} of {}",
                status.group,
                status.commit,
                voters.len()
            ));
        }
        Ok(())
    }

    /// After a restart: nothing that was synced is missing.
    pub fn recovered(&self, node: NodeId, status: &GroupStatus) -> Broken {
        let key = (node, status.group, status.replica);
        let Some(synced) = self.synced.get(&key) else {
            return Ok(());
        };
        if status.last_index < synced.last() {
            return Err(format!(
                "{node} {}: recovered up to {}, synced was {}",
                status.group,
                status.last_index,
                synced.last()
            ));
        }
        if status.term < synced.hard_state.term {
            return Err(format!("{node} {}: recovered an older term", status.group));
        }
        Ok(())
    }
}
