//! Who leads what: announced by each leader, ordered by term, never committed anywhere.

use std::collections::{BTreeMap, BTreeSet};

use protocol::peer::LeaderInfo;
use raft::types::{GroupId, NodeId, Term};

use super::liveness::Liveness;
use crate::broker::LeaderView;

#[derive(Default)]
pub(super) struct Leaders {
    known: BTreeMap<GroupId, LeaderInfo>,
    /// Led here.
    own: BTreeMap<GroupId, LeaderInfo>,
    changed: BTreeSet<GroupId>,
    /// Peers that have to be told everything.
    newcomers: BTreeSet<NodeId>,
}

impl Leaders {
    /// This broker leads the group now, with these nodes in sync.
    pub(super) fn lead(&mut self, info: LeaderInfo) {
        if self.own.get(&info.group) == Some(&info) {
            return;
        }
        self.changed.insert(info.group);
        self.known.insert(info.group, info.clone());
        self.own.insert(info.group, info);
    }

    /// This broker does not lead the group any longer.
    pub(super) fn resign(&mut self, group: GroupId) {
        if let Some(own) = self.own.remove(&group)
            && self
                .known
                .get(&group)
                .is_some_and(|known| known.term == own.term)
        {
            self.known.remove(&group);
        }
        self.changed.remove(&group);
    }

    /// A peer's word. Tells the group when something changed.
    pub(super) fn learn(&mut self, info: LeaderInfo) -> Option<GroupId> {
        let group = info.group;
        if self
            .known
            .get(&group)
            .is_some_and(|known| known.term > info.term || *known == info)
        {
            return None;
        }
        self.known.insert(group, info);
        Some(group)
    }

    /// What a group member learned from its own leader.
    pub(super) fn follow(&mut self, group: GroupId, term: Term, leader: NodeId) {
        match self.known.get(&group) {
            Some(known) if known.term >= term => {}
            _ => {
                let in_sync = vec![leader];
                self.known.insert(
                    group,
                    LeaderInfo {
                        group,
                        term,
                        leader,
                        in_sync,
                    },
                );
            }
        }
    }

    /// A node is down: nothing is led there as far as anybody can say.
    pub(super) fn forget_node(&mut self, node: NodeId) -> Vec<GroupId> {
        let of_node = |(_, i): &(&GroupId, &LeaderInfo)| i.leader == node;
        let groups: Vec<GroupId> = self.known.iter().filter(of_node).map(|(&g, _)| g).collect();
        for group in &groups {
            self.known.remove(group);
        }
        self.newcomers.remove(&node);
        groups
    }

    pub(super) fn forget_group(&mut self, group: GroupId) {
        self.known.remove(&group);
        self.own.remove(&group);
        self.changed.remove(&group);
    }

    pub(super) fn announce_all_to(&mut self, node: NodeId) {
        self.newcomers.insert(node);
    }

    /// Moves what is to be announced into the peers' next frames.
    pub(super) fn drain_into(&mut self, liveness: &mut Liveness) {
        for node in std::mem::take(&mut self.newcomers) {
            liveness.announce(node, self.own.values());
        }
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        let news: Vec<&LeaderInfo> = changed.iter().filter_map(|g| self.own.get(g)).collect();
        for node in liveness.nodes() {
            liveness.announce(node, news.iter().copied());
        }
    }

    pub(super) fn get(&self, group: GroupId) -> Option<LeaderView> {
        let info = self.known.get(&group)?;
        Some(LeaderView {
            node: info.leader,
            term: info.term,
            in_sync: info.in_sync.clone(),
        })
    }

    /// Groups that this broker leads.
    #[cfg(test)]
    pub(super) fn own_count(&self) -> usize {
        self.own.len()
    }
}
