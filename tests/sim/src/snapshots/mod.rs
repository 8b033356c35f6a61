//! The snapshot store of a run, and what brokers do with it: snapshots, reads of what only the store holds, and the removal
//! of what nothing reaches. All of it is the broker's own code but for what carries out its orders: here a list of tasks for
//! each broker, which end with its process wherever they are.

mod cuts;
pub(crate) mod judge;
pub mod own;
pub mod plan;
pub(crate) mod store;
mod tails;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use broker::metadata::Image;
use broker::partition::stored::Stored;
use broker::shard::{GroupStatus, Holding, Order, TailFate, TailPart, Wanted};
use broker::snapshots::name_of;
use broker::snapshots::own::bring::Error as NotBrought;
use broker::snapshots::take::{self, Place, Subject, Take};
use bytes::Bytes;
use raft::types::{GroupId, Member, NodeId, Term, Tick};
use snapshot::archive::{self, Archive};
use snapshot::collect::{self, Collected};
use snapshot::source::Source;
use snapshot::store::Store;
use uuid::Uuid;

use crate::history::History;
use crate::world::{Outcome, World};
use judge::{Judge, Sources};
use own::wire::Question;
use store::{Mood, Shared, at_once};

/// Who has written it all.
const CLUSTER_ID: &str = "simulated";
/// Chance that a consumer begins at any offset of a partition, in a thousand looks.
const READ_PER_MILLE: u64 = 300;
/// Chance that an operator asks for a snapshot, in a thousand looks.
const ASK_PER_MILLE: u64 = 15;
/// Bytes of a read.
const READ_BYTES: u64 = 4096;

/// The store and all that is known of it.
pub(crate) struct Snapshots {
    plan: plan::Plan,
    pub(crate) store: Shared,
    pub(crate) judge: Judge,
    own_judge: own::judge::Judge,
    pub(crate) wire: own::wire::Wire,
    /// Why own copies were not brought up last, for people.
    not_brought: BTreeMap<(NodeId, GroupId), String>,
    promised: tails::Promised,
    pub(crate) cuts: cuts::Cuts,
    sources: Sources,
    /// The run has ended, and reads are answered at once.
    has_ended: bool,
}

/// Something that a broker waits for.
pub type Task = Pin<Box<dyn Future<Output = Done>>>;

/// What became of it.
pub enum Done {
    /// A snapshot.
    Taken(GroupId, Term, Box<Result<Stored, take::Error>>),
    /// A tail.
    Tail(Vec<TailPart>, Option<Vec<TailFate>>),
    /// A collection of tails.
    CollectedTails(Result<Collected, collect::Error>),
    /// A collection.
    Collected(GroupId, Result<Collected, collect::Error>),
    /// A consumer's read.
    Read(GroupId, Stored, i64, Result<Vec<Bytes>, archive::Error>),
    /// Own copies.
    Brought(Box<(Holding, Result<(), NotBrought>)>),
    /// Newcomers that hold everything.
    AllWhole(GroupId, Term, Vec<Member>),
    /// A piece of own copies that another broker has asked for.
    Piece(Question, Option<Bytes>),
    /// What nobody waits for.
    Nothing,
}

impl Snapshots {
    pub(crate) fn new(plan: plan::Plan, seed: u64) -> Self {
        let store = Shared::new(plan.clone(), seed);
        let wire = own::wire::Wire::new(plan.delay_max_ms, seed);
        Self {
            plan,
            own_judge: own::judge::Judge::default(),
            wire,
            not_brought: BTreeMap::new(),
            store,
            judge: Judge::default(),
            promised: tails::Promised::default(),
            cuts: cuts::Cuts::default(),
            sources: Sources::new(),
            has_ended: false,
        }
    }

    /// The topic exists: these are its partitions.
    pub(crate) fn partitions(&mut self, topic: u128, groups: &[GroupId]) {
        let source = |partition: i32| Source {
            cluster_id: CLUSTER_ID.to_owned(),
            topic_id: Uuid::from_u128(topic),
            partition,
        };
        let sources = (0..).map(source);
        self.sources = groups.iter().copied().zip(sources).collect();
    }

