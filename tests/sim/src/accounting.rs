//! What must hold when the faults have ended: everything acknowledged is there, once, on every replica alike.

use std::collections::BTreeMap;

use broker::shard::GroupStatus;
use raft::effect::Role;
use raft::types::{EntryKind, GroupId};

use crate::synced::{Content, content};
use crate::world::{Outcome, World};

impl World {
    /// Nobody waits, every group has a leader, every member holds what the leader holds, synced.
    pub(crate) fn is_well(&self) -> bool {
        let synced = |n: &crate::node::Node| n.up.as_ref().is_some_and(|up| up.is_synced());
        self.clients.iter().all(|c| c.open.is_empty())
            && self.nodes.iter().all(synced)
            && self.consumer_groups.is_well(self.groups.len())
            && self.why_not_stored().is_none()
            && self.all_groups().into_iter().all(|g| self.is_level(g))
    }

    fn all_groups(&self) -> Vec<GroupId> {
        let mut groups = self.groups.clone();
        groups.extend(&self.consumer_groups.partitions);
        groups.push(GroupId::METADATA);
        groups
    }

    fn is_level(&self, group: GroupId) -> bool {
        let statuses = self.statuses(group);
        let leader = statuses.iter().find(|s| s.1.role == Role::Leader);
        let Some((_, leader)) = leader else {
            return false;
        };
        let level =
            |s: &GroupStatus| s.last_index == leader.last_index && s.commit == leader.last_index;
        let members = &leader.members;
        !leader.joint
            && members.iter().all(|m| {
                let mut here = statuses.iter().map(|(_, s)| s);
                here.any(|s| s.replica == m.replica && level(s))
            })
    }

    fn statuses(&self, group: GroupId) -> Vec<(usize, GroupStatus)> {
        let mut all = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { continue };
            let of_group = up.shard.status().filter(|s| s.group == group);
            all.extend(of_group.map(|s| (at, s)));
        }
        all
    }

    /// For the message of a run that does not get well.
    pub(crate) fn why_not_well(&self) -> String {
        let open: usize = self.clients.iter().map(|c| c.open.len()).sum();
        let mut why = format!("{open} operations open, answers {:?}", self.history.answers);
        for group in self.all_groups() {
            if self.is_level(group) {
                continue;
            }
            for (at, s) in self.statuses(group) {
                let members = s.members.iter().map(|m| (m.replica.0, m.node.0, m.voter));
                let members: Vec<_> = members.collect();
                why += &format!(
                    "; {group} at {}: {} {:?} {} commit {} last {} base {} members {members:?} \
                     joint {} quiesced {}",
                    self.nodes[at].id,
                    s.replica,
                    s.role,
                    s.term,
                    s.commit,
                    s.last_index,
                    s.base_index,
                    s.joint,
                    s.quiesced,
                );
            }
        }
        why += &self.why_not_stored().unwrap_or_default();
        why + &self.consumer_groups.why_not_well(self.groups.len())
    }

    /// Reads everything back and holds it against what was acknowledged.
    pub(crate) fn final_check(&mut self) -> Outcome {
        for at in 0..self.nodes.len() {
            if let Some(up) = &self.nodes[at].up {
                self.report.counts.recycled += up.segments_recycled();
                self.report.counts.cleaned += up.segments_cleaned();
            }
        }
        self.final_check_of_store()?;
        for group in self.groups.clone() {
            let at = self.leader_of(group)?;
            let up = self.nodes[at].up.as_ref().ok_or("it leads and is up")?;
            let offsets = up.shard.offsets(group).map_err(|why| format!("{why:?}"))?;
            let mut next = offsets.log_start;
            while next < offsets.high_watermark {
                let seen = self.read_from(at, group, next)?;
                next += seen.ok_or("a broker went down after the faults had ended")?;
            }
            let (start, end) = (offsets.log_start, offsets.high_watermark);
            self.history.account_for(group, start, end)?;
            self.retries_are_known(at, group)?;
            self.replicas_alike(group)?;
        }
        for group in self.consumer_groups.partitions.clone() {
            self.replicas_alike(group)?;
        }
        self.consumer_groups.judge_all()?;
        self.all_are_answered()?;
        self.images_alike()?;
        if self.history.acked.is_empty() {
            return Err("nothing was acknowledged: the run proves nothing".to_owned());
        }
        Ok(())
    }

    fn leader_of(&self, group: GroupId) -> Result<usize, String> {
        let leads = |n: &crate::node::Node| {
            let up = n.up.as_ref();
            up.is_some_and(|up| up.shard.offsets(group).is_ok())
        };
        let at = self.nodes.iter().position(leads);
        at.ok_or_else(|| format!("{group} has no leader"))
    }

    /// The last acknowledged batch of each idempotent producer, sent again, is known at its offset. (That it is the
    /// same offset the history checks.)
    fn retries_are_known(&mut self, leader: usize, group: GroupId) -> Outcome {
        for client in 0..self.clients.len() {
            let Some(operation) = self.clients[client].last_acked.get(&group).copied() else {
                continue;
            };
            let before = self.history.acked_again;
            self.produce(leader, client, group, operation)?;
            if self.history.acked_again != before + 1 {
                let value = operation.value;
                return Err(format!(
                    "{group}: the retry of {value} was not taken for one"
                ));
            }
        }
        Ok(())
    }

    /// The logs of all replicas of a group hold the same entries, and their states the same offsets.
    fn replicas_alike(&self, group: GroupId) -> Outcome {
        let mut log: BTreeMap<u64, Content> = BTreeMap::new();
        let mut offsets = BTreeMap::new();
        for (at, status) in self.statuses(group) {
            let Some(up) = &self.nodes[at].up else {
                continue;
            };
            let id = self.nodes[at].id;
            let from = status.base_index.next();
            let entries = up.entries(group, status.replica, from, status.commit);
            if entries.len() as u64 != status.commit.0 - status.base_index.0 {
                let until = status.commit;
                return Err(format!(
                    "{group} at {id}: entries of {from}..={until} are missing"
                ));
            }
            for entry in entries.iter().filter(|e| e.kind != EntryKind::Noop) {
                let this = content(entry);
                if *log.entry(entry.index.0).or_insert(this) != this {
                    return Err(format!("{group} {}: replicas differ", entry.index));
                }
            }
            let found = (status.offsets, status.stored);
            let known = *offsets.entry(status.applied).or_insert(found);
            if known != found {
                return Err(format!(
                    "{group} at {id}: offsets {found:?}, elsewhere {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// The same commands made the same metadata everywhere.
    fn images_alike(&self) -> Outcome {
        let mut images = BTreeMap::new();
        for node in &self.nodes {
            let Some(image) = node.up.as_ref().and_then(|up| up.shard.image()) else {
                continue;
            };
            if *images.entry(image.applied()).or_insert(image) != image {
                return Err(format!(
                    "{}: another image as of {}",
                    node.id,
                    image.applied()
                ));
            }
        }
        Ok(())
    }
}
