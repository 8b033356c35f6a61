//! One connection after its greetings: a task reads, `send` and that task write.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::frame::next_frame;
use protocol::peer::{Frame, Hello};
use raft::types::NodeId;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::handshake::name;
use super::network::Network;
use super::queue::{PIECES_MAX, WriteQueue};
use super::{DownReason, PeerEvent, SendError};

pub(super) struct Link {
    pub node: NodeId,
    /// Unique in this process.
    pub serial: u64,
    pub theirs: Hello,
    pub version: u8,
    /// This side dialled.
    pub dialled: bool,
    /// One side has no cluster id: see the module's invariants.
    pub unformed: bool,
    pub since: Instant,
    pub counters: Rc<Counters>,
    pub limits: Limits,
    sending: OwnedWriteHalf,
    /// Until its task takes it.
    receiving: Cell<Option<OwnedReadHalf>>,
    /// `Down` was told, or never will be.
    pub announced: Cell<bool>,
    queue: RefCell<WriteQueue>,
    /// Something waits that `send` could not write.
    waiting: Notify,
    /// When the socket last took a byte, or the queue began to wait.
    progress: Cell<Instant>,
    closed: RefCell<Option<DownReason>>,
    closing: Notify,
}

/// Of one peer, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub connects: Cell<u64>,
    pub received_bytes: Cell<u64>,
    pub sent_bytes: Cell<u64>,
    pub received_frames: Cell<u64>,
    pub sent_frames: Cell<u64>,
    pub unformed_frames: Cell<u64>,
    /// Attempts to connect that the other machine refused.
    pub refused: Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub queue_bytes: usize,
    pub frame_bytes: usize,
    pub read_bytes: usize,
    pub stall: Duration,
}

pub(super) fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get() + count);
}

/// What a new link is made of.
pub(super) struct Greeted {
    pub stream: TcpStream,
    pub theirs: Hello,
    pub version: u8,
    pub dialled: bool,
    pub unformed: bool,
}

