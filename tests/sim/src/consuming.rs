//! Clients at work: consumers that read what leaders show.

use broker::broker::FetchAt;
use broker::shard::Plan as ReadPlan;
use bytes::Bytes;
use raft::types::{EntryKind, GroupId};

use crate::world::{Outcome, World};

/// How far back a consumer begins at most, in records.
const BACK_MAX: u64 = 30;

impl World {
    /// A consumer reads what every leader serves, from a random place near the end.
    pub(crate) fn consume(&mut self) -> Outcome {
        for group in self.groups.clone() {
            for at in 0..self.nodes.len() {
                let Some(up) = &self.nodes[at].up else {
                    continue;
                };
                let Ok(offsets) = up.shard.offsets(group) else {
                    continue;
                };
                let (start, high) = (offsets.log_start, offsets.high_watermark);
                self.account.shows(group, offsets.term, high, start)?;
                let Ok(span) = u64::try_from(high - start) else {
                    return Err(format!("{group}: the log starts at {start}, above {high}"));
                };
                if span > 0 {
                    let back = self.random.below(span.min(BACK_MAX)) + 1;
                    let back = i64::try_from(back).expect("small");
                    self.read_from(at, group, high - back)?;
                }
            }
        }
        Ok(())
    }

    /// Reads from an offset towards the high watermark at one broker. Returns how many records it saw; None when the
    /// broker went down meanwhile, or the store is asked and will answer later.
    pub(crate) fn read_from(
        &mut self,
        at: usize,
        group: GroupId,
        from: i64,
    ) -> Result<Option<i64>, String> {
        let Some((batches, end)) = self.fetch(at, group, from)? else {
            return Ok(None);
        };
        let id = self.nodes[at].id;
        let next = self.history.read_batches(group, from, &batches);
        let next = next.map_err(|why| format!("at {id}: {why}"))?;
        if next > end {
            return Err(format!("{group} at {id}: {} read above {end}", next - 1));
        }
        if next == from {
            return Err(format!("{group} at {id}: nothing at {from} below {end}"));
        }
        let seen = next - from;
        self.report.counts.records_read += seen.unsigned_abs();
        Ok(Some(seen))
    }

    /// Batches from the one that holds an offset on, and the high watermark.
    fn fetch(
        &mut self,
        at: usize,
        group: GroupId,
        from: i64,
    ) -> Result<Option<(Vec<Bytes>, i64)>, String> {
        let Some(up) = &self.nodes[at].up else {
            return Ok(None);
        };
        let fetch = FetchAt {
            group,
            offset: from,
            max_bytes: 1 << 20,
            current_leader_epoch: -1,
            read_committed: false,
        };
        match up.shard.plan_read(&fetch) {
            Ok(ReadPlan::Ready(fetched)) => {
                Ok(Some((fetched.batches, fetched.offsets.high_watermark)))
            }
            Ok(ReadPlan::Disk {
                replica,
                offsets,
                until,
            }) => {
                let index = match up.reader.index_of_offset(group, replica, from) {
                    Ok(index) => index,
                    Err(why) => {
                        self.cannot_read(at, group, &why)?;
                        return Ok(None);
                    }
                };
                let Some(index) = index else {
                    let id = self.nodes[at].id;
                    return Err(format!(
                        "{group} at {id}: {from} is committed and not in the log"
                    ));
                };
                let entries = up.entries(group, replica, index, until);
                if self.nodes[at].disk.is_cut() {
                    return Ok(None);
                }
                let records = entries.into_iter().filter(|e| e.kind == EntryKind::Records);
                let batches = records.map(|e| e.payload).collect();
                Ok(Some((batches, offsets.high_watermark)))
            }
            Ok(ReadPlan::Store { stored, offsets }) => {
                if stored.is_none() && self.lacks_copies(at, group) {
                    return Ok(None);
                }
                let stored = stored.ok_or(format!("{group} {from}: neither here nor stored"))?;
                let batches = self.read_stored(at, group, stored, from)?;
                Ok(batches.map(|batches| (batches, offsets.high_watermark)))
            }
            Err(why) => Err(format!(
                "{group} {from}: a committed offset was refused: {why:?}"
            )),
        }
    }
}
