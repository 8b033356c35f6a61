//! Producers that go on whatever happens, as an application's do: one a partition, each with one record on the way, sent
//! when its schedule says. A refused or lost record is sent again, to whoever leads by then.
//!
//! Latency counts from the intended instant, so that what could not be sent while nobody led has waited too.

use crate::generator::{Ack, Dialect, Verdict};
use crate::kafka::{Cluster, Produce, connect};
use crate::report::{latencies, note};
use hdrhistogram::Histogram;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A client's own patience, 100 ms by default in Kafka's, would hide the broker's.
const RETRY: Duration = Duration::from_millis(2);
/// Room for the number of one partition's records in an id.
const ID_BITS: u32 = 40;
/// Newer than this are the last acknowledged records of producers that have no arrears.
const ON_TIME: Duration = Duration::from_millis(50);
/// The patience of producers that expect an answer.
pub(crate) const PATIENT: Duration = Duration::from_secs(10);

/// What is produced.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cluster: Cluster,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    pub(crate) size_bytes: usize,
    /// Records per second and partition.
    pub(crate) rate: f64,
    /// How long a producer waits for an answer before it asks another broker who leads; and before it asks one again that
    /// did not answer and still is the leader.
    pub(crate) patience: Duration,
}

/// A record that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) ack: Ack,
    /// Who acknowledged it.
    pub(crate) leader: Arc<str>,
    /// When it should have been sent.
    pub(crate) intended: Instant,
    /// When the acknowledgement was here.
    pub(crate) at: Instant,
}

/// Producers that run.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    /// By partition: the newest acknowledgement.
    newest: Vec<Arc<Mutex<Option<Sent>>>>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

impl Steady {
    /// Starts them.
    pub(crate) fn start(plan: &Plan) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (mut newest, mut threads) = (Vec::new(), Vec::new());
        for partition in 0..plan.partitions {
            let mine: Arc<Mutex<Option<Sent>>> = Arc::default();
            newest.push(mine.clone());
            let producer = Producer {
                plan: plan.clone(),
                partition,
                stop: stop.clone(),
                newest: mine,
            };
            threads.push(thread::spawn(move || producer.run()));
        }
        Self {
            stop,
            newest,
            threads,
        }
    }

    /// The newest acknowledgement of a partition.
    pub(crate) fn newest(&self, partition: i32) -> Option<Sent> {
        let newest = self.newest.get(usize::try_from(partition).ok()?)?;
        newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether every producer keeps to its schedule again, after a time in which it could not.
    pub(crate) fn are_on_time(&self) -> bool {
        let now = Instant::now();
        let is_on_time = |newest: &Arc<Mutex<Option<Sent>>>| {
            let newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest
                .as_ref()
                .is_some_and(|sent| now - sent.intended < ON_TIME)
        };
        self.newest.iter().all(is_on_time)
    }

    /// Ends them; all that was acknowledged, by partition and in the order of the acknowledgements.
    pub(crate) fn stop(mut self) -> Vec<Vec<Sent>> {
        self.stop.store(true, Ordering::Relaxed);
        let join = |thread: JoinHandle<_>| thread.join().expect("a producer does not panic");
        std::mem::take(&mut self.threads)
            .into_iter()
            .map(join)
            .collect()
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Latencies of what should have been sent within a window.
pub(crate) fn latency(sent: &[Vec<Sent>], window: (Instant, Instant)) -> Histogram<u64> {
    let mut all = latencies();
    let within = |one: &&Sent| one.intended >= window.0 && one.intended < window.1;
    for one in sent.iter().flatten().filter(within) {
        note(&mut all, one.at - one.intended);
    }
    all
}

/// All acknowledged records, to be read back.
pub(crate) fn acks(sent: &[Vec<Sent>]) -> Vec<Ack> {
    sent.iter().flatten().map(|one| one.ack).collect()
}

struct Producer {
    plan: Plan,
    partition: i32,
    stop: Arc<AtomicBool>,
    newest: Arc<Mutex<Option<Sent>>>,
}

/// Whom a producer sends to.
#[derive(Default)]
struct Lead {
    link: Option<Link>,
    /// The broker that did not answer last, and when it was given up.
    silent: Option<(Arc<str>, Instant)>,
    /// The number of the broker that is asked who leads.
    asked: usize,
}

fn is_silence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// A connection to who leads, or led.
struct Link {
    leader: Arc<str>,
    socket: TcpStream,
    dialect: Produce,
    out: Vec<u8>,
    inbox: Vec<u8>,
}

impl Producer {
    fn run(self) -> Vec<Sent> {
        let began = Instant::now();
        let mut sent = Vec::new();
        let mut lead = Lead::default();
        for number in 0_u64.. {
            let intended = began + Duration::from_secs_f64(number as f64 / self.plan.rate);
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let id = ((self.partition as u64) << ID_BITS) + number;
            let Some((leader, offset)) = self.deliver(&mut lead, id) else {
                break;
            };
            let partition = self.partition;
            let one = Sent {
                ack: Ack {
                    partition,
                    offset,
                    id,
                },
                leader,
                intended,
                at: Instant::now(),
            };
            *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(one.clone());
            sent.push(one);
        }
        sent
    }

    /// Sends until it is acknowledged; None when the end comes first.
    fn deliver(&self, lead: &mut Lead, id: u64) -> Option<(Arc<str>, i64)> {
        while !self.stop.load(Ordering::Relaxed) {
            if lead.link.is_none() {
                lead.link = self.link(lead);
            }
            if let Some(link) = &mut lead.link {
                match link.exchange(id) {
                    Ok(Verdict::Acked { offset }) => return Some((link.leader.clone(), offset)),
                    Err(e) if is_silence(&e) => {
                        lead.silent = Some((link.leader.clone(), Instant::now()));
                    }
                    _ => {}
                }
            }
            // Whatever it was, it is sent again: a client of this kind delivers at least once.
            lead.link = None;
            thread::sleep(RETRY);
        }
        None
    }

    fn link(&self, lead: &mut Lead) -> Option<Link> {
        let plan = &self.plan;
        let asked = |number| plan.cluster.beginning_with(number, plan.patience);
        let is_silent = |broker: &str| lead.silent.as_ref().is_some_and(|(b, _)| **b == *broker);
        if is_silent(asked(lead.asked).first()) {
            lead.asked += 1;
        }
        let Ok(topic) = asked(lead.asked).topic(&plan.topic) else {
            lead.asked += 1;
            return None;
        };
        let leader = topic.leader_of(self.partition)?;
        if let Some((broker, since)) = &lead.silent
            && **broker == *leader
            && since.elapsed() < plan.patience
        {
            return None;
        }
        let socket = connect(leader).ok()?;
        // A socket that cannot be given a patience waits for ever; nothing else depends on it.
        let _ = socket.set_read_timeout(Some(plan.patience));
        Some(Link {
            leader: leader.into(),
            socket,
            dialect: Produce::new(&plan.topic, vec![self.partition], 0, -1, plan.size_bytes),
            out: Vec::new(),
            inbox: Vec::new(),
        })
    }
}

impl Link {
    fn exchange(&mut self, id: u64) -> std::io::Result<Verdict> {
        self.out.clear();
        self.inbox.clear();
        self.dialect.ask(id, &mut self.out);
        self.socket.write_all(&self.out)?;
        loop {
            let mut some = [0; 512];
            let read = self.socket.read(&mut some)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.inbox.extend_from_slice(&some[..read]);
            let answer = self.dialect.answer(&self.inbox);
            if let Some(answer) = answer.map_err(std::io::Error::other)? {
                return Ok(answer.verdict);
            }
        }
    }
}
