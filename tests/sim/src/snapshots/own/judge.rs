//! What must hold of own copies: what a replica's log has dropped lies in the store of its own disk, byte for byte what clients
//! were told, but for what was damaged there on purpose; and nobody votes who lacks something.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use broker::partition::stored::Stored;
use broker::shard::GroupStatus;
use broker::snapshots::name_of;
use bytes::Bytes;
use raft::types::{GroupId, NodeId, ReplicaId};
use snapshot::archive;
use snapshot::key::{self, Key};
use snapshot::manifest::{Chunk, Manifest};
use snapshot::source::Source;
use snapshot::store::memory::Memory;

use super::super::judge::{Held, compare};
use crate::history::History;

/// A disk's store, and how often it was written to.
pub(crate) struct Disk {
    pub(crate) node: NodeId,
    pub(crate) memory: Memory,
    pub(crate) writes: u64,
}

/// What was seen of a replica: where its log begins, and where the partition does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    node: NodeId,
    log_start: i64,
    local_start: i64,
}

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// The highest log start that some replica knew.
    log_starts: BTreeMap<GroupId, i64>,
    /// What was found whole, with the writes of its disk.
    checked: BTreeMap<(GroupId, ReplicaId), (Seen, u64)>,
    seen: BTreeMap<(GroupId, ReplicaId), Seen>,
    /// Replicas that voted once.
    voters: BTreeMap<GroupId, BTreeSet<ReplicaId>>,
    /// The bytes of chunks whose records were compared.
    compared: BTreeMap<Key, (Chunk, Bytes)>,
    /// Manifests, as they are on one of the disks.
    decoded: BTreeMap<Key, (Bytes, Rc<Manifest>)>,
    /// What was damaged on purpose on a disk and is not mended yet.
    damaged: BTreeSet<(NodeId, Key)>,
    /// What was damaged there once.
    was_damaged: BTreeSet<(NodeId, Key)>,
}

impl Judge {
    /// What a replica says of itself. Returns those that have begun to vote.
    pub(crate) fn observe(
        &mut self,
        disk: &Disk,
        status: &GroupStatus,
        source: &Source,
        history: &mut History,
    ) -> Result<Vec<ReplicaId>, String> {
        let (group, (log_start, _, _)) = (status.group, status.offsets);
        let highest = self.log_starts.entry(group).or_default();
        *highest = log_start.max(*highest);
        let seen = Seen {
            node: disk.node,
            // NB: a restarted replica may not know yet that what it has dropped is deleted.
            log_start: *highest,
            local_start: status.local_start,
        };
        self.seen.insert((group, status.replica), seen);
        if !status.lacks_copies {
            self.has_all(disk, (group, status.replica), source, history)
                .map_err(|why| format!("{} {group}: says that it is whole: {why}", disk.node))?;
        }
        let members = status.members.iter().filter(|member| member.voter);
        let voters: BTreeSet<ReplicaId> = members.map(|member| member.replica).collect();
        let Some(known) = self.voters.get_mut(&group) else {
            // The first ones begin with nothing, when there is nothing.
            if !voters.is_empty() {
                self.voters.insert(group, voters);
            }
            return Ok(Vec::new());
        };
        let new: Vec<ReplicaId> = voters.difference(known).copied().collect();
        known.extend(&new);
        Ok(new)
    }

    /// Where a replica was seen last.
    pub(crate) fn node_of(&self, of: (GroupId, ReplicaId)) -> Option<NodeId> {
        self.seen.get(&of).map(|seen| seen.node)
    }

    /// What a replica's log has dropped is on its disk.
    pub(crate) fn has_all(
        &mut self,
        disk: &Disk,
        of: (GroupId, ReplicaId),
        source: &Source,
        history: &mut History,
    ) -> Held {
        let Some(seen) = self.seen.get(&of).copied() else {
            return Ok(());
        };
        if seen.local_start <= seen.log_start || self.checked.get(&of) == Some(&(seen, disk.writes))
        {
            return Ok(());
        }
        let mut why = None;
        let prefix = key::manifests_prefix(source);
        let objects = disk.memory.objects();
        let manifests = objects.iter().rev();
        // NB: in the order of their ages, as their names are.
        for (key, bytes) in manifests.filter(|(key, _)| key.as_str().starts_with(&prefix)) {
            let manifest = self.manifest(source, key, bytes)?;
            match self.covers(disk, of.0, &manifest, seen, history)? {
                Ok(()) => {
                    self.checked.insert(of, (seen, disk.writes));
                    return Ok(());
                }
                Err(lacks) => {
                    why.get_or_insert_with(|| format!("{}: {lacks}", manifest.key()));
                }
            }
        }
        let why = why.unwrap_or_else(|| "there is no manifest".to_owned());
        let Seen {
            log_start,
            local_start,
            ..
        } = seen;
        Err(format!(
            "the partition begins at {log_start}, its log at {local_start}, and {why}"
        ))
    }

