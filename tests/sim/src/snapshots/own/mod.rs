//! Copies of each broker's own: a store for each disk, which goes with it. The broker's own code brings them up to what was
//! committed, out of its log or from other replicas, and answers those; here are the tasks that do it, the way between two
//! brokers (`wire`), and what a disk does not keep.

pub(super) mod judge;
pub(super) mod wire;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use broker::partition::stored::Stored;
use broker::shard::{GroupStatus, Holding, Shard};
use broker::snapshots::name_of;
use broker::snapshots::own::peer::{self, Asked, ask_whole, says_whole, tell_whole};
use broker::snapshots::own::{self as broker_own, Bringing, Place};
use broker::snapshots::take;
use raft::types::{GroupId, Index, Member, NodeId, Term, Tick};
use snapshot::archive;
use snapshot::key::Key;
use snapshot::manifest::{Chunk, Manifest};

use self::judge::Disk;
use self::wire::{Kind, Other, Question};
use super::{Done, Snapshots, clock};
use crate::node::Node;
use crate::world::{Outcome, World};

/// Chance that a disk does not keep something, in a thousand looks.
const DAMAGE_PER_MILLE: u64 = 25;
/// Chance that somebody reads what is damaged, in a thousand looks.
const MEET_PER_MILLE: u64 = 20;
/// Chance that a broker looks for what is of replicas that are not there any more, in a thousand looks.
const SWEEP_PER_MILLE: u64 = 20;

/// What a running broker knows of its own copies.
pub struct Copies {
    own: Rc<broker_own::Own>,
    /// Partitions that are not here, as of now.
    gone: Rc<RefCell<BTreeSet<Place>>>,
    /// Partitions whose copies are being brought up to a newer snapshot.
    bringing: usize,
}

impl Copies {
    pub(super) fn new() -> Self {
        Self {
            own: Rc::new(broker_own::Own::new(|| true)),
            gone: Rc::default(),
            bringing: 0,
        }
    }
}

impl Snapshots {
    /// Whether each broker has copies of its own.
    pub(crate) fn is_own(&self) -> bool {
        self.plan.policy.own_copies
    }

    pub(super) fn disk(&self, node: NodeId) -> Disk {
        Disk {
            node,
            memory: self.store.memory_of(node),
            writes: self.store.writes_of(node),
        }
    }

    /// Whose object it is.
    fn group_of(&self, key: &Key) -> Option<GroupId> {
        let object = snapshot::key::object(key)?;
        let place = (object.topic_id, object.partition);
        let mut sources = self.sources.iter();
        let of = sources.find(|(_, source)| (source.topic_id, source.partition) == place);
        of.map(|(group, _)| *group)
    }

    /// A broker's disk was replaced by an empty one.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        if self.is_own() {
            self.store.replaced(node);
            self.own_judge.wiped(node);
        }
    }
}

/// Whether copies are brought up to more than they were; else they are only looked at.
fn is_newer(holding: &Holding) -> bool {
    holding.before != Some(holding.stored)
}

/// Whether the replica of a group here votes.
fn votes(shard: &Shard, group: GroupId) -> bool {
    let replica = shard.replica(group);
    let mut status = shard.status().filter(|status| status.group == group);
    let mut members = status.next().into_iter().flat_map(|status| status.members);
    members.any(|member| member.voter && Some(member.replica) == replica)
}

