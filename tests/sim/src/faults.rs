//! What goes wrong in a run, and when.

use broker::metadata::{Command, Image};
use raft::effect::Role;
use raft::types::{GroupId, NodeId, Tick};
use wal::model::Fault;

use crate::plan::Every;
use crate::world::{Outcome, World};

/// The kinds of faults that come at random times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crash,
    Blackout,
    Cut,
    Transfer,
    Reassign,
    Delete,
    Wipe,
}

const KINDS: [Kind; 7] = [
    Kind::Crash,
    Kind::Blackout,
    Kind::Cut,
    Kind::Transfer,
    Kind::Reassign,
    Kind::Delete,
    Kind::Wipe,
];

/// Chance that it is any broker that hears nothing for a while, not a coordinator, in a thousand.
const ANY_DEAF_PER_MILLE: u64 = 300;

/// When the next fault of each kind comes, and when the network is mended.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    due: [u64; KINDS.len()],
    mend_at: Option<u64>,
    /// The broker that serves its clients, but gets round to no message of another one and to no timer, and until when.
    deaf: Option<(usize, u64)>,
    /// When the next one does.
    deaf_at: u64,
    /// The broker that dies with an answer that it has just given.
    pub(crate) dying: Option<usize>,
}

impl Faults {
    pub(crate) fn is_deaf(&self, at: usize, now: u64) -> bool {
        self.deaf_until(at, now).is_some()
    }

    pub(crate) fn deaf_until(&self, at: usize, now: u64) -> Option<u64> {
        let (deaf, until) = self.deaf?;
        (deaf == at && now < until).then_some(until)
    }
}

fn mean_ms(every: &Every, kind: Kind) -> u64 {
    match kind {
        Kind::Crash => every.crash,
        Kind::Blackout => every.blackout,
        Kind::Cut => every.cut,
        Kind::Transfer => every.transfer,
        Kind::Reassign => every.reassign,
        Kind::Delete => every.delete,
        Kind::Wipe => every.wipe,
    }
}

impl World {
    pub(crate) fn plan_faults(&mut self) {
        for (at, kind) in KINDS.into_iter().enumerate() {
            self.faults.due[at] = self.next_fault(kind);
        }
    }

    fn next_fault(&mut self, kind: Kind) -> u64 {
        match mean_ms(&self.plan.every, kind) {
            0 => u64::MAX,
            mean => self.now + self.random.between(1, mean * 2),
        }
    }

    /// Makes happen what is due.
    pub(crate) fn inject(&mut self) -> Outcome {
        for (at, kind) in KINDS.into_iter().enumerate() {
            if self.faults.due[at] > self.now {
                continue;
            }
            self.faults.due[at] = self.next_fault(kind);
            self.note(0xF0 + at as u64);
            match kind {
                Kind::Crash => self.inject_crash(),
                Kind::Blackout => self.inject_blackout(),
                Kind::Cut => self.inject_cut(),
                Kind::Transfer => self.inject_transfer()?,
                Kind::Reassign => self.inject_move()?,
                Kind::Delete => self.inject_delete()?,
                Kind::Wipe => self.inject_wipe(),
            }
        }
        self.inject_deafness();
        if let Some(at) = self.faults.dying.take()
            && self.nodes[at].up.is_some()
        {
            self.report.counts.died_answering += 1;
            self.crash(at);
        }
        if self.faults.mend_at.is_some_and(|at| at <= self.now) {
            self.faults.mend_at = None;
            self.network.heal();
        }
        Ok(())
    }

    /// A broker goes down and comes up again some time later.
    pub(crate) fn crash(&mut self, at: usize) {
        self.report.counts.crashes += 1;
        self.stop(at);
        let back = self.now + self.random.between(10, 1500);
        self.restarts.insert(at, back);
    }

    fn up(&self) -> Vec<usize> {
        let up = (0..self.nodes.len()).filter(|at| self.nodes[*at].up.is_some());
        up.collect()
    }

    /// A coordinator may be deposed without hearing of it, and its clients ask it still. And any broker may hear of many
    /// things at once.
    fn inject_deafness(&mut self) {
        let ended = self.faults.deaf.take_if(|(_, until)| *until <= self.now);
        // NB: who has just been deaf hears something before it is again: it has to find out that nobody heard it.
        let may_be = |at: &usize| ended.is_none_or(|(last, _)| last != *at);
        let mean = self.plan.consumer_groups.deaf_every_ms;
        if mean == 0 || self.faults.deaf.is_some() || self.faults.deaf_at > self.now {
            return;
        }
        let first = self.faults.deaf_at == 0;
        self.faults.deaf_at = self.now + self.random.between(1, mean * 2);
        let coordinated = self.random.pick(&self.consumer_groups.partitions).copied();
        let leads = |at: &usize| {
            let up = self.nodes[*at].up.as_ref();
            let status = up.into_iter().flat_map(|up| up.shard.status());
            let mut own = status.filter(|status| Some(status.group) == coordinated);
            own.any(|status| status.role == Role::Leader)
        };
        let leader = (0..self.nodes.len()).find(leads).filter(|_| !first);
        let up = self.up();
        let any = self.random.pick(&up).copied();
        let any = any.filter(|_| !first && self.random.chance(ANY_DEAF_PER_MILLE));
        if let Some(at) = any.or(leader).filter(may_be) {
            self.report.counts.deaf += 1;
            let until = self.now + self.random.between(100, 1500);
            self.faults.deaf = Some((at, until));
        }
    }

    /// The power goes everywhere, and nobody is in the middle of anything.
    pub(crate) fn crash_all(&mut self) {
        self.up().into_iter().for_each(|at| self.crash(at));
    }

