//! What runs did: figures that prove that the planned faults happened and were felt.

use std::collections::BTreeMap;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// Virtual time in ms.
    pub at: u64,
    /// What does not hold.
    pub what: String,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A digest of every event: the same for the same seed.
    pub digest: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Events.
    pub events: u64,
    /// How often each kind of thing happened.
    pub counts: Counts,
    /// Answers by kind.
    pub answers: BTreeMap<String, u64>,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often each kind of thing happened. Over many seeds none may stay at zero.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Each kind with its name.
            #[must_use]
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Adds those of another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Batches acknowledged with acks=all.
    acked,
    /// Batches acknowledged with acks=1 or 0.
    acked_weakly,
    /// Acknowledgements of a batch that had been acknowledged before.
    acked_again,
    /// Cuts of the whole cluster that came about.
    cluster_cuts,
    /// Ends of partitions that a majority confirmed.
    ends_told,
    /// Records that consumers read.
    records_read,
    /// Elections won.
    elections,
    /// Crashes of one broker.
    crashes,
    /// Crashes of all brokers at once.
    blackouts,
    /// The power went in the middle of a write.
    power_cuts,
    /// The power went in the middle of a recovery.
    recoveries_cut,
    /// Disks that were replaced by empty ones.
    wipes,
    /// Directions of links that were cut.
    cuts,
    /// Messages lost.
    lost,
    /// Frames delivered twice.
    doubled,
    /// Leadership transfers that a leader took on.
    transfers,
    /// Reassignments that were reported as finished.
    moves,
    /// Log suffixes that were truncated.
    truncations,
    /// Partition logs that were trimmed.
    trims,
    /// Metadata logs that were trimmed.
    metadata_trims,
    /// Partition logs that were replaced by a leader's base.
    installs,
    /// Metadata logs that were replaced by a leader's base.
    metadata_installs,
    /// Replicas that were removed.
    removals,
    /// Derived states that were written.
    derived,
    /// Segments that were rolled.
    rolls,
    /// Segments that were overwritten with a new life.
    recycled,
    /// Segments that the cleaner took apart.
    cleaned,
    /// Appends that shared a round with others.
    shared_rounds,
    /// Commits of consumer groups that were acknowledged.
    group_commits,
    /// Answers that told committed offsets.
    group_fetches,
    /// Members that got an assignment.
    members_assigned,
    /// Assignments that a coordinator gave to members by itself.
    members_given,
    /// Members of the consumer protocol that were told that they are none any more.
    members_fenced,
    /// Static members of it that came while the one before was still there.
    instances_unreleased,
    /// Commits refused because of a member's epoch.
    stale_epochs,
    /// Members that stopped for a while and went on.
    members_paused,
    /// Members whose process ended.
    members_ended,
    /// Members that left.
    members_left,
    /// Commits refused because of who sent them, or when.
    zombies_refused,
    /// Coordinators that for some time served clients and heard of nothing else.
    deaf,
    /// Brokers that died with an answer to a member of a group that they had just given.
    died_answering,
    /// Commits acknowledged by another broker than the one before.
    coordinators_moved,
    /// Logs of coordinators that were trimmed under a state record.
    group_trims,
    /// Snapshots taken.
    snapshots,
    /// Snapshots that failed.
    snapshots_failed,
    /// Tails that were written.
    tails,
    /// Tails that failed.
    tails_failed,
    /// Records that consumers read from the store, because the leader's log does not hold them.
    stored_records_read,
    /// Such reads that failed.
    store_reads_failed,
    /// Objects that were removed from the store.
    collected,
    /// Collections that ended early.
    collections_failed,
    /// Requests that the store refused.
    store_refused,
    /// Requests that happened and failed.
    store_answers_lost,
    /// Requests that failed and happened long after.
    store_late,
    /// Requests that happened though the broker that had sent them was dead.
    store_orphans,
    /// Times that the store was away.
    store_outages,
    /// Brokers that died with a request to the store.
    died_asking,
    /// Times that a replica's own copies were brought up to a snapshot.
    copies_held,
    /// Times that they were not.
    copies_failed,
    /// Pieces of own copies that another replica was given.
    pieces_given,
    /// Times that all who were to vote said that they hold everything.
    newcomers_whole,
    /// Chunks of own copies that a disk did not keep.
    copies_damaged,
    /// Reads of what a leader has to fetch first.
    reads_awaiting_copies,
}

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Runs without a failure.
    pub passed: u64,
    /// Runs with one.
    pub failed: u64,
    /// Virtual milliseconds of those that passed.
    pub virtual_ms: u64,
    /// Events of those.
    pub events: u64,
    /// What they did.
    pub counts: Counts,
    /// What clients were answered.
    pub answers: BTreeMap<String, u64>,
}

/// From so many runs on every kind of thing must have happened.
pub const VACUITY_SEEDS: u64 = 200;

impl Totals {
    /// Takes a run in.
    pub fn add(&mut self, report: &Report) {
        self.passed += 1;
        self.virtual_ms += report.virtual_ms;
        self.events += report.events;
        self.counts.add(&report.counts);
        for (kind, count) in &report.answers {
            *self.answers.entry(kind.clone()).or_default() += count;
        }
    }

    /// Kinds that never happened, though the runs were many enough.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        if self.passed < VACUITY_SEEDS {
            return Vec::new();
        }
        let kinds = self.counts.each().into_iter();
        kinds
            .filter(|(_, count)| *count == 0)
            .map(|(kind, _)| kind)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_told_only_over_many_seeds() {
        let mut report = Report::default();
        report.counts.acked = 1;
        let mut totals = Totals::default();
        (1..VACUITY_SEEDS).for_each(|_| totals.add(&report));
        assert!(totals.never().is_empty());
        totals.add(&report);
        assert!(totals.never().contains(&"wipes") && !totals.never().contains(&"acked"));
    }
}
