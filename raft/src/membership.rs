//! Who belongs to a group: sets, their bytes, and which set is in force at which index.
//!
//! A membership is in force as soon as its entry is in the log, and no longer when the entry is
//! truncated.

use crate::quorum::VOTERS_MAX;
use crate::types::{Base, DirectoryId, Index, Member, Membership, NodeId, ReplicaId};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Most learners of one group.
pub const LEARNERS_MAX: usize = 64;

const VERSION: u8 = 1;
const MEMBER_BYTES: usize = 8 + 4 + 16;

impl Membership {
    /// Whether it is nobody: a replica that waits for a leader to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.outgoing.is_empty() && self.learners.is_empty()
    }

    /// Whether both majorities count.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether it votes, in either half.
    #[must_use]
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters
            .iter()
            .chain(&self.outgoing)
            .any(|member| member.replica == replica)
    }

    /// Whether it receives the log without a vote.
    #[must_use]
    pub fn is_learner(&self, replica: ReplicaId) -> bool {
        self.learners.iter().any(|member| member.replica == replica)
    }

    /// The member with this id, from any set.
    #[must_use]
    pub fn member(&self, replica: ReplicaId) -> Option<&Member> {
        self.sets().find(|member| member.replica == replica)
    }

    /// All members of all sets, each once, by replica id.
    #[must_use]
    pub fn all_members(&self) -> Vec<Member> {
        let mut all: Vec<Member> = self.sets().copied().collect();
        all.sort_unstable();
        all.dedup_by_key(|member| member.replica);
        all
    }

    /// How many voters make a majority of the incoming half.
    #[must_use]
    pub fn quorum(&self) -> usize {
        crate::quorum::majority(self.voters.len())
    }

    /// The voters before the change that led here, which were alone; no learner is lost, since one
    /// too many does no harm.
    fn predecessor(&self) -> Self {
        if !self.is_joint() {
            return self.clone();
        }
        let mut before = Self {
            voters: self.outgoing.clone(),
            outgoing: Vec::new(),
            learners: self.learners.clone(),
        };
        let promoted = self.voters.iter().filter(|m| !self.outgoing.contains(m));
        before.learners.extend(promoted);
        before.learners.sort_unstable();
        before
    }

    fn sets(&self) -> impl Iterator<Item = &Member> {
        self.voters
            .iter()
            .chain(&self.outgoing)
            .chain(&self.learners)
    }

    /// The payload of a membership entry: version, then each set as a count and its members,
    /// little-endian.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        assert!(self.is_valid(), "only a valid membership is written");
        let members = self.voters.len() + self.outgoing.len() + self.learners.len();
        let mut bytes = BytesMut::with_capacity(1 + 3 * 2 + members * MEMBER_BYTES);
        bytes.put_u8(VERSION);
        for set in [&self.voters, &self.outgoing, &self.learners] {
            bytes.put_u16_le(u16::try_from(set.len()).unwrap_or(u16::MAX));
            for member in set {
                bytes.put_u64_le(member.replica.0);
                bytes.put_i32_le(member.node.0);
                bytes.put_u128_le(member.directory.0);
            }
        }
        bytes.freeze()
    }

    /// Reads what [`Membership::encode`] wrote. None for anything else: unknown version, too many
    /// members, a duplicate, a wrong order, bytes that are missing or left over.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes;
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let membership = Self {
            voters: decode_set(&mut bytes, VOTERS_MAX)?,
            outgoing: decode_set(&mut bytes, VOTERS_MAX)?,
            learners: decode_set(&mut bytes, LEARNERS_MAX)?,
        };
        (bytes.is_empty() && membership.is_valid()).then_some(membership)
    }

    /// Sets are bounded, sorted and without duplicates, no learner votes, and a replica is the same
    /// member in both halves.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let sorted = |set: &[Member]| set.windows(2).all(|pair| pair[0].replica < pair[1].replica);
        let same = |member: &Member| self.member(member.replica) == Some(member);
        self.voters.len() <= VOTERS_MAX
            && self.outgoing.len() <= VOTERS_MAX
            && self.learners.len() <= LEARNERS_MAX
            && sorted(&self.voters)
            && sorted(&self.outgoing)
            && sorted(&self.learners)
            && self.outgoing.iter().all(same)
            && self
                .learners
                .iter()
                .all(|learner| !self.is_voter(learner.replica))
    }
}

fn decode_set(bytes: &mut &[u8], max: usize) -> Option<Vec<Member>> {
    let count = usize::from(bytes.try_get_u16_le().ok()?);
    if count > max || count * MEMBER_BYTES > bytes.len() {
        return None;
    }
    let mut set = Vec::with_capacity(count);
    for _ in 0..count {
        set.push(Member {
            replica: ReplicaId(bytes.try_get_u64_le().ok()?),
            node: NodeId(bytes.try_get_i32_le().ok()?),
            directory: DirectoryId(bytes.try_get_u128_le().ok()?),
        });
    }
    Some(set)
}

/// The memberships in the log: the base's, then one per membership entry above it.
#[derive(Clone, Debug)]
pub(crate) struct History {
    entries: Vec<(Index, Membership)>,
}

impl History {
    pub(crate) fn new(base: &Base, above: Vec<(Index, Membership)>) -> Self {
        let mut entries = vec![(base.index, base.membership.clone())];
        entries.extend(above);
        assert!(
            entries.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "memberships ascend"
        );
        assert!(
            entries.iter().all(|(_, membership)| membership.is_valid()),
            "memberships are valid"
        );
        Self { entries }
    }

    fn last(&self) -> &(Index, Membership) {
        self.entries
            .last()
            .expect("the base's membership is always there")
    }

    /// The membership in force.
    pub(crate) fn effective(&self) -> &Membership {
        &self.last().1
    }

    /// Where it was written.
    pub(crate) fn effective_index(&self) -> Index {
        self.last().0
    }

    /// The membership before the one in force; None when the base's is in force.
    pub(crate) fn previous(&self) -> Option<&Membership> {
        let before = self.entries.len().checked_sub(2)?;
        Some(&self.entries[before].1)
    }

    /// The membership in force at an index at or above the base.
    ///
    /// NB: a replica that a move brought began with nobody. What its log says first it was told by
    /// the entry of a change, which is one step from what was in force before.
    pub(crate) fn at(&self, index: Index) -> Membership {
        let after = self.entries.partition_point(|entry| entry.0 <= index);
        assert!(after > 0, "no membership is asked for below the base");
        let found = &self.entries[after - 1].1;
        match self.entries.get(after) {
            Some((_, first)) if found.is_empty() => first.predecessor(),
            _ => found.clone(),
        }
    }

    pub(crate) fn append(&mut self, index: Index, membership: Membership) {
        assert!(index > self.effective_index(), "memberships ascend");
        self.entries.push((index, membership));
    }

    /// Reverts what stood at and above `from`; whether that changed the effective membership.
    pub(crate) fn truncate(&mut self, from: Index) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.0 < from);
        assert!(
            !self.entries.is_empty(),
            "the base's membership is never truncated"
        );
        self.entries.len() != before
    }

    /// The base moved up within the log.
    pub(crate) fn trim(&mut self, index: Index) {
        let membership = self.at(index);
        self.entries.retain(|entry| entry.0 > index);
        self.entries.insert(0, (index, membership));
    }
}

#[cfg(test)]
mod tests;
