//! What must hold when the faults have ended: everything acknowledged is there, once, on every replica alike.

use std::collections::{BTreeMap, BTreeSet};

use raft::types::{EntryKind, GroupId};

use crate::invariants::digest;
use crate::world::World;

impl World {
    /// Nobody waits, every partition has a leader, every member holds what the leader holds.
    pub(crate) fn is_well(&self) -> bool {
        self.clients.iter().all(|c| c.open.is_empty())
            && self
                .groups()
                .into_iter()
                .chain([GroupId::METADATA])
                .all(|g| self.is_level(g))
    }

    fn is_level(&self, group: GroupId) -> bool {
        let statuses = self.statuses(group);
        let Some(leader) = statuses
            .iter()
            .find(|s| s.1.role == raft::effect::Role::Leader)
        else {
            return false;
        };
        let members = &leader.1.members;
        !leader.1.joint
            && members.iter().all(|m| {
                statuses.iter().any(|(_, s)| {
                    s.replica == m.replica
                        && s.last_index == leader.1.last_index
                        && s.commit == leader.1.last_index
                })
            })
    }

    fn statuses(&self, group: GroupId) -> Vec<(usize, broker::shard::GroupStatus)> {
        let mut all = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { continue };
            all.extend(
                up.shard
                    .status()
                    .filter(|s| s.group == group)
                    .map(|s| (at, s)),
            );
        }
        all
    }

    /// For the message of a run that does not get well.
    pub(crate) fn why_not_well(&self) -> String {
        let open: usize = self.clients.iter().map(|c| c.open.len()).sum();
        let mut why = format!("{open} operations open");
        for group in self.groups().into_iter().chain([GroupId::METADATA]) {
            if !self.is_level(group) {
                for (at, s) in self.statuses(group) {
                    why += &format!(
                        "; {group} at {}: {} {:?} {} commit {} last {} base {} members {:?} joint {} quiesced {}",
                        self.nodes[at].id,
                        s.replica,
                        s.role,
                        s.term,
                        s.commit,
                        s.last_index,
                        s.base_index,
                        s.members
                            .iter()
                            .map(|m| (m.replica.0, m.node.0, m.voter))
                            .collect::<Vec<_>>(),
                        s.joint,
                        s.quiesced,
                    );
                }
            }
        }
        why
    }

    /// Reads everything back and holds it against what was acknowledged.
    pub(crate) fn final_check(&mut self) -> Result<(), String> {
        for group in self.groups() {
            let at = self
                .nodes
                .iter()
                .position(|n| {
                    n.up.as_ref()
                        .is_some_and(|up| up.shard.offsets(group).is_ok())
                })
                .ok_or_else(|| format!("{group} has no leader"))?;
            let up = self.nodes[at].up.as_ref().ok_or("it is up")?;
            let offsets = up.shard.offsets(group).map_err(|why| format!("{why:?}"))?;
            let mut next = offsets.log_start;
            while next < offsets.high_watermark {
                next += self.read_from(at, group, next)?;
            }
            self.account_for(group, offsets.log_start, offsets.high_watermark)?;
        }
        self.replicas_alike()?;
        if self.history.acked.is_empty() {
            return Err("nothing was acknowledged: the run proves nothing".to_owned());
        }
        Ok(())
    }

    fn account_for(&self, group: GroupId, start: i64, end: i64) -> Result<(), String> {
        for (&(_, offset), value) in self.history.acked.range((group, start)..(group, i64::MAX)) {
            if offset >= end {
                return Err(format!(
                    "{group}: {value}, acknowledged at {offset}, lies above {end}"
                ));
            }
            if self.history.seen.get(&(group, offset)) != Some(value) {
                return Err(format!(
                    "{group}: {value}, acknowledged at {offset}, is not there"
                ));
            }
        }
        let mut once = BTreeSet::new();
        for (&(_, offset), value) in self.history.seen.range((group, 0)..(group, i64::MAX)) {
            let idempotent = self.history.sent.get(value).is_some_and(|(_, i)| *i);
            if idempotent && !once.insert(*value) {
                return Err(format!("{group}: {value} stands twice, again at {offset}"));
            }
        }
        Ok(())
    }

    /// The logs of all members of a group hold the same entries.
    fn replicas_alike(&self) -> Result<(), String> {
        for group in self.groups() {
            let mut content: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (at, status) in self.statuses(group) {
                let Some(up) = &self.nodes[at].up else {
                    continue;
                };
                let from = status.base_index.next();
                let entries = up.entries(group, status.replica, from, status.commit);
                if entries.len() as u64 != status.commit.0 - status.base_index.0 {
                    return Err(format!(
                        "{group} at {}: entries are missing",
                        self.nodes[at].id
                    ));
                }
                for entry in entries.iter().filter(|e| e.kind != EntryKind::Noop) {
                    let this = (entry.term.0, digest(entry));
                    if *content.entry(entry.index.0).or_insert(this) != this {
                        return Err(format!("{group} {}: replicas differ", entry.index));
                    }
                }
            }
        }
        Ok(())
    }
}
