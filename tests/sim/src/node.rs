//! One broker of a run: its disk, and while it is up the real shard and the real log on it.

use std::collections::VecDeque;
use std::sync::Arc;

use broker::controller::{Controller, Policy};
use broker::shard::{AppendId, Config, LogDone, RestoreError, Restored, Shard};
use raft::types::{
    DirectoryId, Entry, GroupId, Index, Member, Membership, NodeId, ReplicaId, Tick,
};
use snapshot::archive::Archive;
use wal::model::ModelDisk;
use wal::{Identity, Job, Log, Reader, Record, RecoveredGroup};

use crate::Plan;
use crate::snapshots::Task;
use crate::snapshots::own::Copies;

/// The cluster id of every run.
pub const CLUSTER: u128 = 0xC0FFEE;
/// A log that is idle for so long writes its mark.
const IDLE_AFTER_MS: u64 = 50;
/// Where there is a snapshot store, all partitions are looked at so often.
const STORE_LOOK_MS: u64 = 500;

/// A broker that is up.
pub struct Running {
    /// Its decisions.
    pub shard: Shard,
    /// Reads of its log.
    pub reader: Arc<Reader>,
    /// What it decides while it leads the metadata group.
    pub controller: Controller,
    /// When it looks next.
    pub controls_at: u64,
    /// Its way to the snapshot store.
    pub archive: Option<Arc<Archive>>,
    /// What it knows of its own copies, where it has them.
    pub copies: Option<Copies>,
    /// What it waits for there.
    pub tasks: Vec<Task>,
    log: Log,
    /// Appends that wait for the log.
    queued: VecDeque<(AppendId, Vec<Record>)>,
    /// When the round under way is synced.
    busy_until: Option<u64>,
    idle_at: Option<u64>,
    /// Background jobs, with the time when somebody gets round to them.
    jobs: VecDeque<(u64, Job)>,
}

/// A round that was written.
pub struct Written {
    /// For the shard.
    pub done: LogDone,
    /// What it held.
    pub records: Vec<Record>,
    /// It went into a new segment.
    pub rolled: bool,
    /// How many appends it held.
    pub appends: usize,
}

/// A broker, up or down.
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its disk's id.
    pub directory: DirectoryId,
    /// Its disk.
    pub disk: Arc<ModelDisk>,
    /// How often it has started.
    pub life: u64,
    /// How often its disk was replaced.
    pub wipes: u64,
    /// None while it is down.
    pub up: Option<Running>,
}

