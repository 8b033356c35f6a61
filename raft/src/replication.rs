//! Feeding followers: appends, reads of what left memory, installs, and what their answers mean.

use crate::config::Config;
use crate::effect::{After, Effect};
use crate::log::{Log, entry_bytes};
use crate::message::{Append, AppendResponse, AppendResult, Body, Message};
use crate::node::{Node, State};
use crate::progress::{self, Progress, Sample};
use crate::types::{Base, Entry, EntryKind, Index, NodeId, ReplicaId, Term, Tick};

/// What sending needs to see of the leader.
struct Feed<'a> {
    config: &'a Config,
    log: &'a Log,
    me: ReplicaId,
    term: Term,
    commit: Index,
    round: u64,
}

impl Feed<'_> {
    fn feed(&self, p: &mut Progress, out: &mut Vec<Effect>) {
        while self.feed_once(p, out) {}
    }

    /// One message, or one order to the driver. Whether more may follow.
    fn feed_once(&self, p: &mut Progress, out: &mut Vec<Effect>) -> bool {
        let open = matches!(p.state, progress::State::Probe | progress::State::Replicate);
        if p.down || p.fetching || p.paused || !open {
            return false;
        }
        let (to, session) = (p.member.replica, p.session);
        if p.next <= self.log.base().index {
            p.state = progress::State::Install;
            p.fetching = true;
            out.push(Effect::NeedsInstall { to, session });
            return false;
        }
        if p.next > self.log.last_index() {
            if p.state == progress::State::Probe {
                self.send(p, Vec::new(), 0, out);
            }
            return false;
        }
        let max_bytes = budget(self.config, p);
        if max_bytes == 0 {
            return false;
        }
        if p.next < self.log.first_in_memory() {
            p.fetching = true;
            let (from, until) = (p.next, self.log.first_in_memory().prev());
            out.push(Effect::Read {
                to,
                session,
                from,
                until,
                max_bytes,
            });
            return false;
        }
        let (entries, bytes) = match p.full {
            true => up_to_command(self.log.collect(p.next, self.config.command_max_bytes).0),
            false => self.log.collect(p.next, max_bytes),
        };
        if bytes > max_bytes && p.has_inflight() {
            // One entry above the limit passes, but alone.
            return false;
        }
        self.send(p, entries, bytes, out);
        true
    }

    /// An append from `next` on. A probe waits for its answer, or for a heartbeat that proves it
    /// lost.
    fn send(&self, p: &mut Progress, entries: Vec<Entry>, bytes: u64, out: &mut Vec<Effect>) {
        let last = entries.last().map_or(p.next.prev(), |entry| entry.index);
        p.told_commit = p.told_commit.max(self.commit.min(last));
        out.push(self.append(p, p.next.prev(), entries));
        if p.state == progress::State::Probe {
            p.paused = true;
            p.sample = None;
        } else {
            p.sent(last, bytes);
        }
    }

    fn append(&self, p: &Progress, prev_index: Index, entries: Vec<Entry>) -> Effect {
        let prev_term = self.log.term_at(prev_index);
        assert!(
            prev_term.is_some(),
            "an append begins in the log, or at its base"
        );
        let append = Append {
            prev_index,
            prev_term: prev_term.unwrap_or_default(),
            commit: self.commit,
            entries,
            session: p.session,
            read_round: self.round,
        };
        let (from, to, term) = (self.me, p.member.replica, self.term);
        let message = Message {
            from,
            to,
            term,
            body: Body::Append(append),
        };
        Effect::Send {
            to: p.member,
            message,
            after: After::Now,
        }
    }
}

impl Node {
    /// Sends what followers lack and may be sent. The leader does not wait for its own disk.
    pub(crate) fn replicate(&mut self, out: &mut Vec<Effect>) {
        let Self {
            config,
            log,
            me,
            term,
            commit,
            state,
            ..
        } = self;
        let State::Leader(leader) = state else { return };
        let round = leader.reads.round();
        let feed = Feed {
            config,
            log,
            me: me.replica,
            term: *term,
            commit: *commit,
            round,
        };
        for p in &mut leader.followers {
            feed.feed(p, out);
        }
    }

