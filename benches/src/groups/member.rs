//! One member, on a thread of its own: joins, assigns when it leads, reads one record, keeps its session, joins again
//! when there is a rebalance, leaves when it is told to.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::error_code::ErrorCode;
use protocol::messages::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use protocol::messages::leave_group::MemberIdentity;
use protocol::messages::sync_group::SyncGroupRequestAssignment;
use protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};

use super::{HEARTBEAT, PATIENCE, RETRY, SESSION, find_coordinator};
use crate::error::{Error, Result};
use crate::kafka::{Client, Cluster, Topic, error_name, first_record};

const JOIN_VERSION: i16 = 5;
const SYNC_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
const LEAVE_VERSION: i16 = 3;
const PROTOCOL: &str = "bench";

/// What a member tells.
#[derive(Debug)]
pub(super) enum Event {
    /// It knows what it owns in this generation.
    Assigned(i32),
    /// It has read a record.
    First,
    /// It cannot go on.
    Failed(Error),
}

/// Who tells what, and when.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) member: usize,
    pub(super) at: Instant,
    pub(super) event: Event,
}

pub(super) struct Member {
    pub(super) number: usize,
    pub(super) cluster: Cluster,
    pub(super) topic: Topic,
    pub(super) group: String,
    pub(super) tell: Sender<Told>,
    /// Disconnected when the member shall leave.
    pub(super) leave: Receiver<()>,
}

/// Why a generation ended for a member.
enum End {
    Rebalance,
    Left,
}

impl Member {
    pub(super) fn run(self) {
        if let Err(why) = self.live() {
            self.tell(Event::Failed(why));
        }
    }

    fn live(&self) -> Result<()> {
        let coordinator = find_coordinator(&self.cluster, &self.group)?;
        let mut client = Client::connect(&coordinator)?;
        let (mut id, mut has_read) = (String::new(), false);
        loop {
            let Some((generation, partitions)) = self.join(&mut client, &mut id)? else {
                continue;
            };
            self.tell(Event::Assigned(generation));
            if let Some(partition) = partitions.first().filter(|_| !has_read) {
                first_record(&self.topic, *partition, PATIENCE)?;
                has_read = true;
                self.tell(Event::First);
            }
            match self.keep(&mut client, &id, generation)? {
                End::Rebalance => {}
                End::Left => return Ok(()),
            }
        }
    }

    /// Joins and learns what it owns; None when there is another rebalance meanwhile.
    fn join(&self, client: &mut Client, id: &mut String) -> Result<Option<(i32, Vec<i32>)>> {
        let joined = self.joined(client, id)?;
        let generation = joined.generation_id;
        let is_leader = joined.leader == joined.member_id;
        let request = SyncGroupRequest {
            group_id: self.group.as_str().into(),
            generation_id: generation,
            member_id: id.as_str().into(),
            assignments: if is_leader {
                self.assign(&joined.members)
            } else {
                Vec::new()
            },
            ..SyncGroupRequest::default()
        };
        let synced = client.call(&request, SYNC_VERSION)?;
        match ErrorCode::from_code(synced.error_code) {
            Some(ErrorCode::None) => Ok(Some((generation, owned(&synced.assignment)))),
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => Ok(None),
            _ => Err(self.refused("sync", synced.error_code)),
        }
    }

