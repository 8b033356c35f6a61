//! Cuts of the whole cluster: whoever makes them asks the brokers, each at a time of its own, and what came about is judged
//! in the end. Nothing may lie in a cut that a client began after it had heard that something was acknowledged that does
//! not.

use std::collections::BTreeMap;

use broker::shard::{Captured, Position};
use raft::types::{GroupId, Tick};
use snapshot::cluster::{self, Cluster};
use snapshot::cut::{self, Cut, Standing};
use snapshot::inventory;
use snapshot::source::Incarnation;
use snapshot::store::memory::Memory;

use super::store::at_once;
use super::{CLUSTER_ID, Snapshots};
use crate::client::{Kind, Waiting};
use crate::history::History;
use crate::random::Random;
use crate::world::{Outcome, World};

/// Chance that a cut is begun, in a thousand looks.
const BEGIN_PER_MILLE: u64 = 40;
/// Until a step reaches a broker, in ms: more than a hold may take, sometimes.
const STEP_MS: u64 = 45;
/// An answer of a majority that takes longer is waited for no more, in ms.
const CONFIRM_MS: u64 = 60;

/// Those that were tried.
#[derive(Default)]
pub(crate) struct Cuts {
    last: u128,
    under_way: Option<UnderWay>,
    /// That came about: positions by partition, and whether all of the snapshots were taken.
    made: Vec<Made>,
}

struct Made {
    cut: Cut,
    groups: BTreeMap<GroupId, Position>,
    is_whole: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Hold,
    Confirm,
    Release,
    Take,
}

struct UnderWay {
    id: u128,
    step: Step,
    /// Brokers to which the step comes yet, and when.
    coming: Vec<(u64, usize)>,
    nodes: Vec<usize>,
    positions: BTreeMap<GroupId, (usize, Position)>,
    /// Majorities that have not answered.
    unconfirmed: usize,
    /// When it is given up.
    until: u64,
    has_failed: bool,
}

impl Cuts {
    /// When it goes on.
    pub(crate) fn next(&self) -> u64 {
        let coming = self.under_way.iter().flat_map(|way| &way.coming);
        coming.map(|(at, _)| *at).min().unwrap_or(u64::MAX)
    }

    /// How many came about.
    pub(super) fn judge(&self, history: &History, memory: &Memory) -> Result<u64, String> {
        let objects = at_once(inventory::topics(memory)).map_err(|why| why.to_string())?;
        for made in &self.made {
            made.judge(history)?;
            if made.is_whole {
                made.cut.check(&objects).map_err(|why| why.to_string())?;
            }
        }
        Ok(self.made.len() as u64)
    }
}

impl Made {
    fn judge(&self, history: &History) -> Outcome {
        let number = self.cut.number;
        let next_offset = |group| self.groups.get(&group).map(|p| p.next_offset);
        // The first acknowledgement of what is not in it, and the last beginning of what is.
        let (mut excluded, mut included) = (None, None);
        for (&(group, base), value) in &history.acked {
            let (Some(sent), Some(next)) = (history.sent.get(value), next_offset(group)) else {
                continue;
            };
            let acked_at = history.acked_at.get(&(group, base)).copied();
            let acked_at = acked_at.unwrap_or(u64::MAX);
            if base + i64::from(sent.count) <= next {
                included = included.max(Some((sent.begun_at, group, base)));
            } else if matches!(sent.kind, Kind::Idempotent(_)) {
                // Of others there may be an earlier copy that is in it.
                let found = (acked_at, group, base);
                excluded = Some(excluded.map_or(found, |first: (u64, _, _)| first.min(found)));
            }
        }
        let (Some(cause), Some(effect)) = (excluded, included) else {
            return Ok(());
        };
        if cause.0 < effect.0 {
            return Err(format!(
                "cut {number} holds {effect:?} (begun, partition, offset), and not {cause:?} that was acknowledged before"
            ));
        }
        Ok(())
    }
}

