//! Requests to the coordinators of groups.

use std::rc::Rc;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use raft::types::GroupId;
use tokio::sync::oneshot;

use super::{Broker, Rejection};
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::GroupRequest;
use crate::driver::tickets::Asked;

impl Broker {
    /// Asks the coordinator of the groups in one partition of `__consumer_offsets`. The answer rests on the log. Dropped,
    /// it is carried out nevertheless.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where this broker does not lead the partition, `COORDINATOR_LOAD_IN_PROGRESS` before it has
    /// taken over, `COORDINATOR_NOT_AVAILABLE` when nothing was answered in time: it may still happen.
    pub async fn group_request(
        self: &Rc<Self>,
        group: GroupId,
        request: GroupRequest,
        timeout: Duration,
    ) -> Result<GroupReply, Rejection> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.tickets.borrow_mut().issue(Asked::Group(answer));
        {
            let mut shard = self.shard.borrow_mut();
            shard.set_wall(self.clock.wall_ms());
            shard.group_request(self.clock.now(), group, request, ticket);
        }
        self.work.notify_one();
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unanswered("the broker is stopping")),
            Err(_) => Err(unanswered("the coordinator did not answer in time")),
        }
    }
}

fn unanswered(why: &str) -> Rejection {
    Rejection {
        code: ErrorCode::CoordinatorNotAvailable,
        message: why.to_owned(),
        leader: None,
    }
}