impl World {
    /// Carries out a shard's order.
    pub(crate) fn hold_snapshot(&mut self, at: usize, holding: Holding) -> Outcome {
        let here = self.nodes[at].id;
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return Err("there are no own copies here".to_owned());
        };
        let source = snapshots.source(holding.group);
        let source = source.ok_or("a snapshot of no partition")?.clone();
        let (Some(archive), Some(copies)) = (up.archive.clone(), &mut up.copies) else {
            return Err("it has copies of its own".to_owned());
        };
        let donors = up.shard.donors(holding.group, holding.replica);
        let other = |node| Other {
            wire: snapshots.wire.clone(),
            here,
            node,
            group: holding.group,
        };
        let nodes = donors.map_or_else(Vec::new, |donors| donors.nodes);
        let donors: Vec<Other> = nodes.into_iter().map(other).collect();
        copies.bringing += usize::from(is_newer(&holding));
        let (own, reader) = (copies.own.clone(), up.reader.clone());
        let (policy, now_ms) = (snapshots.plan.collection, clock(self.now));
        up.tasks.push(Box::pin(async move {
            let bringing = Bringing {
                archive: &archive,
                reader,
                source: &source,
                incarnation: policy.incarnation,
                holding: &holding,
                donors: &donors,
                place: take::Place::Here,
                now_ms,
                grace_ms: policy.grace_ms,
            };
            let brought = own.bring(bringing).await.map(|_| ());
            Done::Brought(Box::new((holding, brought)))
        }));
        Ok(())
    }

    /// Copies were brought up, or not.
    pub(super) fn copies_brought(
        &mut self,
        at: usize,
        holding: &Holding,
        brought: Result<(), broker_own::bring::Error>,
    ) -> Outcome {
        use broker_own::bring::Error;
        let Node { id, disk, up, .. } = &mut self.nodes[at];
        let Some(up) = up else {
            return Ok(());
        };
        let counts = &mut self.report.counts;
        match &brought {
            Ok(()) => counts.copies_held += 1,
            Err(why @ Error::Differs { .. }) if !disk.is_cut() => {
                return Err(format!("{id}: {why}"));
            }
            Err(why) => {
                counts.copies_failed += 1;
                let snapshots = self.snapshots.as_mut().ok_or("it has copies")?;
                let place = (*id, holding.group);
                snapshots.not_brought.insert(place, why.to_string());
            }
        }
        if let Some(copies) = &mut up.copies {
            copies.bringing -= usize::from(is_newer(holding));
            let own = copies.own.clone();
            own.brought(&mut up.shard, Tick(self.now), holding, brought);
        }
        Ok(())
    }

    /// Carries out a leader's order to ask those who are to vote.
    pub(crate) fn ask_whole(
        &mut self,
        at: usize,
        (group, term): (GroupId, Term),
        index: Index,
        newcomers: Vec<Member>,
    ) -> Outcome {
        let here = self.nodes[at].id;
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return Err("there are no own copies here".to_owned());
        };
        let wire = snapshots.wire.clone();
        up.tasks.push(Box::pin(async move {
            for member in &newcomers {
                let body = ask_whole(group, member.replica, index);
                let answer = wire.ask(here, member.node, Kind::Whole, body).await;
                if !answer.is_some_and(|answer| says_whole(&answer)) {
                    return Done::Nothing;
                }
            }
            Done::AllWhole(group, term, newcomers)
        }));
        Ok(())
    }

    pub(super) fn newcomers_whole(
        &mut self,
        at: usize,
        (group, term): (GroupId, Term),
        newcomers: &[Member],
    ) {
        self.report.counts.newcomers_whole += 1;
        if let Some(up) = &mut self.nodes[at].up {
            let now = Tick(self.now);
            up.shard.newcomers_are_whole(now, group, term, newcomers);
        }
    }

    /// Questions that have arrived are answered.
    pub(super) fn answer_questions(&mut self) -> Outcome {
        let Some(wire) = self.snapshots.as_ref().map(|s| s.wire.clone()) else {
            return Ok(());
        };
        let connected = |a, b| {
            let places = self.place_of(a).zip(self.place_of(b));
            places.is_some_and(|(a, b)| self.connected.contains_key(&(a.min(b), a.max(b))))
        };
        for question in wire.advance(self.now, connected) {
            let at = self.place_of(question.to).ok_or("a broker of this run")?;
            self.answer_question(at, question);
        }
        Ok(())
    }

    fn answer_question(&mut self, at: usize, question: Question) {
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return;
        };
        if question.kind == Kind::Whole {
            let answer = tell_whole(&up.shard, &question.body);
            return snapshots.wire.answer(question, answer);
        }
        let asked = Asked::decode(&question.body);
        let source = asked.as_ref().and_then(|of| snapshots.source(of.group));
        let (Some(asked), Some(source)) = (asked, source.cloned()) else {
            return;
        };
        let Some(archive) = up.archive.clone() else {
            return;
        };
        up.tasks.push(Box::pin(async move {
            let piece = peer::piece(&**archive.store(), &source, &asked).await;
            Done::Piece(question, piece)
        }));
    }

    /// What becomes of copies besides: a disk does not keep something, somebody reads that, what is of replicas that are gone
    /// is removed.
    pub(super) fn live_with_copies(&mut self) -> Outcome {
        for at in 0..self.nodes.len() {
            if self.chaos && self.random.chance(DAMAGE_PER_MILLE) {
                self.damage_copy(at);
            }
            // In the end somebody reads everything.
            if self.random.chance(MEET_PER_MILLE) || !self.chaos {
                self.meet_damage(at)?;
            }
            if self.random.chance(SWEEP_PER_MILLE) {
                self.sweep_copies(at);
            }
            self.run_tasks(at)?;
        }
        Ok(())
    }

    /// A chunk is gone, or another one than was written. Two more voters have it: nobody survives more.
    fn damage_copy(&mut self, at: usize) {
        let Some(snapshots) = &mut self.snapshots else {
            return;
        };
        let node = self.nodes[at].id;
        let objects = snapshots.store.memory_of(node).objects();
        let others = self.nodes.iter().filter(|other| other.id != node);
        let others: Vec<_> = others
            .filter_map(|other| Some((other.up.as_ref()?, other.id)))
            .map(|(up, id)| (up, snapshots.store.memory_of(id).objects()))
            .collect();
        let may_go = |(key, bytes): &(&Key, &bytes::Bytes)| {
            let group = snapshots.group_of(key);
            let have = others.iter().filter(|(up, objects)| {
                let votes = group.is_some_and(|group| votes(&up.shard, group));
                votes && objects.get(*key) == Some(*bytes)
            });
            key.as_str().ends_with(".gz") && have.count() >= 2
        };
        let chunks: Vec<_> = objects.iter().filter(may_go).collect();
        let Some((key, bytes)) = self.random.pick(&chunks) else {
            return;
        };
        let mut flipped = bytes.to_vec();
        let bit = usize::try_from(self.random.below(flipped.len() as u64 * 8)).expect("small");
        flipped[bit / 8] ^= 1 << (bit % 8);
        let left = self.random.chance(500).then(|| flipped.into());
        snapshots.store.tamper(node, key, left);
        snapshots.own_judge.damages(node, key);
        self.report.counts.copies_damaged += 1;
    }

    /// Somebody has read what is damaged on a disk.
    fn meet_damage(&mut self, at: usize) -> Outcome {
        for key in self.damaged_copies(at) {
            self.suspect_copy(at, &key);
        }
        self.flush(at)
    }

    /// What the newest snapshots of a broker name and its disk has not as it was written. Nobody reads anything else.
    fn damaged_copies(&self, at: usize) -> Vec<Key> {
        let node = &self.nodes[at];
        let (Some(snapshots), Some(up)) = (&self.snapshots, &node.up) else {
            return Vec::new();
        };
        let damaged = snapshots.own_judge.damaged_on(node.id);
        if damaged.is_empty() {
            return damaged;
        }
        let objects = snapshots.store.memory_of(node.id).objects();
        let manifest = |status: GroupStatus| {
            let source = snapshots.source(status.group)?;
            let key = name_of(source, &status.stored?).key();
            Manifest::decode(objects.get(&key)?, &key, source).ok()
        };
        let named = up.shard.status().filter_map(manifest);
        let named = named.flat_map(|manifest| manifest.chunks);
        let is_whole = |chunk: &Chunk| {
            let bytes = objects.get(&chunk.key);
            bytes.is_some_and(|bytes| crc32fast::hash(bytes) == chunk.chunk.stored_crc32)
        };
        let read = named.filter(|chunk| damaged.contains(&chunk.key) && !is_whole(chunk));
        read.map(|chunk| chunk.key).collect()
    }

    /// A consumer could not read own copies.
    pub(super) fn own_read_failed(
        &mut self,
        at: usize,
        group: GroupId,
        stored: &Stored,
        why: &archive::Error,
    ) -> Outcome {
        let node = self.nodes[at].id;
        let (Some(snapshots), Some(up)) = (&self.snapshots, &self.nodes[at].up) else {
            return Ok(());
        };
        let newest = up.shard.status().find(|status| status.group == group);
        let is_newest = newest.and_then(|status| status.stored) == Some(*stored);
        snapshots.own_judge.unreadable(node, is_newest, why)?;
        if let archive::Error::Missing { key } | archive::Error::Damaged { key, .. } = why {
            self.suspect_copy(at, key);
        }
        self.flush(at)
    }

    /// What could not be read is noted, as a broker does it.
    pub(super) fn suspect_copy(&mut self, at: usize, key: &Key) {
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return;
        };
        if let (Some(group), Some(copies)) = (snapshots.group_of(key), &up.copies) {
            let own = copies.own.clone();
            own.suspect(&mut up.shard, group, key);
        }
    }

    fn sweep_copies(&mut self, at: usize) {
        let Some(up) = &mut self.nodes[at].up else {
            return;
        };
        let (Some(archive), Some(copies)) = (up.archive.clone(), &up.copies) else {
            return;
        };
        let (own, gone) = (copies.own.clone(), copies.gone.clone());
        up.tasks.push(Box::pin(async move {
            let is_gone = |place| gone.borrow().contains(&place);
            own.sweep(&**archive.store(), is_gone).await;
            Done::Nothing
        }));
    }

    /// Before tasks go on: what they may ask the shard is as of now.
    pub(super) fn tell_tasks(&mut self, at: usize) {
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return;
        };
        if let Some(copies) = &up.copies {
            let places = snapshots.sources.values();
            let places = places.map(|source| (source.topic_id, source.partition));
            let gone = places.filter(|place| broker_own::is_gone(&up.shard, *place));
            *copies.gone.borrow_mut() = gone.collect();
        }
    }

    /// Whether no replica's own copies lack anything, as far as they know.
    pub(crate) fn all_have_copies(&self) -> bool {
        let up = self.nodes.iter().filter_map(|node| node.up.as_ref());
        let mut status = up.flat_map(|up| up.shard.status());
        !status.any(|status| status.lacks_copies)
    }

    /// Whether a leader's own copies lack something, for now.
    pub(crate) fn lacks_copies(&mut self, at: usize, group: GroupId) -> bool {
        let up = self.nodes[at].up.as_ref();
        let mut status = up.into_iter().flat_map(|up| up.shard.status());
        let lacks = status.any(|status| status.group == group && status.lacks_copies);
        self.report.counts.reads_awaiting_copies += u64::from(lacks);
        lacks
    }

    /// What a replica lacks of the newest snapshot, for people.
    pub(crate) fn why_not_held(&self) -> Option<String> {
        let snapshots = self.snapshots.as_ref().filter(|s| s.is_own())?;
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { continue };
            if let Some(key) = self.damaged_copies(at).first() {
                return Some(format!("; {} has {key} damaged", node.id));
            }
            // NB: a shard is told that a newer snapshot is held when the older one is removed already.
            if up.copies.as_ref().is_some_and(|copies| copies.bringing > 0) {
                return Some(format!("; {} brings copies", node.id));
            }
            let objects = snapshots.store.memory_of(node.id).objects();
            for status in up.shard.status() {
                let source = snapshots.source(status.group);
                let (Some(source), Some(stored)) = (source, status.stored) else {
                    continue;
                };
                let key = name_of(source, &stored).key();
                if status.lacks_copies || !objects.contains_key(&key) {
                    let (group, is_there) = (status.group, objects.contains_key(&key));
                    let failed = snapshots.not_brought.get(&(node.id, group));
                    return Some(format!(
                        "; {group} at {}: {key} is there {is_there}, lacks copies {}, last failure {failed:?}",
                        node.id, status.lacks_copies
                    ));
                }
            }
        }
        None
    }

    /// In the end every replica's copies are whole, and the same.
    pub(super) fn final_check_of_copies(&mut self) -> Outcome {
        let Some(snapshots) = &mut self.snapshots else {
            return Ok(());
        };
        for node in &self.nodes {
            let Some(up) = &node.up else { continue };
            let disk = snapshots.disk(node.id);
            for status in up.shard.status() {
                let Some(source) = snapshots.sources.get(&status.group) else {
                    continue;
                };
                let of = (status.group, source);
                let judge = &mut snapshots.own_judge;
                let wrong = |why| format!("{} at {}: {why}", status.group, node.id);
                let stored = status
                    .stored
                    .ok_or_else(|| wrong("no snapshot".to_owned()))?;
                judge
                    .is_held(&disk, of, &stored, &mut self.history)
                    .map_err(wrong)?;
                let replica = (status.group, status.replica);
                judge
                    .has_all(&disk, replica, source, &mut self.history)
                    .map_err(wrong)?;
            }
        }
        Ok(())
    }
}