    pub(crate) fn append_answered(
        &mut self,
        now: Tick,
        from: ReplicaId,
        answer: AppendResponse,
        out: &mut Vec<Effect>,
    ) {
        let (last, base) = (self.log.last_index(), self.log.base().index);
        let Some((p, fresh)) = self.heard(now, from, answer.read_round) else {
            return;
        };
        if p.session == answer.session && p.state != progress::State::Regressed {
            match answer.result {
                AppendResult::Matched(index) if index <= last => {
                    let news = p.acknowledge(index);
                    p.full &= !news;
                    if p.state == progress::State::Probe {
                        p.state = progress::State::Replicate;
                        p.paused = false;
                    }
                }
                // A member cannot hold more than the leader that feeds it.
                AppendResult::Matched(_) => {}
                AppendResult::Conflict {
                    rejected,
                    hint_index,
                    hint_term,
                } => {
                    let guess = if hint_index < base {
                        hint_index
                    } else {
                        self.log
                            .last_at_most(hint_index.min(rejected.prev()), hint_term)
                    };
                    self.rejected(from, rejected, guess, fresh);
                }
                AppendResult::Full => {
                    p.reset(fresh, p.resume_at());
                    (p.full, p.paused) = (true, true);
                }
            }
        }
        if !matches!(answer.result, AppendResult::Matched(_)) {
            self.wake(now, out);
        }
        self.maybe_commit(now, out);
        self.tell_commit(out);
        self.maybe_hand_over(out);
        self.confirm_reads(out);
    }

