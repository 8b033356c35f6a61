//! Topics get more partitions.

use protocol::error_code::ErrorCode;
use std::collections::BTreeMap;

use super::placement::Placer;
use super::request::{Answer, MorePartitions};
use super::topics::{check_assignments, check_count, named};
use super::{Failure, Step, View};
use crate::metadata::Command;

pub(super) fn create(view: View<'_>, topics: &[MorePartitions], validate_only: bool) -> Vec<Step> {
    let mut placer = Placer::new(view);
    let mut in_cluster = view.image.partition_count();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for wanted in topics {
        *counts.entry(&wanted.topic).or_default() += 1;
    }
    let mut step = |wanted: &MorePartitions| {
        if counts[wanted.topic.as_str()] > 1 {
            return Err(Failure::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            ));
        }
        let (command, added) = add(view, &mut placer, wanted, in_cluster)?;
        in_cluster += added;
        Ok(if validate_only {
            Step::done(Answer::Done)
        } else {
            Step::propose(Answer::Done, command)
        })
    };
    topics.iter().map(|wanted| Step::of(step(wanted))).collect()
}

fn add(
    view: View<'_>,
    placer: &mut Placer,
    wanted: &MorePartitions,
    in_cluster: usize,
) -> Result<(Command, usize), Failure> {
    let topic = named(view, &wanted.topic)?;
    let present = topic.partitions.len();
    let count = usize::try_from(wanted.count).unwrap_or(0);
    if count <= present {
        let relation = if count == present {
            "which is the"
        } else {
            "which is higher than the"
        };
        return Err(Failure::new(
            ErrorCode::InvalidPartitions,
            format!(
                "The topic {} currently has {present} partition(s), {relation} requested number {}.",
                topic.name, wanted.count
            ),
        ));
    }
    let added = count - present;
    check_count(view, count, added, in_cluster)?;
    let replicas = view
        .image
        .partition_of(topic.id, 0)
        .map_or(1, |p| p.desired().len());
    let assignments = match &wanted.assignments {
        None => placer.place(present, added, replicas)?,
        Some(assignments) if assignments.len() != added => {
            return Err(Failure::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                ),
            ));
        }
        Some(assignments) => {
            check_assignments(view, assignments, replicas)?;
            assignments.clone()
        }
    };
    let first = i32::try_from(present).unwrap_or(i32::MAX);
    Ok((
        Command::AddPartitions {
            topic: topic.id,
            first,
            assignments,
        },
        added,
    ))
}
