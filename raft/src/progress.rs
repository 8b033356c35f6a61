//! What a leader knows of one other member: how far its log agrees, what is on the way to it.

use crate::types::{Index, Member, Tick};
use std::collections::VecDeque;

/// How entries go to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// One message at a time, until a common entry is found.
    Probe,
    /// Pipelined, up to the inflight limit.
    Replicate,
    /// Waiting for the state to replace its log by.
    Install,
    /// It denied an entry that it had acknowledged: its disk lost synced data. Counts for nothing
    /// and gets nothing while this leader leads, who alone knows: it still votes, and the next
    /// leader repairs it like any that lags. Replace it.
    Regressed,
}

/// A member's progress as a leader shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// Who.
    pub member: Member,
    /// Its log is synced and the leader's up to here.
    pub matched: Index,
    /// When it was last heard (or assumed alive: at election and wake-up).
    pub last_contact: Tick,
    /// Entry bytes sent and not acknowledged.
    pub inflight_bytes: u64,
    /// How entries go to it.
    pub state: State,
    /// Its node is known to be down.
    pub down: bool,
    /// Its disk has no room for entries.
    pub full: bool,
}

/// A heartbeat whose answer will tell what was lost before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) round: u64,
    pub(crate) next: Index,
    pub(crate) matched: Index,
}

#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) member: Member,
    /// Changes at every reset; answers of another session are stale.
    pub(crate) session: u64,
    pub(crate) state: State,
    pub(crate) matched: Index,
    /// The next entry to send. Above `matched`.
    pub(crate) next: Index,
    inflight: VecDeque<(Index, u64)>,
    inflight_bytes: u64,
    /// A probe is under way, or sending must wait; the next heartbeat's answer lifts it.
    pub(crate) paused: bool,
    /// A `Read` or `NeedsInstall` of this session is with the driver.
    pub(crate) fetching: bool,
    pub(crate) full: bool,
    pub(crate) down: bool,
    pub(crate) last_contact: Tick,
    /// It holds so much of this leader's log, synced or not.
    pub(crate) received: Index,
    /// Highest heartbeat or append round it answered.
    pub(crate) acked_round: u64,
    pub(crate) sample: Option<Sample>,
    /// The highest commit index that was sent to it.
    pub(crate) told_commit: Index,
}

impl Progress {
    pub(crate) fn new(member: Member, session: u64, next: Index, down: bool, now: Tick) -> Self {
        assert!(next > Index(0), "the first entry has index 1");
        Self {
            member,
            session,
            state: State::Probe,
            matched: Index(0),
            next,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            paused: false,
            fetching: false,
            full: false,
            down,
            last_contact: now,
            received: Index(0),
            acked_round: 0,
            sample: None,
            told_commit: Index(0),
        }
    }

    pub(crate) fn show(&self) -> MemberProgress {
        MemberProgress {
            member: self.member,
            matched: self.matched,
            last_contact: self.last_contact,
            inflight_bytes: self.inflight_bytes,
            state: self.state,
            down: self.down,
            full: self.full,
        }
    }

    /// Starts over: everything under way is forgotten, its answers will be stale.
    pub(crate) fn reset(&mut self, session: u64, next: Index) {
        assert!(session > self.session, "sessions are never reused");
        assert!(next > self.matched, "what matched is never sent again");
        self.session = session;
        self.state = State::Probe;
        self.next = next;
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.paused = false;
        self.fetching = false;
        self.sample = None;
        self.received = self.matched;
    }

    /// Where to begin again when what was under way is lost: behind what it has acknowledged. A
    /// member that has acknowledged nothing in this term may still hold everything; it is probed
    /// where the last probe was.
    pub(crate) fn resume_at(&self) -> Index {
        if self.matched > Index(0) {
            self.matched.next()
        } else {
            self.next
        }
    }

    /// Its synced log agrees up to here. Whether that is news.
    pub(crate) fn acknowledge(&mut self, index: Index) -> bool {
        while self.inflight.front().is_some_and(|sent| sent.0 <= index) {
            let (_, bytes) = self.inflight.pop_front().unwrap_or_default();
            self.inflight_bytes -= bytes;
        }
        assert_eq!(
            self.inflight.is_empty(),
            self.inflight_bytes == 0,
            "inflight bytes add up"
        );
        self.next = self.next.max(index.next());
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.received = self.received.max(self.matched);
        news
    }

    pub(crate) fn sent(&mut self, last: Index, bytes: u64) {
        assert!(last >= self.next, "entries are sent forward");
        self.inflight.push_back((last, bytes));
        self.inflight_bytes += bytes;
        self.next = last.next();
    }

    pub(crate) fn inflight_bytes(&self) -> u64 {
        self.inflight_bytes
    }

    pub(crate) fn has_inflight(&self) -> bool {
        !self.inflight.is_empty()
    }
}
