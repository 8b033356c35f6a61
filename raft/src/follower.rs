//! Following a leader: appends, heartbeats, installs.

use crate::effect::Effect;
use crate::message::{Append, AppendResponse, AppendResult, Body};
use crate::node::{Follower, Needs, Node, State};
use crate::types::{Base, Entry, EntryKind, Index, Member, Membership, ReplicaId, Term, Tick};

impl Node {
    /// A message of the leader of `term` arrived: its timer starts anew.
    pub(crate) fn follow(
        &mut self,
        now: Tick,
        term: Term,
        leader: ReplicaId,
        out: &mut Vec<Effect>,
    ) {
        assert!(term >= self.term, "leaders of the past are not followed");
        let follows = term == self.term && self.leader == Some(leader);
        match &mut self.state {
            State::Follower(follower) if follows => {
                follower.contact = Some(now);
                self.quiesced = false;
                self.rest(now);
            }
            _ => self.become_follower(now, term, Some(leader), out),
        }
    }

    /// Whether it stands by a leader: heard within the shortest election timeout, or silent by
    /// agreement.
    pub(crate) fn hears_leader(&self, now: Tick) -> bool {
        match &self.state {
            State::Leader(_) => true,
            State::Candidate(_) => false,
            State::Follower(Follower { contact, .. }) => contact.is_some_and(|contact| {
                self.quiesced || now.0 < contact.0 + self.config.election_timeout_min_ms
            }),
        }
    }

    /// Up to here its log is the leader's. What is committed always is.
    fn verified(&self) -> Index {
        match &self.state {
            State::Follower(follower) => follower
                .verified
                .min(self.log.last_index())
                .max(self.commit),
            State::Candidate(_) | State::Leader(_) => self.commit,
        }
    }

