//! Requests to the controller: planned and proposed here when this broker is it, forwarded when another one is.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::peer::PeerRequest;
use raft::types::{DirectoryId, GroupId, Index, NodeId, ReplicaId};
use tokio::sync::oneshot;

use super::tickets::Asked;
use crate::broker::{Broker, Rejection, stopping};
use crate::controller::{Action, ControllerRequest, ControllerResponse, Failure, Soft, Step, plan};
use crate::metadata::{Change, Command, Rejected, TopicId};
use crate::shard::Shard;

/// Kinds of requests between brokers.
pub(crate) mod kind {
    /// An encoded `ControllerRequest`.
    pub(crate) const CONTROL: u8 = 1;
    /// A group (u64) and a node (i32): hand leadership over.
    pub(crate) const TRANSFER: u8 = 2;
    /// Encoded `lag::Asked`s: how far partitions are that are led there.
    pub(crate) const POSITIONS: u8 = 3;
    /// A group's name: all about the group that is coordinated there, as JSON.
    pub(crate) const GROUP: u8 = 4;
    /// The groups that are coordinated there, as JSON.
    pub(crate) const GROUPS: u8 = 5;
    /// A group (u64): put it into the store.
    pub(crate) const SNAPSHOT: u8 = 6;
    /// A step of a cut of the cluster, encoded by `snapshots::cut`.
    pub(crate) const CUT_STEP: u8 = 7;
    /// To the controller: make a cut of the cluster.
    pub(crate) const CUT: u8 = 8;
    /// An encoded `heal::Asked`: committed entries that the asker's disk did not keep. Answered by an encoded list of them.
    pub(crate) const ENTRIES: u8 = 9;
    /// An encoded `snapshots::own::peer::Asked`: a piece of an object of own copies.
    pub(crate) const OBJECT: u8 = 10;
    /// A group, a replica and an index (u64 each): whether that replica has applied so much and holds everything.
    pub(crate) const WHOLE: u8 = 11;
    /// An encoded `heal::AskedRecords`: committed batches that the asker's store did not keep. Answered as `ENTRIES`.
    pub(crate) const RECORDS: u8 = 12;
    /// Objects of the store that the leader of their partition, or the controller, is to make anew, as JSON.
    pub(crate) const HEAL: u8 = 13;
    /// A group (u64): compare its replicas. Answered as JSON.
    pub(crate) const COMPARE: u8 = 14;
    /// An encoded `compare::Asked`: a digest of committed entries. Answered by an encoded `compare::Answer`.
    pub(crate) const DIGEST: u8 = 15;
}

/// How long to wait for news of a controller before asking again.
const CONTROLLER_WAIT: Duration = Duration::from_millis(100);

/// A peer's request that could not be carried out there, as the response's status.
const STATUS_FAILED: i16 = -1;

impl Soft for Shard {
    fn alive(&self, node: NodeId) -> bool {
        self.is_alive(node)
    }

    fn heard_lately(&self, node: NodeId, directory: DirectoryId) -> bool {
        Shard::heard_lately(self, node, directory)
    }

    fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        self.leader(group).map(|leader| leader.node)
    }

    fn in_sync(&self, group: GroupId, node: NodeId) -> bool {
        self.leader(group)
            .is_some_and(|leader| leader.in_sync.contains(&node))
    }
}

impl Broker {
    /// Sends a request to the controller (this broker or another one, forwarded), and waits until this broker has
    /// applied what came of it.
    ///
    /// # Errors
    /// When no controller took it in time. It may have been carried out nevertheless.
    pub async fn controller_call(
        self: &Rc<Self>,
        request: ControllerRequest,
        timeout: Duration,
    ) -> Result<ControllerResponse, Rejection> {
        let deadline = tokio::time::Instant::now() + timeout;
        let attempt = async {
            loop {
                match self.controller_once(&request, timeout).await {
                    // NB: after a lost answer the request may be carried out twice; the second time it meets its
                    // own effect and says so (a topic exists already).
                    Err(why) if why.code == ErrorCode::NotController => {
                        self.await_controller().await
                    }
                    Err(why) => return Err(why),
                    Ok(response) => {
                        self.await_applied(response.applied).await;
                        return Ok(response);
                    }
                }
            }
        };
        match tokio::time::timeout_at(deadline, attempt).await {
            Ok(result) => result,
            Err(_) => Err(no_controller()),
        }
    }

