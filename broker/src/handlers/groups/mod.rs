//! Consumer groups: each API's versions to what a coordinator is asked, and its answers back into Kafka's shapes.
//!
//! Handlers are written against [`Coordinators`], so that every shape of every version can be tested without a log.

pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod delete_groups;
pub mod describe_groups;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offsets_topic;
pub mod sync_group;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::wire::Uuid;
use raft::types::GroupId;
use tokio::task::JoinSet;

use super::lookup::{self, Endpoint};
use crate::coordinator::consumer::assignor::Assignors;
use crate::coordinator::reply::{GroupReply, Listed};
use crate::coordinator::request::{Client, GroupRequest};
use crate::coordinator::{OFFSETS_TOPIC, log_of};
use crate::dispatch::Context;

/// How long a coordinator may take over anything but a rebalance.
const WAIT: Duration = Duration::from_secs(10);
/// How long it may take over a rebalance. It ends every rebalance itself, by the members' timeouts; this is for what
/// has no end.
const REBALANCE_WAIT: Duration = Duration::from_secs(3600);
/// Coordinators asked at once for one request.
const ASKED_MAX: usize = 256;

/// What the handlers of groups need: the broker, or a test's stand-in.
pub trait Coordinators: Clone + 'static {
    /// Asks the coordinator of a group.
    fn ask(
        &self,
        group: &str,
        request: GroupRequest,
        wait: Duration,
    ) -> impl Future<Output = Result<GroupReply, ErrorCode>>;

    /// The groups of all coordinators of this broker.
    fn list(&self) -> impl Future<Output = Result<Vec<Listed>, ErrorCode>>;

    /// Whether the cluster has this partition.
    fn has_partition(&self, topic: &str, partition: i32) -> bool;

    /// The name of the topic that has this id.
    fn topic_name(&self, id: Uuid) -> Option<String>;

    /// The id of the topic that has this name.
    fn topic_id(&self, name: &str) -> Option<Uuid>;

    /// What members of the consumer protocol may ask for.
    fn assignors(&self) -> &Assignors;

    /// Who asks.
    fn client(&self) -> Client;

    /// Where a group's coordinator is.
    fn find(&self, group: &str) -> Found;

    /// Creates the topic that holds the groups. Whether it is there then is seen by [`Coordinators::find`].
    fn create_offsets_topic(&self) -> impl Future<Output = ()>;
}

/// Where a group's coordinator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Here.
    At(Endpoint),
    /// Nobody leads the group's partition now.
    NoLeader,
    /// There have never been groups.
    NoTopic,
}

/// Why a coordinator did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The member id that goes with it; mostly empty.
    pub member: String,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        assert!(code != ErrorCode::None, "a refusal has a code");
        let member = String::new();
        Self { code, member }
    }
}

/// Asks the coordinator of a group: what it did, or why it did not.
async fn ask(
    cx: &impl Coordinators,
    group: &str,
    request: GroupRequest,
    wait: Duration,
) -> Result<GroupReply, Refused> {
    match cx.ask(group, request, wait).await? {
        GroupReply::Failed { code, member } => {
            assert!(code != ErrorCode::None, "a failed request has a code");
            Err(Refused { code, member })
        }
        reply => Ok(reply),
    }
}

/// A coordinator answers with a reply of the request's name.
fn unfit(reply: &GroupReply) -> ! {
    panic!("a coordinator answers what it was asked, not {reply:?}")
}

/// Requests that Kafka takes for named groups only.
fn check_name(group: &str) -> Result<(), Refused> {
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    Ok(())
}

/// A count of milliseconds from the wire; negative is none.
fn millis(ms: i32) -> u64 {
    ms.max(0).unsigned_abs().into()
}

/// Runs these at once, as many as may be; the results are in their order.
async fn all<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let mut results: Vec<Option<F::Output>> = Vec::new();
    let mut running: JoinSet<(usize, F::Output)> = JoinSet::new();
    for (at, future) in futures.into_iter().enumerate() {
        if running.len() == ASKED_MAX {
            take_one(&mut running, &mut results).await;
        }
        results.push(None);
        running.spawn_local(async move { (at, future.await) });
    }
    while !running.is_empty() {
        take_one(&mut running, &mut results).await;
    }
    let done = |result: Option<F::Output>| result.expect("every task has put its result");
    results.into_iter().map(done).collect()
}

