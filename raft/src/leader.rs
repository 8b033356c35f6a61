//! Leading: taking office, proposals, heartbeats, commit, reads, stepping down.

use crate::effect::Effect;
use crate::input::{Proposed, Refused};
use crate::log::{ENTRY_OVERHEAD_BYTES, entry_bytes};
use crate::message::Body;
use crate::node::{Node, State};
use crate::progress::{Progress, Sample};
use crate::quorum;
use crate::read_index::Reads;
use crate::transfer::Transfer;
use crate::types::{Entry, EntryKind, Index, Membership, ReplicaId, Tick};
use bytes::Bytes;

/// What only a leader has.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// All other members, by replica id.
    pub(crate) followers: Vec<Progress>,
    /// The first entry of its term. Until it is committed the commit index may be an old one.
    pub(crate) first_index: Index,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) reads: Reads,
    /// The commit index at the last heartbeat.
    pub(crate) commit_then: Index,
    last_session: u64,
    uncommitted_bytes: u64,
    /// When something was last proposed, committed or asked.
    busy_at: Tick,
}

impl Leader {
    pub(crate) fn follower(&mut self, replica: ReplicaId) -> Option<&mut Progress> {
        self.followers
            .iter_mut()
            .find(|p| p.member.replica == replica)
    }

    pub(crate) fn next_session(&mut self) -> u64 {
        self.last_session += 1;
        self.last_session
    }

    pub(crate) fn deadline(&self, heartbeat: Tick) -> Tick {
        self.transfer
            .as_ref()
            .map_or(heartbeat, |transfer| heartbeat.min(transfer.until))
    }

    pub(crate) fn assume_alive(&mut self, now: Tick) {
        for follower in &mut self.followers {
            follower.last_contact = now;
        }
        self.busy_at = now;
    }

    pub(crate) fn is_idle(&self, now: Tick, after_ms: u64) -> bool {
        self.transfer.is_none()
            && self.reads.is_idle()
            && now.0.saturating_sub(self.busy_at.0) >= after_ms
    }

    pub(crate) fn refuse_reads(&mut self, out: &mut Vec<Effect>) {
        out.extend(
            self.reads
                .drain()
                .into_iter()
                .map(|id| Effect::ReadRefused { id }),
        );
    }

    pub(crate) fn position(&self, replica: ReplicaId, value: impl Fn(&Progress) -> u64) -> u64 {
        self.followers
            .iter()
            .find(|p| p.member.replica == replica)
            .map_or(0, value)
    }

    /// Whether too few others have room: what cannot be committed would be in the way of what frees it.
    fn is_quorum_full(&self, membership: &Membership) -> bool {
        let has_room = |replica| self.position(replica, |p| u64::from(p.full)) == 0;
        self.followers.iter().any(|p| p.full) && !quorum::has(membership, has_room)
    }
}

impl Node {
    pub(crate) fn become_leader(&mut self, now: Tick, out: &mut Vec<Effect>) {
        assert!(self.may_lead(), "only voters lead");
        assert!(
            self.durability.is_hard_state_done(),
            "a leader's term is synced"
        );
        assert_eq!(
            self.vote,
            Some(self.me.replica),
            "a leader voted for itself"
        );
        let first_index = self.log.last_index().next();
        self.state = State::Leader(Box::new(Leader {
            followers: Vec::new(),
            first_index,
            transfer: None,
            reads: Reads::default(),
            commit_then: self.commit,
            last_session: 0,
            uncommitted_bytes: 0,
            busy_at: now,
        }));
        self.leader = Some(self.me.replica);
        self.quiesced = false;
        self.timer = Tick(now.0 + self.config.heartbeat_ms);
        self.sync_followers(now);
        self.announce_role(out);
        self.lead_entry(EntryKind::Noop, Bytes::new());
    }

    /// Followers are the other members in force: new ones are probed from the end, removed ones are
    /// forgotten.
    pub(crate) fn sync_followers(&mut self, now: Tick) {
        let members = self.history.effective().all_members();
        let (me, last) = (self.me.replica, self.log.last_index());
        let down = &self.down;
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.followers.retain(|p| members.contains(&p.member));
        for member in members.into_iter().filter(|member| member.replica != me) {
            if leader.follower(member.replica).is_none() {
                let session = leader.next_session();
                let down = down.contains(&member.node);
                leader
                    .followers
                    .push(Progress::new(member, session, last.next(), down, now));
            }
        }
        leader.followers.sort_by_key(|p| p.member.replica);
        if leader
            .transfer
            .as_ref()
            .is_some_and(|t| leader.position(t.to, |_| 1) == 0)
        {
            leader.transfer = None;
        }
    }