    fn verify(&mut self, index: Index) {
        assert!(
            index <= self.log.last_index(),
            "only what is in the log is verified"
        );
        if let State::Follower(follower) = &mut self.state {
            follower.verified = follower.verified.max(index);
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        from: Member,
        commit: Index,
        read_round: u64,
        quiesce: bool,
        out: &mut Vec<Effect>,
    ) {
        // A commit index beyond what is known to agree would commit entries of another leader.
        self.commit_to(commit.min(self.verified()), out);
        let last_index = self.verified();
        let settled = commit == self.commit && commit == self.log.last_index();
        if quiesce && settled {
            self.quiesced = true;
            return;
        }
        self.answer(
            from,
            Body::HeartbeatResponse {
                read_round,
                last_index,
            },
            Needs::HardState,
        );
    }

    pub(crate) fn append(&mut self, from: Member, append: Append, out: &mut Vec<Effect>) {
        if !is_well_formed(&append, self.term) {
            return;
        }
        let Append {
            mut prev_index,
            mut prev_term,
            commit,
            mut entries,
            session,
            read_round,
        } = append;
        let base = self.log.base();
        if prev_index < base.index {
            // What lies below the base is committed, hence the leader's: it is no conflict, but
            // already here.
            let known = (base.index.0 - prev_index.0).min(entries.len() as u64);
            let here = entries.drain(..known as usize).next_back();
            let denied = here.is_some_and(|e| e.index == base.index && e.term != base.term);
            (prev_index, prev_term) = (base.index, base.term);
            if denied || entries.first().is_some_and(|entry| entry.term < prev_term) {
                out.push(Effect::Violation {
                    what: "a leader denies a committed entry",
                });
                return;
            }
        }
        let reply = |result| {
            Body::AppendResponse(AppendResponse {
                result,
                session,
                read_round,
            })
        };
        if self.log.term_at(prev_index) != Some(prev_term) {
            if prev_index <= self.commit {
                out.push(Effect::Violation {
                    what: "a leader denies a committed entry",
                });
                return;
            }
            let conflict = self.conflict(prev_index, prev_term);
            self.answer(from, reply(conflict), Needs::HardState);
            return;
        }
        let refused = self.disk_full && self.drop_records(&mut entries);
        let last = Index(prev_index.0 + entries.len() as u64);
        let takes = entries.last().is_some_and(|entry| self.is_new(entry));
        if !self.take(entries, out) {
            return;
        }
        self.verify(last);
        self.commit_to(commit.min(last), out);
        if takes && self.config.announce_received {
            // Of no round: it answers no heartbeat, and says nothing of what was sent since.
            let told = Body::HeartbeatResponse {
                read_round: 0,
                last_index: last,
            };
            self.answer(from, told, Needs::HardState);
        }
        if takes || !refused {
            self.answer(from, reply(AppendResult::Matched(last)), Needs::Index(last));
        }
        if refused {
            // Not before what was taken is acknowledged: it would be sent again.
            let needs = if takes {
                Needs::Index(last)
            } else {
                Needs::HardState
            };
            self.answer(from, reply(AppendResult::Full), needs);
        }
    }

    /// A guess that skips whole terms, so that a long diverging tail costs a message per term.
    fn conflict(&self, rejected: Index, rejected_term: Term) -> AppendResult {
        let last = self.log.last_index();
        let guess = if rejected > last {
            last
        } else {
            self.log.last_at_most(rejected.prev(), rejected_term)
        };
        let hint_index = guess.max(self.commit);
        let hint_term = self.log.term_at(hint_index).unwrap_or_default();
        AppendResult::Conflict {
            rejected,
            hint_index,
            hint_term,
        }
    }

    /// A full disk takes what frees it, with what comes before that, and what keeps the group alive, but no other records.
    fn drop_records(&self, entries: &mut Vec<Entry>) -> bool {
        let is_command = |e: &Entry| e.kind == EntryKind::Command && self.is_new(e);
        let taken = entries.iter().rposition(is_command).map_or(0, |at| at + 1);
        let is_refused = |e: &Entry| e.kind == EntryKind::Records && self.is_new(e);
        let first = entries[taken..].iter().position(is_refused);
        if let Some(first) = first {
            entries.truncate(taken + first);
        }
        first.is_some()
    }

    fn is_new(&self, entry: &Entry) -> bool {
        self.log.term_at(entry.index) != Some(entry.term)
    }

    /// Appends what is not there yet; removes a suffix only where an entry really differs (Raft,
    /// section 5.3). False when the leader contradicts what is committed, or sends a membership
    /// that cannot be read.
    fn take(&mut self, entries: Vec<Entry>, out: &mut Vec<Effect>) -> bool {
        let new = entries.iter().position(|entry| self.is_new(entry));
        let Some(new) = new else { return true };
        let first = entries[new].index;
        if first <= self.commit {
            out.push(Effect::Violation {
                what: "a leader replaces a committed entry",
            });
            return false;
        }
        let mut memberships = Vec::new();
        for entry in entries[new..]
            .iter()
            .filter(|e| e.kind == EntryKind::Membership)
        {
            let Some(membership) = Membership::decode(&entry.payload) else {
                out.push(Effect::Violation {
                    what: "a membership entry cannot be read",
                });
                return false;
            };
            memberships.push((entry.index, membership));
        }
        let mut changed = !memberships.is_empty();
        if first <= self.log.last_index() {
            self.log.truncate(first);
            self.durability.truncate(first);
            self.gather_truncate(first);
            changed |= self.history.truncate(first);
            out.push(Effect::Truncated { from: first });
        }
        for entry in entries.into_iter().skip(new) {
            self.gather_entry(entry);
        }
        for (index, membership) in memberships {
            self.history.append(index, membership);
        }
        self.announce_appended(out);
        if changed {
            self.announce_membership(out);
            self.announce_role(out);
        }
        true
    }

    pub(crate) fn install(
        &mut self,
        from: Member,
        base: Base,
        session: u64,
        out: &mut Vec<Effect>,
    ) {
        if !base.membership.is_valid() || base.membership.voters.is_empty() || base.term > self.term
        {
            return;
        }
        let here = self.log.term_at(base.index);
        if base.index <= self.commit && here.is_some_and(|term| term != base.term) {
            out.push(Effect::Violation {
                what: "an install denies a committed entry",
            });
            return;
        }
        if base.index > self.commit {
            if here == Some(base.term) {
                // The log already holds all of it, and perhaps more: nothing is thrown away.
                self.verify(base.index);
                self.commit_to(base.index, out);
            } else {
                self.replace(base, out);
            }
        }
        let index = self.commit;
        self.verify(index);
        self.answer(
            from,
            Body::InstallResponse { index, session },
            Needs::Index(index),
        );
    }

    /// Base and truncation are one persist: no crash leaves a part of the old log beside the new
    /// base.
    fn replace(&mut self, base: Base, out: &mut Vec<Effect>) {
        assert!(base.index > self.commit, "nothing committed is replaced");
        if self.log.last_index() > self.commit {
            out.push(Effect::Truncated {
                from: self.commit.next(),
            });
        }
        self.gather_base(base.clone());
        if self.log.last_index() > base.index {
            self.gather_truncate(base.index.next());
        }
        self.durability.truncate(self.commit.next());
        self.history = crate::membership::History::new(&base, Vec::new());
        self.commit = base.index;
        self.log.replace(base);
        self.announce_membership(out);
        self.announce_role(out);
    }
}

/// Contiguous, in term order, nothing from beyond the sender's term.
fn is_well_formed(append: &Append, term: Term) -> bool {
    let mut index = append.prev_index;
    let mut newest = append.prev_term;
    for entry in &append.entries {
        if entry.index != index.next() || entry.term < newest || entry.term > term {
            return false;
        }
        (index, newest) = (entry.index, entry.term);
    }
    newest <= term
}