/// Why a broker did not come up again. Unless the power went once more every one is a failure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log did not open.
    #[error("the log did not open: {0}")]
    Log(#[from] wal::Error),
    /// A group did not come back.
    #[error("{0}")]
    Restore(#[from] RestoreError),
    /// A recovered group is marked damaged though nothing but a crash happened.
    #[error("{0:?} is marked damaged after a mere crash: {1:?}")]
    Faulty(GroupId, wal::Faulty),
}

impl Node {
    /// A broker with an empty disk.
    #[must_use]
    pub fn new(id: NodeId, seed: u64) -> Self {
        Self {
            id,
            directory: directory_of(id, 0),
            disk: new_disk(id, 0, seed),
            life: 0,
            wipes: 0,
            up: None,
        }
    }

    /// Its disk is gone; it has another one.
    pub fn wipe(&mut self, seed: u64) {
        assert!(
            self.up.is_none(),
            "only a broker that is down loses its disk"
        );
        self.wipes += 1;
        self.directory = directory_of(self.id, self.wipes);
        self.disk = new_disk(self.id, self.wipes, seed);
    }

    /// Starts it on what its disk holds. Returns what the log recovered.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        &mut self,
        now: u64,
        plan: &Plan,
        founders: &[Member],
    ) -> Result<Vec<RecoveredGroup>, StartError> {
        assert!(self.up.is_none(), "it is down");
        self.life += 1;
        let identity = Identity {
            cluster: CLUSTER,
            node: self.id,
            directory: self.directory,
        };
        let (log, recovery) = Log::open(self.disk.clone(), log_config(), identity)?;
        let reader = log.reader();
        let mut shard = Shard::new(self.config(plan), Tick(now));
        let mut metadata = false;
        shard.recall_dropped(recovery.removed);
        for group in &recovery.groups {
            if let Some(faulty) = group.faulty {
                return Err(StartError::Faulty(group.group, faulty));
            }
            metadata |= group.group == GroupId::METADATA;
            restore(&mut shard, now, group.clone(), &reader)?;
        }
        let here = |m: &&Member| m.node == self.id && m.directory == self.directory;
        if !metadata && let Some(me) = founders.iter().find(here) {
            let image = broker::metadata::Image::bootstrap(CLUSTER, founders.to_vec());
            shard.bootstrap(Tick(now), me.replica, &image);
        }
        shard.start(Tick(now));
        self.up = Some(Running {
            shard,
            reader,
            controller: Controller::new(policy()),
            controls_at: now,
            archive: None,
            copies: None,
            tasks: Vec::new(),
            log,
            queued: VecDeque::new(),
            busy_until: None,
            idle_at: None,
            jobs: VecDeque::new(),
        });
        Ok(recovery.groups)
    }

    fn config(&self, plan: &Plan) -> Config {
        Config {
            node: self.id,
            directory: self.directory,
            boot: self.life,
            raft: raft::Config {
                quiesce_after_ms: 300,
                ..raft::Config::tiny()
            },
            seed: plan.seed ^ self.life << 40 ^ u64::from(self.id.0.unsigned_abs()),
            heartbeat_ms: 20,
            peer_timeout_ms: 200,
            tail_bytes_max: plan.tail_bytes,
            metadata_trim_entries: 20,
            replica_lag_max_ms: 1000,
            retention_interval_ms: if plan.snapshots.is_some() {
                STORE_LOOK_MS
            } else {
                1_000_000
            },
            snapshots: plan.snapshots.as_ref().map(|plan| plan.policy),
            groups: broker::coordinator::core::Config {
                initial_rebalance_delay_ms: 30,
                session_timeout_min_ms: 100,
                consumer_session_timeout_ms: plan.consumer_groups.session_ms,
                ..Default::default()
            },
            ..Config::default()
        }
    }
}

impl Running {
    /// Queues an append; it is written with the next round.
    pub fn append(&mut self, now: u64, latency_ms: u64, id: AppendId, records: Vec<Record>) {
        self.queued.push_back((id, records));
        self.busy_until.get_or_insert(now + latency_ms);
        self.idle_at = None;
    }

    /// When the log has something to do.
    #[must_use]
    pub fn log_wants(&self) -> u64 {
        let job = self.jobs.front().map(|(at, _)| *at);
        let times = [self.busy_until, self.idle_at, job];
        times.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Whether everything that the shard appended is synced.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.queued.is_empty()
    }

    /// What a round would write now.
    #[must_use]
    pub fn queued(&self) -> Vec<Record> {
        let queued = self.queued.iter();
        queued
            .flat_map(|(_, records)| records.iter().cloned())
            .collect()
    }

    /// Writes all that is queued as one round, when its time has come.
    ///
    /// # Errors
    /// When the disk fails (the power went during the write), with what was being written.
    pub fn maybe_write(&mut self, now: u64) -> Result<Option<Written>, (wal::Error, Vec<Record>)> {
        if self.busy_until.is_none_or(|at| at > now) {
            return Ok(None);
        }
        self.busy_until = None;
        self.idle_at = Some(now + IDLE_AFTER_MS);
        let appends = self.queued.len();
        let Some(through) = self.queued.back().map(|(id, _)| *id) else {
            return Ok(None);
        };
        let records = self.queued();
        self.queued.clear();
        let round = match self.log.write(records.clone()) {
            Ok(round) => round,
            Err(why) => return Err((why, records)),
        };
        let rolled = round.rolled.is_some();
        let sealed = round.rolled.map(|rolled| rolled.groups).unwrap_or_default();
        let done = LogDone {
            through,
            disk_full: !round.room.entries,
            held: Vec::new(),
            sealed,
        };
        Ok(Some(Written {
            done,
            records,
            rolled,
            appends,
        }))
    }

