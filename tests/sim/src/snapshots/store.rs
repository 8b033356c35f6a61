//! The store of a run: every request takes its time there and back, and may fail in every way in which one can.
//!
//! What a broker has asked for goes on when the broker is dead: what it had sent arrives, or does not, or arrives late.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use raft::types::NodeId;
use snapshot::key::Key;
use snapshot::store::memory::Memory;
use snapshot::store::{Condition, Error, Later, Listed, Store, Upload, Version};

use super::plan::Plan;
use crate::random::Random;
use crate::report::Counts;

/// How late what comes late may be, in ms.
const LATE_MAX_MS: u64 = 2500;
/// How long the store may be away, in ms.
const OUTAGE_MAX_MS: u64 = 2000;

/// The store, as everybody shares it.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Inner>>);

/// The store as one broker sees it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    node: NodeId,
    shared: Shared,
}

/// How requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everything goes wrong that can.
    Faulty,
    /// They take their time.
    Well,
    /// They are answered at once.
    Prompt,
}

/// Names of objects that were there.
type Removed = Arc<Mutex<Vec<Key>>>;

struct Inner {
    /// The one that all share.
    memory: Memory,
    /// One for each disk, where each broker has its own, and how often something was written there.
    own: BTreeMap<NodeId, (Memory, u64)>,
    now: u64,
    random: Random,
    plan: Plan,
    mood: Mood,
    /// By the time when they happen.
    under_way: BTreeMap<(u64, u64), UnderWay>,
    requests: u64,
    /// When answers arrive.
    answers: BTreeSet<u64>,
    outage_at: u64,
    outage_until: u64,
    removed: Removed,
    dying: BTreeSet<NodeId>,
    counts: Counts,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

/// A request on its way.
struct UnderWay {
    node: NodeId,
    happen: Happen,
}

type Happen = Box<dyn FnOnce(&Memory) + Send>;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Happens,
    Refused,
    AnswerLost,
    Late,
}

