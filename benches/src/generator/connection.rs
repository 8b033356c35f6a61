//! One non-blocking connection: what goes out, what came in, what waits for its answer.

use super::{Answer, Asked, Dialect};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const INBOX_BYTES: usize = 256 << 10;

/// A request on the way.
pub(super) struct Waiting {
    /// When it was sent, or when it should have been.
    pub(super) since: Instant,
    pub(super) id: u64,
    pub(super) asked: Asked,
}

/// Where a write or a read left the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All is out, or all that is here is read.
    Done,
    /// The socket takes no more for now.
    Blocked,
    /// The peer is gone.
    Closed,
}

pub(super) struct Connection<D> {
    pub(super) socket: TcpStream,
    dialect: D,
    outbox: Vec<u8>,
    outbox_sent: usize,
    inbox: Vec<u8>,
    inbox_filled: usize,
    waiting: VecDeque<Waiting>,
    next_id: u64,
    /// Whether the epoll watches for room to write.
    pub(super) watched_for_room: bool,
    pub(super) open: bool,
}

impl<D: Dialect> Connection<D> {
    /// Ids of one connection follow each other from `first_id`.
    pub(super) fn new(socket: TcpStream, dialect: D, first_id: u64) -> std::io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            dialect,
            outbox: Vec::new(),
            outbox_sent: 0,
            inbox: vec![0; INBOX_BYTES],
            inbox_filled: 0,
            waiting: VecDeque::new(),
            next_id: first_id,
            watched_for_room: false,
            open: true,
        })
    }

    pub(super) fn inflight(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.outbox_sent < self.outbox.len()
    }

    pub(super) fn ask(&mut self, since: Instant) {
        let id = self.next_id;
        self.next_id += 1;
        let asked = self.dialect.ask(id, &mut self.outbox);
        self.waiting.push_back(Waiting { since, id, asked });
    }

    pub(super) fn flush(&mut self) -> Progress {
        while self.has_unsent() {
            match self.socket.write(&self.outbox[self.outbox_sent..]) {
                Ok(0) => return Progress::Closed,
                Ok(written) => self.outbox_sent += written,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::Closed,
            }
        }
        self.outbox.clear();
        self.outbox_sent = 0;
        Progress::Done
    }

    /// Reads once what is there.
    pub(super) fn receive(&mut self) -> Progress {
        if self.inbox_filled == self.inbox.len() {
            self.inbox.resize(self.inbox.len() * 2, 0);
        }
        match self.socket.read(&mut self.inbox[self.inbox_filled..]) {
            Ok(0) => Progress::Closed,
            Ok(read) => {
                self.inbox_filled += read;
                Progress::Done
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Progress::Blocked
            }
            Err(_) => Progress::Closed,
        }
    }

    /// Hands every whole answer on, with the requests that it answers.
    pub(super) fn settle(&mut self, mut each: impl FnMut(&Waiting, &Answer)) -> Result<(), String> {
        let mut taken = 0;
        while let Some(answer) = self.dialect.answer(&self.inbox[taken..self.inbox_filled])? {
            taken += answer.bytes;
            for _ in 0..answer.requests {
                let request = self
                    .waiting
                    .pop_front()
                    .ok_or("an answer that nobody waits for")?;
                each(&request, &answer);
            }
        }
        self.inbox.copy_within(taken..self.inbox_filled, 0);
        self.inbox_filled -= taken;
        Ok(())
    }

    /// Gives up; returns what never got an answer.
    pub(super) fn close(&mut self) -> std::collections::vec_deque::Drain<'_, Waiting> {
        self.open = false;
        self.waiting.drain(..)
    }
}
