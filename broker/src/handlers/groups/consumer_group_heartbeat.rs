//! `ConsumerGroupHeartbeat`: a member of the consumer protocol comes, is alive, changes, goes.

use protocol::error_code::ErrorCode;
use protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use protocol::wire::{Str, Uuid};

use super::{Coordinators, Refused, WAIT, ask, millis, unfit};
use crate::coordinator::consumer::assignor::Assignors;
use crate::coordinator::consumer::partitions::Partitions;
use crate::coordinator::reply::{ConsumerBeaten, GroupReply};
use crate::coordinator::request::{ConsumerBeat, GroupRequest, MemberRef};
use crate::metadata::TopicId;

/// From this version on the member chooses its id itself.
const OWN_ID_SINCE: i16 = 1;
/// The epoch of one who leaves.
const LEAVE: i32 = -1;
/// The epoch of a static member that leaves for a while.
const LEAVE_STATIC: i32 = -2;
/// A timeout that is not told.
const UNCHANGED: i32 = -1;

/// Why it is refused, in words if there is more to say than the code does.
struct Why(Refused, Option<String>);

impl From<Refused> for Why {
    fn from(refused: Refused) -> Self {
        Self(refused, None)
    }
}

/// Answers it.
pub async fn handle(
    cx: impl Coordinators,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    match beat(&cx, version, request).await {
        Ok(beaten) => success(beaten),
        Err(Why(refused, words)) => {
            let words = words.unwrap_or_else(|| refused.code.text().to_owned());
            ConsumerGroupHeartbeatResponse {
                error_code: refused.code.code(),
                error_message: Some(Str::from(words)),
                ..Default::default()
            }
        }
    }
}

async fn beat(
    cx: &impl Coordinators,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerBeaten, Why> {
    check(version, &request, cx.assignors())?;
    let text = |text: &Option<Str>| text.as_ref().map(ToString::to_string);
    let owned = request.topic_partitions.as_ref();
    let topics = request.subscribed_topic_names.as_ref();
    let is_told = request.rebalance_timeout_ms != UNCHANGED;
    let beat = ConsumerBeat {
        group: request.group_id.to_string(),
        member: MemberRef {
            id: request.member_id.to_string(),
            instance: text(&request.instance_id),
        },
        epoch: request.member_epoch,
        client: cx.client(),
        rack: text(&request.rack_id),
        rebalance_timeout_ms: is_told.then(|| millis(request.rebalance_timeout_ms)),
        topics: topics.map(|topics| topics.iter().map(ToString::to_string).collect()),
        regex: text(&request.subscribed_topic_regex),
        assignor: text(&request.server_assignor),
        owned: owned.map(|topics| partitions(topics)),
    };
    let call = GroupRequest::ConsumerBeat(beat);
    match ask(cx, &request.group_id, call, WAIT).await? {
        GroupReply::ConsumerBeaten(beaten) => Ok(beaten),
        other => unfit(&other),
    }
}

/// What makes no sense whatever the group is like.
fn check(
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
    assignors: &Assignors,
) -> Result<(), Why> {
    let fail = |words: &str| {
        let refused = Refused::from(ErrorCode::InvalidRequest);
        Err(Why(refused, Some(words.to_owned())))
    };
    // Blanks are nothing too.
    let is_blank = |text: &Str| text.trim().is_empty();
    let is_empty = |text: &Option<Str>| text.as_ref().is_some_and(is_blank);
    let epoch = request.member_epoch;
    let needs_id = version >= OWN_ID_SINCE || epoch > 0 || epoch == LEAVE;
    if needs_id && is_blank(&request.member_id) {
        return fail("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return fail("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return fail("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return fail("RackId can't be empty.");
    }
    if epoch == 0 {
        if request.rebalance_timeout_ms == UNCHANGED {
            return fail("RebalanceTimeoutMs must be provided in first request.");
        }
        if !request.topic_partitions.as_ref().is_some_and(Vec::is_empty) {
            return fail("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return fail(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            );
        }
    } else if epoch == LEAVE_STATIC && request.instance_id.is_none() {
        return fail("InstanceId can't be null.");
    } else if epoch < LEAVE_STATIC {
        return fail("MemberEpoch is invalid.");
    }
    match &request.server_assignor {
        Some(name) if assignors.named(name).is_none() => {
            let words = format!(
                "ServerAssignor {name} is not supported. Supported assignors: {assignors}."
            );
            let refused = Refused::from(ErrorCode::UnsupportedAssignor);
            Err(Why(refused, Some(words)))
        }
        _ => Ok(()),
    }
}

fn partitions(topics: &[TopicPartitions]) -> Partitions {
    let topic = |topic: &TopicPartitions| {
        let id = TopicId(topic.topic_id.0);
        let partitions = topic.partitions.clone();
        partitions.into_iter().map(move |partition| (id, partition))
    };
    topics.iter().flat_map(topic).collect()
}

fn success(beaten: ConsumerBeaten) -> ConsumerGroupHeartbeatResponse {
    let topic = |(id, partitions): (TopicId, &std::collections::BTreeSet<i32>)| TopicPartitions {
        topic_id: Uuid(id.0),
        partitions: partitions.iter().copied().collect(),
    };
    let assignment = beaten.assignment.as_ref().map(|assignment| Assignment {
        topic_partitions: assignment.topics().map(topic).collect(),
    });
    ConsumerGroupHeartbeatResponse {
        error_code: ErrorCode::None.code(),
        member_id: Some(Str::from(beaten.member)),
        member_epoch: beaten.epoch,
        heartbeat_interval_ms: i32::try_from(beaten.interval_ms).unwrap_or(i32::MAX),
        assignment,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_no_names() {
        let plain = ConsumerGroupHeartbeatRequest {
            group_id: Str::from_static("g"),
            member_id: Str::from_static("one"),
            member_epoch: 1,
            ..Default::default()
        };
        let is_taken = |change: fn(&mut ConsumerGroupHeartbeatRequest)| {
            let mut request = plain.clone();
            change(&mut request);
            check(1, &request, &Assignors::default()).is_ok()
        };
        assert!(is_taken(|_| {}));
        assert!(!is_taken(|request| request.group_id = Str::from_static(" ")));
        assert!(!is_taken(
            |request| request.member_id = Str::from_static(" ")
        ));
        assert!(!is_taken(
            |request| request.instance_id = Some(Str::from_static(" "))
        ));
        assert!(!is_taken(
            |request| request.rack_id = Some(Str::from_static(" "))
        ));
    }
}
