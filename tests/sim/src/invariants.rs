//! Safety, checked on every event against an account of its own: what each disk has synced, what was ever committed.

use std::collections::BTreeMap;

use broker::shard::{GroupStatus, MemberStatus, PeerBatch};
use raft::effect::Role;
use raft::message::{AppendResult, Body, Message};
use raft::types::{Entry, GroupId, Index, NodeId, ReplicaId, Term};
use wal::{Record, RecoveredGroup};

use crate::report::Counts;
use crate::synced::{Content, Disks, Synced, content};

/// The account.
#[derive(Debug, Default)]
pub struct Account {
    disks: Disks,
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    /// Who got the vote of a replica in a term.
    votes: BTreeMap<(GroupId, Term, ReplicaId), ReplicaId>,
    /// Last term and index of every candidate's log.
    claims: BTreeMap<(GroupId, Term, ReplicaId), (Term, Index)>,
    /// Every committed entry, whoever committed it first.
    committed: BTreeMap<GroupId, BTreeMap<Index, Content>>,
    /// The highest commit index of each group, whoever said so first. (Its entry is not in `committed` where it was
    /// trimmed at once.)
    highest: BTreeMap<GroupId, Index>,
    /// Per replica and process life: the highest commit seen, and the members then.
    commits: BTreeMap<(NodeId, GroupId, ReplicaId), (Index, Vec<MemberStatus>)>,
    /// The term in which a replica led when it was last seen.
    led: BTreeMap<(NodeId, GroupId, ReplicaId), Term>,
    /// Highest term seen per replica and process life.
    terms: BTreeMap<(NodeId, GroupId, ReplicaId), Term>,
    /// What consumers of a partition were shown by the newest leader: its term, high watermark, log start.
    shown: BTreeMap<GroupId, (Term, i64, i64)>,
    /// What the disks did, and elections won.
    pub counts: Counts,
}

type Broken = Result<(), String>;

impl Account {
    /// The log acknowledged these records.
    pub fn written(&mut self, node: NodeId, records: &[Record]) -> Broken {
        self.disks.written(node, records, &mut self.counts);
        for record in records {
            if let Record::Derived { group, index, .. } = record
                && *index > self.last_committed(*group)
            {
                return Err(format!(
                    "{node} {group}: a derived state of {index}, not committed"
                ));
            }
        }
        Ok(())
    }

    fn last_committed(&self, group: GroupId) -> Index {
        self.highest.get(&group).copied().unwrap_or_default()
    }

    /// The power went while these records were written.
    pub fn in_doubt(&mut self, node: NodeId, records: &[Record]) {
        self.disks.in_doubt(node, records);
    }

    /// A disk was replaced by an empty one.
    pub fn wiped(&mut self, node: NodeId) {
        self.disks.wiped(node);
    }

    /// A process ended: what it knew and had not synced, terms and commits, is forgotten with it.
    pub fn crashed(&mut self, node: NodeId) {
        self.commits.retain(|(at, _, _), _| *at != node);
        self.terms.retain(|(at, _, _), _| *at != node);
        self.led.retain(|(at, _, _), _| *at != node);
    }

    /// A log was recovered: see [`Disks::recovered`].
    ///
    /// # Errors
    /// What is missing.
    pub fn recovered(
        &mut self,
        node: NodeId,
        groups: &[RecoveredGroup],
        read: impl Fn(&RecoveredGroup) -> Vec<Entry>,
    ) -> Broken {
        self.disks.recovered(node, groups, read)
    }

    /// Nothing may be said that is not synced (invariant 10), no vote given twice (1).
    pub fn sending(&mut self, node: NodeId, batch: &PeerBatch) -> Broken {
        for (group, message) in &batch.messages {
            self.said(node, *group, message)
                .map_err(|why| format!("{node} {group}: {why}"))?;
        }
        Ok(())
    }

