//! The decisions of the metadata group's leader: what to propose, and what to answer.
//!
//! Pure code. A request is planned against the leader's image and soft state ([`plan`]); each [`Step`] of the plan holds
//! an answer and perhaps an [`Action`]. The caller proposes the commands, waits until each is applied here, and lets
//! [`Step::resolve`] make the final answer: a command that was overtaken by another becomes an error, never a success.
//! Periodic decisions (replace wiped disks, drain, move leaders) come from [`Controller::tick`].
//!
//! The caller plans only on an image that is current: leader of the metadata group, an entry of its own term applied.
//!
//! Where to start: [`ControllerRequest`], then [`plan`], then the module of the topic at hand.

mod brokers;
mod configs;
mod election;
mod failure;
mod ids;
mod names;
mod partitions;
mod placement;
mod policy;
mod reassign;
mod request;
mod restore;
mod tick;
mod topics;

use raft::types::{DirectoryId, GroupId, NodeId, ReplicaId};

use crate::metadata::{Change, Command, Image, Rejected, TopicId};

pub use failure::Failure;
pub use names::validate_topic_name;
pub use policy::Policy;
pub use reassign::{Reassignment, reassignments};
pub use request::{
    AlterConfigs, Answer, ConfigOperation, ConfigTarget, ControllerRequest, ControllerResponse,
    CreateTopic, CreatedTopic, ElectionType, MorePartitions, PartitionMove, Placement,
    RequestError, RestoreTopic, TopicRef,
};
pub use tick::Controller;

/// What the controller hears about the cluster and nobody writes down.
pub trait Soft {
    /// Whether the node is heard.
    fn alive(&self, node: NodeId) -> bool;
    /// Whether this very disk was heard under this node id within the last seconds: long enough for a live process whose
    /// connection was taken over to have dialled again. A node that is back with another disk is [`Soft::alive`], but
    /// its old disk falls silent; two processes with one node id are both heard again and again.
    fn heard_lately(&self, node: NodeId, directory: DirectoryId) -> bool;
    /// Who leads the group, as announced.
    fn leader_of(&self, group: GroupId) -> Option<NodeId>;
    /// Whether the node's replica is a voter in sync with the group's leader.
    fn in_sync(&self, group: GroupId, node: NodeId) -> bool;
}

/// Something that the caller does for the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Propose to the metadata group.
    Propose(Command),
    /// Ask the group's leader to hand over. It may refuse; nobody waits.
    AskTransfer {
        /// Which group.
        group: GroupId,
        /// Its leader.
        leader: NodeId,
        /// The replica to lead.
        to: ReplicaId,
    },
}

/// One item of a planned request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The answer, if the action succeeds. With an error there is no action.
    pub answer: Result<Answer, Failure>,
    /// What is to be done first.
    pub action: Option<Action>,
}

impl Step {
    fn refuse(failure: Failure) -> Self {
        Self {
            answer: Err(failure),
            action: None,
        }
    }

    fn done(answer: Answer) -> Self {
        Self {
            answer: Ok(answer),
            action: None,
        }
    }

    fn propose(answer: Answer, command: Command) -> Self {
        Self {
            answer: Ok(answer),
            action: Some(Action::Propose(command)),
        }
    }

    fn of(step: Result<Self, Failure>) -> Self {
        step.unwrap_or_else(Self::refuse)
    }

    /// The final answer, once the proposed command was applied with this outcome.
    ///
    /// # Errors
    /// What the client is told.
    pub fn resolve(
        self,
        outcome: &Result<Vec<Change>, Rejected>,
        image: &Image,
    ) -> Result<Answer, Failure> {
        let answer = self.answer?;
        match outcome {
            Ok(changes) => Ok(answer.completed(changes, image)),
            // Somebody else made it so between the plan and now.
            Err(Rejected::NothingToChange) => Ok(answer),
            Err(why) => Err(Failure::from(why)),
        }
    }
}

/// What a plan is made from.
#[derive(Clone, Copy)]
struct View<'a> {
    image: &'a Image,
    soft: &'a dyn Soft,
    policy: &'a Policy,
}

/// Plans a request: one step per item, in the order of the request.
///
/// `new_id` gives random topic ids.
pub fn plan(
    request: &ControllerRequest,
    image: &Image,
    soft: &dyn Soft,
    policy: &Policy,
    new_id: &mut dyn FnMut() -> TopicId,
) -> Vec<Step> {
    let view = View {
        image,
        soft,
        policy,
    };
    match request {
        ControllerRequest::CreateTopics {
            topics,
            validate_only,
        } => topics::create(view, topics, *validate_only, new_id),
        ControllerRequest::RestoreTopic(topic) => vec![restore::topic(view, topic)],
        ControllerRequest::RestoreCluster {
            configs,
            next_producer_id,
        } => vec![restore::cluster(configs, *next_producer_id)],
        ControllerRequest::FinishRestore { incarnation } => {
            let incarnation = *incarnation;
            vec![Step::propose(
                Answer::Done,
                Command::FinishRestore { incarnation },
            )]
        }
        ControllerRequest::DeleteTopics { topics } => topics::delete(view, topics),
        ControllerRequest::CreatePartitions {
            topics,
            validate_only,
        } => partitions::create(view, topics, *validate_only),
        ControllerRequest::AlterConfigs {
            resources,
            validate_only,
        } => configs::alter(view, resources, *validate_only),
        ControllerRequest::Reassign {
            partitions,
            allow_replication_factor_change,
        } => reassign::plan(view, partitions, *allow_replication_factor_change),
        ControllerRequest::SetMetadataVoters { nodes } => {
            vec![reassign::set_metadata_voters(view, nodes)]
        }
        ControllerRequest::ElectLeaders {
            election,
            partitions,
        } => election::elect(view, *election, partitions),
        ControllerRequest::TransferLeader {
            topic,
            partition,
            to,
        } => {
            vec![election::transfer(view, topic, *partition, *to)]
        }
        ControllerRequest::RegisterBroker(registration) => {
            vec![brokers::register(view, registration)]
        }
        ControllerRequest::UnregisterBroker { node } => vec![brokers::unregister(view, *node)],
        ControllerRequest::SetDraining { node, draining } => {
            vec![brokers::set_draining(view, *node, *draining)]
        }
        ControllerRequest::AllocateProducerIds { node } => {
            vec![brokers::allocate_producer_ids(view, *node)]
        }
        ControllerRequest::Report(command) => vec![brokers::report(command)],
    }
}

#[cfg(test)]
mod tests;