impl Link {
    pub fn new(greeted: Greeted, serial: u64, counters: Rc<Counters>, limits: Limits) -> Self {
        let Greeted {
            stream,
            theirs,
            version,
            dialled,
            unformed,
        } = greeted;
        add(&counters.connects, 1);
        let (receiving, sending) = stream.into_split();
        Self {
            node: theirs.node,
            serial,
            theirs,
            version,
            dialled,
            unformed,
            since: Instant::now(),
            counters,
            limits,
            sending,
            receiving: Cell::new(Some(receiving)),
            announced: Cell::new(false),
            queue: RefCell::default(),
            waiting: Notify::new(),
            progress: Cell::new(Instant::now()),
            closed: RefCell::default(),
            closing: Notify::new(),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    pub fn queued_bytes(&self) -> u64 {
        self.queue.borrow().cost() as u64
    }

    /// Nothing is sent or delivered from now on; the task ends and tells. The first reason counts.
    pub fn close(&self, reason: DownReason) {
        let mut closed = self.closed.borrow_mut();
        if closed.is_none() {
            *closed = Some(reason);
            self.queue.borrow_mut().clear();
            self.closing.notify_one();
        }
    }

    /// Queues a frame and writes what the socket takes at once.
    pub fn send(&self, chain: Vec<Bytes>) -> Result<(), SendError> {
        if self.is_closed() {
            return Err(SendError::NotConnected);
        }
        let idle = self.queue.borrow().is_empty();
        if !self.queue.borrow_mut().push(chain, self.limits.queue_bytes) {
            self.close(DownReason::QueueFull);
            return Err(SendError::QueueFull);
        }
        add(&self.counters.sent_frames, 1);
        if !idle {
            return Ok(()); // The task waits for the socket already.
        }
        self.progress.set(Instant::now());
        match self.flush() {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.waiting.notify_one();
                Ok(())
            }
            Err(error) => {
                self.close(DownReason::Failed(error.kind()));
                Err(SendError::NotConnected)
            }
        }
    }

    /// Writes until the queue is empty (true) or the socket is full.
    fn flush(&self) -> io::Result<bool> {
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let count = queue.front(&mut slices);
            match self.sending.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    queue.advance(written);
                    add(&self.counters.sent_bytes, written as u64);
                    self.progress.set(Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Until the connection ends. `rest`: what came behind the greeting.
    pub async fn run(self: Rc<Self>, network: Weak<Network>, rest: BytesMut) {
        let ended = tokio::select! {
            reason = self.read(&network, rest) => reason,
            reason = self.write() => reason,
            () = self.closing.notified() => DownReason::Removed,
        };
        self.close(ended);
        let reason = self.closed.borrow().clone().expect("closed the line above");
        if let Some(network) = network.upgrade() {
            network.announce_down(&self, reason);
        }
    }

    async fn write(&self) -> DownReason {
        loop {
            self.waiting.notified().await;
            loop {
                match self.flush() {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => return DownReason::Failed(error.kind()),
                }
                let deadline = self.progress.get() + self.limits.stall;
                match tokio::time::timeout_at(deadline, self.sending.writable()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return DownReason::Failed(error.kind()),
                    Err(_) => return DownReason::Stalled,
                }
            }
        }
    }

    async fn read(&self, network: &Weak<Network>, mut buffer: BytesMut) -> DownReason {
        let mut stream = self.receiving.take().expect("a link runs once");
        loop {
            if let Err(reason) = self.deliver(network, &mut buffer) {
                return reason;
            }
            make_room(&mut buffer, self.limits.read_bytes);
            // NB: a peer that never stops sending must not keep the thread from everybody else.
            tokio::task::yield_now().await;
            // NB: not `readable` and `try_read`, which asks a socket that it emptied once more before it waits.
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return DownReason::Closed,
                Ok(count) => add(&self.counters.received_bytes, count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return DownReason::Failed(error.kind()),
            }
        }
    }

    /// Hands on every whole frame in the buffer.
    fn deliver(&self, network: &Weak<Network>, buffer: &mut BytesMut) -> Result<(), DownReason> {
        let mut delivered = false;
        let ended = loop {
            // A handler may have closed this link.
            if self.is_closed() {
                break Ok(());
            }
            let frame = match next_frame(buffer, self.limits.frame_bytes) {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(error) => break Err(DownReason::Garbage(error.to_string())),
            };
            add(&self.counters.received_frames, 1);
            let frame = match Frame::decode(frame) {
                Ok(frame) => frame,
                Err(error) => break Err(DownReason::Garbage(error.to_string())),
            };
            let Some(network) = network.upgrade() else {
                break Err(DownReason::Removed);
            };
            match frame {
                Frame::Hello(_) | Frame::HelloReply(_) | Frame::Refused(_) => {
                    let text = format!("{} after the greetings", name(&frame));
                    break Err(DownReason::Garbage(text));
                }
                Frame::Response(response) => network.requests.answer(self.serial, response),
                Frame::Batch(_) if self.unformed => add(&self.counters.unformed_frames, 1),
                Frame::Batch(_) | Frame::Request(_) | Frame::Formation(_) => {
                    delivered = true;
                    network.tell(PeerEvent::Frame {
                        node: self.node,
                        frame,
                    });
                }
            }
        };
        if delivered && let Some(network) = network.upgrade() {
            network.tell(PeerEvent::BatchEnd);
        }
        ended
    }
}

/// Room for a large read; a long frame gets as much again as has arrived, so that memory follows what was received.
pub(super) fn make_room(buffer: &mut BytesMut, read_bytes: usize) {
    let spare = buffer.capacity() - buffer.len();
    if spare < read_bytes / 4 {
        buffer.reserve(read_bytes.max(buffer.len()));
    }
}
