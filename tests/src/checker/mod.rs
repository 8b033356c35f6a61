//! Judges a recorded history of sends and reads against what a log promises.
//!
//! The anomalies are those of Jepsen's Kafka workload and of Redpanda's chaos suite, for logs
//! without transactions. One file holds one anomaly, or the few that fall out of one sweep. All
//! of them are pure functions from a [`History`] (or the per-key index made from it) to
//! violations, in O(n log n) over the number of operations.
//!
//! Start reading at [`history`] (what is recorded), then [`key_log`] (the index that most checks
//! share), then any one anomaly. Hand-made histories that must be accepted or refused are text
//! files in `tests/histories`.

pub mod history;
pub mod key_log;
pub mod text;
pub mod verdict;

mod aborted_read;
mod ack_order;
mod duplicate;
mod inconsistent_offsets;
mod latest;
mod lost_write;
mod phantom;
mod poll_order;
mod send_order;
mod truncation;
mod unseen;

#[cfg(test)]
mod tests;

pub use history::{Body, History, Key, Op, Outcome, Record, Value};
pub use verdict::{Anomaly, Rules, Verdict};

use key_log::KeyLog;

/// Checks a whole history. The order of the operations in it does not matter: they are taken
/// by the time of their invocation.
pub fn check(history: &History, rules: Rules) -> Verdict {
    let mut ops: Vec<&Op> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.invoked);
    let logs = KeyLog::build_all(&ops);
    let mut verdict = Verdict::new(&ops);
    inconsistent_offsets::check(&logs, &mut verdict);
    if rules.idempotent {
        duplicate::check(&logs, &mut verdict);
    }
    if rules.durable {
        lost_write::check(&logs, &mut verdict);
        unseen::check(&logs, &mut verdict);
        truncation::check(&logs, &mut verdict);
        latest::check(&logs, &mut verdict);
    }
    phantom::check(&logs, &mut verdict);
    aborted_read::check(&logs, &mut verdict);
    ack_order::check(&logs, &mut verdict);
    if rules.ordered_producer {
        send_order::check(&logs, &mut verdict);
    }
    poll_order::check(&ops, &logs, &mut verdict);
    verdict
}
