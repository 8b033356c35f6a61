//! Majorities, plain and joint. A joint decision needs both halves; learners never count.

use crate::types::{Member, Membership, ReplicaId};

/// Most voters in one half. Keeps the count off the heap.
pub const VOTERS_MAX: usize = 32;

/// How many of `voters` make a majority. Nobody decides for an empty set.
#[must_use]
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The highest value that a majority of each half has reached, by `value` of each voter. 0 for an
/// empty membership.
#[must_use]
pub fn agreed(membership: &Membership, value: impl Fn(ReplicaId) -> u64) -> u64 {
    let incoming = agreed_half(&membership.voters, &value);
    if membership.outgoing.is_empty() {
        incoming
    } else {
        incoming.min(agreed_half(&membership.outgoing, &value))
    }
}

fn agreed_half(voters: &[Member], value: &impl Fn(ReplicaId) -> u64) -> u64 {
    if voters.is_empty() {
        return 0;
    }
    assert!(
        voters.len() <= VOTERS_MAX,
        "a membership is bounded when it is decoded"
    );
    let mut values = [0; VOTERS_MAX];
    for (slot, voter) in values.iter_mut().zip(voters) {
        *slot = value(voter.replica);
    }
    let values = &mut values[..voters.len()];
    values.sort_unstable();
    values[voters.len() - majority(voters.len())]
}

/// Whether a majority of each half says yes.
#[must_use]
pub fn has(membership: &Membership, yes: impl Fn(ReplicaId) -> bool) -> bool {
    agreed(membership, |replica| u64::from(yes(replica))) == 1
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A majority of each half said yes.
    Won,
    /// In some half a majority cannot be reached any longer.
    Lost,
    /// Neither yet.
    Open,
}

/// Counts votes; `vote` is None for a voter that has not answered.
#[must_use]
pub fn count(membership: &Membership, vote: impl Fn(ReplicaId) -> Option<bool>) -> Outcome {
    if has(membership, |replica| vote(replica) == Some(true)) {
        Outcome::Won
    } else if has(membership, |replica| vote(replica) != Some(false)) {
        Outcome::Open
    } else {
        Outcome::Lost
    }
}
