//! What the group reads: the records `P-0`, `P-1`, ... in each partition P, some of them twice where an answer was lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, requests};

/// Partitions of every topic.
pub const PARTITIONS: i32 = 6;

const REQUEST: Duration = Duration::from_secs(5);
/// A partition whose leader was killed has another one long before.
const ROUND_WITHIN: Duration = Duration::from_secs(60);
/// Records of one round in each partition.
const ROUND: u32 = 5;

/// Produces round by round; all partitions have the same numbers after each.
#[derive(Debug)]
pub struct Feed {
    brokers: Vec<String>,
    topic: String,
    connections: BTreeMap<i32, Connection>,
    count: u32,
}

impl Feed {
    /// Nothing is produced yet.
    pub fn new(brokers: Vec<String>, topic: &str) -> Feed {
        Feed {
            brokers,
            topic: topic.to_owned(),
            connections: BTreeMap::new(),
            count: 0,
        }
    }

    /// How many records each partition has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The next records in every partition, each acknowledged.
    pub fn round(&mut self, records: u32) -> Result<(), String> {
        let mut due: Vec<i32> = (0..PARTITIONS).collect();
        let numbers = self.count..self.count + records;
        let step = Duration::from_millis(50);
        wait_for("records acknowledged", ROUND_WITHIN, step, || {
            let leaders = self.leaders();
            due.retain(|partition| {
                let leader = leaders.get(partition).copied();
                let value = |number: u32| format!("{partition}-{number}").into_bytes();
                let values: Vec<Vec<u8>> = numbers.clone().map(value).collect();
                !leader.is_some_and(|leader| self.produce(leader, *partition, &values))
            });
            due.is_empty().then_some(())
        })
        .map_err(|late| late.to_string())?;
        self.count = numbers.end;
        Ok(())
    }

    /// The leader of each partition that has one.
    fn leaders(&mut self) -> BTreeMap<i32, i32> {
        for broker in &self.brokers {
            let answer = Connection::open(broker, REQUEST)
                .and_then(|mut any| requests::metadata(&mut any, &[&self.topic]));
            if let Ok(metadata) = answer {
                let led = metadata.partitions(&self.topic);
                let led = led.iter().filter(|one| one.leader > 0);
                return led.map(|one| (one.id, one.leader)).collect();
            }
        }
        BTreeMap::new()
    }

    fn produce(&mut self, leader: i32, partition: i32, values: &[Vec<u8>]) -> bool {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let records = Batch::of(&values).encode();
        let address = &self.brokers[leader as usize - 1];
        let kept = self.connections.remove(&leader);
        let opened = kept.map_or_else(|| Connection::open(address, REQUEST), Ok);
        let Ok(mut connection) = opened else {
            return false;
        };
        let answer = requests::produce(&mut connection, &self.topic, partition, &records);
        if answer.is_ok() {
            self.connections.insert(leader, connection);
        }
        matches!(answer, Ok((0, _)))
    }
}

/// A feed that goes on by itself.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Feed, String>>,
}

impl Running {
    /// Starts it.
    pub fn start(mut feed: Feed) -> Running {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                feed.round(ROUND)?;
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Ok(feed)
        });
        Running { stop, thread }
    }

    /// Ends it after a whole round.
    pub fn stop(self) -> Result<Feed, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feed does not panic")
    }
}