    /// What a replica says of itself.
    pub(crate) fn observe(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        history: &mut History,
    ) -> Outcome {
        let Some(source) = self.sources.get(&status.group) else {
            return Ok(());
        };
        if !self.is_own() {
            let memory = self.store.memory();
            return self.judge.observe(node, status, source, &memory, history);
        }
        self.judge.know(node, status, source)?;
        let group = status.group;
        let disk = self.disk(node);
        let voters = self.own_judge.observe(&disk, status, source, history)?;
        for replica in voters {
            let Some(node) = self.own_judge.node_of((group, replica)) else {
                continue;
            };
            let disk = self.disk(node);
            self.own_judge
                .has_all(&disk, (group, replica), source, history)
                .map_err(|why| format!("{node} {group}: begins to vote: {why}"))?;
        }
        Ok(())
    }

    pub(crate) fn source(&self, group: GroupId) -> Option<&Source> {
        self.sources.get(&group)
    }
}

fn subject(source: &Source, image: &Image, group: GroupId) -> Option<Subject> {
    let partition = image.partition(group)?;
    let topic = image.topic(partition.topic)?;
    Some(Subject {
        source: source.clone(),
        topic: topic.name.clone(),
        configs: topic.configs.clone(),
        voters: partition.replicas.iter().map(|m| m.node.0).collect(),
    })
}

async fn read(
    archive: Arc<Archive>,
    source: Source,
    stored: Stored,
    offset: i64,
) -> Result<Vec<Bytes>, archive::Error> {
    let manifest = archive.manifest(&name_of(&source, &stored)).await?;
    archive.batches(&manifest, offset, READ_BYTES).await
}

impl World {
    /// A broker has started: it has its way to the store.
    pub(crate) fn open_store(&mut self, at: usize) {
        let archive = self.open_archive(at);
        let is_own = self.snapshots.as_ref().is_some_and(Snapshots::is_own);
        if let Some(up) = &mut self.nodes[at].up {
            up.archive = archive;
            up.copies = is_own.then(own::Copies::new);
        }
    }

    fn open_archive(&self, at: usize) -> Option<Arc<Archive>> {
        let snapshots = self.snapshots.as_ref()?;
        let store: Arc<dyn Store> = Arc::new(snapshots.store.view(self.nodes[at].id));
        let config = archive::Config {
            cache_bytes: snapshots.plan.cache_bytes,
            ..archive::Config::default()
        };
        Some(Arc::new(Archive::new(store, config)))
    }

    /// Carries out what a shard wants of the store.
    pub(crate) fn snapshot_order(&mut self, at: usize, order: Order) -> Outcome {
        match order {
            Order::TakeSnapshot(wanted) => self.take_snapshot(at, *wanted),
            Order::WriteTail(wanted) => self.write_tail(at, *wanted),
            Order::CollectSnapshots { group, stored } => {
                self.collect_snapshots(at, group, stored);
                Ok(())
            }
            Order::CheckLocalRetention { group, stored, .. } => {
                // Retention by size may find a place beyond what is stored: the newest segment alone is kept.
                let far = stored.next_offset.unsigned_abs() + 5;
                let found = i64::try_from(self.random.between(0, far)).expect("small");
                if let Some(up) = &mut self.nodes[at].up {
                    up.shard.local_cut(group, found);
                }
                Ok(())
            }
            Order::HoldSnapshot(holding) => self.hold_snapshot(at, *holding),
            Order::AskWhole {
                group,
                term,
                index,
                newcomers,
            } => self.ask_whole(at, (group, term), index, newcomers),
            _ => Err("this is no order about snapshots".to_owned()),
        }
    }