    /// Adds one entry to the group's log. It is not sent or written before [`Node::flush`]: propose
    /// all that a tick brings, then flush once. Accepted does not mean committed: leadership may be
    /// lost, and the entry with it.
    ///
    /// # Errors
    /// See [`Refused`]; nothing was appended.
    pub fn propose(&mut self, now: Tick, kind: EntryKind, payload: Bytes) -> Proposed {
        let State::Leader(leader) = &mut self.state else {
            return Err(Refused::NotLeader {
                leader: self.leader,
            });
        };
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        if !matches!(kind, EntryKind::Records | EntryKind::Command) {
            return Err(Refused::Invalid("only records and commands are proposed"));
        }
        let bytes = payload.len() as u64 + ENTRY_OVERHEAD_BYTES;
        let full =
            leader.uncommitted_bytes.saturating_add(bytes) > self.config.uncommitted_max_bytes;
        let no_room = kind == EntryKind::Records
            && (self.disk_full || leader.is_quorum_full(self.history.effective()));
        if no_room || (full && leader.uncommitted_bytes > 0) {
            return Err(Refused::Busy);
        }
        leader.busy_at = now;
        self.resume(now);
        Ok(self.lead_entry(kind, payload))
    }

    /// Appends an entry of the own term.
    pub(crate) fn lead_entry(&mut self, kind: EntryKind, payload: Bytes) -> Index {
        let entry = Entry {
            index: self.log.last_index().next(),
            term: self.term,
            kind,
            payload,
        };
        let State::Leader(leader) = &mut self.state else {
            unreachable!("only a leader appends of its own accord")
        };
        leader.uncommitted_bytes += entry_bytes(&entry);
        let index = entry.index;
        self.gather_entry(entry);
        index
    }

    pub(crate) fn leader_tick(&mut self, now: Tick, out: &mut Vec<Effect>) {
        self.end_transfer_in_time(now);
        if now < self.timer {
            return;
        }
        if !self.has_quorum_contact(now) {
            self.become_follower(now, self.term, None, out);
            return;
        }
        if self.is_idle(now) {
            self.fall_silent(out);
        } else {
            self.broadcast_heartbeat(now, out);
        }
    }

    /// Whether a majority answered within the longest election timeout. A leader that only sends is
    /// none.
    fn has_quorum_contact(&self, now: Tick) -> bool {
        let State::Leader(leader) = &self.state else {
            return false;
        };
        let limit = self.config.election_timeout_max_ms;
        quorum::has(self.history.effective(), |replica| {
            let heard = |p: &Progress| u64::from(now.0.saturating_sub(p.last_contact.0) < limit);
            replica == self.me.replica || leader.position(replica, heard) == 1
        })
    }

    /// A new round to everybody. Its answers confirm reads, and tell what was lost before it.
    pub(crate) fn broadcast_heartbeat(&mut self, now: Tick, out: &mut Vec<Effect>) {
        let commit = self.commit;
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.commit_then = commit;
        let read_round = leader.reads.next_round();
        if leader.reads.wants_round() && leader.first_index <= commit {
            leader.reads.begin(read_round, commit);
        }
        let mut heartbeats = Vec::with_capacity(leader.followers.len());
        for p in &mut leader.followers {
            let commit = commit.min(p.matched);
            p.told_commit = p.told_commit.max(commit);
            if p.sample.is_none() {
                p.sample = Some(Sample {
                    round: read_round,
                    next: p.next,
                    matched: p.matched,
                });
            }
            heartbeats.push((p.member, commit));
        }
        for (to, commit) in heartbeats {
            self.send_now(
                to,
                Body::Heartbeat {
                    commit,
                    read_round,
                    quiesce: false,
                },
                out,
            );
        }
        self.timer = Tick(now.0 + self.config.heartbeat_ms);
        self.confirm_reads(out);
    }

    fn fall_silent(&mut self, out: &mut Vec<Effect>) {
        let commit = self.commit;
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let read_round = leader.reads.next_round();
        let alive: Vec<_> = leader
            .followers
            .iter()
            .filter(|p| !p.down)
            .map(|p| p.member)
            .collect();
        for to in alive {
            self.send_now(
                to,
                Body::Heartbeat {
                    commit,
                    read_round,
                    quiesce: true,
                },
                out,
            );
        }
        self.quiesced = true;
    }

