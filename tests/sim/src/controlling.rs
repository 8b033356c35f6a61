//! The controller's work and what brokers report to it, by the shortest way: proposed where the controller is.

use std::collections::BTreeMap;

use broker::controller::Action;
use broker::coordinator::OFFSETS_TOPIC;
use broker::metadata::{Command, Image, Registration, TopicId};
use raft::types::{GroupId, NodeId, ReplicaId, Tick};

use crate::node::{CLUSTER, Node};
use crate::world::{Outcome, World};

/// How often a controller looks after things, in ms.
const CONTROL_MS: u64 = 100;
/// How long a command is waited for, in ms.
const COMMAND_MS: u64 = 5000;

impl World {
    pub(crate) fn controller(&self) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|n| n.up.as_ref().is_some_and(|up| up.shard.is_controller()))
    }

    /// The metadata as the controller has it.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.controller()?.up.as_ref()?.shard.image()
    }

    /// Proposes at the controller, if there is one. Whether it was proposed.
    pub(crate) fn propose(&mut self, command: &Command) -> Result<bool, String> {
        let leads = |n: &Node| n.up.as_ref().is_some_and(|up| up.shard.is_controller());
        let Some(at) = self.nodes.iter().position(leads) else {
            return Ok(false);
        };
        let ticket = self.ticket(at, None);
        if let Some(up) = &mut self.nodes[at].up {
            let (now, deadline) = (Tick(self.now), Tick(self.now + COMMAND_MS));
            up.shard.propose_metadata(now, command, deadline, ticket);
        }
        self.flush(at)?;
        Ok(true)
    }

    /// The controller's tick, where it is due.
    pub(crate) fn control(&mut self, at: usize) -> Outcome {
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        if up.controls_at > self.now {
            return Ok(());
        }
        up.controls_at = self.now + CONTROL_MS;
        if !up.shard.is_controller() {
            return Ok(());
        }
        let image = up.shard.image_or_empty();
        let actions = up.controller.tick(Tick(self.now), image, &up.shard);
        for action in actions {
            match action {
                Action::Propose(command) => {
                    self.propose(&command)?;
                }
                Action::AskTransfer { group, leader, to } => self.ask(group, leader, to)?,
            }
        }
        Ok(())
    }

    /// Asks a leader to hand over to a replica.
    fn ask(&mut self, group: GroupId, leader: NodeId, to: ReplicaId) -> Outcome {
        let holder = |image: &Image| Some(image.partition(group)?.holder(to)?.node);
        let Some(to) = self.image().and_then(holder) else {
            return Ok(());
        };
        match self.place_of(leader) {
            Some(at) => self.transfer(at, group, to),
            None => Ok(()),
        }
    }

    pub(crate) fn transfer(&mut self, at: usize, group: GroupId, to: NodeId) -> Outcome {
        if let Some(up) = &mut self.nodes[at].up
            && up.shard.transfer(Tick(self.now), group, to)
        {
            self.report.counts.transfers += 1;
        }
        self.flush(at)
    }

    pub(crate) fn confirm_removals(&mut self, at: usize, replicas: Vec<ReplicaId>) -> Outcome {
        let directory = self.nodes[at].directory;
        let command = Command::ConfirmRemovals {
            directory,
            replicas,
        };
        self.propose(&command).map(|_| ())
    }

    pub(crate) fn report_reassignment(&mut self, at: usize, group: GroupId) -> Outcome {
        let up = self.nodes[at].up.as_ref();
        let command = up.and_then(|up| up.shard.finished_reassignment(group));
        if let Some(command) = command
            && self.propose(&command)?
        {
            self.report.counts.moves += 1;
        }
        Ok(())
    }

    /// Brokers make themselves known, and open their replica of the metadata group where they have none.
    pub(crate) fn register(&mut self) -> Outcome {
        let Some(image) = self.image() else {
            return Ok(());
        };
        let known = |node: &Node| {
            let broker = image.broker(node.id)?;
            Some((broker.registration.boot, broker.metadata))
        };
        let states: Vec<_> = self.nodes.iter().map(known).collect();
        for (at, state) in states.into_iter().enumerate() {
            let life = self.nodes[at].life;
            if self.nodes[at].up.is_none() {
                continue;
            }
            match state {
                Some((boot, metadata)) if boot == life => self.join(at, metadata)?,
                _ => {
                    let registration = registration(&self.nodes[at]);
                    self.propose(&Command::RegisterBroker(registration))?;
                }
            }
        }
        Ok(())
    }

    fn join(&mut self, at: usize, metadata: ReplicaId) -> Outcome {
        let now = Tick(self.now);
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        if up.shard.replica(GroupId::METADATA).is_some() {
            return Ok(());
        }
        let image = Image::bootstrap(CLUSTER, self.founders.clone());
        up.shard.bootstrap(now, metadata, &image);
        self.flush(at)
    }

    /// The one topic of a run and that of its consumer groups, when all brokers are there.
    pub(crate) fn create_topic(&mut self) -> Outcome {
        if !self.groups.is_empty() {
            return Ok(());
        }
        let Some(image) = self.image() else {
            return Ok(());
        };
        if image.brokers().len() < self.nodes.len() {
            return Ok(());
        }
        let internal = self.consumer_groups.wanted_partitions();
        let wanted = [("t", self.plan.partitions), (OFFSETS_TOPIC, internal)];
        let missing = wanted
            .iter()
            .position(|(name, count)| *count > 0 && image.topic_named(name).is_none());
        let Some(missing) = missing else {
            let partitions = |name: &str| image.topic_named(name).map(|t| t.partitions.clone());
            let (records, groups) = (partitions("t"), partitions(OFFSETS_TOPIC));
            let topic = image.topic_named("t").map(|topic| topic.id);
            self.groups = records.unwrap_or_default();
            self.consumer_groups.partitions = groups.unwrap_or_default();
            self.consumer_groups.topic = topic.unwrap_or_default();
            if let Some(snapshots) = &mut self.snapshots {
                snapshots.partitions(self.consumer_groups.topic.0, &self.groups);
            }
            return Ok(());
        };
        let (name, partitions) = wanted[missing];
        let nodes: Vec<NodeId> = self.nodes.iter().map(|n| n.id).collect();
        let replicas = |p: i32| {
            let from = usize::try_from(p).expect("small");
            let nodes = (0..self.plan.replication).map(|r| nodes[(from + r) % nodes.len()]);
            nodes.collect()
        };
        let assignments: Vec<Vec<NodeId>> = (0..partitions).map(replicas).collect();
        let name = name.to_owned();
        let configs = match self.snapshots {
            Some(_) => BTreeMap::from([("local.retention.bytes".to_owned(), "1".to_owned())]),
            None => BTreeMap::new(),
        };
        let command = Command::CreateTopic {
            topic: TopicId(7 + missing as u128),
            name,
            assignments,
            configs,
        };
        self.propose(&command).map(|_| ())
    }
}

fn registration(node: &Node) -> Registration {
    Registration {
        node: node.id,
        directory: node.directory,
        host: "sim".to_owned(),
        port: 9092,
        peer: format!("sim:{}", node.id),
        rack: None,
        boot: node.life,
    }
}
