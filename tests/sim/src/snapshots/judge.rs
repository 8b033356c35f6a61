//! What must hold of the store: an account of its own of which snapshots were committed, held against the objects that are
//! there and against everything that clients were told and have read.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::partition::state::PartitionState;
use broker::partition::stored::Stored;
use broker::shard::GroupStatus;
use broker::snapshots::name_of;
use bytes::Bytes;
use raft::types::{GroupId, Index, NodeId, ReplicaId};
use snapshot::archive::{self, Archive};
use snapshot::key::{self, Key, Kind};
use snapshot::manifest::{Age, Chunk, Manifest};
use snapshot::source::Source;
use snapshot::store::memory::Memory;

use super::store::at_once;
use crate::history::History;

/// Whose objects each partition's are.
pub(crate) type Sources = BTreeMap<GroupId, Source>;

pub(super) type Held = Result<(), String>;

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Every snapshot that some replica knew to be committed.
    committed: BTreeMap<GroupId, BTreeMap<Age, Stored>>,
    /// The highest log start that some replica knew.
    log_starts: BTreeMap<GroupId, i64>,
    /// What each replica knew last in this life of its process.
    known: BTreeMap<(NodeId, GroupId, ReplicaId), Stored>,
    /// Chunks whose records were compared, with their bytes.
    compared: BTreeMap<Key, (Chunk, Bytes)>,
}

fn age_of(source: &Source, stored: &Stored) -> Age {
    name_of(source, stored).age()
}

impl Judge {
    /// A process ended.
    pub(crate) fn crashed(&mut self, node: NodeId) {
        self.known.retain(|(at, _, _), _| *at != node);
    }

    /// The newest committed snapshot of a partition.
    pub(crate) fn newest(&self, group: GroupId) -> Option<Stored> {
        let committed = self.committed.get(&group)?;
        committed.last_key_value().map(|(_, stored)| *stored)
    }

    /// What a replica says of itself, where there is one store for all.
    pub(crate) fn observe(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        source: &Source,
        memory: &Memory,
        history: &mut History,
    ) -> Held {
        let group = status.group;
        match self.know(node, status, source)? {
            true => self
                .is_whole(group, source, memory, history)
                .map_err(|why| format!("{node} {group}: the snapshot just committed: {why}")),
            false => Ok(()),
        }
    }

    /// The same, whoever has a store. Says whether it knows of a snapshot that is newer than any before.
    pub(super) fn know(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        source: &Source,
    ) -> Result<bool, String> {
        let (group, (log_start, _, _)) = (status.group, status.offsets);
        let highest = self.log_starts.entry(group).or_default();
        *highest = log_start.max(*highest);
        let held_below = status.stored.map_or(0, |stored| stored.next_offset);
        // NB: a restarted replica may not know yet that what it has dropped is deleted.
        if status.local_start > held_below.max(*highest) {
            return Err(format!(
                "{node} {group}: its log begins at {}, its snapshot ends at {held_below}, the partition begins at {highest}",
                status.local_start
            ));
        }
        let Some(stored) = status.stored else {
            return Ok(false);
        };
        let before = self
            .known
            .insert((node, group, status.replica), stored)
            .unwrap_or(stored);
        // NB: the base of another leader that was just installed may be as of an earlier moment: the log follows.
        let is_installed = status.applied == status.base_index;
        let is_older = stored < before || stored.next_offset < before.next_offset;
        if is_older && !is_installed {
            return Err(format!(
                "{node} {group}: the committed snapshot went back from {before:?} to {stored:?}"
            ));
        }
        let age = age_of(source, &stored);
        let committed = self.committed.entry(group).or_default();
        let is_newest = committed
            .last_key_value()
            .is_none_or(|(newest, _)| *newest < age);
        match committed.insert(age, stored) {
            Some(other) if other != stored => Err(format!(
                "{node} {group}: {stored:?} is committed, and so was {other:?}"
            )),
            // Who is late with an older one is told nothing by it.
            before => Ok(before.is_none() && is_newest),
        }
    }