    /// Writes what is queued before its time, for the power to go meanwhile.
    ///
    /// # Errors
    /// As [`Running::maybe_write`].
    pub fn tear_write(&mut self) -> Result<Option<Written>, (wal::Error, Vec<Record>)> {
        let now = self.busy_until.unwrap_or_default();
        self.maybe_write(now)
    }

    /// Runs background jobs and writes the idle mark when their time has come. A new job waits for `delay_ms`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn background(&mut self, now: u64, delay_ms: u64) -> Result<(), wal::Error> {
        while self.jobs.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, job)) = self.jobs.pop_front() {
                self.log.finish(job.run())?;
            }
        }
        self.log.zero_ahead();
        if self.idle_at.is_some_and(|at| at <= now) {
            self.idle_at = None;
            self.log.idle()?;
        }
        while let Some(job) = self.log.next_job()? {
            self.jobs.push_back((now + delay_ms, job));
        }
        Ok(())
    }

    /// Segments that the cleaner has taken apart in this life.
    #[must_use]
    pub fn segments_cleaned(&self) -> u64 {
        self.log.stats().segments_cleaned
    }

    /// Lives of segments so far, beyond one for each file.
    #[must_use]
    pub fn segments_recycled(&self) -> u64 {
        self.log.stats().segments_recycled
    }

    /// Entries of a group from the log; fewer where they cannot be read.
    #[must_use]
    pub fn entries(
        &self,
        group: GroupId,
        replica: ReplicaId,
        from: Index,
        until: Index,
    ) -> Vec<Entry> {
        entries(&self.reader, group, replica, from, until)
    }
}

/// Entries of a group from a log; fewer where they cannot be read.
#[must_use]
pub fn entries(
    reader: &Reader,
    group: GroupId,
    replica: ReplicaId,
    from: Index,
    until: Index,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = from;
    while next <= until {
        match reader.entries(group, replica, next, until, 1 << 20) {
            Ok(more) if !more.is_empty() => {
                next = more[more.len() - 1].index.next();
                entries.extend(more);
            }
            _ => break,
        }
    }
    entries
}

fn directory_of(id: NodeId, wipes: u64) -> DirectoryId {
    DirectoryId(0xD000 + u128::from(id.0.unsigned_abs()) + (u128::from(wipes) << 16))
}

fn new_disk(id: NodeId, wipes: u64, seed: u64) -> Arc<ModelDisk> {
    ModelDisk::new(seed ^ u64::from(id.0.unsigned_abs()) << 32 ^ wipes << 48)
}

fn restore(
    shard: &mut Shard,
    now: u64,
    group: RecoveredGroup,
    reader: &Reader,
) -> Result<(), RestoreError> {
    let (id, replica) = (group.group, group.replica);
    let memberships = group.membership_entries.iter();
    let memberships = memberships
        .map(|e| {
            (
                e.index,
                Membership::decode(&e.payload).expect("it was appended"),
            )
        })
        .collect();
    let restored = Restored {
        group: id,
        replica,
        base: group.base,
        hard_state: group.hard_state,
        last_index: group.last_index,
        terms: group.terms,
        memberships,
        derived: group.derived,
    };
    shard.restore(Tick(now), restored, |from, until| {
        reader
            .entries(id, replica, from, until, 1 << 20)
            .map_err(|why| why.to_string())
    })
}

/// Little enough that the cleaner has to work.
fn log_config() -> wal::Config {
    wal::Config {
        clean_slack_bytes: 64 << 10,
        ..wal::Config::tiny()
    }
}

fn policy() -> Policy {
    Policy {
        leader_stable_ms: 500,
        retry_ms: 1000,
        ..Policy::default()
    }
}
