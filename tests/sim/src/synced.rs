//! What each disk is known to have synced, kept from the records that its log acknowledged: the judge's own account.

use std::collections::BTreeMap;

use raft::types::{Entry, GroupId, HardState, Index, NodeId, ReplicaId, Term};
use wal::{Record, RecoveredGroup};

use crate::report::Counts;

/// Term and digest of an entry.
pub type Content = (Term, u64);

/// What one disk has synced of one replica.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// The base index.
    pub base: Index,
    /// Term and vote.
    pub hard_state: HardState,
    /// Every live entry.
    pub entries: BTreeMap<Index, Content>,
    /// The highest last index in each term that it was in.
    pub peaks: BTreeMap<Term, Index>,
}

impl Synced {
    /// The last index.
    #[must_use]
    pub fn last(&self) -> Index {
        self.entries
            .last_key_value()
            .map_or(self.base, |(index, _)| *index)
    }

    fn note_peak(&mut self) {
        let last = self.last();
        let peak = self.peaks.entry(self.hard_state.term).or_default();
        *peak = last.max(*peak);
    }

    /// How far it may say that it follows a leader of this term. What it synced in an older term may be truncated by
    /// the time when it says so: to a deposed leader, in the order in which it happened.
    #[must_use]
    pub fn matched_in(&self, term: Term) -> Index {
        if self.hard_state.term == term {
            return self.last();
        }
        self.peaks.get(&term).copied().unwrap_or_default()
    }

    /// Whether an entry is there, or summed up in the base. `content` is None where nobody knows it any longer.
    #[must_use]
    pub fn holds(&self, index: Index, content: Option<&Content>) -> bool {
        let here = self.entries.get(&index);
        index <= self.base || here.is_some_and(|here| content.is_none_or(|known| known == here))
    }
}

/// A short digest of an entry's content.
#[must_use]
pub fn digest(entry: &Entry) -> u64 {
    digest_of(entry.kind as u8, &entry.payload)
}

/// A short digest of bytes of some kind.
#[must_use]
pub fn digest_of(kind: u8, bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64 ^ u64::from(kind);
    for word in bytes.chunks(8) {
        let word = word.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    }
    hash
}

/// Term and digest of an entry.
#[must_use]
pub fn content(entry: &Entry) -> Content {
    (entry.term, digest(entry))
}

/// See the module.
#[derive(Debug, Default)]
pub struct Disks {
    /// Of replicas that were removed, and of disks that were wiped: what was acknowledged before, perhaps in a message
    /// that is still under way, counts for commits that rest on it.
    lost: BTreeMap<(NodeId, GroupId, ReplicaId), Synced>,
    synced: BTreeMap<(NodeId, GroupId, ReplicaId), Synced>,
}

impl Disks {
    /// What a disk has synced of a replica.
    #[must_use]
    pub fn get(&self, node: NodeId, group: GroupId, replica: ReplicaId) -> Option<&Synced> {
        self.synced.get(&(node, group, replica))
    }

    /// Also where it is gone: what it had synced by then.
    #[must_use]
    pub fn ever(&self, node: NodeId, group: GroupId, replica: ReplicaId) -> Option<&Synced> {
        let lost = || self.lost.get(&(node, group, replica));
        self.get(node, group, replica).or_else(lost)
    }

    /// The log of a node acknowledged these records.
    pub fn written(&mut self, node: NodeId, records: &[Record], counts: &mut Counts) {
        for record in records {
            let group = record.group();
            match record {
                Record::Base { replica, base, .. } => {
                    self.count_base(node, record, counts);
                    self.drop_older(node, group, *replica);
                    let synced = self.synced.entry((node, group, *replica)).or_default();
                    synced.base = base.index;
                    synced.entries = synced.entries.split_off(&base.index.next());
                }
                Record::Entries {
                    replica, entries, ..
                } => {
                    let synced = self.synced.entry((node, group, *replica)).or_default();
                    for entry in entries {
                        synced.entries.insert(entry.index, content(entry));
                    }
                    synced.note_peak();
                }
                Record::HardState { replica, state, .. } => {
                    let synced = self.synced.entry((node, group, *replica)).or_default();
                    synced.hard_state = *state;
                    synced.note_peak();
                }
                Record::Truncate { replica, from, .. } => {
                    counts.truncations += 1;
                    let synced = self.synced.entry((node, group, *replica)).or_default();
                    synced.entries.split_off(from);
                }
                Record::Remove { replica, .. } => {
                    counts.removals += 1;
                    self.remove((node, group, *replica));
                }
                Record::Derived { .. } => counts.derived += 1,
            }
        }
    }