impl Shared {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5708E);
        let outage_at = next_outage(&plan, 0, &mut random);
        Self(Arc::new(Mutex::new(Inner {
            memory: Memory::default(),
            own: BTreeMap::new(),
            now: 0,
            random,
            plan,
            mood: Mood::Well,
            under_way: BTreeMap::new(),
            requests: 0,
            answers: BTreeSet::new(),
            outage_at,
            outage_until: 0,
            removed: Removed::default(),
            dying: BTreeSet::new(),
            counts: Counts::default(),
        })))
    }

    pub(crate) fn view(&self, node: NodeId) -> View {
        View {
            node,
            shared: self.clone(),
        }
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> u64 {
        let inner = self.lock();
        let happens = inner.under_way.keys().next().map(|(at, _)| *at);
        let answered = inner.answers.first().copied();
        happens
            .into_iter()
            .chain(answered)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Makes happen what is due.
    pub(crate) fn advance(&self, now: u64) {
        let mut inner = self.lock();
        inner.now = now;
        let clock = i64::try_from(now).expect("a run is short");
        inner.memory.set_clock(clock);
        for (memory, _) in inner.own.values() {
            memory.set_clock(clock);
        }
        while let Some(first) = inner.under_way.first_entry() {
            if first.key().0 > now {
                break;
            }
            let UnderWay { node, happen } = first.remove();
            inner.happen(node, happen);
        }
        inner.answers = inner.answers.split_off(&(now + 1));
        if inner.mood == Mood::Faulty && inner.outage_at <= now {
            inner.counts.store_outages += 1;
            inner.outage_until = now + inner.random.between(50, OUTAGE_MAX_MS);
            let from = inner.outage_until;
            let Inner { plan, random, .. } = &mut *inner;
            inner.outage_at = next_outage(plan, from, random);
        }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// A broker has another disk, and on that there is nothing.
    pub(crate) fn replaced(&self, node: NodeId) {
        let mut inner = self.lock();
        inner.under_way.retain(|_, request| request.node != node);
        let writes = inner.own.remove(&node).map_or(0, |(_, writes)| writes);
        inner.own_of(node).1 = writes + 1;
    }

    /// Replaces an object on a broker's disk, or removes it, behind its back.
    pub(crate) fn tamper(&self, node: NodeId, key: &Key, bytes: Option<Bytes>) {
        let mut inner = self.lock();
        let (memory, writes) = inner.own_of(node);
        memory.tamper(key, bytes);
        *writes += 1;
    }

    /// What is on a broker's disk.
    pub(crate) fn memory_of(&self, node: NodeId) -> Memory {
        self.lock().own_of(node).0.clone()
    }

    /// How often something was written there.
    pub(crate) fn writes_of(&self, node: NodeId) -> u64 {
        self.lock().own_of(node).1
    }

    /// A broker is dead. Of what it had asked for some was never sent, and some comes late.
    pub(crate) fn abandoned_by(&self, node: NodeId) {
        let mut inner = self.lock();
        inner.dying.remove(&node);
        let of_node = inner.under_way.iter().filter(|(_, r)| r.node == node);
        for (at, number) in of_node.map(|(place, _)| *place).collect::<Vec<_>>() {
            let request = inner.under_way.remove(&(at, number));
            let (keep, later) = (inner.random.chance(600), inner.random.chance(500));
            let Some(request) = request.filter(|_| keep) else {
                continue;
            };
            if inner.plan.policy.own_copies {
                // Its disk does nothing more for a dead process.
                let UnderWay { node, happen } = request;
                inner.happen(node, happen);
                continue;
            }
            let delay = inner.random.between(0, LATE_MAX_MS);
            inner.counts.store_orphans += 1;
            let at = if later { at + delay } else { at };
            inner.under_way.insert((at, number), request);
        }
    }

    /// The brokers that die with what they have just asked for.
    pub(crate) fn take_dying(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.lock().dying)
    }

    /// What was removed since the last call.
    pub(crate) fn take_removed(&self) -> Vec<Key> {
        let inner = self.lock();
        let mut removed = inner.removed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut removed)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// What is there, behind everybody's back.
    pub(crate) fn memory(&self) -> Memory {
        self.lock().memory.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_outage(plan: &Plan, from: u64, random: &mut Random) -> u64 {
    match plan.faults.outage_every_ms {
        0 => u64::MAX,
        mean => from + random.between(1, mean * 2),
    }
}

impl Inner {
    fn own_of(&mut self, node: NodeId) -> &mut (Memory, u64) {
        let clock = i64::try_from(self.now).expect("a run is short");
        self.own.entry(node).or_insert_with(|| {
            let memory = Memory::default();
            memory.set_clock(clock);
            (memory, 0)
        })
    }

    /// A broker's request reaches its store.
    fn happen(&mut self, node: NodeId, happen: Happen) {
        if !self.plan.policy.own_copies {
            return happen(&self.memory);
        }
        let (memory, writes) = self.own_of(node);
        happen(memory);
        // Or read from.
        *writes += 1;
    }

    fn fate(&mut self, node: NodeId) -> Fate {
        if self.mood != Mood::Faulty {
            return Fate::Happens;
        }
        let faults = self.plan.faults;
        if self.random.chance(faults.died) {
            self.dying.insert(node);
        }
        let fate = if self.now < self.outage_until || self.random.chance(faults.refused) {
            Fate::Refused
        } else if self.random.chance(faults.lost) {
            Fate::AnswerLost
        } else if self.random.chance(faults.late) {
            Fate::Late
        } else {
            Fate::Happens
        };
        match fate {
            Fate::Happens => {}
            Fate::Refused => self.counts.store_refused += 1,
            Fate::AnswerLost => self.counts.store_answers_lost += 1,
            Fate::Late => self.counts.store_late += 1,
        }
        fate
    }

    fn delay(&mut self) -> u64 {
        let max = match self.mood {
            Mood::Faulty => self.plan.delay_max_ms,
            Mood::Well | Mood::Prompt => 3,
        };
        self.random.between(1, max.max(1))
    }
}

/// What a store in memory answers: at once.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("everything that it waits for is answered at once"),
    }
}

impl View {
    /// Sends a request.
    fn ask<T: Send + 'static>(
        &self,
        key: &str,
        what: impl FnOnce(&Memory) -> Result<T, Error> + Send + 'static,
    ) -> Later<'static, T> {
        let mut inner = self.shared.lock();
        if inner.mood == Mood::Prompt {
            let memory = match inner.plan.policy.own_copies {
                true => inner.own_of(self.node).0.clone(),
                false => inner.memory.clone(),
            };
            let done = what(&memory);
            return Box::pin(std::future::ready(done));
        }
        let fate = inner.fate(self.node);
        let happens_at = inner.now + inner.delay();
        let answered_at = happens_at + inner.delay();
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let fill = move |done| *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        if fate != Fate::Happens {
            let why = "injected".to_owned();
            let key = key.to_owned();
            fill(Err(Error::Unavailable { key, why }));
        }
        let happen: Option<Happen> = match fate {
            Fate::Happens => Some(Box::new(move |memory| fill(what(memory)))),
            Fate::Refused => None,
            Fate::AnswerLost | Fate::Late => Some(Box::new(move |memory| drop(what(memory)))),
        };
        if let Some(happen) = happen {
            let late = match fate {
                Fate::Late => inner.random.between(0, LATE_MAX_MS),
                _ => 0,
            };
            inner.requests += 1;
            let (place, node) = ((happens_at + late, inner.requests), self.node);
            inner.under_way.insert(place, UnderWay { node, happen });
        }
        inner.answers.insert(answered_at);
        Box::pin(Answer {
            shared: self.shared.clone(),
            slot,
            at: answered_at,
        })
    }
}