    /// The power of a broker goes at one of the next calls to its disk.
    pub(crate) fn cut_power_after(&mut self, at: usize, calls: u64) {
        let disk = &self.nodes[at].disk;
        disk.fail_at(disk.calls() + calls, Fault::PowerCut);
    }

    fn inject_crash(&mut self) {
        let up = self.up();
        let Some(&at) = self.random.pick(&up) else {
            return;
        };
        if self.random.chance(self.plan.torn_per_mille) {
            let calls = self.random.between(1, 12);
            self.cut_power_after(at, calls);
        } else {
            self.crash(at);
        }
    }

    /// The power goes everywhere at once: here in the middle of a write, there between two.
    fn inject_blackout(&mut self) {
        self.report.counts.blackouts += 1;
        for at in self.up() {
            if self.random.chance(500) {
                self.tear_write(at);
            }
            self.crash(at);
            if self.random.chance(100) {
                // Not before the faults have ended.
                self.restarts.remove(&at);
            }
        }
    }

    /// The power goes during the write that is under way, if there is one.
    fn tear_write(&mut self, at: usize) {
        let calls = self.random.between(1, 4);
        self.cut_power_after(at, calls);
        let node = &mut self.nodes[at];
        let Some(up) = node.up.as_mut().filter(|up| !up.is_synced()) else {
            return;
        };
        let records = match up.tear_write() {
            Ok(written) => written.map(|w| w.records).unwrap_or_default(),
            Err((_, records)) => {
                self.report.counts.power_cuts += 1;
                records
            }
        };
        self.account.in_doubt(node.id, &records);
    }

    /// Cuts one broker off: in both directions, in one, or from some of the others.
    fn inject_cut(&mut self) {
        let ids: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let Some(&one) = self.random.pick(&ids) else {
            return;
        };
        let kind = self.random.below(4);
        for &other in ids.iter().filter(|id| **id != one) {
            if kind == 3 && self.random.chance(500) {
                continue;
            }
            if kind != 1 {
                self.network.cut(one, other);
            }
            if kind != 2 {
                self.network.cut(other, one);
            }
        }
        self.faults.mend_at = Some(self.now + self.random.between(50, 1500));
    }

    fn any_group(&mut self) -> Option<GroupId> {
        self.random.pick(&self.groups).copied()
    }

    /// Also one of the internal topic.
    fn any_partition(&mut self) -> Option<GroupId> {
        let all = self.groups.iter().chain(&self.consumer_groups.partitions);
        let all: Vec<GroupId> = all.copied().collect();
        self.random.pick(&all).copied()
    }

    fn inject_transfer(&mut self) -> Outcome {
        let Some(group) = self.any_partition() else {
            return Ok(());
        };
        let ids: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let Some(&to) = self.random.pick(&ids) else {
            return Ok(());
        };
        for at in 0..self.nodes.len() {
            self.transfer(at, group, to)?;
        }
        Ok(())
    }

    fn inject_move(&mut self) -> Outcome {
        let Some(group) = self.any_partition() else {
            return Ok(());
        };
        let version = |image: &Image| Some(image.partition(group)?.version);
        let Some(as_of) = self.image().and_then(version) else {
            return Ok(());
        };
        let mut nodes: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        while nodes.len() > self.plan.replication {
            let at = self.random.below(nodes.len() as u64);
            nodes.remove(usize::try_from(at).expect("small"));
        }
        let command = Command::SetTarget {
            group,
            nodes,
            as_of,
        };
        self.propose(&command).map(|_| ())
    }

    fn inject_delete(&mut self) -> Outcome {
        let Some(group) = self.any_group() else {
            return Ok(());
        };
        for at in self.up() {
            let up = self.nodes[at].up.as_ref();
            let Some(Ok(offsets)) = up.map(|up| up.shard.offsets(group)) else {
                continue;
            };
            let span = (offsets.high_watermark - offsets.log_start).unsigned_abs();
            let deleted = i64::try_from(self.random.below(span + 1)).expect("small");
            let ticket = self.ticket(at, None);
            let (now, deadline) = (Tick(self.now), Tick(self.now + 300));
            if let Some(up) = &mut self.nodes[at].up {
                let before = offsets.log_start + deleted;
                up.shard
                    .advance_log_start(now, group, before, deadline, Some(ticket));
            }
            self.flush(at)?;
        }
        Ok(())
    }

    /// A broker comes back with an empty disk. Only when nobody else is missing and no group is on the way to
    /// another assignment: an entry may be on two disks of three, and may not lose a second one.
    fn inject_wipe(&mut self) {
        let up = self.up();
        let Some(&at) = self.random.pick(&up).filter(|_| self.may_wipe()) else {
            return;
        };
        self.report.counts.wipes += 1;
        self.crash(at);
        let seed = self.random.bits();
        let node = &mut self.nodes[at];
        node.wipe(seed);
        self.account.wiped(node.id);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.wiped(node.id);
        }
    }

    fn may_wipe(&self) -> bool {
        let Some(image) = self.image().filter(|_| self.up().len() == self.nodes.len()) else {
            return false;
        };
        let current = |node: NodeId| image.broker(node).map(broker::metadata::Broker::directory);
        let known = self
            .nodes
            .iter()
            .all(|n| current(n.id) == Some(n.directory));
        let metadata = image.partition(GroupId::METADATA);
        let settled = metadata.into_iter().chain(image.partitions()).all(|p| {
            let whole = p
                .desired()
                .iter()
                .all(|m| current(m.node) == Some(m.directory));
            whole && !p.is_moving() && p.leaving.is_empty()
        });
        known && settled && self.all_have_copies()
    }
}