    fn manifest(
        &mut self,
        source: &Source,
        key: &Key,
        bytes: &Bytes,
    ) -> Result<Rc<Manifest>, String> {
        if let Some((known, manifest)) = self.decoded.get(key)
            && known == bytes
        {
            return Ok(manifest.clone());
        }
        let manifest = Manifest::decode(bytes, key, source);
        let manifest = Rc::new(manifest.map_err(|why| format!("{key}: {why}"))?);
        let decoded = (bytes.clone(), manifest.clone());
        self.decoded.insert(key.clone(), decoded);
        Ok(manifest)
    }

    /// Whether a manifest and its chunks on a disk hold what a replica's log has dropped; what they lack, else. Wrong records
    /// are an error.
    fn covers(
        &mut self,
        disk: &Disk,
        group: GroupId,
        manifest: &Manifest,
        seen: Seen,
        history: &mut History,
    ) -> Result<Held, String> {
        if manifest.next_offset < seen.local_start || manifest.log_start > seen.log_start {
            let (from, to) = (manifest.log_start, manifest.next_offset);
            return Ok(Err(format!("it holds {from} to {to}")));
        }
        let objects = disk.memory.objects();
        for chunk in &manifest.chunks {
            let (first, next) = (chunk.chunk.first_offset, chunk.chunk.next_offset);
            if next <= seen.log_start || first >= seen.local_start {
                continue;
            }
            let place = (disk.node, chunk.key.clone());
            let there = objects.get(&chunk.key);
            let known = self.compared.get(&chunk.key);
            if known.is_some_and(|(known, bytes)| known == chunk && Some(bytes) == there) {
                self.damaged.remove(&place);
                continue;
            }
            if self.damaged.contains(&place) {
                continue;
            }
            let Some(there) = there else {
                return Ok(Err(format!("{} is not there", chunk.key)));
            };
            compare(group, manifest, chunk, &disk.memory, history)
                .map_err(|why| format!("{}: {why}", chunk.key))?;
            let compared = (chunk.clone(), there.clone());
            self.compared.insert(chunk.key.clone(), compared);
        }
        Ok(Ok(()))
    }

    /// The copies of the newest snapshot are there, all of them, and as they have to be.
    pub(crate) fn is_held(
        &mut self,
        disk: &Disk,
        (group, source): (GroupId, &Source),
        stored: &Stored,
        history: &mut History,
    ) -> Held {
        let key = name_of(source, stored).key();
        let objects = disk.memory.objects();
        let bytes = objects.get(&key).ok_or(format!("{key} is not there"))?;
        let manifest = Manifest::decode(bytes, &key, source).map_err(|why| why.to_string())?;
        if Some(manifest.identity()) != stored.identity {
            return Err(format!("{key} is not the committed one"));
        }
        for chunk in &manifest.chunks {
            let there = objects.get(&chunk.key);
            let there = there.ok_or(format!("{} is not there", chunk.key))?;
            let known = self.compared.get(&chunk.key);
            if known.is_none_or(|(known, bytes)| known != chunk || bytes != there) {
                compare(group, &manifest, chunk, &disk.memory, history)
                    .map_err(|why| format!("{}: {why}", chunk.key))?;
                let compared = (chunk.clone(), there.clone());
                self.compared.insert(chunk.key.clone(), compared);
            }
            self.damaged.remove(&(disk.node, chunk.key.clone()));
        }
        Ok(())
    }

    /// An object of a disk was damaged on purpose.
    pub(crate) fn damages(&mut self, node: NodeId, key: &Key) {
        self.damaged.insert((node, key.clone()));
        self.was_damaged.insert((node, key.clone()));
    }

    /// What was damaged on a disk, and is not known to be mended.
    pub(crate) fn damaged_on(&self, node: NodeId) -> Vec<Key> {
        let on = self.damaged.iter().filter(|(on, _)| *on == node);
        on.map(|(_, key)| key.clone()).collect()
    }

    /// A disk was replaced.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        self.damaged.retain(|(on, _)| *on != node);
        self.was_damaged.retain(|(on, _)| *on != node);
    }

    /// What could not be read of own copies: it was damaged on purpose, or is not the newest any more.
    pub(crate) fn unreadable(&self, node: NodeId, is_newest: bool, why: &archive::Error) -> Held {
        let was_damaged = |key: &Key| self.was_damaged.contains(&(node, key.clone()));
        match why {
            archive::Error::Unavailable { .. } => Ok(()),
            // NB: one that was sent another's base has an older snapshot than its log begins with.
            archive::Error::Missing { .. } | archive::Error::OutOfRange { .. } if !is_newest => {
                Ok(())
            }
            archive::Error::Missing { key } | archive::Error::Damaged { key, .. }
                if was_damaged(key) =>
            {
                Ok(())
            }
            why => Err(format!("{node}: own copies cannot be read: {why}")),
        }
    }
}
