//! A cluster is restored from its snapshot store.

use protocol::error_code::ErrorCode;
use std::collections::BTreeMap;

use super::names::{Collisions, validate_topic_name};
use super::placement::Placer;
use super::request::{Answer, RestoreTopic};
use super::topics::check_count;
use super::{Failure, Step, View};
use crate::metadata::Command;

/// What else there is. Configs are taken as they are: they were checked when they were set.
pub(super) fn cluster(configs: &BTreeMap<String, String>, next_producer_id: i64) -> Step {
    let command = Command::RestoreCluster {
        configs: configs.clone(),
        next_producer_id,
    };
    Step::propose(Answer::Done, command)
}

/// One topic. That it is there already, from an earlier try, is as good.
pub(super) fn topic(view: View<'_>, wanted: &RestoreTopic) -> Step {
    if let Some(there) = view.image.topic(wanted.topic) {
        let origin = |group| view.image.partition(group).and_then(|p| p.origin);
        let origins = there.partitions.iter().map(|group| origin(*group));
        let is_it =
            there.name == wanted.name && origins.eq(wanted.origins.iter().map(|o| Some(*o)));
        return match is_it {
            true => Step::done(Answer::Done),
            false => Step::refuse(already(&wanted.name)),
        };
    }
    Step::of(new_topic(view, wanted))
}

fn new_topic(view: View<'_>, wanted: &RestoreTopic) -> Result<Step, Failure> {
    validate_topic_name(&wanted.name)?;
    if view.image.topic_named(&wanted.name).is_some() {
        return Err(already(&wanted.name));
    }
    Collisions::new(view.image, [wanted.name.as_str()].into_iter()).add(&wanted.name)?;
    let count = wanted.origins.len();
    check_count(view, count, count, view.image.partition_count())?;
    let mut placer = Placer::new(view);
    let brokers = view.image.brokers().filter(|broker| !broker.draining);
    let replicas = usize::try_from(wanted.replicas).unwrap_or(1);
    let replicas = replicas.min(brokers.count()).max(1);
    Ok(Step::propose(
        Answer::Done,
        Command::RestoreTopic {
            topic: wanted.topic,
            name: wanted.name.clone(),
            assignments: placer.place(0, count, replicas)?,
            configs: wanted.configs.clone(),
            origins: wanted.origins.clone(),
        },
    ))
}

fn already(name: &str) -> Failure {
    let why = format!("Topic '{name}' is there, and it is not this snapshot of it.");
    Failure::new(ErrorCode::TopicAlreadyExists, why)
}
