//! A member of a group, written by hand: joins, assigns when it leads, reads what it owns, commits, and records all of
//! it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use judge::{Outcome, What};

use super::history::History;
use crate::wait::wait_for;
use crate::wire::groups::{self, Join, code};
use crate::wire::{Connection, batch, requests};

/// Which group a member belongs to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The brokers' Kafka addresses.
    pub brokers: Vec<String>,
    /// The group.
    pub group: String,
    /// The topic that all members read.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// A silent member is dropped after so long.
    pub session: Duration,
}

/// A running member. Stops when dropped.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a member with a number of its own.
    pub fn start(number: usize, plan: Plan, history: History) -> Running {
        let (stop, paused) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let progress = Arc::<AtomicU64>::default();
        let member = Member {
            number,
            plan,
            history,
            stop: stop.clone(),
            paused: paused.clone(),
            progress: progress.clone(),
            id: String::new(),
            readers: BTreeMap::new(),
        };
        Running {
            stop,
            paused,
            progress,
            thread: Some(std::thread::spawn(move || member.run())),
        }
    }

    /// While it is set the member does nothing at all, as if its process was stopped.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Commits that were acknowledged.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.paused.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a member panicked"
            );
        }
    }
}

struct Member {
    number: usize,
    plan: Plan,
    history: History,
    stop: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    id: String,
    /// A connection to each broker that records were read from.
    readers: BTreeMap<String, Connection>,
}

/// Why a generation ended for a member.
enum End {
    /// It joins again under its id.
    Rejoin,
    /// It is no member any more: it joins under a new id.
    Anew,
    /// The coordinator is elsewhere, or gone.
    Find,
}

/// What is read of the partitions, and how far.
struct Owned {
    partition: i32,
    next: i64,
}

const REQUEST: Duration = Duration::from_secs(10);
/// A broker that hangs must not cost the session: others are asked soon.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(20);
/// Often, so that a rebalance is soon noticed and there are many.
const HEARTBEAT: Duration = Duration::from_millis(100);

impl Member {
    fn run(mut self) {
        while !self.stopped() {
            let Some(mut coordinator) = self.coordinator() else {
                continue;
            };
            while !self.stopped() {
                match self.generation(&mut coordinator) {
                    Ok(End::Rejoin) => {}
                    Ok(End::Anew) => self.id.clear(),
                    Ok(End::Find) | Err(_) => break,
                }
            }
            if self.stopped() && !self.id.is_empty() {
                // The others need not wait for its session to end; when nobody answers, they will.
                let _ = groups::leave(&mut coordinator, &self.plan.group, &self.id);
            }
        }
    }

    fn stopped(&self) -> bool {
        while self.paused.load(Ordering::Relaxed) {
            std::thread::park_timeout(STEP);
        }
        self.stop.load(Ordering::Relaxed)
    }

    fn coordinator(&self) -> Option<Connection> {
        let find = || {
            for broker in &self.plan.brokers {
                let Ok(mut any) = Connection::open(broker, PATIENCE) else {
                    continue;
                };
                let found = groups::find_coordinator(&mut any, &self.plan.group);
                if let Ok((0, address)) = found {
                    return Connection::open(&address, REQUEST).ok();
                }
            }
            self.stopped().then_some(None).flatten()
        };
        wait_for("a coordinator", Duration::from_secs(1), STEP, find).ok()
    }

    /// One generation, from the join to its end.
    fn generation(&mut self, coordinator: &mut Connection) -> io::Result<End> {
        let begun = self.history.now();
        let joined = groups::join(
            coordinator,
            &Join {
                group: &self.plan.group,
                session_timeout: self.plan.session.as_millis() as i32,
                rebalance_timeout: self.plan.session.as_millis() as i32,
                member: &self.id,
                instance: None,
                protocol: "by-hand",
                subscription: &subscription(&self.plan.topic),
            },
        )?;
        if joined.error != 0 {
            if joined.error == code::MEMBER_ID_REQUIRED {
                self.id = joined.member;
                return Ok(End::Rejoin);
            }
            return Ok(end(joined.error));
        }
        self.id = joined.member.clone();
        let assignments = if joined.leader == joined.member {
            assign(&joined.members, self.plan.partitions)
        } else {
            Vec::new()
        };
        let generation = joined.generation;
        let group = self.plan.group.clone();
        let (error, assignment) =
            groups::sync(coordinator, &group, generation, &self.id, &assignments)?;
        if error != 0 {
            return Ok(end(error));
        }
        let partitions: Vec<i32> = assignment.iter().map(|p| i32::from(*p)).collect();
        let what = What::Assigned {
            generation,
            partitions: partitions.clone(),
        };
        self.history.record(self.number, begun, what);
        self.own(coordinator, generation, &partitions)
    }