    /// The follower lacks the entry before what was sent; `guess` is the highest that may agree.
    fn rejected(&mut self, from: ReplicaId, rejected: Index, guess: Index, fresh: u64) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(p) = leader.follower(from) else {
            return;
        };
        match p.state {
            progress::State::Replicate if rejected > p.matched => {
                p.reset(fresh, p.matched.next());
            }
            progress::State::Probe if rejected == p.next.prev() && rejected <= p.matched => {
                // In this session it was asked for nothing but what it had acknowledged before.
                p.state = progress::State::Regressed;
                (p.matched, p.received) = (Index(0), Index(0));
            }
            progress::State::Probe if rejected == p.next.prev() && rejected > Index(0) => {
                p.next = guess.next().max(p.matched.next());
                p.paused = false;
            }
            // Late: answered before something that is known by now.
            _ => {}
        }
    }

    pub(crate) fn heartbeat_answered(
        &mut self,
        now: Tick,
        from: ReplicaId,
        round: u64,
        verified: Index,
        out: &mut Vec<Effect>,
    ) {
        let last = self.log.last_index();
        let Some((p, fresh)) = self.heard(now, from, round) else {
            return;
        };
        let verified = verified.min(last);
        p.received = p.received.max(verified);
        if let Some(sample) = p.sample.take_if(|sample| sample.round <= round) {
            self.judge(from, sample, verified, fresh, out);
        }
        if verified < last {
            self.wake(now, out);
        }
        self.confirm_reads(out);
    }

    /// The answer to a heartbeat that was sent after everything below `sample.next`: what the
    /// follower does not know of by now was lost, what it knows but has not acknowledged is asked
    /// for again.
    fn judge(
        &mut self,
        from: ReplicaId,
        sample: Sample,
        verified: Index,
        fresh: u64,
        out: &mut Vec<Effect>,
    ) {
        let Self {
            config,
            log,
            me,
            term,
            commit,
            state,
            ..
        } = self;
        let State::Leader(leader) = state else { return };
        let round = leader.reads.round();
        let Some(p) = leader.follower(from) else {
            return;
        };
        match p.state {
            progress::State::Probe if !p.fetching => {
                p.next = p.next.max(verified.next());
                p.paused = false;
            }
            progress::State::Install if !p.fetching => {
                let here = verified >= p.next.prev();
                let next = if here {
                    p.next.max(p.matched.next())
                } else {
                    p.matched.next()
                };
                p.reset(fresh, next);
            }
            progress::State::Replicate => {
                p.paused = false;
                let prev = sample.next.prev();
                if verified < prev {
                    p.reset(fresh, p.matched.next());
                } else if p.matched == sample.matched && prev > p.matched {
                    let me = me.replica;
                    let feed = Feed {
                        config,
                        log,
                        me,
                        term: *term,
                        commit: *commit,
                        round,
                    };
                    if log.term_at(prev).is_some() {
                        out.push(feed.append(p, prev, Vec::new()));
                    } else {
                        p.reset(fresh, p.matched.next());
                    }
                }
            }
            progress::State::Probe | progress::State::Install | progress::State::Regressed => {}
        }
    }

    pub(crate) fn install_answered(
        &mut self,
        now: Tick,
        from: ReplicaId,
        index: Index,
        session: u64,
        out: &mut Vec<Effect>,
    ) {
        let last = self.log.last_index();
        let Some((p, _)) = self.heard(now, from, 0) else {
            return;
        };
        if p.session == session && p.state == progress::State::Install && index <= last {
            p.acknowledge(index);
            p.state = progress::State::Replicate;
            (p.paused, p.fetching, p.sample) = (false, false, None);
        }
        self.maybe_commit(now, out);
        self.maybe_hand_over(out);
    }

    /// A member answered: it is alive. Also a session number in case it must start over.
    fn heard(&mut self, now: Tick, from: ReplicaId, round: u64) -> Option<(&mut Progress, u64)> {
        let State::Leader(leader) = &mut self.state else {
            return None;
        };
        if round > leader.reads.round() {
            return None;
        }
        let fresh = leader.next_session();
        let p = leader.follower(from)?;
        p.last_contact = now;
        p.down = false;
        p.acked_round = p.acked_round.max(round);
        Some((p, fresh))
    }

    pub(crate) fn entries_read(
        &mut self,
        to: ReplicaId,
        session: u64,
        entries: Vec<Entry>,
        out: &mut Vec<Effect>,
    ) {
        let Self {
            config,
            log,
            me,
            term,
            commit,
            state,
            ..
        } = self;
        let State::Leader(leader) = state else { return };
        let round = leader.reads.round();
        let Some(p) = leader
            .follower(to)
            .filter(|p| p.session == session && p.fetching)
        else {
            return;
        };
        if p.state == progress::State::Install {
            return;
        }
        p.fetching = false;
        let trimmed = p.next <= log.base().index;
        if trimmed || entries.first().is_none_or(|first| first.index != p.next) {
            // Trimmed, or acknowledged meanwhile: what is lacking now is found anew. Otherwise it
            // is tried again with the next heartbeat, not at once for ever.
            let moved = entries.first().is_some_and(|first| first.index < p.next);
            p.paused = !moved && !trimmed;
            return;
        }
        let mut expected = p.next;
        for entry in &entries {
            if entry.index != expected || log.term_at(entry.index) != Some(entry.term) {
                p.paused = true;
                return;
            }
            expected = expected.next();
        }
        let (entries, bytes) = match p.full {
            true => up_to_command(entries),
            false => {
                let bytes = entries.iter().map(entry_bytes).sum();
                (entries, bytes)
            }
        };
        let me = me.replica;
        let feed = Feed {
            config,
            log,
            me,
            term: *term,
            commit: *commit,
            round,
        };
        feed.send(p, entries, bytes, out);
    }

    /// Nothing is sent in place of what could not be read; it is tried again after the next
    /// heartbeat's answer.
    pub(crate) fn read_failed(&mut self, to: ReplicaId, session: u64) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(p) = leader
            .follower(to)
            .filter(|p| p.session == session && p.fetching)
        else {
            return;
        };
        p.fetching = false;
        p.paused = true;
        if p.state == progress::State::Install {
            p.state = progress::State::Probe;
        }
    }

    pub(crate) fn install_state(
        &mut self,
        to: ReplicaId,
        session: u64,
        base: Base,
        out: &mut Vec<Effect>,
    ) {
        let term = self
            .log
            .term_at(base.index)
            .filter(|_| base.index <= self.commit);
        let Some(term) = term else {
            self.read_failed(to, session);
            return;
        };
        let membership = self.history.at(base.index);
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(p) = leader.follower(to) else { return };
        if p.session != session || !p.fetching || p.state != progress::State::Install {
            return;
        }
        p.fetching = false;
        p.sample = None;
        p.next = base.index.next().max(p.matched.next());
        let member = p.member;
        // The entry's own term and the membership of that index, whatever the state machine was
        // told.
        let base = Base {
            term,
            membership,
            ..base
        };
        self.send_now(member, Body::Install { base, session }, out);
    }

    pub(crate) fn follower_down(&mut self, node: NodeId) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let fresh = leader.next_session();
        for p in leader
            .followers
            .iter_mut()
            .filter(|p| p.member.node == node)
        {
            p.down = true;
            if p.state != progress::State::Regressed {
                p.reset(fresh, p.resume_at());
            }
            leader
                .transfer
                .take_if(|transfer| transfer.to == p.member.replica);
        }
    }

    /// Perhaps in another life: what was under way is lost.
    pub(crate) fn follower_up(&mut self, node: NodeId) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let fresh = leader.next_session();
        for p in leader
            .followers
            .iter_mut()
            .filter(|p| p.member.node == node)
        {
            p.down = false;
            if p.state != progress::State::Regressed {
                p.reset(fresh, p.resume_at());
            }
        }
    }
}

/// What a follower with a full disk is sent: a command may be what frees it, and goes with all before it; where there is
/// none, one entry asks whether there is room. Also their bytes.
fn up_to_command(mut entries: Vec<Entry>) -> (Vec<Entry>, u64) {
    let command = entries.iter().rposition(|e| e.kind == EntryKind::Command);
    entries.truncate(command.unwrap_or(0) + 1);
    let bytes = entries.iter().map(entry_bytes).sum();
    (entries, bytes)
}

/// How many bytes of entries may go to a member now.
fn budget(config: &Config, progress: &Progress) -> u64 {
    let room = config
        .inflight_max_bytes
        .saturating_sub(progress.inflight_bytes());
    config.append_max_bytes.min(room)
}