    /// Commits what a majority (of both halves) has synced, when it is of the own term (Raft,
    /// section 5.4.2).
    pub(crate) fn maybe_commit(&mut self, now: Tick, out: &mut Vec<Effect>) {
        let own = self.durability.index().0;
        let State::Leader(leader) = &self.state else {
            return;
        };
        let agreed = Index(quorum::agreed(self.history.effective(), |replica| {
            let follower = leader.position(replica, |p| p.matched.0);
            if replica == self.me.replica {
                own
            } else {
                follower
            }
        }));
        if agreed <= self.commit || self.log.term_at(agreed) != Some(self.term) {
            return;
        }
        let released: u64 = self
            .log
            .tail(self.commit.next())
            .take_while(|entry| entry.index <= agreed)
            .filter(|entry| entry.term == self.term)
            .map(entry_bytes)
            .sum();
        if let State::Leader(leader) = &mut self.state {
            assert!(
                released <= leader.uncommitted_bytes,
                "uncommitted bytes add up"
            );
            leader.uncommitted_bytes -= released;
            leader.busy_at = now;
        }
        self.commit_to(agreed, out);
        self.after_commit(now, out);
    }

    fn after_commit(&mut self, now: Tick, out: &mut Vec<Effect>) {
        if self.is_membership_committed() && self.is_leader_established() {
            if self.history.effective().is_joint() {
                self.leave_joint(now, out);
            } else if !self.votes() {
                self.retire(now, out);
                return;
            }
        }
        self.tell_commit(out);
    }

    /// Where it is asked for: tells followers that have everything, and would hear of the commit by
    /// the next heartbeat only.
    pub(crate) fn tell_commit(&mut self, out: &mut Vec<Effect>) {
        if !self.config.announce_commit {
            return;
        }
        let (commit, last) = (self.commit, self.log.last_index());
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let read_round = leader.reads.round();
        let mut tell = Vec::new();
        for p in leader
            .followers
            .iter_mut()
            .filter(|p| p.next > last && !p.down)
        {
            let commit = commit.min(p.matched);
            if commit > p.told_commit {
                p.told_commit = commit;
                tell.push((p.member, commit));
            }
        }
        for (to, commit) in tell {
            self.send_now(
                to,
                Body::Heartbeat {
                    commit,
                    read_round,
                    quiesce: false,
                },
                out,
            );
        }
    }

    /// Its removal is committed: tells the others, asks the one that has most to take over, and
    /// follows.
    fn retire(&mut self, now: Tick, out: &mut Vec<Effect>) {
        self.broadcast_heartbeat(now, out);
        let State::Leader(leader) = &self.state else {
            return;
        };
        let membership = self.history.effective();
        let voters = leader
            .followers
            .iter()
            .filter(|p| membership.is_voter(p.member.replica));
        let heir = voters.max_by_key(|p| (p.matched, std::cmp::Reverse(p.member.replica)));
        if let Some(heir) = heir.map(|p| p.member) {
            self.send_now(heir, Body::TimeoutNow, out);
        }
        self.become_follower(now, self.term, None, out);
    }

    pub(crate) fn read_index(&mut self, id: u64, now: Tick, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Leader(leader) => {
                leader.reads.ask(id);
                leader.busy_at = now;
                self.resume(now);
            }
            State::Follower(_) | State::Candidate(_) => out.push(Effect::ReadRefused { id }),
        }
    }

    /// Starts a round for reads that wait for one, unless one is under way.
    pub(crate) fn start_read_round(&mut self, now: Tick, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &self.state else {
            return;
        };
        if leader.reads.wants_round() && leader.first_index <= self.commit {
            self.broadcast_heartbeat(now, out);
        }
    }

    /// Answers the reads whose round a majority of the members now in force has answered.
    pub(crate) fn confirm_reads(&mut self, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let (me, round) = (self.me.replica, leader.reads.round());
        let agreed = quorum::agreed(self.history.effective(), |replica| {
            if replica == me {
                round
            } else {
                leader.position(replica, |p| p.acked_round)
            }
        });
        if let Some((index, ids)) = leader.reads.confirm(agreed) {
            out.extend(ids.into_iter().map(|id| Effect::ReadReady { id, index }));
        }
    }
}