    fn joined(&self, client: &mut Client, id: &mut String) -> Result<JoinGroupResponse> {
        let began = Instant::now();
        loop {
            let millis =
                |of: std::time::Duration| i32::try_from(of.as_millis()).unwrap_or(i32::MAX);
            let request = JoinGroupRequest {
                group_id: self.group.as_str().into(),
                session_timeout_ms: millis(SESSION),
                rebalance_timeout_ms: millis(PATIENCE),
                member_id: id.as_str().into(),
                protocol_type: "consumer".into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: PROTOCOL.into(),
                    metadata: subscription(&self.topic.name),
                }],
                ..JoinGroupRequest::default()
            };
            let joined = client.call(&request, JOIN_VERSION)?;
            match ErrorCode::from_code(joined.error_code) {
                Some(ErrorCode::None) => {
                    *id = joined.member_id.to_string();
                    return Ok(joined);
                }
                Some(ErrorCode::MemberIdRequired) => *id = joined.member_id.to_string(),
                // It has just become one, or is one no more.
                Some(ErrorCode::NotCoordinator) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(RETRY);
                    *client = Client::connect(&find_coordinator(&self.cluster, &self.group)?)?;
                }
                Some(
                    ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::RebalanceInProgress,
                ) if began.elapsed() < PATIENCE => std::thread::sleep(RETRY),
                _ => return Err(self.refused("join", joined.error_code)),
            }
        }
    }

    /// Deals the partitions out in turn.
    fn assign(&self, members: &[JoinGroupResponseMember]) -> Vec<SyncGroupRequestAssignment> {
        let all: Vec<i32> = self.topic.by_leader.values().flatten().copied().collect();
        let of = |at: usize| all.iter().copied().skip(at).step_by(members.len());
        let assign = |(at, member): (usize, &JoinGroupResponseMember)| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment(&self.topic.name, &of(at).collect::<Vec<_>>()),
        };
        members.iter().enumerate().map(assign).collect()
    }

    fn keep(&self, client: &mut Client, id: &str, generation: i32) -> Result<End> {
        loop {
            match self.leave.recv_timeout(HEARTBEAT) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    return self.leave(client, id).map(|()| End::Left);
                }
            }
            let request = HeartbeatRequest {
                group_id: self.group.as_str().into(),
                generation_id: generation,
                member_id: id.into(),
                ..HeartbeatRequest::default()
            };
            let alive = client.call(&request, HEARTBEAT_VERSION)?;
            match ErrorCode::from_code(alive.error_code) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::RebalanceInProgress) => return Ok(End::Rebalance),
                _ => return Err(self.refused("heartbeat", alive.error_code)),
            }
        }
    }

    fn leave(&self, client: &mut Client, id: &str) -> Result<()> {
        let request = LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            members: vec![MemberIdentity {
                member_id: id.into(),
                ..MemberIdentity::default()
            }],
            ..LeaveGroupRequest::default()
        };
        let left = client.call(&request, LEAVE_VERSION)?;
        let codes = left.members.iter().map(|member| member.error_code);
        match codes.chain([left.error_code]).find(|code| *code != 0) {
            Some(code) => Err(self.refused("leave", code)),
            None => Ok(()),
        }
    }

    fn tell(&self, event: Event) {
        let told = Told {
            member: self.number,
            at: Instant::now(),
            event,
        };
        // Nobody listens any more: the cell is over.
        let _ = self.tell.send(told);
    }

    fn refused(&self, deed: &str, code: i16) -> Error {
        Error::Cluster(format!(
            "member {} of {}: {deed}: {}",
            self.number,
            self.group,
            error_name(code)
        ))
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("a topic's name is short"));
    out.put_slice(text.as_bytes());
}

/// `ConsumerProtocolSubscription` 0.
fn subscription(topic: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(1);
    put_string(&mut out, topic);
    out.put_i32(-1);
    out.freeze()
}

/// `ConsumerProtocolAssignment` 0.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(1);
    put_string(&mut out, topic);
    out.put_i32(i32::try_from(partitions.len()).expect("few"));
    for partition in partitions {
        out.put_i32(*partition);
    }
    out.put_i32(-1);
    out.freeze()
}

/// The partitions of such an assignment.
fn owned(mut assignment: &[u8]) -> Vec<i32> {
    let mut read = || -> Option<Vec<i32>> {
        assignment.try_get_i16().ok()?;
        assignment.try_get_i32().ok()?;
        let name = usize::try_from(assignment.try_get_i16().ok()?).ok()?;
        assignment = assignment.get(name..)?;
        let count = assignment.try_get_i32().ok()?;
        (0..count).map(|_| assignment.try_get_i32().ok()).collect()
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_back() {
        assert_eq!(owned(&assignment("topic", &[3, 1, 200])), [3, 1, 200]);
        assert_eq!(owned(&assignment("topic", &[])), [0; 0]);
        assert_eq!(owned(b""), [0; 0]);
    }
}