    /// One attempt, which says as of which index of the metadata it was answered.
    pub(crate) async fn controller_once(
        self: &Rc<Self>,
        request: &ControllerRequest,
        timeout: Duration,
    ) -> Result<ControllerResponse, Rejection> {
        match self.controller() {
            Some(node) if node == self.node => self.control(request, timeout).await,
            Some(node) => self.forward(node, request, timeout).await,
            None => Err(no_controller()),
        }
    }

    async fn await_controller(&self) {
        let moved = self.progress(&[GroupId::METADATA]);
        let _ = tokio::time::timeout(CONTROLLER_WAIT, moved).await;
    }

    async fn await_applied(&self, index: Index) {
        loop {
            let moved = self.progress(&[GroupId::METADATA]);
            if self.image().applied() >= index {
                return;
            }
            moved.await;
        }
    }

    async fn forward(
        &self,
        node: NodeId,
        request: &ControllerRequest,
        timeout: Duration,
    ) -> Result<ControllerResponse, Rejection> {
        let body = Bytes::from(request.encode());
        let answer = self
            .network
            .request(node, kind::CONTROL, body, timeout)
            .await;
        let body = answer.map_err(|why| {
            let mut rejection = no_controller();
            rejection.message = format!("the controller, broker {node}, did not answer: {why}");
            rejection
        })?;
        ControllerResponse::decode(&body).map_err(|_| no_controller())
    }

    /// Plans and carries out a request as the controller.
    async fn control(
        self: &Rc<Self>,
        request: &ControllerRequest,
        timeout: Duration,
    ) -> Result<ControllerResponse, Rejection> {
        let steps = {
            let shard = self.shard.borrow();
            if !shard.is_controller() {
                return Err(no_controller());
            }
            let mut new_id = || TopicId(uuid::Uuid::new_v4().as_u128());
            plan(
                request,
                shard.image_or_empty(),
                &*shard,
                &self.policy,
                &mut new_id,
            )
        };
        let mut waits = Vec::with_capacity(steps.len());
        for step in &steps {
            waits.push(
                step.action
                    .as_ref()
                    .and_then(|action| self.begin(action, timeout)),
            );
        }
        let mut items = Vec::with_capacity(steps.len());
        for (step, wait) in steps.into_iter().zip(waits) {
            items.push(self.settle(step, wait).await?);
        }
        let applied = self.image().applied();
        Ok(ControllerResponse { items, applied })
    }

    async fn settle(
        &self,
        step: Step,
        wait: Option<oneshot::Receiver<Applied>>,
    ) -> Result<Result<crate::controller::Answer, Failure>, Rejection> {
        let Some(wait) = wait else {
            return Ok(step.answer);
        };
        match wait.await.unwrap_or_else(|_| Err(stopping())) {
            Ok(outcome) => Ok(step.resolve(&outcome, &self.image())),
            // Asking again, here or elsewhere, would not help.
            Err(why) if why.code == ErrorCode::PolicyViolation => Ok(Err(why.into())),
            Err(why) => Err(why),
        }
    }

    /// Begins an action; where it is a command, says where its outcome will come.
    pub(crate) fn begin(
        self: &Rc<Self>,
        action: &Action,
        timeout: Duration,
    ) -> Option<oneshot::Receiver<Applied>> {
        match action {
            Action::Propose(command) => Some(self.propose(command, timeout)),
            Action::AskTransfer { group, leader, to } => {
                self.ask_transfer(*group, *leader, *to);
                None
            }
        }
    }

    fn propose(
        self: &Rc<Self>,
        command: &Command,
        timeout: Duration,
    ) -> oneshot::Receiver<Applied> {
        let (answer, answered) = oneshot::channel();
        let (histogram, began) = (self.command_seconds.clone(), std::time::Instant::now());
        let done = move |outcome: Applied| {
            if outcome.is_ok() {
                histogram.observe_duration(began.elapsed());
            }
            // A receiver that went away does not mind.
            let _ = answer.send(outcome);
        };
        let done = Asked::Command(Box::new(done));
        let ticket = self.tickets.borrow_mut().issue(done);
        let (now, deadline) = (self.now(), self.clock.after(timeout));
        self.shard
            .borrow_mut()
            .propose_metadata(now, command, deadline, ticket);
        self.work.notify_one();
        answered
    }