fn steps(nodes: &[usize], now: u64, random: &mut Random) -> Vec<(u64, usize)> {
    let coming = nodes.iter();
    coming
        .map(|node| (now + random.between(1, STEP_MS), *node))
        .collect()
}

impl World {
    /// Somebody wants a cut.
    pub(super) fn begin_cut(&mut self) {
        let Some(Snapshots { cuts, .. }) = &mut self.snapshots else {
            return;
        };
        if !self.chaos || cuts.under_way.is_some() || !self.random.chance(BEGIN_PER_MILLE) {
            return;
        }
        cuts.last += 1;
        let up = |node: &usize| self.nodes[*node].up.is_some();
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(up).collect();
        cuts.under_way = Some(UnderWay {
            id: cuts.last,
            step: Step::Hold,
            coming: steps(&nodes, self.now, &mut self.random),
            nodes,
            positions: BTreeMap::new(),
            unconfirmed: 0,
            until: self.now + 4 * STEP_MS + CONFIRM_MS,
            has_failed: false,
        });
    }

    fn cut_under_way(&mut self) -> Option<&mut UnderWay> {
        self.snapshots.as_mut()?.cuts.under_way.as_mut()
    }

    /// The steps arrive that are due.
    pub(crate) fn go_on_with_cut(&mut self) -> Outcome {
        let now = self.now;
        let Some(way) = self.cut_under_way() else {
            return Ok(());
        };
        let (id, step) = (way.id, way.step);
        let due: Vec<usize> = way
            .coming
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, node)| node)
            .collect();
        for node in due {
            let is_well = self.take_step(id, step, node);
            self.flush(node)?;
            if let Some(way) = self.cut_under_way().filter(|_| !is_well) {
                way.has_failed = true;
            }
        }
        let Some(way) = self.cut_under_way() else {
            return Ok(());
        };
        if way.has_failed || step != Step::Take && way.until < now {
            return self.end_cut();
        }
        if way.coming.is_empty() && way.unconfirmed == 0 {
            return self.next_step();
        }
        Ok(())
    }

    /// Whether the broker does it.
    fn take_step(&mut self, id: u128, step: Step, node: usize) -> bool {
        let now = Tick(self.now);
        let Some(up) = &mut self.nodes[node].up else {
            return false;
        };
        let shard = &mut up.shard;
        match step {
            Step::Hold => {
                let Ok(told) = shard.hold(now, id) else {
                    return false;
                };
                let Some(way) = self.cut_under_way() else {
                    return false;
                };
                told.into_iter().all(|position| {
                    let group = GroupId(position.group);
                    way.positions.insert(group, (node, position)).is_none()
                })
            }
            Step::Confirm => {
                let led = shard.held(id).map(<[Position]>::to_vec);
                for position in led.iter().flatten() {
                    self.confirm_for_cut(id, node, GroupId(position.group));
                }
                led.is_some()
            }
            Step::Release => shard.release(now, id),
            Step::Take => {
                shard.capture(id);
                true
            }
        }
    }

    fn confirm_for_cut(&mut self, id: u128, node: usize, group: GroupId) {
        let (now, deadline) = (Tick(self.now), Tick(self.now + CONFIRM_MS));
        let ticket = self.ticket(node, Some(Waiting::Cut(id)));
        if let Some(way) = self.cut_under_way() {
            way.unconfirmed += 1;
        }
        if let Some(up) = &mut self.nodes[node].up {
            up.shard.confirm_leader(now, group, deadline, ticket);
        }
    }

    /// A majority has said whether a leader is one.
    pub(crate) fn cut_confirmed(&mut self, id: u128, leads: bool) {
        if let Some(way) = self.cut_under_way().filter(|way| way.id == id) {
            way.unconfirmed -= 1;
            way.has_failed |= !leads;
        }
    }

    /// It is through, or given up.
    fn end_cut(&mut self) -> Outcome {
        let way = self
            .snapshots
            .as_mut()
            .and_then(|s| s.cuts.under_way.take());
        let Some(way) = way else {
            return Ok(());
        };
        let now = Tick(self.now);
        for node in way.nodes {
            if let Some(up) = &mut self.nodes[node].up {
                up.shard.release(now, way.id);
                up.shard.forget_captures(way.id);
                self.flush(node)?;
            }
        }
        Ok(())
    }

    /// All have taken the step: what comes next.
    fn next_step(&mut self) -> Outcome {
        let is_taken = self.is_taken();
        let way = self
            .snapshots
            .as_ref()
            .and_then(|s| s.cuts.under_way.as_ref());
        let Some(way) = way else {
            return Ok(());
        };
        let still = |(node, position): &(usize, Position)| {
            let up = self.nodes[*node].up.as_ref();
            up.is_some_and(|up| up.shard.still_leads(position))
        };
        let is_all_told = || self.groups.iter().all(|g| way.positions.contains_key(g));
        let next = match way.step {
            Step::Hold if is_all_told() => Step::Confirm,
            Step::Confirm if way.positions.values().all(still) => Step::Release,
            Step::Release => Step::Take,
            Step::Take if !is_taken => return Ok(()),
            Step::Hold | Step::Confirm | Step::Take => return self.end_cut(),
        };
        if next == Step::Take {
            self.write_cut()?;
        }
        let (now, random) = (self.now, &mut self.random);
        if let Some(Snapshots { cuts, .. }) = &mut self.snapshots
            && let Some(way) = &mut cuts.under_way
        {
            way.step = next;
            way.coming = steps(&way.nodes, now, random);
        }
        Ok(())
    }

    fn write_cut(&mut self) -> Outcome {
        let snapshots = self.snapshots.as_mut().ok_or("there is a store")?;
        let way = snapshots.cuts.under_way.as_ref().ok_or("it goes on")?;
        let groups: BTreeMap<GroupId, Position> = way
            .positions
            .iter()
            .map(|(group, (_, position))| (*group, *position))
            .collect();
        let place = |(group, position): (&GroupId, &Position)| {
            let source = snapshots.sources.get(group)?;
            Some(position.of_partition(source.topic_id, source.partition))
        };
        let cut = Cut {
            format: cut::FORMAT,
            number: u64::try_from(way.id).map_err(|why| why.to_string())?,
            cluster: Cluster {
                format: cluster::FORMAT,
                cluster_id: CLUSTER_ID.to_owned(),
                incarnation: Incarnation(1),
                epoch: 1,
                index: 1,
                created_ms: 0,
                next_producer_id: 0,
                configs: BTreeMap::new(),
                topics: Vec::new(),
            },
            partitions: groups.iter().filter_map(place).collect(),
        };
        let memory = snapshots.store.memory();
        at_once(cut.put(&memory, Standing::Open)).map_err(|why| why.to_string())?;
        snapshots.cuts.made.push(Made {
            cut,
            groups,
            is_whole: false,
        });
        Ok(())
    }

    /// Whether nothing is left to be waited for.
    fn is_taken(&mut self) -> bool {
        let Some(Snapshots { cuts, .. }) = &mut self.snapshots else {
            return true;
        };
        let Cuts {
            under_way: Some(way),
            made,
            ..
        } = cuts
        else {
            return true;
        };
        if way.step != Step::Take {
            return false;
        }
        let captured = |node: &usize| {
            let up = self.nodes[*node].up.as_ref();
            up.map_or(Captured::Unknown, |up| up.shard.captured(way.id))
        };
        let captured: Vec<Captured> = way.nodes.iter().map(captured).collect();
        let is_whole = captured.iter().all(|one| *one == Captured::Stored);
        if let Some(last) = made.last_mut().filter(|_| is_whole) {
            last.is_whole = true;
        }
        !captured.contains(&Captured::Waiting)
    }
}
