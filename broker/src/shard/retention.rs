//! Deleting the old: a committed advance of the log start, then a trim of the log below it on each replica.

use bytes::Bytes;
use raft::types::{Base, EntryKind, GroupId, Index, Tick};

use super::Shard;
use super::output::Order;
use crate::partition::command::PartitionCommand;

impl Shard {
    /// Asks for a look at the partitions led here whose turn it is.
    pub(super) fn check_retention(&mut self, now: Tick) {
        // By an old image's configs more could be deleted than was ever asked for.
        if !self.is_current() {
            return;
        }
        for group in self.groups.values_mut() {
            if now < group.retention_due || !group.is_leader() {
                continue;
            }
            group.retention_due = Tick(now.0 + self.config.retention_interval_ms);
            let config = group.config.clone();
            let local_start = group.local_start();
            let stored = group.readable(self.config.has_own_copies());
            let Some(state) = group.partition() else {
                continue;
            };
            let nothing = state.high_watermark() == state.log_start();
            if nothing || (config.retention_ms.is_none() && config.retention_bytes.is_none()) {
                continue;
            }
            self.io.orders.push(Order::CheckRetention {
                group: group.id,
                replica: group.me.replica,
                retention_ms: config.retention_ms,
                retention_bytes: config.retention_bytes,
                high_watermark: state.high_watermark(),
                log_start: state.log_start(),
                local_start,
                stored,
            });
        }
    }

    /// Looks at all partitions for what their own events do not bring about, once per retention interval.
    pub(super) fn look_at_all(&mut self, now: Tick) {
        if now < self.look_due {
            return;
        }
        self.look_due = Tick(now.0 + self.config.retention_interval_ms);
        let mut silent = Vec::new();
        for group in self.groups.values_mut() {
            let leads = group.is_leader();
            let is_untrimmed = group.first_needed() > group.local_start();
            let Some(state) = group.partition() else {
                continue;
            };
            // A trim that did not happen: the broker stopped before, or its place was not found. NB: a log start
            // within a batch looks like one; its trim changes nothing.
            if is_untrimmed {
                self.io.trims.insert(group.id);
            }
            if state.stored().is_some() {
                self.io.stored.insert(group.id);
            }
            let (at, before) = group.silence_mark.unwrap_or((now, 0));
            let is_over = now.0 - at.0 >= self.config.producer_expiration_ms;
            if is_over && leads && state.has_producers_below(before) {
                silent.push((group.id, before));
            }
            if is_over || group.silence_mark.is_none() {
                group.silence_mark = Some((now, state.high_watermark()));
            }
        }
        for (id, before) in silent {
            self.forget_producers(now, id, before);
        }
    }

    /// Forgets, at every replica, the producers whose last batch lies below an offset.
    fn forget_producers(&mut self, now: Tick, id: GroupId, before: i64) {
        let command = PartitionCommand::ForgetProducers(before).encode();
        if let Err(why) = self.propose(now, id, EntryKind::Command, command) {
            tracing::debug!(target: "raft", group = id.0, code = ?why.code, "producers stay for now");
        }
    }

    /// Asks where the log starts that moved since the last flush are in the log.
    pub(super) fn order_trims(&mut self) {
        for id in std::mem::take(&mut self.io.trims) {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let replica = group.me.replica;
            let offset = group.first_needed();
            if group.trimming.is_none() {
                group.trimming = Some(offset);
                self.io.orders.push(Order::LocateTrim {
                    group: id,
                    replica,
                    offset,
                });
            }
        }
    }

    /// The answer to [`Order::LocateTrim`]: the entry that contains the offset and the base offset of its batch; None
    /// when the log ends there, or when it could not be found: the trim is tried again with the next advance, or with
    /// the next look at all trims.
    pub fn trim_at(&mut self, now: Tick, id: GroupId, found: Option<(Index, i64)>) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(wanted) = group.trimming.take() else {
            return;
        };
        let (applied, needed) = (group.applied(), group.first_needed());
        let Some(state) = group.partition_mut() else {
            return;
        };
        let (index, first_offset) = match found {
            Some((index, base_offset)) => (index.prev(), base_offset),
            None if wanted >= state.high_watermark() => (applied, state.high_watermark()),
            None => return,
        };
        if needed > wanted {
            self.io.trims.insert(id);
        }
        // What only the store holds is still there.
        state.trimmed(first_offset.min(state.log_start()));
        let state = state.encode(first_offset);
        self.trim(now, id, index, state);
    }

    /// Drops the log up to an applied index; `state` sums up what was there.
    pub(super) fn trim(&mut self, now: Tick, id: GroupId, index: Index, state: Bytes) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if index <= group.node.base().index || index > group.applied() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        let base = Base {
            index,
            state: state.clone(),
            ..Base::default()
        };
        if group.node.trim(base, &mut effects).is_ok() {
            group.base_state = state;
            group.counts.trims += 1;
            // NB: offsets that are in the store only must not be looked for in memory.
            let from = group.node.first_in_memory();
            if let Some(state) = group.partition_mut() {
                state.evicted(from);
            }
        }
        self.execute(now, id, &mut effects);
        self.effects = effects;
    }
}