    /// Asks a leader to hand over; nobody waits for it.
    fn ask_transfer(self: &Rc<Self>, group: GroupId, leader: NodeId, to: ReplicaId) {
        let to = self
            .image()
            .partition(group)
            .and_then(|p| p.holder(to))
            .map(|m| m.node);
        let Some(to) = to else { return };
        if leader == self.node {
            self.shard.borrow_mut().transfer(self.now(), group, to);
            self.work.notify_one();
            return;
        }
        let body = [&group.0.to_be_bytes()[..], &to.0.to_be_bytes()].concat();
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let body = Bytes::from(body);
            let asked = broker
                .network
                .request(leader, kind::TRANSFER, body, CONTROLLER_WAIT * 20);
            if let Err(why) = asked.await {
                tracing::debug!(target: "controller", group = group.0, %why, "transfer not asked");
            }
        });
    }

    /// Serves a request of another broker.
    pub(crate) fn serve_peer(self: &Rc<Self>, node: NodeId, request: PeerRequest) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let result = broker.answer_peer(&request).await;
            let (status, body) = result.map_or((STATUS_FAILED, Bytes::new()), |body| (0, body));
            if let Err(why) = broker.network.respond(node, request.id, status, body) {
                tracing::debug!(target: "peer", node = node.0, %why, "an answer was not sent");
            }
        });
    }

    async fn answer_peer(self: &Rc<Self>, request: &PeerRequest) -> Option<Bytes> {
        match request.kind {
            kind::CONTROL => {
                let request = ControllerRequest::decode(&request.body).ok()?;
                match self.control(&request, PEER_TIMEOUT).await {
                    Ok(response) => Some(Bytes::from(response.encode())),
                    Err(why) => {
                        tracing::debug!(target: "controller", ?why, "forwarded request refused");
                        None
                    }
                }
            }
            kind::TRANSFER => {
                let group = u64::from_be_bytes(request.body.get(..8)?.try_into().ok()?);
                let to = i32::from_be_bytes(request.body.get(8..12)?.try_into().ok()?);
                let (now, group, to) = (self.now(), GroupId(group), NodeId(to));
                self.shard.borrow_mut().transfer(now, group, to);
                self.work.notify_one();
                Some(Bytes::new())
            }
            kind::POSITIONS => {
                let asked = crate::lag::decode_asked(&request.body)?;
                Some(crate::lag::encode_positions(&self.positions(asked).await))
            }
            kind::GROUP => {
                let name = std::str::from_utf8(&request.body).ok()?;
                let view = self.group_here(name).await;
                serde_json::to_vec(&view).ok().map(Bytes::from)
            }
            kind::SNAPSHOT => {
                let group = u64::from_be_bytes(request.body.get(..8)?.try_into().ok()?);
                self.ask_for_snapshot(GroupId(group)).ok()?;
                Some(Bytes::new())
            }
            kind::CUT_STEP => self.cut_step(&request.body).await,
            kind::CUT => Some(self.cut_asked().await),
            kind::ENTRIES => self.committed_entries(&request.body).await,
            kind::OBJECT => self.piece_of_own(&request.body).await,
            kind::WHOLE => self.whole_here(&request.body),
            kind::RECORDS => self.records_for_peer(&request.body).await,
            kind::COMPARE => self.compare_for_peer(&request.body).await,
            kind::DIGEST => self.digest_for_peer(&request.body).await,
            kind::HEAL => self.heal_for_peer(&request.body).await,
            kind::GROUPS => {
                let lines = self.groups_here().await;
                serde_json::to_vec(&lines).ok().map(Bytes::from)
            }
            _ => None,
        }
    }
}

/// How long a forwarded request may take here.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a proposed command.
pub(crate) type Applied = Result<Result<Vec<Change>, Rejected>, Rejection>;

fn no_controller() -> Rejection {
    let message = "no controller is known: a majority of the metadata voters must be up".to_owned();
    Rejection {
        code: ErrorCode::NotController,
        message,
        leader: None,
    }
}

/// How often the controller looks at the cluster as a whole.
const CONTROL_INTERVAL: Duration = Duration::from_millis(500);

/// The periodic decisions, while this broker is the controller.
pub(crate) async fn tick_controller(broker: Rc<Broker>) {
    let mut controller = crate::controller::Controller::new(broker.policy.clone());
    let mut interval = tokio::time::interval(CONTROL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let actions = {
            let shard = broker.shard.borrow();
            if !shard.is_controller() {
                continue;
            }
            controller.tick(broker.now(), shard.image_or_empty(), &*shard)
        };
        let begun: Vec<_> = actions
            .iter()
            .map(|a| (a, broker.begin(a, PEER_TIMEOUT)))
            .collect();
        for (action, wait) in begun {
            let Some(wait) = wait else { continue };
            let outcome = wait.await.unwrap_or_else(|_| Err(stopping()));
            tracing::debug!(target: "controller", ?action, ?outcome, "decided");
        }
    }
}
