//! What drives each broker of a run: its starts and ends, its log, what its shard hands out.

use std::time::Duration;

use broker::shard::{Order, Output};
use raft::types::{GroupId, Tick};
use wal::Record;

use crate::node::{self, Node};
use crate::world::{Outcome, World};

impl World {
    /// Starts a broker. When the power goes meanwhile it is tried again later.
    pub(crate) fn start(&mut self, at: usize) -> Outcome {
        let again = self.chaos && self.random.chance(self.plan.recovery_cut_per_mille);
        if again {
            let calls = self.random.between(1, 60);
            self.cut_power_after(at, calls);
        }
        let node = &mut self.nodes[at];
        let id = node.id;
        match node.start(self.now, &self.plan, &self.founders) {
            Ok(groups) => {
                self.open_store(at);
                let node = &self.nodes[at];
                let reader = node
                    .up
                    .as_ref()
                    .expect("it has just started")
                    .reader
                    .clone();
                if node.disk.is_cut() {
                    return self.died_in_recovery(at);
                }
                self.account.recovered(id, &groups, |g| {
                    node::entries(
                        &reader,
                        g.group,
                        g.replica,
                        g.base.index.next(),
                        g.last_index,
                    )
                })?;
                self.note(0xA0 + at as u64);
                self.flush(at)
            }
            Err(_) if node.disk.is_cut() => self.died_in_recovery(at),
            Err(why) => Err(format!("{id}: {why}")),
        }
    }

    fn died_in_recovery(&mut self, at: usize) -> Outcome {
        self.report.counts.recoveries_cut += 1;
        self.stop(at);
        let back = self.now + self.random.between(10, 500);
        self.restarts.insert(at, back);
        Ok(())
    }

