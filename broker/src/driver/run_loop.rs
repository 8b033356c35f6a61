//! The loop.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::peer::{self, Frame};
use raft::message::{Body, Message};
use raft::types::{GroupId, NodeId};

use super::inbox::{LogInbox, PeerInbox};
use super::log_thread::{LogEvent, LogThread};
use crate::broker::Broker;
use crate::formation::{self, Formation};
use crate::peer::{PeerEvent, SendError};
use crate::shard::{Output, PeerBatch};

/// Why the loop ended.
#[derive(Debug)]
pub enum Ended {
    /// Somebody asked for it.
    Stopped,
    /// The log failed: nothing may be acknowledged any longer.
    LogFailed(wal::Error),
    /// Going on could lose or invent data.
    Halted(crate::shard::Halt),
}

/// What a broker serves besides its peers, as the loop sees it.
pub trait Front {
    /// Writes the answers of all connections that have some: the end of a tick.
    fn write_answers(&self);

    /// Accepts no more connections; those that are open are served on.
    fn stop_accepting(&self);

    /// Takes no more requests, resolves when those that were received are answered, or after so long; then every
    /// connection is closed.
    fn drain(&self, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

/// What the loop executes.
pub struct Driver {
    pub(crate) broker: Rc<Broker>,
    pub(crate) peers: Rc<PeerInbox>,
    pub(crate) log_events: LogInbox,
    /// Goes on answering wiped seeds.
    pub(crate) formation: RefCell<Formation>,
    /// What clients are served by.
    pub(crate) front: Rc<dyn Front>,
    pub(crate) halted: RefCell<Option<crate::shard::Halt>>,
}

impl Driver {
    /// Runs until `stop` resolves, the log fails, or the shard halts.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Ended {
        let mut stop = std::pin::pin!(stop);
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(self.deadline()));
        loop {
            // Setting an alarm costs a wake-up of this very thread. One that is early does no harm.
            let deadline = self.deadline();
            if deadline < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = &mut stop => return Ended::Stopped,
                () = self.broker.work.notified() => {}
                () = self.log_events.filled() => {}
                () = &mut alarm => {}
            }
            // Whatever else is ready to be read goes into the same tick.
            tokio::task::yield_now().await;
            if let Some(ended) = self.tick() {
                return ended;
            }
        }
    }

    /// When the shard wants to be told the time.
    fn deadline(&self) -> tokio::time::Instant {
        let deadline = self.broker.shard.borrow().deadline();
        self.broker.clock.instant(deadline).into()
    }

    /// Takes in everything that happened, and carries out what follows.
    pub fn tick(&self) -> Option<Ended> {
        let now = self.broker.now();
        while let Some(event) = self.peers.pop() {
            self.peer_event(event);
        }
        for event in self.log_events.take() {
            match event {
                LogEvent::Done(done) => self.broker.shard.borrow_mut().log_done(now, &done),
                LogEvent::Failed(why) => return Some(Ended::LogFailed(why)),
            }
        }
        let output = {
            let mut shard = self.broker.shard.borrow_mut();
            shard.set_wall(self.broker.clock.wall_ms());
            if now >= shard.deadline() {
                shard.tick(now);
            }
            shard.flush(now)
        };
        self.execute(output);
        self.halted.borrow_mut().take().map(Ended::Halted)
    }

    fn peer_event(&self, event: PeerEvent) {
        let (now, broker) = (self.broker.now(), &self.broker);
        match event {
            PeerEvent::Up { node, hello, .. } => {
                let mut shard = broker.shard.borrow_mut();
                shard.peer_up(now, node, hello.directory);
                drop(shard);
                self.formation_event(formation::Event::PeerUp(node));
            }
            PeerEvent::Down { node, reason } => {
                tracing::info!(target: "peer", node = node.0, %reason, "down");
                broker.messages.disconnected(node);
                broker.shard.borrow_mut().peer_down(now, node);
            }
            PeerEvent::Frame { node, frame } => self.frame(node, frame),
            PeerEvent::BatchEnd | PeerEvent::Refused { .. } => {}
        }
    }

    fn frame(&self, node: NodeId, frame: Frame) {
        match frame {
            Frame::Batch(batch) => {
                let messages = &self.broker.messages;
                messages.received(Instant::now(), node, &batch.messages);
                let batch = PeerBatch {
                    messages: batch.messages,
                    soft: batch.soft,
                };
                self.broker
                    .shard
                    .borrow_mut()
                    .peer_frame(self.broker.now(), node, batch);
            }
            Frame::Request(request) => self.broker.serve_peer(node, request),
            Frame::Formation(body) => match formation::Message::decode(&body) {
                Ok(message) => {
                    self.formation_event(formation::Event::Presented { node, message });
                }
                Err(why) => tracing::warn!(target: "peer", node = node.0, %why, "bad formation"),
            },
            Frame::Hello(_) | Frame::HelloReply(_) | Frame::Refused(_) | Frame::Response(_) => {}
        }
    }

    fn formation_event(&self, event: formation::Event) {
        let mut effects = Vec::new();
        self.formation
            .borrow_mut()
            .step(self.broker.now(), event, &mut effects);
        for effect in effects {
            match effect {
                formation::Effect::Send { to, message } => {
                    super::founding::send_formation(&self.broker.network, to, &message);
                }
                formation::Effect::Refused { node, refusal } => {
                    tracing::warn!(target: "peer", node = node.0, %refusal, "cannot take part");
                }
                formation::Effect::SyncRecord(_)
                | formation::Effect::Formed(_)
                | formation::Effect::Failed(_) => {
                    unreachable!("the cluster was formed before the loop began")
                }
            }
        }
    }

    /// Sends a batch in as many frames as its size needs.
    fn send(&self, node: NodeId, batch: &PeerBatch) {
        let network = &self.broker.network;
        let mut messages = batch.messages.as_slice();
        let mut soft = batch.soft.as_slice();
        loop {
            let (now, later) = messages.split_at(fitting(messages));
            let pairs = now.iter().map(|(group, message)| (*group, message));
            match peer::encode_batch(peer::VERSIONS.max, pairs, soft, 0, 0) {
                // A peer that is not connected or too slow loses it: Raft sends again.
                Ok(chain) => match network.send(node, chain) {
                    Ok(()) => self.broker.messages.sent(Instant::now(), node, now),
                    Err(why) => self.broker.messages.unsent(node, now, why),
                },
                Err(why) => {
                    // NB: a peer must not miss a message in the middle without noticing: Raft repairs a lost one.
                    tracing::error!(target: "peer", node = node.0, %why, "cannot encode a frame");
                    self.broker.messages.unsent(node, now, SendError::TooLarge);
                    network.disconnect(node);
                    return;
                }
            }
            (messages, soft) = (later, &[]);
            if messages.is_empty() {
                return;
            }
        }
    }

    /// Frames leave before the append is handed to the log: followers write while the leader does. A short append comes
    /// last, because it may be written on this very thread.
    fn execute(&self, output: Output) {
        let broker = &self.broker;
        for (node, batch) in output.frames {
            self.send(node, &batch);
        }
        let mut append = output.append;
        let last = append.take_if(|(_, records)| LogThread::is_short(records));
        if let Some((id, records)) = append {
            broker.log.append(id, records);
        }
        for answer in output.answers {
            let asked = broker.tickets.borrow_mut().redeem(&answer);
            if let Some(asked) = asked {
                asked.answer(answer);
            }
        }
        if !output.progress.is_empty() {
            broker.waiters.borrow_mut().wake(&output.progress);
        }
        for order in output.orders {
            if let Some(halt) = broker.carry_out(order) {
                *self.halted.borrow_mut() = Some(halt);
            }
        }
        self.front.write_answers();
        if let Some((id, records)) = last
            && let Some(event) = broker.log.append_short(id, records, output.others_commit)
        {
            self.log_events.push(event);
        }
    }
}

/// Entry bytes after which a frame takes no more messages.
const FRAME_BYTES: usize = 8 << 20;

/// How many of these messages go into one frame, at least one.
fn fitting(messages: &[(GroupId, Message)]) -> usize {
    let mut bytes = 0;
    for (at, (_, message)) in messages.iter().enumerate() {
        bytes += match &message.body {
            Body::Append(append) => append.entries.iter().map(|e| e.payload.len() + 64).sum(),
            Body::Install { base, .. } => base.state.len(),
            _ => 64,
        };
        if bytes > FRAME_BYTES {
            return at.max(1);
        }
    }
    messages.len()
}
