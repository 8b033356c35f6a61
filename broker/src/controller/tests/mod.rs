//! Tests of the controller.

mod brokers;
mod configs;
mod leaders;
mod moves;
mod placement;
mod topics;

use protocol::error_code::ErrorCode;
use raft::types::{DirectoryId, GroupId, NodeId, Tick};
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::metadata::tests::{Log, registration};

/// A cluster: metadata, and soft state that tests set by hand.
struct World {
    log: Log,
    policy: Policy,
    down: BTreeSet<NodeId>,
    /// Disks that are heard, whether registered or not.
    processes: BTreeSet<(NodeId, DirectoryId)>,
    leaders: BTreeMap<GroupId, NodeId>,
    lagging: BTreeSet<(GroupId, NodeId)>,
    ids: u128,
}

impl Soft for World {
    fn alive(&self, node: NodeId) -> bool {
        !self.down.contains(&node)
    }
    fn heard_lately(&self, node: NodeId, directory: DirectoryId) -> bool {
        self.processes.contains(&(node, directory))
    }
    fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.get(&group).copied()
    }
    fn in_sync(&self, group: GroupId, node: NodeId) -> bool {
        !self.lagging.contains(&(group, node))
    }
}

impl World {
    fn new(brokers: i32) -> Self {
        Self {
            log: Log::with_brokers(brokers),
            policy: Policy::default(),
            down: BTreeSet::new(),
            processes: BTreeSet::new(),
            leaders: BTreeMap::new(),
            lagging: BTreeSet::new(),
            ids: 0,
        }
    }

    fn image(&self) -> &Image {
        &self.log.image
    }

    /// The node comes back with another disk and registers.
    fn wipe(&mut self, node: i32, directory: u128) {
        self.processes
            .insert((NodeId(node), DirectoryId(directory)));
        self.one(ControllerRequest::RegisterBroker(registration(
            node, directory,
        )))
        .unwrap();
    }

    /// Plans without applying.
    fn plan(&mut self, request: &ControllerRequest) -> Vec<Step> {
        let mut ids = self.ids;
        let mut new_id = || {
            ids += 1;
            TopicId(ids)
        };
        let steps = plan(request, &self.log.image, self, &self.policy, &mut new_id);
        self.ids = ids;
        steps
    }

    /// Plans, applies, resolves; the request and its answers pass through their bytes on the way.
    fn run(&mut self, request: ControllerRequest) -> Vec<Result<Answer, Failure>> {
        let request = ControllerRequest::decode(&request.encode()).unwrap();
        let steps = self.plan(&request);
        let items = steps.into_iter().map(|step| match &step.action {
            Some(Action::Propose(command)) => {
                let outcome = self.log.apply(command.clone());
                step.resolve(&outcome, &self.log.image)
            }
            Some(Action::AskTransfer { .. }) | None => step.answer,
        });
        let response = ControllerResponse {
            items: items.collect(),
            applied: self.log.index,
        };
        assert_eq!(
            ControllerResponse::decode(&response.encode()),
            Ok(response.clone())
        );
        response.items
    }

    /// Runs a request of one item.
    fn one(&mut self, request: ControllerRequest) -> Result<Answer, Failure> {
        let mut items = self.run(request);
        assert_eq!(items.len(), 1);
        items.remove(0)
    }

    fn code(&mut self, request: ControllerRequest) -> ErrorCode {
        self.one(request).expect_err("refused").code
    }

    fn create(&mut self, topic: CreateTopic) -> Result<CreatedTopic, Failure> {
        let request = ControllerRequest::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        self.one(request).map(|answer| match answer {
            Answer::Topic(topic) => topic,
            other => panic!("{other:?}"),
        })
    }

    /// Nodes of each partition of a topic, as desired.
    fn nodes(&self, topic: &str) -> Vec<Vec<i32>> {
        let topic = self.image().topic_named(topic).unwrap();
        let groups = topic
            .partitions
            .iter()
            .map(|g| self.image().partition(*g).unwrap());
        groups
            .map(|p| p.desired().iter().map(|m| m.node.0).collect())
            .collect()
    }

    /// Finishes every move under way, as leaders would.
    fn finish_moves(&mut self) {
        let moving: Vec<u64> = [GroupId::METADATA]
            .into_iter()
            .chain(self.image().partitions().map(|p| p.group))
            .filter(|g| self.image().partition(*g).unwrap().is_moving())
            .map(|g| g.0)
            .collect();
        for group in moving {
            self.log.finish(group);
        }
    }

    fn apply_actions(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Propose(command) => {
                    self.log.ok(command.clone());
                }
                Action::AskTransfer { group, to, .. } => {
                    let to = self.image().partition(*group).unwrap().holder(*to).unwrap();
                    self.leaders.insert(*group, to.node);
                }
            }
        }
    }

    /// Everybody's preferred leader leads.
    fn lead_as_preferred(&mut self) {
        let leaders = self
            .image()
            .partitions()
            .map(|p| (p.group, p.preferred().node));
        self.leaders = leaders.collect();
    }
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> CreateTopic {
    let (assignments, configs) = (Vec::new(), Vec::new());
    CreateTopic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        assignments,
        configs,
    }
}

fn manual(name: &str, assignments: &[(i32, &[i32])]) -> CreateTopic {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect();
    let assignments = assignments.iter().map(|(n, on)| (*n, nodes(on))).collect();
    CreateTopic {
        assignments,
        ..topic(name, -1, -1)
    }
}