    /// Reads and commits until something ends the generation.
    fn own(
        &mut self,
        coordinator: &mut Connection,
        generation: i32,
        partitions: &[i32],
    ) -> io::Result<End> {
        let mut owned = Vec::new();
        for &partition in partitions {
            match self.begin(coordinator, partition)? {
                Ok(next) => owned.push(Owned { partition, next }),
                Err(ended) => return Ok(ended),
            }
        }
        let mut beat = Instant::now();
        while !self.stopped() {
            for one in &mut owned {
                if let Some(next) = self.read(one.partition, one.next) {
                    one.next = next;
                    if let Some(ended) = self.commit(coordinator, generation, one)? {
                        return Ok(ended);
                    }
                }
                if let Some(ended) = self.beat(coordinator, generation, &mut beat)? {
                    return Ok(ended);
                }
            }
            if let Some(ended) = self.beat(coordinator, generation, &mut beat)? {
                return Ok(ended);
            }
            std::thread::park_timeout(STEP);
        }
        Ok(End::Rejoin)
    }

    /// A heartbeat, when it is due.
    fn beat(
        &self,
        coordinator: &mut Connection,
        generation: i32,
        last: &mut Instant,
    ) -> io::Result<Option<End>> {
        if last.elapsed() < HEARTBEAT {
            return Ok(None);
        }
        *last = Instant::now();
        let group = &self.plan.group;
        let error = groups::heartbeat(coordinator, group, generation, &self.id)?;
        Ok((error != 0).then(|| end(error)))
    }

    /// Where the partition was left; asked until it is known.
    fn begin(&self, coordinator: &mut Connection, partition: i32) -> io::Result<Result<i64, End>> {
        let begun = self.history.now();
        let (group, topic) = (&self.plan.group, &self.plan.topic);
        let (error, offset) = groups::committed(coordinator, group, topic, partition)?;
        if error != 0 {
            return Ok(Err(end(error)));
        }
        let offset = offset.max(0);
        let what = What::Began { partition, offset };
        self.history.record(self.number, begun, what);
        Ok(Ok(offset))
    }

    /// Reads some records; None when there are none now.
    fn read(&mut self, partition: i32, from: i64) -> Option<i64> {
        let begun = self.history.now();
        for broker in &self.plan.brokers {
            let kept = self.readers.remove(broker);
            let opened = kept.map_or_else(|| Connection::open(broker, PATIENCE), Ok);
            let Ok(mut connection) = opened else {
                continue;
            };
            let fetched = requests::fetch(&mut connection, &self.plan.topic, partition, from, 4096);
            let Ok((error, _, records)) = fetched else {
                continue;
            };
            self.readers.insert(broker.clone(), connection);
            if error != 0 {
                continue;
            }
            let (first, next) = batch::offsets(&records)?;
            // The first batch may begin before what was asked for.
            let first = first.max(from);
            let what = What::Read {
                partition,
                first,
                next,
            };
            self.history.record(self.number, begun, what);
            return Some(next);
        }
        None
    }

    fn commit(
        &self,
        coordinator: &mut Connection,
        generation: i32,
        owned: &Owned,
    ) -> io::Result<Option<End>> {
        let begun = self.history.now();
        let (group, topic) = (&self.plan.group, &self.plan.topic);
        let answer = groups::commit(
            coordinator,
            group,
            (generation, &self.id),
            (topic, owned.partition),
            owned.next,
        );
        let outcome = match answer {
            Ok(0) => Outcome::Ok,
            // It was appended, and this coordinator will not tell what became of it.
            Ok(code::NOT_COORDINATOR | code::COORDINATOR_NOT_AVAILABLE) | Err(_) => {
                Outcome::Unknown
            }
            Ok(_) => Outcome::Refused,
        };
        let what = What::Committed {
            generation,
            partition: owned.partition,
            offset: owned.next,
            outcome,
        };
        self.history.record(self.number, begun, what);
        if outcome == Outcome::Ok {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        let error = answer?;
        Ok((error != 0).then(|| end(error)))
    }
}

fn end(error: i16) -> End {
    match error {
        code::REBALANCE_IN_PROGRESS => End::Rejoin,
        code::ILLEGAL_GENERATION | code::UNKNOWN_MEMBER_ID | code::FENCED_INSTANCE_ID => End::Anew,
        _ => End::Find,
    }
}

/// Each partition to one member, as a byte.
fn assign(members: &[String], partitions: i32) -> Vec<(String, Vec<u8>)> {
    let of = |at: usize| {
        let mine = (0..partitions).filter(|p| *p as usize % members.len() == at);
        mine.map(|p| p as u8).collect()
    };
    let members = members.iter().enumerate();
    members.map(|(at, id)| (id.clone(), of(at))).collect()
}

/// `ConsumerProtocolSubscription` 0 of one topic.
fn subscription(topic: &str) -> Vec<u8> {
    let mut bytes = crate::wire::codec::Writer::default();
    bytes.i16(0).i32(1).string(Some(topic)).bytes(None);
    bytes.0
}
