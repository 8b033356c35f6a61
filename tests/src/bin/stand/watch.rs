//! Looks at a group's committed offsets all the time: they never go back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::wire::{Connection, groups};

use crate::feed::PARTITIONS;

const REQUEST: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers.
    pub looks: u64,
    /// The last offset of each partition.
    pub offsets: BTreeMap<i32, i64>,
    /// Where it went back.
    pub wrong: Vec<String>,
}

/// A running watch.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// Starts to look.
    pub fn start(brokers: Vec<String>, group: &str) -> Watch {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, group) = (stop.clone(), group.to_owned());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                for broker in &brokers {
                    // An error is a coordinator that is gone; the next one is looked for.
                    let _ = look(broker, &group, &stopped, &mut seen);
                }
                std::thread::park_timeout(STEP);
            }
            seen
        });
        Watch { stop, thread }
    }

    /// Ends it.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

/// Asks the coordinator that this broker names, until it gives no answer.
fn look(broker: &str, group: &str, stop: &AtomicBool, seen: &mut Seen) -> std::io::Result<()> {
    let mut any = Connection::open(broker, REQUEST)?;
    let (error, address) = groups::find_coordinator(&mut any, group)?;
    if error != 0 {
        return Ok(());
    }
    let mut coordinator = Connection::open(&address, REQUEST)?;
    while !stop.load(Ordering::Relaxed) {
        for partition in 0..PARTITIONS {
            // Group and topic have the same name.
            let (error, offset) = groups::committed(&mut coordinator, group, group, partition)?;
            if error != 0 {
                return Ok(());
            }
            seen.looks += 1;
            let before = seen.offsets.insert(partition, offset).unwrap_or(-1);
            if offset < before {
                let wrong = format!("partition {partition} went from {before} back to {offset}");
                eprintln!("{group}: {wrong}");
                seen.wrong.push(wrong);
            }
        }
        std::thread::park_timeout(STEP);
    }
    Ok(())
}
