//! What members of one group did and saw.

/// How a request ended for who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Success.
    Ok,
    /// An error: it took no effect.
    Refused,
    /// No answer: it may have taken effect.
    Unknown,
}

/// One thing that happened to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was assigned these partitions.
    Assigned {
        /// In this generation.
        generation: i32,
        /// May be empty.
        partitions: Vec<i32>,
    },
    /// As [`What::Assigned`], but whether it heard the answer is not known.
    AnsweredAssignment {
        /// In this generation.
        generation: i32,
        /// May be empty.
        partitions: Vec<i32>,
    },
    /// A coordinator that gives partitions to each member by itself answered its heartbeat.
    Told {
        /// The epoch that the member has reached.
        epoch: i32,
        /// It came as a new member.
        joins: bool,
        /// It had said what it owns.
        says_owned: bool,
        /// What it is to own from now on; None if that is as it was.
        partitions: Option<Vec<i32>>,
        /// It may be silent for so long, in the unit of the event's time.
        session: u64,
        /// It may take so long to give up what it is to own no longer.
        rebalance: u64,
    },
    /// A heartbeat leaves it, that says that it owns these and no others: it may have yet to take what it was told.
    Said {
        /// May be empty.
        partitions: Vec<i32>,
    },
    /// It has given up everything but these.
    Kept {
        /// May be empty: also when its process has ended, or it was told that it is a member no longer.
        partitions: Vec<i32>,
    },
    /// It read the committed offset, to begin there.
    Began {
        /// Of this partition.
        partition: i32,
        /// 0 when nothing was committed.
        offset: i64,
    },
    /// As [`What::Began`], but whether it heard the answer is not known.
    AnsweredOffset {
        /// Of this partition.
        partition: i32,
        /// 0 when nothing was committed.
        offset: i64,
    },
    /// It read records.
    Read {
        /// Of this partition.
        partition: i32,
        /// The first.
        first: i64,
        /// The one after the last.
        next: i64,
    },
    /// It committed.
    Committed {
        /// In this generation, or epoch; negative for one who is no member.
        generation: i32,
        /// For this partition.
        partition: i32,
        /// The next to read.
        offset: i64,
        /// How that ended.
        outcome: Outcome,
    },
}

/// An event with its time, in any unit that tells what was before what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which member (a number of the test's).
    pub member: usize,
    /// When the request was sent.
    pub begun: u64,
    /// When its answer came, or was given up.
    pub ended: u64,
    /// What.
    pub what: What,
}
