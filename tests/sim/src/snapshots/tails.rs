//! Tails: written by leaders, collected by whoever may, and held against what clients were told: what was once said to be in
//! the store can be restored from it for ever.

use std::collections::{BTreeMap, BTreeSet};

use broker::restore::Added;
use broker::shard::{TailFate, TailPart, TailWanted};
use broker::snapshots::tail::{Place, Tail};
use protocol::record_batch::BatchHeader;
use raft::types::{GroupId, Tick};
use snapshot::collect;
use snapshot::key;
use snapshot::manifest::Manifest;
use snapshot::source::{Incarnation, Source};
use snapshot::store::memory::Memory;
use snapshot::tail::{self, Directory, Parts};

use super::judge::manifests;
use super::store::at_once;
use super::{CLUSTER_ID, Done, clock};
use crate::history::History;
use crate::world::{Outcome, World};

/// Chance that a controller collects tails, in a thousand looks.
const COLLECT_PER_MILLE: u64 = 30;

/// How far each partition's log was said to be in tails.
#[derive(Debug, Default)]
pub(crate) struct Promised(BTreeMap<GroupId, u64>);

impl Promised {
    fn note(&mut self, group: GroupId, last: u64) {
        let promised = self.0.entry(group).or_default();
        *promised = last.max(*promised);
    }

    /// Whether a restore would find all of it.
    pub(super) fn are_kept(&self, sources: &BTreeMap<GroupId, Source>, memory: &Memory) -> Outcome {
        let parts = parts(memory)?;
        for (group, promised) in &self.0 {
            let source = sources.get(group).ok_or("of no partition")?;
            let (base, reach) = base(source, memory, &parts)?;
            if reach < *promised {
                let base = base.map(|manifest| manifest.key());
                return Err(format!(
                    "{group}: the store reaches {reach} from {base:?} on, and was said to reach {promised}"
                ));
            }
        }
        Ok(())
    }
}

fn parts(memory: &Memory) -> Result<Parts, String> {
    let mut parts = Parts::default();
    for (name, _) in at_once(tail::list(memory)).map_err(|why| why.to_string())? {
        let read = at_once(Directory::read(memory, &name, CLUSTER_ID));
        parts.add(name, read.map_err(|why| why.to_string())?);
    }
    Ok(parts)
}

/// The manifest that reaches farthest, and how far.
fn base(
    source: &Source,
    memory: &Memory,
    parts: &Parts,
) -> Result<(Option<Manifest>, u64), String> {
    let place = (source.topic_id, source.partition);
    let from_nothing = parts.reach(place, (Incarnation(1), 0));
    let reach = |manifest: &Manifest| parts.reach(place, (Incarnation(1), manifest.index));
    let all = manifests(source, memory)?.into_values();
    let best = all.max_by_key(|manifest| (reach(manifest), manifest.age()));
    let reached = best.as_ref().map_or(from_nothing, reach);
    Ok((best, reached))
}

/// What a restore would make of a partition: its records are those that clients know, up to the end.
pub(super) fn restores(
    (group, source): (GroupId, &Source),
    end: i64,
    memory: &Memory,
    history: &mut History,
) -> Outcome {
    let parts = parts(memory)?;
    let (base, _) = base(source, memory, &parts)?;
    let added = at_once(Added::read(memory, source, base.as_ref(), &parts));
    let added = added.map_err(|why| format!("{group}: {why}"))?;
    let stored = base.as_ref().map_or(0, |base| base.next_offset);
    let reached = added.map_or(stored, |added| added.state.high_watermark());
    if reached != end {
        return Err(format!(
            "{group}: a restore ends at {reached}, the partition at {end}"
        ));
    }
    let from = base.as_ref().map(|base| (base.incarnation, base.index));
    for found in parts.chain((source.topic_id, source.partition), from) {
        let entries = at_once(tail::read(memory, &found.name, &found.part));
        for entry in entries.map_err(|why| why.to_string())? {
            if entry.kind == tail::RECORDS {
                let header = BatchHeader::parse(&entry.payload).map_err(|why| why.to_string())?;
                history.read_batches(group, header.base_offset, &[entry.payload])?;
            }
        }
    }
    Ok(())
}

impl World {
    /// Carries out a shard's order.
    pub(super) fn write_tail(&mut self, at: usize, wanted: TailWanted) -> Outcome {
        let broker = self.nodes[at].id.0;
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return Err("there is no snapshot store here".to_owned());
        };
        let place = |part: &TailPart| {
            let source = snapshots.source(part.group)?;
            Some(Place {
                topic_id: source.topic_id,
                partition: source.partition,
            })
        };
        for part in &wanted.parts {
            let mut status = up.shard.status();
            let commit = status.find(|s| s.group == part.group).map(|s| s.commit);
            if commit < Some(part.last) {
                return Err(format!(
                    "a tail of what is not committed: {part:?}, {commit:?}"
                ));
            }
        }
        let archive = up.archive.clone().ok_or("it has a store")?;
        let parts = wanted.parts.clone();
        let tail = Tail {
            reader: up.reader.clone(),
            store_id: CLUSTER_ID.to_owned(),
            incarnation: snapshots.plan.collection.incarnation,
            broker,
            now_ms: clock(self.now),
            parts: wanted.parts.iter().map(|p| (*p, place(p))).collect(),
            part_bytes: wanted.part_bytes,
        };
        let made = tail.make();
        up.tasks.push(Box::pin(async move {
            let put = made.put(&**archive.store()).await;
            Done::Tail(parts, put.ok().map(|(fates, _)| fates))
        }));
        Ok(())
    }

    pub(super) fn tail_done(
        &mut self,
        at: usize,
        parts: &[TailPart],
        fates: Option<Vec<TailFate>>,
    ) -> Outcome {
        let (Some(snapshots), Some(up)) = (&mut self.snapshots, &mut self.nodes[at].up) else {
            return Ok(());
        };
        let counts = &mut self.report.counts;
        match &fates {
            Some(_) => counts.tails += 1,
            None => counts.tails_failed += 1,
        }
        for (part, fate) in parts.iter().zip(fates.iter().flatten()) {
            if *fate == TailFate::Stored {
                snapshots.promised.note(part.group, part.last.0);
            }
        }
        up.shard.tail_written(Tick(self.now), fates);
        let memory = snapshots.store.memory();
        snapshots.promised.are_kept(&snapshots.sources, &memory)
    }

    /// A controller, or one that was, collects tails.
    pub(super) fn collect_tails(&mut self, at: usize) {
        if !self.random.chance(COLLECT_PER_MILLE) {
            return;
        }
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return;
        };
        let Some(archive) = up.archive.clone() else {
            return;
        };
        let sources = snapshots.sources.values();
        let alive: BTreeSet<uuid::Uuid> = sources.map(|source| source.topic_id).collect();
        let (policy, now_ms) = (snapshots.plan.collection, clock(self.now));
        up.tasks.push(Box::pin(async move {
            let store = &**archive.store();
            let collected = collect::tails(store, CLUSTER_ID, &alive, &policy, now_ms).await;
            Done::CollectedTails(collected)
        }));
    }
}

/// Whether an object is a tail.
pub(super) fn is_tail(key: &key::Key) -> bool {
    key::tail_name(key).is_some()
}