struct Answer<T> {
    shared: Shared,
    slot: Arc<Mutex<Option<Result<T, Error>>>>,
    at: u64,
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.shared.lock().now < self.at {
            return Poll::Pending;
        }
        let answer = self
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        Poll::Ready(answer.expect("it happened before it was answered"))
    }
}

impl Store for View {
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, condition: Condition) -> Later<'a, Version> {
        let named = key.clone();
        self.ask(key.as_str(), move |memory| {
            at_once(memory.put(&named, body, condition))
        })
    }

    fn upload<'a>(&'a self, key: &'a Key) -> Later<'a, Box<dyn Upload>> {
        let begun = Pieces {
            view: self.clone(),
            key: key.clone(),
            bytes: BytesMut::new(),
        };
        self.ask(key.as_str(), move |_| {
            let upload: Box<dyn Upload> = Box::new(begun);
            Ok(upload)
        })
    }

    fn get<'a>(&'a self, key: &'a Key, bytes_max: usize) -> Later<'a, (Bytes, Version)> {
        let named = key.clone();
        self.ask(key.as_str(), move |memory| {
            at_once(memory.get(&named, bytes_max))
        })
    }

    fn range<'a>(&'a self, key: &'a Key, position: u64, length: usize) -> Later<'a, Bytes> {
        let named = key.clone();
        self.ask(key.as_str(), move |memory| {
            at_once(memory.range(&named, position, length))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Later<'a, Vec<Listed>> {
        let (named, after) = (prefix.to_owned(), after.cloned());
        self.ask(prefix, move |memory| {
            at_once(memory.list(&named, after.as_ref(), limit))
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Later<'a, ()> {
        let named = key.clone();
        let removed = self.shared.lock().removed.clone();
        self.ask(key.as_str(), move |memory| {
            if at_once(memory.get(&named, usize::MAX)).is_ok() {
                let mut removed = removed.lock().unwrap_or_else(PoisonError::into_inner);
                removed.push(named.clone());
            }
            at_once(memory.delete(&named))
        })
    }
}

/// An object in the making: it is nowhere until it is whole.
#[derive(Debug)]
struct Pieces {
    view: View,
    key: Key,
    bytes: BytesMut,
}

impl Upload for Pieces {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        self.bytes.extend_from_slice(&bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>, condition: Condition) -> Later<'static, Version> {
        let Self { view, key, bytes } = *self;
        let (named, body) = (key.clone(), bytes.freeze());
        view.ask(key.as_str(), move |memory| {
            at_once(memory.put(&named, body, condition))
        })
    }
}
