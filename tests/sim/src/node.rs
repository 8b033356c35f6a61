//! One broker of a run: its disk, and while it is up the real shard and the real log on it.

use std::collections::VecDeque;
use std::sync::Arc;

use broker::controller::{Controller, Policy};
use broker::shard::{AppendId, Config, LogDone, RestoreError, Restored, Shard};
use raft::types::{
    DirectoryId, Entry, GroupId, Index, Member, Membership, NodeId, ReplicaId, Tick,
};
use wal::model::ModelDisk;
use wal::{Identity, Log, Reader, Record};

use crate::Plan;

/// The cluster id of every run.
pub const CLUSTER: u128 = 0xC0FFEE;

/// A broker that is up.
pub struct Running {
    /// Its decisions.
    pub shard: Shard,
    /// Its log.
    pub log: Log,
    /// Reads of it.
    pub reader: Arc<Reader>,
    /// What is on its way to the disk, with the time when it is synced.
    pub writing: VecDeque<(u64, AppendId, Vec<Record>)>,
    /// What it decides while it leads the metadata group.
    pub controller: Controller,
    /// When it looks next.
    pub controls_at: u64,
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
    /// The power is going to go at one of the next calls to the disk.
    pub power_cut: bool,
    /// None while it is down.
    pub up: Option<Running>,
}

/// Why a broker did not come up again. Every one is a failure: the disk lost only what was not synced.
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
    pub fn new(id: NodeId, directory: DirectoryId, seed: u64) -> Self {
        let disk = ModelDisk::new(seed ^ u64::from(id.0.unsigned_abs()) << 32);
        Self {
            id,
            directory,
            disk,
            life: 0,
            power_cut: false,
            up: None,
        }
    }

    /// Starts it on what its disk holds.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(&mut self, now: u64, plan: &Plan, founders: &[Member]) -> Result<(), StartError> {
        assert!(self.up.is_none(), "it is down");
        self.life += 1;
        let identity = Identity {
            cluster: CLUSTER,
            node: self.id,
            directory: self.directory,
        };
        let (log, recovery) = Log::open(self.disk.clone(), log_config(), identity)?;
        let reader = log.reader();
        let config = self.config(plan);
        let mut shard = Shard::new(config, Tick(now));
        let mut metadata = false;
        for group in recovery.groups {
            if let Some(faulty) = group.faulty {
                return Err(StartError::Faulty(group.group, faulty));
            }
            metadata |= group.group == GroupId::METADATA;
            restore(&mut shard, now, group, &reader)?;
        }
        let here = |m: &&Member| m.node == self.id && m.directory == self.directory;
        if !metadata && let Some(me) = founders.iter().find(here) {
            let image = broker::metadata::Image::bootstrap(CLUSTER, founders.to_vec());
            shard.bootstrap(Tick(now), me.replica, &image);
        }
        shard.start(Tick(now));
        self.up = Some(Running {
            shard,
            log,
            reader,
            writing: VecDeque::new(),
            controller: Controller::new(policy()),
            controls_at: now,
        });
        Ok(())
    }

    fn config(&self, plan: &Plan) -> Config {
        Config {
            node: self.id,
            directory: self.directory,
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
            retention_interval_ms: 1_000_000,
            ..Config::default()
        }
    }
}

impl Running {
    /// Writes the oldest queued append, as the log thread does; jobs run inline.
    ///
    /// # Errors
    /// When the disk fails (the power went during the write).
    pub fn write(&mut self) -> Result<(LogDone, Vec<Record>), wal::Error> {
        let (_, id, records) = self.writing.pop_front().expect("something is queued");
        let kept = records.clone();
        let round = self.log.write(records)?;
        let sealed = round.rolled.map(|rolled| rolled.groups).unwrap_or_default();
        while let Some(job) = self.log.next_job() {
            self.log.finish(job.run())?;
        }
        Ok((
            LogDone {
                through: id,
                disk_full: !round.room.entries,
                sealed,
                held: Vec::new(),
            },
            kept,
        ))
    }

    /// Entries of a group from the log.
    #[must_use]
    pub fn entries(
        &self,
        group: GroupId,
        replica: ReplicaId,
        from: Index,
        until: Index,
    ) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut next = from;
        while next <= until {
            match self.reader.entries(group, replica, next, until, 1 << 20) {
                Ok(more) if !more.is_empty() => {
                    next = more[more.len() - 1].index.next();
                    entries.extend(more);
                }
                _ => break,
            }
        }
        entries
    }
}

fn restore(
    shard: &mut Shard,
    now: u64,
    group: wal::RecoveredGroup,
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

fn log_config() -> wal::Config {
    wal::Config::tiny()
}

fn policy() -> Policy {
    Policy {
        leader_stable_ms: 500,
        retry_ms: 1000,
        ..Policy::default()
    }
}
