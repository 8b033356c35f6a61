//! Leadership is moved on request. Only a leader hands over, only to a voter in sync: nothing is lost by it.

use protocol::error_code::ErrorCode;
use raft::types::{Member, NodeId};

use super::reassign::find;
use super::request::{Answer, ElectionType};
use super::{Action, Failure, Step, View};
use crate::metadata::Partition;

pub(super) fn elect(
    view: View<'_>,
    election: ElectionType,
    partitions: &[(String, i32)],
) -> Vec<Step> {
    let elect_one = |partition: &Partition| match election {
        ElectionType::Preferred => preferred(view, partition),
        ElectionType::Unclean => unclean(view, partition),
    };
    let step = |(topic, number): &(String, i32)| elect_one(find(view, topic, *number)?);
    partitions
        .iter()
        .map(|wanted| Step::of(step(wanted)))
        .collect()
}

fn preferred(view: View<'_>, partition: &Partition) -> Result<Step, Failure> {
    let preferred = partition.preferred();
    let leader = view.soft.leader_of(partition.group);
    if leader == Some(preferred.node) {
        return Err(Failure::new(
            ErrorCode::ElectionNotNeeded,
            "The preferred leader is already the leader.",
        ));
    }
    ask(view, partition, leader, preferred).ok_or_else(|| {
        let why = format!(
            "The preferred leader, broker {}, is not alive and in sync.",
            preferred.node
        );
        Failure::new(ErrorCode::PreferredLeaderNotAvailable, why)
    })
}

fn unclean(view: View<'_>, partition: &Partition) -> Result<Step, Failure> {
    if view.soft.leader_of(partition.group).is_some() {
        return Err(Failure::new(
            ErrorCode::ElectionNotNeeded,
            "The partition has a leader.",
        ));
    }
    Err(Failure::new(
        ErrorCode::EligibleLeadersNotAvailable,
        "No majority of the partition's replicas is alive, and a minority may lack acknowledged records: unclean \
         elections are not supported.",
    ))
}

/// Hands one partition's leadership to a node.
pub(super) fn transfer(view: View<'_>, topic: &str, partition: i32, to: NodeId) -> Step {
    let step = || {
        let partition = find(view, topic, partition)?;
        let target = partition.desired().iter().find(|m| m.node == to).copied();
        let target = target.ok_or_else(|| {
            let why = format!("Broker {to} has no replica of the partition.");
            Failure::new(ErrorCode::InvalidReplicaAssignment, why)
        })?;
        let leader = view.soft.leader_of(partition.group);
        if leader == Some(to) {
            let why = "The broker already leads the partition.";
            return Err(Failure::new(ErrorCode::ElectionNotNeeded, why));
        }
        ask(view, partition, leader, target).ok_or_else(|| {
            let why =
                format!("The partition has no leader, or broker {to} is not alive and in sync.");
            Failure::new(ErrorCode::EligibleLeadersNotAvailable, why)
        })
    };
    Step::of(step())
}

/// The transfer, if there is somebody to ask and the target could take over at once.
fn ask(view: View<'_>, partition: &Partition, leader: Option<NodeId>, to: Member) -> Option<Step> {
    let leader = leader?;
    let group = partition.group;
    let is_ready = view.soft.alive(to.node) && view.soft.in_sync(group, to.node);
    let topic = view.image.topic(partition.topic)?.name.clone();
    if !is_ready {
        return None;
    }
    let number = partition.partition;
    let answer = Answer::Asked {
        topic,
        partition: number,
        group,
        to: to.node,
    };
    let action = Action::AskTransfer {
        group,
        leader,
        to: to.replica,
    };
    Some(Step {
        answer: Ok(answer),
        action: Some(action),
    })
}
