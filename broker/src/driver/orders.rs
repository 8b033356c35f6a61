//! The shard's orders: reads of the log on blocking threads, retention, reports to the controller.

use std::rc::Rc;
use std::time::Duration;

use raft::types::{EntryKind, GroupId, Index, ReplicaId};

use crate::broker::{Broker, blocking};
use crate::controller::ControllerRequest;
use crate::metadata::Command;
use crate::partition::state::BatchFacts;
use crate::shard::{Halt, Order};

/// How long a report to the controller is tried before the shard orders it anew.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reports under way at once.
const REPORTS_MAX: usize = 64;

impl Broker {
    /// Begins to carry out an order. Returns the halt that it was.
    pub(crate) fn carry_out(self: &Rc<Self>, order: Order) -> Option<Halt> {
        match order {
            Order::ReadEntries {
                group,
                replica,
                to,
                session,
                from,
                until,
                max_bytes,
            } => {
                self.read_entries(group, replica, (to, session), from, until, max_bytes);
            }
            Order::LocateTrim {
                group,
                replica,
                offset,
            } => {
                self.locate_trim(group, replica, offset);
            }
            Order::CheckRetention { .. } => self.check_retention(order),
            Order::Peers(peers) => {
                self.network
                    .set_peers(super::boot::with_seeds(peers, &self.seeds));
            }
            Order::ConfirmRemovals(replicas) => {
                let directory = self.shard.borrow().directory();
                let command = Command::ConfirmRemovals {
                    directory,
                    replicas,
                };
                self.report(None, command);
            }
            Order::ReportReassignment(group) => {
                let command = self.shard.borrow().finished_reassignment(group);
                if let Some(command) = command {
                    self.report(Some(group), command);
                }
            }
            Order::Disconnect(node) => self.network.disconnect(node),
            Order::Halt(halt) => return Some(halt),
        }
        None
    }

    /// Tells the controller something about a group, or about this disk. A report that fails, or comes while many are
    /// under way, is ordered again while it holds.
    fn report(self: &Rc<Self>, about: Option<GroupId>, command: Command) {
        let mut reporting = self.reporting.borrow_mut();
        if reporting.len() >= REPORTS_MAX || !reporting.insert(about) {
            return;
        }
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let request = ControllerRequest::Report(command);
            if let Err(why) = broker.controller_call(request, REPORT_TIMEOUT).await {
                tracing::debug!(target: "controller", ?why, "a report was not taken");
            }
            broker.reporting.borrow_mut().remove(&about);
        });
    }

    fn read_entries(
        self: &Rc<Self>,
        group: GroupId,
        replica: ReplicaId,
        (to, session): (ReplicaId, u64),
        from: Index,
        until: Index,
        max_bytes: u64,
    ) {
        let (broker, reader) = (self.clone(), self.reader.clone());
        tokio::task::spawn_local(async move {
            let read = blocking(move || reader.entries(group, replica, from, until, max_bytes));
            let entries = match read.await {
                Ok(entries) => Some(entries),
                // Trimmed since it was ordered: the follower needs the base, not this.
                Err(wal::ReadError::NotFound { .. }) => Some(Vec::new()),
                Err(why) => {
                    tracing::error!(target: "wal", group = group.0, %why, "cannot read for a follower");
                    None
                }
            };
            let now = broker.now();
            broker
                .shard
                .borrow_mut()
                .entries_read(now, group, to, session, entries);
            broker.work.notify_one();
        });
    }

    fn locate_trim(self: &Rc<Self>, group: GroupId, replica: ReplicaId, offset: i64) {
        let (broker, reader) = (self.clone(), self.reader.clone());
        tokio::task::spawn_local(async move {
            let found = blocking(move || {
                let Some(index) = reader.index_of_offset(group, replica, offset)? else {
                    return Ok(None);
                };
                let entries = reader.entries(group, replica, index, index, 1)?;
                let facts = entries.first().and_then(|e| BatchFacts::of(&e.payload));
                Ok(facts.map(|facts| (index, facts.base_offset)))
            });
            let found = found.await.unwrap_or_else(|why| {
                tracing::error!(target: "wal", group = group.0, %why, "cannot locate the log start");
                None
            });
            broker
                .shard
                .borrow_mut()
                .trim_at(broker.now(), group, found);
            broker.work.notify_one();
        });
    }

    fn check_retention(self: &Rc<Self>, order: Order) {
        let Order::CheckRetention {
            group,
            replica,
            retention_ms,
            retention_bytes,
            high_watermark,
        } = order
        else {
            return;
        };
        let (broker, reader) = (self.clone(), self.reader.clone());
        let wall = self.clock.wall_ms();
        tokio::task::spawn_local(async move {
            let cut = blocking(move || {
                let mut cut = None;
                if let Some(keep) = retention_ms {
                    let horizon = wall.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
                    let first = reader.index_for_timestamp(group, replica, horizon)?;
                    cut = match first {
                        Some(index) => first_offset(&reader, group, replica, index)?,
                        None => Some(high_watermark),
                    };
                }
                if let Some(keep) = retention_bytes
                    && let Some(index) = reader.index_for_bytes(group, replica, keep)
                {
                    cut = cut.max(first_offset(&reader, group, replica, index)?);
                }
                Ok(cut)
            });
            match cut.await {
                Ok(Some(offset)) => {
                    let (now, offset) = (broker.now(), offset.min(high_watermark));
                    let mut shard = broker.shard.borrow_mut();
                    shard.advance_log_start(now, group, offset, now, None);
                    drop(shard);
                    broker.work.notify_one();
                }
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(target: "wal", group = group.0, %why, "retention cannot look");
                }
            }
        });
    }
}

/// The offset of the batch at an index; None when no batch is there.
fn first_offset(
    reader: &wal::Reader,
    group: GroupId,
    replica: ReplicaId,
    index: Index,
) -> Result<Option<i64>, wal::ReadError> {
    let entries = match reader.entries(group, replica, index, index, 1) {
        Err(wal::ReadError::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let batch = entries.iter().find(|e| e.kind == EntryKind::Records);
    Ok(batch
        .and_then(|e| BatchFacts::of(&e.payload))
        .map(|facts| facts.base_offset))
}
