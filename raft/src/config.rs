//! What a group member can be told about its work. Sizes in bytes, times in milliseconds of the
//! driver's clock.

use thiserror::Error;

/// The settings of one group member. Members of a group may differ in all of them, but should not
/// in the times.
///
/// Pre-vote and check-quorum have no switch: without them one node with a bad cable can stop a
/// group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shortest silence of the leader after which a follower asks for an election, and how long
    /// voters stand by a leader that they hear. Shorter finds a dead leader sooner, and takes a
    /// slow one for dead. Default 500.
    pub election_timeout_min_ms: u64,
    /// Longest such silence; each wait is drawn between the two. Also the time without a majority's
    /// answers after which a leader steps down. A wider spread splits fewer votes. Default 1000.
    pub election_timeout_max_ms: u64,
    /// How often a leader with open business is heard. Shorter repairs a lost message sooner and
    /// costs messages. Default 100.
    pub heartbeat_ms: u64,
    /// Idle time after which a leader with nothing open falls silent and node liveness stands in.
    /// `u64::MAX` for never. Default 3000.
    pub quiesce_after_ms: u64,
    /// How long proposals are refused for a transfer of leadership that does not succeed. Default
    /// 1000.
    pub transfer_timeout_ms: u64,
    /// Entry bytes sent to one follower and not yet acknowledged. A single larger entry passes
    /// alone. Default 4 MiB.
    pub inflight_max_bytes: u64,
    /// Entry bytes in one append; a single larger entry passes alone. Default 1 MiB.
    pub append_max_bytes: u64,
    /// Entry bytes that a follower whose disk is full is sent in one append together with a command behind them, which
    /// may be what frees it. Default 32 MiB.
    pub command_max_bytes: u64,
    /// Bytes proposed by this leader and not yet committed, above which proposals are refused as
    /// busy (one proposal always passes). Default 64 MiB.
    pub uncommitted_max_bytes: u64,
    /// Tell followers of each commit at once instead of with the next append or heartbeat. One
    /// small message per follower and commit; for groups whose followers serve reads (the metadata
    /// group). Default false.
    pub announce_commit: bool,
    /// Tell the leader at once what was received, before it is synced. One small message per
    /// append; for groups whose producers are answered then. Commitment never rests on it. Default
    /// false.
    pub announce_received: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout_min_ms: 500,
            election_timeout_max_ms: 1000,
            heartbeat_ms: 100,
            quiesce_after_ms: 3000,
            transfer_timeout_ms: 1000,
            inflight_max_bytes: 4 << 20,
            append_max_bytes: 1 << 20,
            command_max_bytes: 32 << 20,
            uncommitted_max_bytes: 64 << 20,
            announce_commit: false,
            announce_received: false,
        }
    }
}

/// Why a configuration was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("raft configuration: {0}")]
pub struct Invalid(pub &'static str);

impl Config {
    /// Small sizes and times, for tests.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            election_timeout_min_ms: 100,
            election_timeout_max_ms: 200,
            heartbeat_ms: 20,
            quiesce_after_ms: u64::MAX,
            transfer_timeout_ms: 200,
            inflight_max_bytes: 4096,
            append_max_bytes: 1024,
            command_max_bytes: 32 << 10,
            uncommitted_max_bytes: 64 << 10,
            announce_commit: false,
            announce_received: false,
        }
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub fn validate(&self) -> Result<(), Invalid> {
        let rules = [
            (self.heartbeat_ms > 0, "the heartbeat must be at least 1 ms"),
            (
                self.heartbeat_ms * 2 <= self.election_timeout_min_ms,
                "the shortest election timeout must be at least two heartbeats",
            ),
            (
                self.election_timeout_min_ms < self.election_timeout_max_ms,
                "the election timeouts must leave a spread",
            ),
            (
                self.election_timeout_max_ms <= 3_600_000,
                "an election timeout must be at most an hour",
            ),
            (
                self.quiesce_after_ms >= self.heartbeat_ms,
                "a leader must be heard at least once before it falls silent",
            ),
            (
                self.transfer_timeout_ms > 0,
                "the transfer timeout must be at least 1 ms",
            ),
            (
                self.append_max_bytes > 0,
                "an append must be allowed a byte",
            ),
            (
                self.append_max_bytes <= self.inflight_max_bytes,
                "the inflight limit must hold one append",
            ),
            (
                self.uncommitted_max_bytes > 0,
                "the uncommitted limit must be at least 1 byte",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Invalid(rule)),
            None => Ok(()),
        }
    }
}
