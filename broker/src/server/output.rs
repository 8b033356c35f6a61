//! The answers of one connection: a queue of slots in request order.
//!
//! A request takes a [`Slot`] when it is dispatched, and fills it whenever it is done; answers leave in the order of
//! the slots. What became ready is written at the end of the tick, one vectored write per connection; what the socket
//! does not take at once is written by a task that awaits it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, Semaphore};

use super::limits::Limits;
use super::memory::Permit;

/// Pieces of one vectored write.
const SLICES_MAX: usize = 64;

/// Connections with answers to write, until the end of the tick.
#[derive(Default)]
pub struct Dirty {
    outputs: RefCell<Vec<Rc<Output>>>,
    /// Told when the first connection gets in.
    first: Notify,
}

impl Dirty {
    /// Writes all answers that are ready. Cheap when there are none.
    pub fn flush(&self) {
        loop {
            let outputs = std::mem::take(&mut *self.outputs.borrow_mut());
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                output.registered.set(false);
                output.flush();
            }
        }
    }

    /// Resolves when something became ready. Cancel-safe.
    pub async fn some(&self) {
        self.first.notified().await;
    }

    fn register(&self, output: Rc<Output>) {
        let mut outputs = self.outputs.borrow_mut();
        outputs.push(output);
        if outputs.len() == 1 {
            self.first.notify_one();
        }
    }
}

/// The sending half of one connection.
pub struct Output {
    stream: RefCell<Option<Rc<OwnedWriteHalf>>>,
    queue: RefCell<Queue>,
    dirty: Weak<Dirty>,
    registered: Cell<bool>,
    writer: Cell<bool>,
    /// Told when answers were sent.
    changed: Notify,
    /// Told when the connection is closed or asked to end. NB: apart from `changed`, so that a write does not wake
    /// the reader.
    ended: Notify,
    closed: Cell<Option<&'static str>>,
    draining: Cell<bool>,
    moved: Cell<Instant>,
    sent_bytes: Cell<u64>,
    turn: Rc<Semaphore>,
}

#[derive(Default)]
struct Queue {
    /// Sequence of `slots[0]`.
    first: u64,
    slots: VecDeque<Option<Vec<Bytes>>>,
    /// In order, ready to be sent.
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// Ready, but behind a slot that is not.
    held_bytes: usize,
}

impl Output {
    /// The output of this socket.
    pub fn new(stream: OwnedWriteHalf, dirty: &Rc<Dirty>) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(Some(Rc::new(stream))),
            queue: RefCell::default(),
            dirty: Rc::downgrade(dirty),
            registered: Cell::new(false),
            writer: Cell::new(false),
            changed: Notify::new(),
            ended: Notify::new(),
            closed: Cell::new(None),
            draining: Cell::new(false),
            moved: Cell::new(Instant::now()),
            sent_bytes: Cell::new(0),
            turn: Rc::new(Semaphore::new(1)),
        })
    }

    /// The place of the next request's answer.
    pub fn slot(self: &Rc<Self>, permit: Permit) -> Slot {
        let mut queue = self.queue.borrow_mut();
        queue.slots.push_back(None);
        let sequence = queue.first + queue.slots.len() as u64 - 1;
        Slot {
            output: Rc::clone(self),
            sequence,
            _permit: permit,
            open: true,
        }
    }

    /// Closes the connection: what was not sent is lost. The first reason given stays.
    pub fn close(&self, reason: &'static str) {
        if self.closed.get().is_none() {
            self.closed.set(Some(reason));
            self.stream.borrow_mut().take();
            self.ended.notify_waiters();
            self.changed.notify_waiters();
        }
    }

    /// Why it was closed, if it was.
    pub fn closed(&self) -> Option<&'static str> {
        self.closed.get()
    }

    /// Resolves when the connection is closed. Cancel-safe.
    pub async fn until_closed(&self) {
        self.until(&self.ended, |output| output.closed.get().is_some())
            .await;
    }

    /// Asks the reader to take no more requests.
    pub fn drain(&self) {
        self.draining.set(true);
        self.ended.notify_waiters();
    }

    /// Resolves when no more requests are to be read. Cancel-safe.
    pub async fn until_ending(&self) {
        self.until(&self.ended, Self::is_ending).await;
    }

    fn is_ending(&self) -> bool {
        self.closed.get().is_some() || self.draining.get()
    }

    /// Whether another request may be taken: few enough are open, and few enough bytes of answers wait to be sent.
    pub fn has_room(&self, limits: &Limits) -> bool {
        let queue = self.queue.borrow();
        queue.slots.len() < limits.open_requests_max
            && queue.ready_bytes + queue.held_bytes < limits.response_bytes_max
    }

    /// Resolves when there is room, or no more requests are to be taken. Cancel-safe.
    pub async fn until_room(&self, limits: &Limits) {
        let ready = |output: &Self| output.is_ending() || output.has_room(limits);
        tokio::select! {
            () = self.until(&self.changed, ready) => {}
            () = self.until_ending() => {}
        }
    }

    /// For what only one request of the connection may do at a time.
    pub fn turn(&self) -> Rc<Semaphore> {
        Rc::clone(&self.turn)
    }

    /// Resolves when every request is answered and every answer sent, or the connection is closed. Cancel-safe.
    pub async fn until_drained(&self) {
        let drained = |output: &Self| output.closed.get().is_some() || output.is_idle();
        self.until(&self.changed, drained).await;
    }

    async fn until(&self, told: &Notify, holds: impl Fn(&Self) -> bool) {
        loop {
            let mut told = std::pin::pin!(told.notified());
            told.as_mut().enable();
            if holds(self) {
                return;
            }
            told.await;
        }
    }

    /// Bytes of answers that wait to be sent.
    pub fn waiting_bytes(&self) -> usize {
        let queue = self.queue.borrow();
        queue.ready_bytes + queue.held_bytes
    }

    /// Whether no request waits for an answer and no answer to be sent.
    pub fn is_idle(&self) -> bool {
        let queue = self.queue.borrow();
        queue.slots.is_empty() && queue.ready.is_empty()
    }

    /// Since when the socket does not take what is ready; None when nothing waits for the socket.
    pub fn stalled_since(&self) -> Option<Instant> {
        (!self.queue.borrow().ready.is_empty()).then(|| self.moved.get())
    }

    /// Bytes sent since the last call.
    pub fn take_sent_bytes(&self) -> u64 {
        self.sent_bytes.take()
    }

    fn fill(self: &Rc<Self>, sequence: u64, answer: Vec<Bytes>) {
        let mut queue = self.queue.borrow_mut();
        let was_empty = queue.ready.is_empty();
        if !queue.fill(sequence, answer) {
            return;
        }
        if was_empty {
            self.moved.set(Instant::now());
        }
        drop(queue);
        self.changed.notify_waiters();
        self.register();
    }

    fn register(self: &Rc<Self>) {
        if !self.registered.replace(true)
            && let Some(dirty) = self.dirty.upgrade()
        {
            dirty.register(Rc::clone(self));
        }
    }

    fn flush(self: &Rc<Self>) {
        if self.writer.get() {
            return;
        }
        let Some(stream) = self.stream.borrow().clone() else {
            return;
        };
        match self.write(&stream) {
            Ok(true) => {}
            Ok(false) => {
                self.writer.set(true);
                tokio::task::spawn_local(Rc::clone(self).write_rest(stream));
            }
            Err(_) => self.close("the client does not read any more"),
        }
    }

    /// Writes what a slow socket did not take at once.
    async fn write_rest(self: Rc<Self>, stream: Rc<OwnedWriteHalf>) {
        loop {
            let writable = tokio::select! {
                writable = stream.writable() => writable,
                () = self.until_closed() => break,
            };
            match writable.and_then(|()| self.write(&stream)) {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) => self.close("the client does not read any more"),
            }
        }
        self.writer.set(false);
    }

    /// Writes until all is sent (true) or the socket is full (false).
    fn write(&self, stream: &OwnedWriteHalf) -> io::Result<bool> {
        let mut queue = self.queue.borrow_mut();
        let mut written = 0;
        let all = loop {
            if queue.ready.is_empty() {
                break true;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for piece in queue.ready.iter().take(SLICES_MAX) {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    queue.sent(bytes);
                    written += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) => return Err(error),
            }
        };
        drop(queue);
        if written > 0 {
            self.moved.set(Instant::now());
            self.sent_bytes.set(self.sent_bytes.get() + written as u64);
            self.changed.notify_waiters();
        }
        Ok(all)
    }
}

