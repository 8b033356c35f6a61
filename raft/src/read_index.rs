//! Reads confirmed by rounds of heartbeats: linearizable, without a lease (Raft dissertation,
//! section 6.4).
//!
//! Every round has a number that is never used again, so a late answer cannot confirm a later read.

use crate::types::Index;

#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// The last round that was started.
    round: u64,
    /// Under way, in one round each: (round, index, ids). At most one batch waits for answers.
    open: Option<Batch>,
    /// Asked for since the open round began, or before the leader's own term committed.
    queued: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Batch {
    round: u64,
    index: Index,
    ids: Vec<u64>,
}

impl Reads {
    pub(crate) fn next_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn ask(&mut self, id: u64) {
        self.queued.push(id);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.queued.is_empty()
    }

    /// Whether a round should be started for reads that wait for one.
    pub(crate) fn wants_round(&self) -> bool {
        self.open.is_none() && !self.queued.is_empty()
    }

    /// Puts the queue into the round that starts now. `commit` is the index that these reads must
    /// see.
    pub(crate) fn begin(&mut self, round: u64, commit: Index) {
        assert!(
            self.open.is_none() && round == self.round,
            "one batch at a time, in a fresh round"
        );
        self.open = Some(Batch {
            round,
            index: commit,
            ids: std::mem::take(&mut self.queued),
        });
    }

    /// The open batch, when a quorum has answered `agreed_round` or later.
    pub(crate) fn confirm(&mut self, agreed_round: u64) -> Option<(Index, Vec<u64>)> {
        let batch = self.open.take_if(|batch| batch.round <= agreed_round)?;
        Some((batch.index, batch.ids))
    }

    /// All ids that wait, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<u64> {
        let mut ids = self.open.take().map(|batch| batch.ids).unwrap_or_default();
        ids.append(&mut self.queued);
        ids
    }
}