async fn take_one<T: 'static>(running: &mut JoinSet<(usize, T)>, results: &mut [Option<T>]) {
    if let Some(done) = running.join_next().await {
        let (at, result) = done.expect("asking a coordinator does not panic and is not cancelled");
        results[at] = Some(result);
    }
}

impl Coordinators for Context {
    async fn ask(
        &self,
        group: &str,
        request: GroupRequest,
        wait: Duration,
    ) -> Result<GroupReply, ErrorCode> {
        let partition = self
            .partition(group)
            .ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let answer = self.broker.group_request(partition, request, wait).await;
        answer.map_err(|rejection| in_terms_of_groups(rejection.code))
    }

    async fn list(&self) -> Result<Vec<Listed>, ErrorCode> {
        let mine = self.partitions_led();
        let ask = |partition| {
            let broker = self.broker.clone();
            async move {
                let request = GroupRequest::List;
                broker.group_request(partition, request, WAIT).await
            }
        };
        let mut groups = Vec::new();
        for answer in all(mine.into_iter().map(ask)).await {
            match answer.map_err(|rejection| in_terms_of_groups(rejection.code)) {
                Ok(GroupReply::Listed(listed)) => groups.extend(listed),
                Ok(GroupReply::Failed { code, .. }) => return Err(code),
                Ok(other) => unfit(&other),
                // Another broker leads it by now, and lists it.
                Err(ErrorCode::NotCoordinator) => {}
                Err(code) => return Err(code),
            }
        }
        Ok(groups)
    }

    fn has_partition(&self, topic: &str, partition: i32) -> bool {
        lookup::group_named(&self.broker.image(), topic, partition).is_ok()
    }

    fn topic_name(&self, id: Uuid) -> Option<String> {
        let image = self.broker.image();
        let topic = lookup::topic_of_id(&image, id).ok();
        topic.map(|topic| topic.name.clone())
    }

    fn topic_id(&self, name: &str) -> Option<Uuid> {
        let image = self.broker.image();
        let topic = lookup::topic_named(&image, name).ok();
        topic.map(|topic| Uuid(topic.id.0))
    }

    fn assignors(&self) -> &Assignors {
        &self.config.node.group_consumer_assignors
    }

    fn client(&self) -> Client {
        Client {
            id: self.client_id.as_deref().unwrap_or_default().to_owned(),
            host: host(self.peer.address.ip()),
        }
    }

    fn find(&self, group: &str) -> Found {
        let Some(partition) = self.partition(group) else {
            return Found::NoTopic;
        };
        let leader = self.broker.leader(partition).map(|leader| leader.node);
        let alive = leader.filter(|node| self.broker.is_alive(*node));
        let image = self.broker.image();
        alive
            .and_then(|node| lookup::endpoint(&image, node))
            .map_or(Found::NoLeader, Found::At)
    }

    async fn create_offsets_topic(&self) {
        offsets_topic::create(self).await;
    }
}

impl Context {
    /// The Raft group that a consumer group belongs to; None while there have never been groups.
    fn partition(&self, group: &str) -> Option<GroupId> {
        log_of(&self.broker.image(), group)
    }

    /// The partitions of groups that this broker leads.
    fn partitions_led(&self) -> Vec<GroupId> {
        let image = self.broker.image();
        let topic = image.topic_named(OFFSETS_TOPIC);
        let own = self.broker.node_id();
        let is_led = |partition: &GroupId| {
            let leader = self.broker.leader(*partition);
            leader.is_some_and(|leader| leader.node == own)
        };
        let partitions = topic.into_iter().flat_map(|topic| &topic.partitions);
        partitions.copied().filter(is_led).collect()
    }
}

/// What the log says about a partition, as a coordinator says it: clients of groups know no other retriable codes.
fn in_terms_of_groups(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        other => other,
    }
}

/// An address as Kafka shows it: `/10.0.0.1`, and all eight groups of IPv6.
fn host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            format!("/{}", groups.join(":"))
        }
    }
}
