//! Topics are created and deleted.

use protocol::error_code::ErrorCode;
use raft::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

use super::names::{Collisions, validate_topic_name};
use super::placement::{Placer, check_manual};
use super::request::{Answer, CreateTopic, CreatedTopic, TopicRef};
use super::{Failure, Step, View, configs};
use crate::metadata::{Command, Topic, TopicId};

pub(super) fn create(
    view: View<'_>,
    topics: &[CreateTopic],
    validate_only: bool,
    new_id: &mut dyn FnMut() -> TopicId,
) -> Vec<Step> {
    if topics.len() > view.policy.request_topics_max {
        let most = view.policy.request_topics_max;
        let why = format!("More than {most} topics in one request");
        let refused = || Step::refuse(Failure::new(ErrorCode::PolicyViolation, why.clone()));
        return topics.iter().map(|_| refused()).collect();
    }
    let mut creation = Creation {
        view,
        placer: Placer::new(view),
        collisions: Collisions::new(view.image, topics.iter().map(|t| t.name.as_str())),
        partitions: view.image.partition_count(),
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in topics {
        *counts.entry(&topic.name).or_default() += 1;
    }
    let mut step = |topic: &CreateTopic| {
        if counts[topic.name.as_str()] > 1 {
            return Err(Failure::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            ));
        }
        let (assignments, configs) = creation.check(topic)?;
        let id = if validate_only {
            TopicId::default()
        } else {
            new_id()
        };
        let answer = Answer::Topic(CreatedTopic {
            topic: id,
            name: topic.name.clone(),
            partitions: i32::try_from(assignments.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(assignments[0].len()).unwrap_or(i16::MAX),
            configs: configs.clone(),
        });
        if validate_only {
            return Ok(Step::done(answer));
        }
        let name = topic.name.clone();
        Ok(Step::propose(
            answer,
            Command::CreateTopic {
                topic: id,
                name,
                assignments,
                configs,
            },
        ))
    };
    topics.iter().map(|topic| Step::of(step(topic))).collect()
}

/// What the topics of one request have in common.
struct Creation<'a> {
    view: View<'a>,
    placer: Placer,
    collisions: Collisions,
    /// In the cluster, with those of earlier topics of the request.
    partitions: usize,
}

type Checked = (Vec<Vec<NodeId>>, BTreeMap<String, String>);

impl Creation<'_> {
    fn check(&mut self, topic: &CreateTopic) -> Result<Checked, Failure> {
        validate_topic_name(&topic.name)?;
        if self.view.image.topic_named(&topic.name).is_some() {
            let why = format!("Topic '{}' already exists.", topic.name);
            return Err(Failure::new(ErrorCode::TopicAlreadyExists, why));
        }
        self.collisions.add(&topic.name)?;
        let configs = configs::explicit(self.view, &topic.configs)?;
        let assignments = if topic.assignments.is_empty() {
            self.place(topic)?
        } else {
            self.take_manual(topic)?
        };
        self.partitions += assignments.len();
        Ok((assignments, configs))
    }

    fn place(&mut self, topic: &CreateTopic) -> Result<Vec<Vec<NodeId>>, Failure> {
        let replicas = match topic.replication_factor {
            -1 => self.placer.default_replication_factor(self.view),
            replicas if replicas > 0 => replicas,
            _ => {
                return Err(Failure::new(
                    ErrorCode::InvalidReplicationFactor,
                    "Replication factor must be larger than 0, or -1 to use the default value.",
                ));
            }
        };
        let partitions = match topic.partitions {
            -1 => self.view.policy.default_partitions,
            partitions if partitions > 0 => partitions,
            _ => {
                return Err(Failure::new(
                    ErrorCode::InvalidPartitions,
                    "Number of partitions was set to an invalid non-positive value.",
                ));
            }
        };
        let partitions = usize::try_from(partitions).unwrap_or(usize::MAX);
        check_count(self.view, partitions, partitions, self.partitions)?;
        self.placer.place(
            0,
            partitions,
            usize::try_from(replicas).unwrap_or(usize::MAX),
        )
    }

    fn take_manual(&self, topic: &CreateTopic) -> Result<Vec<Vec<NodeId>>, Failure> {
        for (given, what) in [
            (i32::from(topic.replication_factor), "replication factor"),
            (topic.partitions, "numPartitions"),
        ] {
            if given != -1 {
                return Err(Failure::new(
                    ErrorCode::InvalidRequest,
                    format!(
                        "A manual partition assignment was specified, but {what} was not set to -1."
                    ),
                ));
            }
        }
        let count = topic.assignments.len();
        check_count(self.view, count, count, self.partitions)?;
        let mut by_number = BTreeMap::new();
        for (number, nodes) in &topic.assignments {
            if by_number.insert(*number, nodes.clone()).is_some() {
                let why =
                    format!("Found multiple manual partition assignments for partition {number}");
                return Err(Failure::new(ErrorCode::InvalidReplicaAssignment, why));
            }
        }
        if !(0..)
            .zip(by_number.keys())
            .all(|(expected, number)| expected == *number)
        {
            let why = "partitions should be a consecutive 0-based integer sequence";
            return Err(Failure::new(ErrorCode::InvalidReplicaAssignment, why));
        }
        let assignments: Vec<_> = by_number.into_values().collect();
        check_assignments(self.view, &assignments, assignments[0].len())?;
        Ok(assignments)
    }
}

