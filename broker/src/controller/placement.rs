//! Where new replicas go: evenly over brokers and racks, with the preferred leaders spread too.

use protocol::error_code::ErrorCode;
use raft::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, View};

/// How much a broker carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    preferred: usize,
    replicas: usize,
}

/// A broker that replicas may be placed on.
#[derive(Clone, Debug)]
struct Candidate {
    node: NodeId,
    /// Its rack; a broker without one is a rack of its own.
    rack: Result<String, NodeId>,
    alive: bool,
    /// In the whole cluster.
    total: Load,
    /// In the topic at hand.
    topic: Load,
}

/// The brokers and their load, kept up to date over the items of one request.
pub(super) struct Placer {
    /// By node id; neither draining nor unregistered.
    candidates: Vec<Candidate>,
}

impl Placer {
    /// Counts the load of the image once.
    pub(super) fn new(view: View<'_>) -> Self {
        let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
        for partition in view.image.partitions() {
            for (place, member) in partition.desired().iter().enumerate() {
                let load = loads.entry(member.node).or_default();
                load.replicas += 1;
                load.preferred += usize::from(place == 0);
            }
        }
        let candidate = |broker: &crate::metadata::Broker| Candidate {
            node: broker.node(),
            rack: broker.registration.rack.clone().ok_or(broker.node()),
            alive: view.soft.alive(broker.node()),
            total: loads.get(&broker.node()).copied().unwrap_or_default(),
            topic: Load::default(),
        };
        let usable = view.image.brokers().filter(|broker| !broker.draining);
        Self {
            candidates: usable.map(candidate).collect(),
        }
    }

    /// How many replicas a partition gets when nobody says.
    pub(super) fn default_replication_factor(&self, view: View<'_>) -> i16 {
        let configured = view.policy.default_replication_factor;
        if configured > 0 {
            return configured;
        }
        i16::try_from(self.candidates.len().clamp(1, 3)).unwrap_or(1)
    }

    /// Places `partitions` partitions, the first with number `first`; each list has its preferred leader first.
    ///
    /// Live brokers first: one that is not heard gets a replica only where there are too few others, and never leads.
    pub(super) fn place(
        &mut self,
        first: usize,
        partitions: usize,
        replicas: usize,
    ) -> Result<Vec<Vec<NodeId>>, Failure> {
        let brokers = self.candidates.len();
        if replicas > brokers {
            return Err(Failure::new(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "Unable to replicate the partition {replicas} time(s): only {brokers} broker(s) are registered \
                     and not draining"
                ),
            ));
        }
        if !self.candidates.iter().any(|c| c.alive) {
            return Err(Failure::new(
                ErrorCode::BrokerNotAvailable,
                "No broker is alive",
            ));
        }
        for candidate in &mut self.candidates {
            candidate.topic = Load::default();
        }
        Ok((first..first + partitions)
            .map(|number| self.place_one(number, replicas))
            .collect())
    }

    /// One more replica for a partition that is on `present` already; None when no live broker is left.
    pub(super) fn place_another(&mut self, present: &[NodeId]) -> Option<NodeId> {
        let racks: BTreeSet<_> = self
            .candidates
            .iter()
            .filter(|c| present.contains(&c.node))
            .map(|c| c.rack.clone())
            .collect();
        let free = self
            .candidates
            .iter_mut()
            .filter(|c| c.alive && !present.contains(&c.node));
        let chosen = free.min_by_key(|c| (racks.contains(&c.rack), c.total.replicas, c.node))?;
        chosen.total.replicas += 1;
        Some(chosen.node)
    }

    fn place_one(&mut self, number: usize, replicas: usize) -> Vec<NodeId> {
        let brokers = self.candidates.len();
        // The rotation moves the leader on with each partition, and the followers with each round of leaders.
        let turn = |place: usize, start: usize| (place + brokers - start % brokers) % brokers;
        let leader = (0..brokers)
            .min_by_key(|place| {
                let c = &self.candidates[*place];
                (
                    !c.alive,
                    c.topic.preferred,
                    c.total.preferred,
                    turn(*place, number),
                )
            })
            .expect("a partition is placed only where there are brokers");
        let start = leader + 1 + number / brokers;
        let mut chosen = vec![leader];
        let mut racks = BTreeSet::from([self.candidates[leader].rack.clone()]);
        while chosen.len() < replicas {
            let follower = (0..brokers)
                .filter(|place| !chosen.contains(place))
                .min_by_key(|place| {
                    let c = &self.candidates[*place];
                    let same_rack = racks.contains(&c.rack);
                    (
                        !c.alive,
                        same_rack,
                        c.topic.replicas,
                        c.total.replicas,
                        turn(*place, start),
                    )
                })
                .expect("there are at least as many brokers as replicas");
            racks.insert(self.candidates[follower].rack.clone());
            chosen.push(follower);
        }
        for (order, place) in chosen.iter().enumerate() {
            let candidate = &mut self.candidates[*place];
            for load in [&mut candidate.topic, &mut candidate.total] {
                load.replicas += 1;
                load.preferred += usize::from(order == 0);
            }
        }
        chosen
            .into_iter()
            .map(|place| self.candidates[place].node)
            .collect()
    }
}

/// Checks a partition's nodes that a client chose.
pub(super) fn check_manual(view: View<'_>, nodes: &[NodeId]) -> Result<(), Failure> {
    let wrong = |why: String| Err(Failure::new(ErrorCode::InvalidReplicaAssignment, why));
    if nodes.is_empty() {
        return wrong("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut seen = BTreeSet::new();
    for node in nodes {
        if view.image.broker(*node).is_none() {
            return wrong(format!(
                "The manual partition assignment includes broker {node}, but no such broker is registered."
            ));
        }
        if !seen.insert(*node) {
            return wrong(format!(
                "The manual partition assignment includes the broker {node} more than once."
            ));
        }
    }
    Ok(())
}