    /// The process ends, the disk loses what was not synced.
    pub(crate) fn stop(&mut self, at: usize) {
        let seed = self.random.bits();
        let node = &mut self.nodes[at];
        if let Some(up) = node.up.take() {
            self.report.counts.recycled += up.segments_recycled();
            self.report.counts.cleaned += up.segments_cleaned();
        }
        node.disk.crash(seed);
        let id = node.id;
        self.account.crashed(id);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.store.abandoned_by(id);
            snapshots.judge.crashed(id);
        }
        self.forget_asked(id);
        self.note(0xB0 + at as u64);
        let links = self.connected.keys().copied();
        let links: Vec<_> = links.filter(|(a, b)| *a == at || *b == at).collect();
        for link in links {
            self.disconnect(link);
        }
    }

    /// A round that is due, and background jobs of the log. The power may go in the middle of either.
    pub(crate) fn log_of(&mut self, at: usize) -> Outcome {
        let now = self.now;
        let Node { up, disk, .. } = &mut self.nodes[at];
        let Some(up) = up.as_mut().filter(|up| up.log_wants() <= now) else {
            return Ok(());
        };
        disk.set_elapsed(Duration::from_millis(now));
        match up.maybe_write(self.now) {
            Ok(None) => {}
            Ok(Some(written)) => {
                let id = self.nodes[at].id;
                self.report.counts.rolls += u64::from(written.rolled);
                self.report.counts.shared_rounds += u64::from(written.appends > 1);
                self.account.written(id, &written.records)?;
                self.note(0xD0 + written.done.through.0);
                if let Some(up) = &mut self.nodes[at].up {
                    up.shard.log_done(Tick(self.now), &written.done);
                }
                self.flush(at)?;
            }
            Err((why, records)) => return self.log_failed(at, &why, &records),
        }
        let delay = self.random.between(0, self.plan.job_max_ms);
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        match up.background(self.now, delay) {
            Ok(()) => Ok(()),
            Err(why) => self.log_failed(at, &why, &[]),
        }
    }

    fn log_failed(&mut self, at: usize, why: &wal::Error, records: &[Record]) -> Outcome {
        if !self.nodes[at].disk.is_cut() {
            return Err(format!("{}: the log failed: {why}", self.nodes[at].id));
        }
        self.report.counts.power_cuts += 1;
        self.account.in_doubt(self.nodes[at].id, records);
        self.crash(at);
        Ok(())
    }

    /// Hands out what a broker's shard decided, until nothing follows.
    pub(crate) fn flush(&mut self, at: usize) -> Outcome {
        loop {
            let latency = self.random.between(0, self.plan.sync_max_ms);
            let Some(up) = &mut self.nodes[at].up else {
                return Ok(());
            };
            let output = up.shard.flush(Tick(self.now));
            let Output {
                frames,
                append,
                answers,
                orders,
                ..
            } = output;
            if let Some((append, records)) = append {
                up.append(self.now, latency, append, records);
            }
            let id = self.nodes[at].id;
            for (to, batch) in frames {
                self.send(id, to, batch)?;
            }
            self.observe(at)?;
            for answer in answers {
                self.answered(at, answer)?;
            }
            if orders.is_empty() {
                return Ok(());
            }
            for order in orders {
                self.order(at, order)?;
            }
            self.run_tasks(at)?;
        }
    }

    fn observe(&mut self, at: usize) -> Outcome {
        let id = self.nodes[at].id;
        let Some(up) = &self.nodes[at].up else {
            return Ok(());
        };
        let life = self.nodes[at].life;
        for status in up.shard.status() {
            if self.consumer_groups.partitions.contains(&status.group) {
                let groups = up.shard.stored_groups(status.group);
                let counts = &mut self.report.counts;
                let states = &mut self.consumer_groups.states;
                states.observe((id, life), &status, groups, counts)?;
            }
            if let Some(snapshots) = &mut self.snapshots {
                snapshots.observe(id, &status, &mut self.history)?;
            }
            let (group, replica) = (status.group, status.replica);
            let held = self.account.observe(id, &status, |from, until| {
                // NB: what is in memory may be newer than the disk, where a truncation is still to be written.
                let memory = up.shard.entries_in_memory(group, from, until);
                let until = memory.first().map_or(until, |first| first.index.prev());
                let mut entries = Vec::new();
                if from <= until {
                    entries = up.entries(group, replica, from, until);
                }
                entries.extend(memory);
                entries
            });
            // A disk without power shows nothing: the broker ends with its next write.
            if held.is_err() && !self.nodes[at].disk.is_cut() {
                return held;
            }
        }
        Ok(())
    }

    fn order(&mut self, at: usize, order: Order) -> Outcome {
        match order {
            Order::ReadEntries { .. } => self.read_entries(at, &order),
            Order::LocateTrim {
                group,
                replica,
                offset,
            } => self.locate_trim(at, group, replica, offset),
            Order::ConfirmRemovals(replicas) => self.confirm_removals(at, replicas),
            Order::ReportReassignment(group) => self.report_reassignment(at, group),
            Order::Disconnect(node) => {
                if let Some(other) = self.place_of(node) {
                    self.disconnect((at.min(other), at.max(other)));
                }
                Ok(())
            }
            Order::Halt(halt) => Err(format!("{} halted: {halt}", self.nodes[at].id)),
            Order::CheckRetention { .. } | Order::Peers(_) => Ok(()),
            Order::CheckLocalRetention { .. }
            | Order::TakeSnapshot(_)
            | Order::WriteTail(_)
            | Order::HoldSnapshot(_)
            | Order::AskWhole { .. }
            | Order::CollectSnapshots { .. } => self.snapshot_order(at, order),
            Order::ReadOrigin { .. } | Order::ForgetProducerIds => {
                Err("nothing is restored here".to_owned())
            }
        }
    }

    fn read_entries(&mut self, at: usize, order: &Order) -> Outcome {
        let &Order::ReadEntries {
            group,
            replica,
            to,
            session,
            from,
            until,
            max_bytes,
        } = order
        else {
            return Ok(());
        };
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        let entries = match up.reader.entries(group, replica, from, until, max_bytes) {
            Ok(entries) => Some(entries),
            Err(wal::ReadError::NotFound { .. }) => Some(Vec::new()),
            Err(why) => return self.cannot_read(at, group, &why),
        };
        let now = Tick(self.now);
        up.shard.entries_read(now, group, to, session, entries);
        Ok(())
    }

    fn locate_trim(
        &mut self,
        at: usize,
        group: GroupId,
        replica: raft::types::ReplicaId,
        offset: i64,
    ) -> Outcome {
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        let index = match up.reader.index_of_offset(group, replica, offset) {
            Ok(index) => index,
            Err(why) => return self.cannot_read(at, group, &why),
        };
        let entries = index
            .map(|i| up.entries(group, replica, i, i))
            .unwrap_or_default();
        let batch = entries.first().map(|e| &e.payload);
        let facts = batch.and_then(broker::partition::state::BatchFacts::of);
        let found = index.zip(facts.map(|f| f.base_offset));
        up.shard.trim_at(Tick(self.now), group, found);
        Ok(())
    }

    /// A read failed: the power is gone, or something is wrong.
    pub(crate) fn cannot_read(
        &mut self,
        at: usize,
        group: GroupId,
        why: &wal::ReadError,
    ) -> Outcome {
        if !self.nodes[at].disk.is_cut() {
            let id = self.nodes[at].id;
            return Err(format!("{id} {group}: cannot be read: {why}"));
        }
        let records = self.nodes[at].up.as_ref().map(|up| up.queued());
        self.account
            .in_doubt(self.nodes[at].id, &records.unwrap_or_default());
        self.crash(at);
        Ok(())
    }
}