impl Queue {
    /// Keeps an answer; returns whether the queue's front moved.
    fn fill(&mut self, sequence: u64, answer: Vec<Bytes>) -> bool {
        let at =
            usize::try_from(sequence - self.first).expect("a slot is in the queue until filled");
        self.held_bytes += answer.iter().map(Bytes::len).sum::<usize>();
        assert!(self.slots[at].is_none(), "a slot is filled once");
        self.slots[at] = Some(answer);
        while let Some(Some(_)) = self.slots.front() {
            let answer = self
                .slots
                .pop_front()
                .flatten()
                .expect("the front was just seen");
            self.first += 1;
            let bytes = answer.iter().map(Bytes::len).sum::<usize>();
            self.held_bytes -= bytes;
            self.ready_bytes += bytes;
            self.ready
                .extend(answer.into_iter().filter(|piece| !piece.is_empty()));
        }
        at == 0
    }

    fn sent(&mut self, mut bytes: usize) {
        self.ready_bytes -= bytes;
        while bytes > 0 {
            let front = self
                .ready
                .front_mut()
                .expect("what was sent was in the queue");
            if front.len() > bytes {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.ready.pop_front();
        }
    }
}

/// The place of one request's answer, and the request's share of the memory pool.
///
/// It resolves exactly once: [`Slot::fill`], [`Slot::no_answer`] or [`Slot::close`]. Dropped without any of them, as
/// by a task that was cancelled, it closes the connection: an answer can be missing, never out of order.
pub struct Slot {
    output: Rc<Output>,
    sequence: u64,
    _permit: Permit,
    open: bool,
}

impl Slot {
    /// The answer, with its length prefix.
    pub fn fill(mut self, answer: Vec<Bytes>) {
        self.open = false;
        self.output.fill(self.sequence, answer);
    }

    /// The request asked for none (acks=0).
    pub fn no_answer(self) {
        self.fill(Vec::new());
    }

    /// There can be no answer, or none that the client would understand.
    pub fn close(mut self, reason: &'static str) {
        self.open = false;
        self.output.close(reason);
    }

    /// Resolves when the client is gone, so that nobody waits for the answer. Cancel-safe.
    pub async fn until_closed(&self) {
        self.output.until_closed().await;
    }

    /// The connection.
    pub fn output(&self) -> Rc<Output> {
        Rc::clone(&self.output)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.open {
            self.output.close("a request was given up");
        }
    }
}