    fn take_snapshot(&mut self, at: usize, wanted: Wanted) -> Outcome {
        let (group, term) = (wanted.group, wanted.term);
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return Err("there is no snapshot store here".to_owned());
        };
        let source = snapshots.source(group);
        let image = up.shard.image();
        let subject = source.zip(image).and_then(|(s, i)| subject(s, i, group));
        let (Some(subject), Some(archive)) = (subject, up.archive.clone()) else {
            up.shard.snapshot_taken(Tick(self.now), group, term, None);
            return Ok(());
        };
        let (plan, is_own) = (&snapshots.plan, snapshots.is_own());
        let (reader, chunk_bytes) = (up.reader.clone(), plan.chunk_bytes);
        let (incarnation, now_ms) = (plan.collection.incarnation, clock(self.now));
        up.tasks.push(Box::pin(async move {
            let take = Take {
                archive: &archive,
                reader,
                subject,
                incarnation,
                chunk_bytes,
                wanted,
                now_ms,
                place: Place::Here,
                is_own,
                mend: take::Mend::default(),
            };
            let taken = take.run().await.map(|taken| taken.stored);
            Done::Taken(group, term, Box::new(taken))
        }));
        Ok(())
    }

    fn collect_snapshots(&mut self, at: usize, group: GroupId, stored: Stored) {
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return;
        };
        let (Some(source), Some(archive)) = (snapshots.source(group), &up.archive) else {
            return up.shard.snapshots_collected(group);
        };
        let (source, archive) = (source.clone(), archive.clone());
        let (policy, now_ms) = (snapshots.plan.collection, clock(self.now));
        up.tasks.push(Box::pin(async move {
            let store = &**archive.store();
            let committed = name_of(&source, &stored);
            let collected = collect::partition(store, &source, &committed, &policy, now_ms);
            Done::Collected(group, collected.await)
        }));
    }

    /// A consumer asks a leader for what its log does not hold. None when it is answered later.
    pub(crate) fn read_stored(
        &mut self,
        at: usize,
        group: GroupId,
        stored: Stored,
        offset: i64,
    ) -> Result<Option<Vec<Bytes>>, String> {
        // In the end nobody waits for what others have begun to read.
        let unshared = self.open_archive(at).ok_or("there is no store")?;
        let (Some(snapshots), Some(up)) = (&self.snapshots, &mut self.nodes[at].up) else {
            return Ok(None);
        };
        let source = snapshots.source(group).ok_or("of no partition")?.clone();
        if snapshots.has_ended {
            let read = at_once(read(unshared, source, stored, offset));
            return read
                .map(Some)
                .map_err(|why| format!("{group} {offset}: {why}"));
        }
        let archive = up.archive.clone().ok_or("it has a store")?;
        let read = read(archive, source, stored, offset);
        up.tasks.push(Box::pin(async move {
            Done::Read(group, stored, offset, read.await)
        }));
        Ok(None)
    }

    /// What is on its way to the store or back arrives, and who waited for it goes on.
    pub(crate) fn store_events(&mut self) -> Outcome {
        let Some(snapshots) = &self.snapshots else {
            return Ok(());
        };
        if snapshots.store.next().min(snapshots.wire.next()) > self.now {
            return Ok(());
        }
        snapshots.store.advance(self.now);
        self.judge_removals()?;
        self.answer_questions()?;
        for at in 0..self.nodes.len() {
            self.run_tasks(at)?;
        }
        Ok(())
    }

    fn judge_removals(&self) -> Outcome {
        let Some(snapshots) = &self.snapshots else {
            return Ok(());
        };
        let mut removed = snapshots.store.take_removed();
        if snapshots.is_own() {
            return Ok(());
        }
        let (memory, keep) = (snapshots.store.memory(), &snapshots.plan.collection);
        if !removed.is_empty() {
            snapshots.promised.are_kept(&snapshots.sources, &memory)?;
        }
        removed.retain(|key| !tails::is_tail(key));
        let (judge, sources) = (&snapshots.judge, &snapshots.sources);
        judge.removed(&removed, sources, &memory, keep.keep_manifests)
    }

    /// Whoever can go on does, and so do those who have just begun.
    pub(crate) fn run_tasks(&mut self, at: usize) -> Outcome {
        self.tell_tasks(at);
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut done = Vec::new();
        up.tasks
            .retain_mut(|task| match task.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(outcome) => {
                    done.push(outcome);
                    false
                }
            });
        let life = self.nodes[at].life;
        for outcome in done {
            if self.nodes[at].life == life && self.nodes[at].up.is_some() {
                self.done(at, outcome)?;
            }
        }
        self.die_asking()
    }

    fn die_asking(&mut self) -> Outcome {
        let dying = self.snapshots.as_ref().map(|s| s.store.take_dying());
        for node in dying.into_iter().flatten() {
            let at = self.place_of(node).ok_or("a broker of this run")?;
            if self.nodes[at].up.is_some() {
                self.report.counts.died_asking += 1;
                self.crash(at);
            }
        }
        Ok(())
    }

    fn done(&mut self, at: usize, outcome: Done) -> Outcome {
        match outcome {
            Done::Taken(group, term, taken) => {
                self.note(0x150);
                self.taken(at, group, term, *taken)?;
            }
            Done::Tail(parts, fates) => {
                self.note(0x153);
                self.tail_done(at, &parts, fates)?;
            }
            Done::CollectedTails(collected) => {
                self.note(0x154);
                self.count_collected(&collected);
            }
            Done::Collected(group, collected) => {
                self.note(0x151);
                self.count_collected(&collected);
                if let Some(up) = &mut self.nodes[at].up {
                    up.shard.snapshots_collected(group);
                }
            }
            Done::Read(group, stored, offset, batches) => {
                self.note(0x152);
                return self.read_from_store(at, group, &stored, offset, batches);
            }
            Done::Brought(done) => {
                self.note(0x155);
                let (holding, brought) = *done;
                self.copies_brought(at, &holding, brought)?;
            }
            Done::AllWhole(group, term, newcomers) => {
                self.note(0x156);
                self.newcomers_whole(at, (group, term), &newcomers);
            }
            Done::Piece(question, piece) => {
                self.report.counts.pieces_given += u64::from(piece.is_some());
                if let Some(snapshots) = &self.snapshots {
                    snapshots.wire.answer(question, piece);
                }
                return Ok(());
            }
            Done::Nothing => return Ok(()),
        }
        self.flush(at)
    }

    fn count_collected(&mut self, collected: &Result<Collected, collect::Error>) {
        let counts = &mut self.report.counts;
        match collected {
            Ok(collected) => counts.collected += collected.deleted.len() as u64,
            Err(_) => counts.collections_failed += 1,
        }
    }

    fn taken(
        &mut self,
        at: usize,
        group: GroupId,
        term: Term,
        taken: Result<Stored, take::Error>,
    ) -> Outcome {
        let counts = &mut self.report.counts;
        match &taken {
            Ok(_) => counts.snapshots += 1,
            Err(why) => {
                counts.snapshots_failed += 1;
                let snapshots = self.snapshots.as_ref().filter(|s| s.is_own());
                let may = match (why, snapshots) {
                    (take::Error::Archive(why), Some(of)) => {
                        of.own_judge.unreadable(self.nodes[at].id, true, why)
                    }
                    (why, _) => may_fail(why),
                };
                if !self.nodes[at].disk.is_cut() {
                    may.map_err(|why| format!("{group}: a snapshot: {why}"))?;
                }
            }
        }
        if let Some(up) = &mut self.nodes[at].up {
            up.shard
                .snapshot_taken(Tick(self.now), group, term, taken.ok());
        }
        Ok(())
    }

    fn read_from_store(
        &mut self,
        at: usize,
        group: GroupId,
        stored: &Stored,
        offset: i64,
        batches: Result<Vec<Bytes>, archive::Error>,
    ) -> Outcome {
        let counts = &mut self.report.counts;
        match batches {
            Ok(batches) => {
                let reached = self.history.read_batches(group, offset, &batches)?;
                counts.stored_records_read += (reached - offset).unsigned_abs();
                if reached > offset {
                    return Ok(());
                }
                Err(format!("{group}: nothing at {offset} in {stored:?}"))
            }
            Err(why) => {
                counts.store_reads_failed += 1;
                if self.snapshots.as_ref().is_some_and(Snapshots::is_own) {
                    return self.own_read_failed(at, group, stored, &why);
                }
                let judge = self.snapshots.as_ref().map(|s| &s.judge);
                judge.map_or(Ok(()), |judge| judge.unreadable(group, stored, &why))
            }
        }
    }

    /// Consumers begin anywhere in a partition, and operators ask for snapshots.
    pub(crate) fn use_store(&mut self) -> Outcome {
        if self.snapshots.is_none() {
            return Ok(());
        }
        for group in self.groups.clone() {
            for at in 0..self.nodes.len() {
                let Some(up) = &mut self.nodes[at].up else {
                    continue;
                };
                let Ok(offsets) = up.shard.offsets(group) else {
                    continue;
                };
                if self.random.chance(ASK_PER_MILLE) {
                    // Who does not lead any more says so.
                    let _ = up.shard.ask_for_snapshot(group);
                }
                let span = (offsets.high_watermark - offsets.log_start).unsigned_abs();
                if span > 0 && self.random.chance(READ_PER_MILLE) {
                    let from = i64::try_from(self.random.below(span)).expect("small");
                    self.read_from(at, group, offsets.log_start + from)?;
                }
                self.run_tasks(at)?;
            }
        }
        if self.snapshots.as_ref().is_some_and(Snapshots::is_own) {
            return self.live_with_copies();
        }
        self.begin_cut();
        for at in 0..self.nodes.len() {
            self.collect_tails(at);
            self.run_tasks(at)?;
        }
        Ok(())
    }

    /// From now on requests to the store may fail.
    pub(crate) fn trouble_store(&mut self) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.store.set_mood(Mood::Faulty);
            snapshots.wire.set_faulty(true);
        }
    }

    /// No more faults of the store.
    pub(crate) fn heal_store(&mut self) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.store.set_mood(Mood::Well);
            snapshots.wire.set_faulty(false);
        }
    }

    /// What the store lacks of what is committed, for people.
    pub(crate) fn why_not_stored(&self) -> Option<String> {
        let has_tails = self.snapshots.as_ref()?.plan.policy.tail_bytes > 0;
        for up in self.nodes.iter().filter_map(|node| node.up.as_ref()) {
            let leads = |group| self.groups.contains(&group) && up.shard.offsets(group).is_ok();
            for s in up.shard.status().filter(|s| leads(s.group)) {
                let (stored, lacks_ms) = (s.stored, s.unstored_ms);
                if lacks_ms > 0 || stored.is_none() && !has_tails {
                    return Some(format!("; {} since {stored:?}: {lacks_ms} ms", s.group));
                }
            }
        }
        self.why_not_held()
    }

    /// The newest snapshot of every partition is whole.
    pub(crate) fn final_check_of_store(&mut self) -> Outcome {
        let Some(snapshots) = &mut self.snapshots else {
            return Ok(());
        };
        snapshots.store.set_mood(Mood::Prompt);
        snapshots.has_ended = true;
        if snapshots.is_own() {
            return self.final_check_of_copies();
        }
        let memory = snapshots.store.memory();
        for (group, source) in &snapshots.sources {
            let judge = &mut snapshots.judge;
            judge.is_whole(*group, source, &memory, &mut self.history)?;
            let up = self.nodes.iter().filter_map(|node| node.up.as_ref());
            let ends = up.filter_map(|up| up.shard.offsets(*group).ok());
            let end = ends.map(|offsets| offsets.high_watermark).max();
            let end = end.ok_or("nobody leads it")?;
            tails::restores((*group, source), end, &memory, &mut self.history)?;
        }
        snapshots.promised.are_kept(&snapshots.sources, &memory)?;
        let told = snapshots.cuts.judge(&self.history, &memory)?;
        self.report.counts.cluster_cuts += told;
        Ok(())
    }
}

fn clock(now: u64) -> i64 {
    i64::try_from(now).expect("a run is short")
}

/// A store may fail, and a log may be trimmed, or not be synced yet, while it is read.
fn may_fail(why: &take::Error) -> Outcome {
    match why {
        take::Error::Store(_) | take::Error::Build(_) | take::Error::NotNow(_) => Ok(()),
        take::Error::Archive(archive::Error::Unavailable { .. }) => Ok(()),
        take::Error::Archive(archive::Error::Missing { .. }) => Ok(()),
        why => Err(why.to_string()),
    }
}