    fn count_base(&self, node: NodeId, record: &Record, counts: &mut Counts) {
        let Record::Base {
            group,
            replica,
            base,
        } = record
        else {
            return;
        };
        let Some(before) = self.get(node, *group, *replica) else {
            return;
        };
        let is_metadata = *group == GroupId::METADATA;
        let counter = match (base.index > before.last(), is_metadata) {
            (true, true) => &mut counts.metadata_installs,
            (true, false) => &mut counts.installs,
            (false, true) => &mut counts.metadata_trims,
            (false, false) => &mut counts.trims,
        };
        *counter += 1;
    }

    fn drop_older(&mut self, node: NodeId, group: GroupId, replica: ReplicaId) {
        let older = (node, group, ReplicaId(0))..(node, group, replica);
        let gone = self.synced.extract_if(older, |_, _| true);
        self.lost.extend(gone);
    }

    fn remove(&mut self, key: (NodeId, GroupId, ReplicaId)) {
        let gone = self.synced.remove(&key);
        self.lost.extend(gone.map(|synced| (key, synced)));
    }

    /// The power went while these records were written: each may be there or not. What only their absence would
    /// guarantee is not expected any longer.
    pub fn in_doubt(&mut self, node: NodeId, records: &[Record]) {
        for record in records {
            let group = record.group();
            match record {
                Record::Truncate { replica, from, .. } => {
                    if let Some(synced) = self.synced.get_mut(&(node, group, *replica)) {
                        synced.entries.split_off(from);
                    }
                }
                Record::Base { replica, base, .. } => {
                    self.drop_older(node, group, *replica);
                    if let Some(synced) = self.synced.get_mut(&(node, group, *replica)) {
                        synced.entries = synced.entries.split_off(&base.index.next());
                    }
                }
                Record::Remove { replica, .. } => self.remove((node, group, *replica)),
                Record::Entries { .. } | Record::HardState { .. } | Record::Derived { .. } => {}
            }
        }
    }

    /// A disk is gone.
    pub fn wiped(&mut self, node: NodeId) {
        let gone = self.synced.extract_if(.., |(at, _, _), _| *at == node);
        self.lost.extend(gone);
    }

    /// After a restart nothing that was synced is missing or another. What was recovered is durable from now on.
    ///
    /// # Errors
    /// What is missing.
    pub fn recovered(
        &mut self,
        node: NodeId,
        groups: &[RecoveredGroup],
        read: impl Fn(&RecoveredGroup) -> Vec<Entry>,
    ) -> Result<(), String> {
        let mut now = BTreeMap::new();
        for group in groups {
            let entries = read(group);
            if entries.len() as u64 != group.last_index.0 - group.base.index.0 {
                return Err(format!("{node} {}: a recovered log has holes", group.group));
            }
            let synced = Synced {
                base: group.base.index,
                hard_state: group.hard_state,
                entries: entries.iter().map(|e| (e.index, content(e))).collect(),
                // What was said in an earlier life has left, or never will.
                peaks: [(group.hard_state.term, group.last_index)].into(),
            };
            now.insert((node, group.group, group.replica), synced);
        }
        for (key, before) in self.synced.range((node, GroupId(0), ReplicaId(0))..) {
            if key.0 != node {
                break;
            }
            let Some(after) = now.get(key) else {
                return Err(format!("{node} {}: a synced replica is gone", key.1));
            };
            not_less(before, after).map_err(|why| format!("{node} {}: {why}", key.1))?;
        }
        self.synced.retain(|(at, _, _), _| *at != node);
        self.synced.extend(now);
        Ok(())
    }
}

fn not_less(before: &Synced, after: &Synced) -> Result<(), String> {
    if after.base < before.base || after.last() < before.last() {
        return Err(format!(
            "recovered {}..{}, synced was {}..{}",
            after.base,
            after.last(),
            before.base,
            before.last()
        ));
    }
    let (old, new) = (before.hard_state, after.hard_state);
    if new.term < old.term || (new.term == old.term && old.vote.is_some() && new.vote != old.vote) {
        return Err(format!("recovered {new:?}, synced was {old:?}"));
    }
    for (index, content) in before.entries.range(after.base.next()..) {
        if after.entries.get(index) != Some(content) {
            return Err(format!("{index} was recovered differently"));
        }
    }
    Ok(())
}