    fn said(&mut self, node: NodeId, group: GroupId, message: &Message) -> Broken {
        let none = Synced::default();
        let synced = self.disks.get(node, group, message.from).unwrap_or(&none);
        let hard_state = synced.hard_state;
        match &message.body {
            // What is asked or granted for a term to come rests on nothing.
            Body::PreVote(_) | Body::PreVoteResponse { granted: true } => return Ok(()),
            _ if hard_state.term < message.term => {
                let term = message.term;
                return Err(format!("speaks in {term}, synced is {}", hard_state.term));
            }
            Body::VoteResponse { granted: true } => {
                let given = (hard_state.term, hard_state.vote);
                if hard_state.term == message.term && given.1 != Some(message.to) {
                    return Err(format!(
                        "a vote for {} that is not synced: {given:?}",
                        message.to
                    ));
                }
                let key = (group, message.term, message.from);
                let other = self.votes.insert(key, message.to);
                if other.is_some_and(|other| other != message.to) {
                    return Err(format!("a second vote in {}", message.term));
                }
                let claim = self.claims.get(&(group, message.term, message.to));
                let last = synced.entries.last_key_value().map(|(i, c)| (c.0, *i));
                // What a newer leader gave it meanwhile is no fault of the vote.
                let last = last.filter(|last| last.0 < message.term);
                if claim.is_some_and(|claim| last > Some(*claim)) {
                    return Err(format!("holds {last:?}, votes for one with {claim:?}"));
                }
            }
            Body::Vote(claim) => {
                let key = (group, message.term, message.from);
                self.claims.insert(key, (claim.last_term, claim.last_index));
            }
            Body::AppendResponse(response) => {
                if let AppendResult::Matched(index) = response.result
                    && synced.matched_in(message.term) < index
                {
                    return Err(format!("says {index}, synced {}", synced.last()));
                }
            }
            Body::InstallResponse { index, .. } if synced.last() < *index => {
                return Err(format!("says installed {index}, synced {}", synced.last()));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a broker says of a group, after each of its events. `read` gives entries of it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn observe(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        read: impl Fn(Index, Index) -> Vec<Entry>,
    ) -> Broken {
        let (group, replica) = (status.group, status.replica);
        let term = self.terms.entry((node, group, replica)).or_default();
        if status.term < *term {
            return Err(format!(
                "{node} {group}: term went back from {term} to {}",
                status.term
            ));
        }
        *term = status.term;
        let in_order = status.base_index <= status.applied
            && status.applied <= status.commit
            && status.commit <= status.last_index;
        if !in_order {
            return Err(format!("{node} {group}: indexes out of order: {status:?}"));
        }
        if status.role == Role::Leader {
            self.leads(node, status, &read)?;
        }
        self.commit_of(node, status, read)
    }

    /// One leader in a term, and it holds everything that was ever committed (invariants 1 and 3).
    fn leads(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        read: impl Fn(Index, Index) -> Vec<Entry>,
    ) -> Broken {
        let group = status.group;
        match self.leaders.insert((group, status.term), node) {
            Some(other) if other != node => {
                return Err(format!("{group} {}: {other} and {node} lead", status.term));
            }
            Some(_) => return Ok(()),
            None => self.counts.elections += 1,
        }
        let last = self
            .committed
            .get(&group)
            .and_then(BTreeMap::last_key_value);
        let Some((&index, known)) = last else {
            return Ok(());
        };
        // An entry of a later term was committed against this leader: it leads nobody.
        if known.0 > status.term || index <= status.base_index {
            return Ok(());
        }
        let found = read(index, index);
        if found.first().map(content).as_ref() != Some(known) {
            let term = status.term;
            return Err(format!(
                "{node} {group}: leads in {term} without {index}, committed"
            ));
        }
        Ok(())
    }

    fn commit_of(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        read: impl Fn(Index, Index) -> Vec<Entry>,
    ) -> Broken {
        let group = status.group;
        let key = (node, group, status.replica);
        let fresh = || (status.base_index, Vec::new());
        let (known, _) = self.commits.entry(key).or_insert_with(fresh);
        if status.commit < *known {
            return Err(format!("{node} {group}: commit went back from {known}"));
        }
        if status.commit > *known {
            let from = known.next().max(status.base_index.next());
            *known = status.commit;
            let highest = self.highest.entry(group).or_default();
            *highest = status.commit.max(*highest);
            self.take_in(node, group, &read(from, status.commit))?;
            if status.role == Role::Leader {
                self.of_the_own_term(node, status)?;
                self.on_a_quorum(node, status)?;
            }
        }
        match status.role {
            Role::Leader => self.led.insert(key, status.term),
            _ => self.led.remove(&key),
        };
        if let Some((_, members)) = self.commits.get_mut(&key)
            && status.role == Role::Leader
        {
            members.clone_from(&status.members);
        }
        Ok(())
    }

    fn take_in(&mut self, node: NodeId, group: GroupId, entries: &[Entry]) -> Broken {
        let committed = self.committed.entry(group).or_default();
        for entry in entries {
            let content = content(entry);
            let before = committed.insert(entry.index, content);
            if before.is_some_and(|before| before != content) {
                let index = entry.index;
                return Err(format!(
                    "{node} {group} {index}: committed twice, differently"
                ));
            }
        }
        Ok(())
    }

    /// A leader commits by counting what is of its own term only, and everything before it (invariant 6).
    fn of_the_own_term(&self, node: NodeId, status: &GroupStatus) -> Broken {
        let (group, commit, term) = (status.group, status.commit, status.term);
        if self.led.get(&(node, group, status.replica)) != Some(&term) {
            // Perhaps it was told so as a follower.
            return Ok(());
        }
        let entry = self.committed.get(&group).and_then(|c| c.get(&commit));
        match entry.map(|entry| entry.0) {
            Some(older) if older != term => Err(format!(
                "{node} {group}: {commit} of {older} was committed by counting in {term}"
            )),
            _ => Ok(()),
        }
    }

    /// What a leader calls committed is synced on a majority, of both halves if joint (invariant 5). The membership
    /// may have changed in the very step that committed: then the one before it may have decided.
    fn on_a_quorum(&self, node: NodeId, status: &GroupStatus) -> Broken {
        let (group, commit) = (status.group, status.commit);
        let entry = self.committed.get(&group).and_then(|c| c.get(&commit));
        let holds = |m: &MemberStatus| {
            let synced = self.disks.ever(m.node, group, m.replica);
            synced.is_some_and(|synced| synced.holds(commit, entry))
        };
        let before = self.commits.get(&(node, group, status.replica));
        let before = before.map_or(&[][..], |(_, members)| members);
        if is_majority(&status.members, holds) || is_majority(before, holds) {
            return Ok(());
        }
        let have: Vec<_> = status
            .members
            .iter()
            .map(|m| (m.replica, holds(m)))
            .collect();
        Err(format!(
            "{node} {group}: {commit} is committed but synced only on {have:?}"
        ))
    }

    /// What a leader that knows all commits shows to consumers never goes back (invariants 8 and 12).
    ///
    /// # Errors
    /// What went back.
    pub fn shows(&mut self, group: GroupId, term: Term, high: i64, start: i64) -> Broken {
        let shown = self.shown.entry(group).or_insert((term, high, start));
        if term < shown.0 {
            return Ok(());
        }
        if high < shown.1 || start < shown.2 {
            return Err(format!(
                "{group}: {start}..{high} is shown in {term}, {}..{} was in {}",
                shown.2, shown.1, shown.0
            ));
        }
        *shown = (term, high, start);
        Ok(())
    }
}

fn is_majority(members: &[MemberStatus], holds: impl Fn(&MemberStatus) -> bool) -> bool {
    let half = |of: fn(&MemberStatus) -> bool| {
        let all = members.iter().filter(|m| of(m)).count();
        let have = members.iter().filter(|m| of(m) && holds(m)).count();
        (all, have * 2 > all)
    };
    let (incoming, outgoing) = (half(|m| m.voter), half(|m| m.outgoing));
    incoming.0 > 0 && incoming.1 && (outgoing.0 == 0 || outgoing.1)
}

#[cfg(test)]
mod tests;