/// Checks assignments by hand: every one valid and of the same size.
pub(super) fn check_assignments(
    view: View<'_>,
    assignments: &[Vec<NodeId>],
    replicas: usize,
) -> Result<(), Failure> {
    for nodes in assignments {
        check_manual(view, nodes)?;
        if nodes.len() != replicas {
            return Err(Failure::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "The manual partition assignment includes a partition with {} replica(s), but this is not \
                     consistent with previous partitions, which have {replicas} replica(s).",
                    nodes.len()
                ),
            ));
        }
    }
    Ok(())
}

/// Checks the limits: a topic's partitions, and the cluster's.
pub(super) fn check_count(
    view: View<'_>,
    of_topic: usize,
    new: usize,
    in_cluster: usize,
) -> Result<(), Failure> {
    let limits = view.policy;
    if of_topic > limits.topic_partitions_max {
        let why = format!(
            "A topic has at most {} partitions.",
            limits.topic_partitions_max
        );
        return Err(Failure::new(ErrorCode::InvalidPartitions, why));
    }
    if new > limits.partitions_max.saturating_sub(in_cluster) {
        let why = format!(
            "The cluster has at most {} partitions.",
            limits.partitions_max
        );
        return Err(Failure::new(ErrorCode::PolicyViolation, why));
    }
    Ok(())
}

pub(super) fn delete(view: View<'_>, topics: &[TopicRef]) -> Vec<Step> {
    let mut seen = BTreeSet::new();
    let mut step = |wanted: &TopicRef| {
        let topic = find(view, wanted)?;
        if !seen.insert(topic.id) {
            return Err(Failure::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic in the request.",
            ));
        }
        let answer = Answer::Deleted {
            topic: topic.id,
            name: topic.name.clone(),
        };
        Ok(Step::propose(
            answer,
            Command::DeleteTopic { topic: topic.id },
        ))
    };
    topics.iter().map(|wanted| Step::of(step(wanted))).collect()
}

fn find<'a>(view: View<'a>, wanted: &TopicRef) -> Result<&'a Topic, Failure> {
    match wanted {
        TopicRef::Name(name) => named(view, name),
        TopicRef::Id(id) => view.image.topic(*id).ok_or_else(|| {
            Failure::new(
                ErrorCode::UnknownTopicId,
                format!("No topic has the id {id}."),
            )
        }),
    }
}

/// The topic with this name.
pub(super) fn named<'a>(view: View<'a>, name: &str) -> Result<&'a Topic, Failure> {
    view.image.topic_named(name).ok_or_else(|| {
        let why = format!("The topic '{name}' does not exist.");
        Failure::new(ErrorCode::UnknownTopicOrPartition, why)
    })
}
