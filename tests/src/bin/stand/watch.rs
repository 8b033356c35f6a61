//! Looks at a group all the time: its committed offsets never go back. And whether it was stable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// With so many members the group was last stable; 0 before.
    stable: Arc<AtomicUsize>,
    thread: JoinHandle<Seen>,
}

/// What is looked at, and what the looking thread and its owner share.
struct Looking {
    group: String,
    stop: Arc<AtomicBool>,
    stable: Arc<AtomicUsize>,
}

impl Watch {
    /// Starts to look.
    pub fn start(brokers: Vec<String>, group: &str) -> Watch {
        let (stop, stable) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let looking = Looking {
            group: group.to_owned(),
            stop: stop.clone(),
            stable: stable.clone(),
        };
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !looking.stop.load(Ordering::Relaxed) {
                for broker in &brokers {
                    // An error is a coordinator that is gone; the next one is looked for.
                    let _ = looking.look(broker, &mut seen);
                }
                std::thread::park_timeout(STEP);
            }
            seen
        });
        Watch {
            stop,
            stable,
            thread,
        }
    }

    /// With how many members the group was last stable; None when it never was.
    pub fn stable(&self) -> Option<usize> {
        Some(self.stable.load(Ordering::Relaxed)).filter(|members| *members > 0)
    }

    /// Ends it.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

impl Looking {
    /// Asks the coordinator that this broker names, until it gives no answer.
    fn look(&self, broker: &str, seen: &mut Seen) -> std::io::Result<()> {
        let group = &self.group;
        let mut any = Connection::open(broker, REQUEST)?;
        let (error, address) = groups::find_coordinator(&mut any, group)?;
        if error != 0 {
            return Ok(());
        }
        let mut coordinator = Connection::open(&address, REQUEST)?;
        while !self.stop.load(Ordering::Relaxed) {
            for partition in 0..PARTITIONS {
                // Group and topic have the same name.
                let (error, offset) = groups::committed(&mut coordinator, group, group, partition)?;
                if error != 0 {
                    return Ok(());
                }
                seen.looks += 1;
                let before = seen.offsets.insert(partition, offset).unwrap_or(-1);
                if offset < before {
                    let wrong =
                        format!("partition {partition} went from {before} back to {offset}");
                    eprintln!("{group}: {wrong}");
                    seen.wrong.push(wrong);
                }
            }
            let described = groups::describe(&mut coordinator, group)?;
            if described.state == "Stable" {
                self.stable.store(described.members, Ordering::Relaxed);
            }
            std::thread::park_timeout(STEP);
        }
        Ok(())
    }
}