    /// The newest committed snapshot is there, with exactly the records that were acknowledged or read.
    pub(crate) fn is_whole(
        &mut self,
        group: GroupId,
        source: &Source,
        memory: &Memory,
        history: &mut History,
    ) -> Held {
        let Some(stored) = self.newest(group) else {
            return Ok(());
        };
        let name = name_of(source, &stored);
        let objects = memory.objects();
        let key = name.key();
        let bytes = objects.get(&key).ok_or(format!("{key} is not there"))?;
        let manifest = Manifest::decode(bytes, &key, source).map_err(|why| why.to_string())?;
        let log_start = self.log_starts.get(&group).copied().unwrap_or_default();
        if manifest.next_offset != stored.next_offset || manifest.log_start > log_start {
            return Err(format!(
                "{key} holds {}..{}, committed is {log_start}..{}",
                manifest.log_start, manifest.next_offset, stored.next_offset
            ));
        }
        let state = PartitionState::restore(Index(manifest.index), &manifest.state);
        if state.is_none_or(|state| state.high_watermark() != manifest.next_offset) {
            return Err(format!("{key} has another state than records"));
        }
        for chunk in &manifest.chunks {
            let there = objects.get(&chunk.key);
            let there = there.ok_or(format!("{} of {key} is not there", chunk.key))?;
            let known = self.compared.get(&chunk.key);
            if known.is_some_and(|(known, bytes)| known == chunk && bytes == there) {
                continue;
            }
            compare(group, &manifest, chunk, memory, history)?;
            let compared = (chunk.clone(), there.clone());
            self.compared.insert(chunk.key.clone(), compared);
        }
        Ok(())
    }

    /// Objects were removed: what is committed, newer than that, or one of the newest that are kept needs none of them.
    pub(crate) fn removed(
        &self,
        keys: &[Key],
        sources: &Sources,
        memory: &Memory,
        keep: usize,
    ) -> Held {
        for removed in keys {
            let Some(object) = key::object(removed) else {
                return Err(format!("{removed} was removed"));
            };
            let of_object = |(_, source): &(&GroupId, &Source)| {
                let here = (source.topic_id, source.partition);
                here == (object.topic_id, object.partition)
            };
            let Some((&group, source)) = sources.iter().find(of_object) else {
                return Err(format!("{removed} was removed, of no partition"));
            };
            let manifests = manifests(source, memory)?;
            match object.kind {
                Kind::Manifest(age) => {
                    let newer = manifests.keys().filter(|other| **other > age).count();
                    let newest = self.newest(group).map(|stored| age_of(source, &stored));
                    if newer < keep || newest.is_none_or(|newest| newest <= age) {
                        return Err(format!(
                            "{group}: {removed} was removed, {newer} newer ones are there, committed is {newest:?}"
                        ));
                    }
                }
                Kind::Chunk => self.is_reached_by_none(group, removed, &manifests)?,
            }
        }
        Ok(())
    }

    fn is_reached_by_none(
        &self,
        group: GroupId,
        removed: &Key,
        manifests: &BTreeMap<Age, Manifest>,
    ) -> Held {
        let committed = self.committed.get(&group);
        let newest = committed.and_then(BTreeMap::last_key_value);
        let counts = |age: &Age| {
            let is_committed = committed.is_some_and(|committed| committed.contains_key(age));
            is_committed || newest.is_none_or(|(newest, _)| age > newest)
        };
        let mut reach = manifests.iter().filter(|(age, manifest)| {
            counts(age) && manifest.chunks.iter().any(|chunk| chunk.key == *removed)
        });
        match reach.next() {
            Some((age, _)) => Err(format!(
                "{group}: {removed} was removed, and the manifest of {age:?} reaches it"
            )),
            None => Ok(()),
        }
    }

    /// What could not be read from a snapshot: it is damaged, or not there though it is the newest.
    pub(crate) fn unreadable(&self, group: GroupId, stored: &Stored, why: &archive::Error) -> Held {
        let is_newest = self.newest(group) == Some(*stored);
        match why {
            archive::Error::Unavailable { .. } => Ok(()),
            archive::Error::Missing { .. } if !is_newest => Ok(()),
            why => Err(format!("{group}: cannot be read in {stored:?}: {why}")),
        }
    }
}

pub(super) fn manifests(
    source: &Source,
    memory: &Memory,
) -> Result<BTreeMap<Age, Manifest>, String> {
    let prefix = key::manifests_prefix(source);
    let objects = memory.objects();
    let objects = objects.iter();
    let all = objects.filter(|(key, _)| key.as_str().starts_with(&prefix));
    let decoded = all.map(|(key, bytes)| {
        let manifest = Manifest::decode(bytes, key, source);
        let manifest = manifest.map_err(|why| format!("{key}: {why}"))?;
        Ok((manifest.age(), manifest))
    });
    decoded.collect()
}

/// The records of a chunk, one after the other, are those of the history.
pub(super) fn compare(
    group: GroupId,
    manifest: &Manifest,
    chunk: &Chunk,
    memory: &Memory,
    history: &mut History,
) -> Held {
    let archive = Archive::new(Arc::new(memory.clone()), archive::Config::default());
    let (mut next, end) = (chunk.chunk.first_offset, chunk.chunk.next_offset);
    while next < end {
        let batches = at_once(archive.batches(manifest, next, u64::MAX));
        let batches = batches.map_err(|why| why.to_string())?;
        let reached = history.read_batches(group, next, &batches)?;
        if reached == next {
            return Err(format!("{} holds nothing at {next}", chunk.key));
        }
        next = reached;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
