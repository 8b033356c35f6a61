//! What brokers ask each other about their own copies: a question takes its way there and an answer its way back, and either
//! ends with the connection that it goes over, or with the process at one of its ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use broker::snapshots::own::peer::{Asked, decode_piece};
use bytes::Bytes;
use raft::types::{GroupId, NodeId};
use snapshot::copy::{Donor, NoPiece, Piece};
use snapshot::key::Key;

use crate::random::Random;

/// How long an answer is waited for, in ms.
const ANSWER_WAIT_MS: u64 = 1000;
/// Questions and answers that are lost with their connection, each in a thousand.
const LOST_PER_MILLE: u64 = 20;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A piece of an object.
    Object,
    /// Whether a replica holds everything.
    Whole,
}

/// A question on its way.
#[derive(Clone, Debug)]
pub struct Question {
    number: u64,
    from: NodeId,
    pub(super) to: NodeId,
    pub(super) kind: Kind,
    pub(super) body: Bytes,
}

enum Moving {
    There(Question),
    Back(Question, Bytes),
}

struct Inner {
    now: u64,
    random: Random,
    delay_max_ms: u64,
    is_faulty: bool,
    moving: BTreeMap<(u64, u64), Moving>,
    /// Who waits, until when at most, and what came.
    waiting: BTreeMap<u64, (u64, Option<Bytes>)>,
    numbers: u64,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Wire(Rc<RefCell<Inner>>);

impl Inner {
    fn send(&mut self, moving: Moving) {
        let max = if self.is_faulty { self.delay_max_ms } else { 2 };
        let lost = self.random.chance(LOST_PER_MILLE) && self.is_faulty;
        let at = self.now + self.random.between(1, max.max(1));
        if !lost {
            self.numbers += 1;
            self.moving.insert((at, self.numbers), moving);
        }
    }
}

impl Wire {
    pub(crate) fn new(delay_max_ms: u64, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            now: 0,
            random: Random::new(seed ^ 0x5709E),
            delay_max_ms,
            is_faulty: false,
            moving: BTreeMap::new(),
            waiting: BTreeMap::new(),
            numbers: 0,
        })))
    }

    pub(crate) fn set_faulty(&self, is_faulty: bool) {
        self.0.borrow_mut().is_faulty = is_faulty;
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> u64 {
        let inner = self.0.borrow();
        let arrives = inner.moving.keys().next().map(|(at, _)| *at);
        let waits = inner.waiting.values().map(|(until, _)| *until);
        arrives.into_iter().chain(waits).min().unwrap_or(u64::MAX)
    }

    /// Asks; nothing comes from who does not answer in time.
    pub(crate) fn ask(&self, from: NodeId, to: NodeId, kind: Kind, body: Bytes) -> Waiting {
        let mut inner = self.0.borrow_mut();
        inner.numbers += 1;
        let (number, until) = (inner.numbers, inner.now + ANSWER_WAIT_MS);
        inner.waiting.insert(number, (until, None));
        inner.send(Moving::There(Question {
            number,
            from,
            to,
            kind,
            body,
        }));
        Waiting {
            wire: self.clone(),
            number,
        }
    }

    /// Sends an answer back; None is heard as silence.
    pub(crate) fn answer(&self, question: Question, body: Option<Bytes>) {
        if let Some(body) = body {
            self.0.borrow_mut().send(Moving::Back(question, body));
        }
    }

    /// Time goes on: the questions that arrive now. What is on its way between two that are not connected is lost.
    pub(crate) fn advance(
        &self,
        now: u64,
        connected: impl Fn(NodeId, NodeId) -> bool,
    ) -> Vec<Question> {
        let mut inner = self.0.borrow_mut();
        inner.now = now;
        let mut arrived = Vec::new();
        while let Some(first) = inner.moving.first_entry() {
            if first.key().0 > now {
                break;
            }
            match first.remove() {
                Moving::There(question) if connected(question.from, question.to) => {
                    arrived.push(question);
                }
                Moving::Back(question, body) if connected(question.from, question.to) => {
                    if let Some((until, answer)) = inner.waiting.get_mut(&question.number) {
                        (*until, *answer) = (now, Some(body));
                    }
                }
                Moving::There(_) | Moving::Back(..) => {}
            }
        }
        arrived
    }
}

/// An answer that is waited for.
pub(crate) struct Waiting {
    wire: Wire,
    number: u64,
}

impl Future for Waiting {
    type Output = Option<Bytes>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let inner = self.wire.0.borrow();
        let (until, answer) = inner.waiting.get(&self.number).expect("it is waited for");
        match answer {
            Some(answer) => Poll::Ready(Some(answer.clone())),
            None if inner.now >= *until => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.wire.0.borrow_mut().waiting.remove(&self.number);
    }
}

/// Another replica.
pub(crate) struct Other {
    pub(crate) wire: Wire,
    pub(crate) here: NodeId,
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
}

impl Donor for Other {
    fn name(&self) -> String {
        format!("broker {}", self.node)
    }

    async fn piece(&self, key: &Key, position: u64, length: usize) -> Result<Piece, NoPiece> {
        let asked = Asked {
            group: self.group,
            position,
            length,
            key: key.clone(),
        };
        let (from, to) = (self.here, self.node);
        let answer = self.wire.ask(from, to, Kind::Object, asked.encode()).await;
        decode_piece(&answer.ok_or(NoPiece::NoAnswer)?)
    }
}
