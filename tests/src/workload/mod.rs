//! Load while faults happen: producers and consumers of real clients, everything they saw
//! recorded, and the judgement at the end.

pub mod consumer;
pub mod producer;
pub mod recorder;
pub mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::checker::{self, Body, History, Outcome, Rules, Verdict};
use crate::cluster::Cluster;
use crate::wait::{TimedOut, wait_for, wait_until};
use recorder::Recorder;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The topic; it must exist.
    pub topic: String,
    /// Its partitions; all are written and read.
    pub partitions: u32,
    /// Producer threads.
    pub producers: u64,
    /// Consumer threads that follow.
    pub consumers: u64,
    /// Records a second and producer.
    pub rate: u64,
    /// Size of a value; at least 16.
    pub payload_bytes: usize,
    /// Added to the producers' settings.
    pub producer_settings: Vec<(String, String)>,
}

impl Plan {
    /// Two producers and one consumer on a few partitions: enough for most faults.
    pub fn on(topic: &str, partitions: u32) -> Plan {
        Plan {
            topic: topic.to_owned(),
            partitions,
            producers: 2,
            consumers: 1,
            rate: 400,
            payload_bytes: 200,
            producer_settings: Vec::new(),
        }
    }
}

/// A value's bytes: itself, its complement, then filler that follows from it.
pub fn payload(value: u64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.max(16));
    out.extend_from_slice(&value.to_be_bytes());
    out.extend_from_slice(&(!value).to_be_bytes());
    while out.len() < bytes {
        out.push((value as usize + out.len()) as u8);
    }
    out
}

/// The value, if every byte of the payload is as it was sent.
pub fn value_of(payload_bytes: &[u8]) -> Option<u64> {
    let value = u64::from_be_bytes(payload_bytes.get(..8)?.try_into().ok()?);
    (payload_bytes == payload(value, payload_bytes.len())).then_some(value)
}

/// Load that is running.
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    bootstrap: String,
    recorder: Arc<Recorder>,
    producers: Vec<JoinHandle<()>>,
    consumers: Vec<JoinHandle<()>>,
}

/// What came out of a run.
#[derive(Debug)]
pub struct Outcomes {
    /// Everything that was seen.
    pub history: History,
    /// The judgement.
    pub verdict: Verdict,
    /// The longest time in which nothing was acknowledged, between two acknowledgements.
    pub longest_gap: Duration,
    /// Errors of the clients, by name.
    pub errors: BTreeMap<String, u64>,
}

impl Load {
    /// Starts the threads.
    pub fn start(cluster: &Cluster, plan: Plan) -> Load {
        let recorder = Arc::new(Recorder::default());
        let bootstrap = cluster.bootstrap();
        let spawn = |number: Option<u64>| {
            let (plan, bootstrap, recorder) = (plan.clone(), bootstrap.clone(), recorder.clone());
            std::thread::spawn(move || match number {
                Some(number) => producer::run(&bootstrap, &plan, number, &recorder),
                None => consumer::follow(&bootstrap, &plan, &recorder),
            })
        };
        let observer = {
            let (plan, bootstrap, recorder) = (plan.clone(), bootstrap.clone(), recorder.clone());
            std::thread::spawn(move || consumer::observe(&bootstrap, &plan, &recorder))
        };
        let producers = (1..=plan.producers)
            .map(|number| spawn(Some(number)))
            .collect();
        let followers = (0..plan.consumers).map(|_| spawn(None));
        let consumers = followers.chain([observer]).collect();
        Load {
            plan,
            bootstrap,
            recorder,
            producers,
            consumers,
        }
    }

    /// Acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.recorder.acked()
    }

    /// Waits until `more` sends were acknowledged from now on.
    pub fn progress(&self, more: u64, within: Duration) -> Result<(), TimedOut> {
        let target = self.acked() + more;
        let what = format!("{more} more acknowledgements");
        wait_until(&what, within, || self.acked() >= target).map_err(|mut late| {
            late.what += &format!(" ({} in all; {:?})", self.acked(), self.recorder.errors());
            late
        })
    }

    /// Waits until nothing was acknowledged for `quiet`, at most for `within`.
    pub fn standstill(&self, quiet: Duration, within: Duration) -> Result<(), TimedOut> {
        wait_for("standstill", within, Duration::ZERO, || {
            let before = self.acked();
            let moved = wait_until("any acknowledgement", quiet, || self.acked() != before);
            moved.is_err().then_some(())
        })
    }

    /// Ends the load, reads everything back with a fresh client, twice, and judges.
    pub fn finish(self) -> Result<Outcomes, TimedOut> {
        self.recorder.stop(true);
        for thread in self.producers {
            thread.join().expect("harness: a producer thread panicked");
        }
        // The followers must come to the end too, before they stop.
        let acked = self.recorder.acked() * self.plan.consumers;
        let read = || self.recorder.read() >= acked;
        let followed = wait_until("followers at the end", Duration::from_secs(60), read);
        self.recorder.stop(false);
        for thread in self.consumers {
            thread.join().expect("harness: a consumer thread panicked");
        }
        consumer::read_all(&self.bootstrap, &self.plan, &self.recorder)?;
        consumer::read_all(&self.bootstrap, &self.plan, &self.recorder)?;
        let history = self.recorder.take();
        let verdict = checker::check(&history, Rules::default());
        let errors = self.recorder.errors();
        // A violation says more than a follower that did not arrive, so it goes first.
        if verdict.is_valid() {
            followed.map_err(|mut late| {
                late.what += &format!(" ({errors:?})");
                late
            })?;
        }
        Ok(Outcomes {
            longest_gap: longest_gap(&history),
            verdict,
            errors,
            history,
        })
    }
}

fn longest_gap(history: &History) -> Duration {
    let acked = history
        .ops
        .iter()
        .filter(|op| op.outcome == Outcome::Ok && matches!(op.body, Body::Send { .. }));
    let mut times: Vec<u64> = acked.map(|op| op.returned).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_nanos(gaps.max().unwrap_or(0))
}

impl Outcomes {
    /// Panics unless the history is valid and not vacuous, and no client met an error that it
    /// must never meet; keeps the history and the logs for a reader then.
    pub fn assert_sound(&self, cluster: &mut Cluster) {
        let forbidden: Vec<&String> = self
            .errors
            .keys()
            .filter(|name| FORBIDDEN.iter().any(|bad| name.contains(bad)))
            .collect();
        if self.verdict.is_valid() && !self.verdict.is_vacuous() && forbidden.is_empty() {
            return;
        }
        let folder = cluster.keep();
        let file = folder.join("history.txt");
        let written = std::fs::write(&file, checker::text::format(&self.history));
        let tails = cluster.tails();
        panic!(
            "{}\nerrors: {:?}\nforbidden: {forbidden:?}\nhistory: {} ({written:?})\n{tails}",
            self.verdict,
            self.errors,
            file.display()
        );
    }
}

/// Errors that a failover must never show to a client.
const FORBIDDEN: [&str; 5] = [
    "Unknown)",
    "Fatal",
    "OffsetOutOfRange",
    "OutOfOrderSequence",
    "BadMessage",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_its_value_back_only_whole() {
        for bytes in [16, 17, 200] {
            let mut sent = payload(7, bytes);
            assert_eq!(sent.len(), bytes);
            assert_eq!(value_of(&sent), Some(7));
            sent[bytes - 1] ^= 1;
            assert_eq!(value_of(&sent), None);
        }
        assert_eq!(value_of(b"short"), None);
    }
}
