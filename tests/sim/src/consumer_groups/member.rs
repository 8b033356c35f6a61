//! One member: what it is, and what it asks next.

use std::collections::BTreeMap;

use broker::coordinator::reply::GroupReply;
use broker::coordinator::request::{
    Client, Commit, CommitOffset, Fetch, GroupRequest, Join, MemberRef, Sync,
};
use broker::metadata::TopicId;
use bytes::Bytes;

use super::Group;
use super::asking::{Ask, Asked};
use super::assignor::{self, COOPERATIVE, RANGE, ROUND_ROBIN};
use super::beats::Given;
use super::plan::{GroupPlan, Sharing};
use crate::random::Random;

/// Heartbeats in a session.
const HEARTBEATS: u64 = 4;
/// Chance that it asked for its assignment twice, and one question comes after the next rebalance, in a thousand.
const LATE_SYNC_PER_MILLE: u64 = 200;
/// The topic that all groups read.
pub(super) const TOPIC: &str = "t";

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each time it starts it is somebody new.
    Dynamic,
    /// It comes back under the name of its instance.
    Static(String),
    /// It is no member, and commits.
    Alone,
    /// It is no member, and looks at what is committed.
    Observer,
}

impl Kind {
    /// Everybody of a group.
    pub(super) fn all(group: &GroupPlan) -> Vec<Self> {
        let kind = |at| match group.sharing {
            Sharing::Alone => Self::Alone,
            _ if at < group.statics => Self::Static(format!("instance-{at}")),
            _ => Self::Dynamic,
        };
        let mut all: Vec<Self> = (0..group.members).map(kind).collect();
        all.push(Self::Observer);
        all
    }

    fn is_member(&self) -> bool {
        matches!(self, Self::Dynamic | Self::Static(_))
    }
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its process does not run.
    Down,
    /// It has to join.
    Joining,
    /// It has joined and has to ask for its assignment; as leader it brings everybody's.
    Syncing(Vec<(String, Bytes)>),
    /// It has its assignment.
    Working,
    /// It is about to leave.
    Leaving,
}

/// What it has shown since the faults ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing as yet.
    Nothing,
    /// It has committed for everything that it owns.
    Committed,
    /// One who looks on has read it; it is yet to see that the group is stable.
    Seen,
    /// It has read that back.
    Read,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    /// Which group.
    pub(super) group: usize,
    /// Of all members of the run.
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// Whether the coordinator gives partitions to it.
    pub(super) is_given: bool,
    /// How often its process has started.
    lives: u64,
    /// The id that a coordinator gave; empty before. Its own choice where partitions are given to it.
    pub(super) id: String,
    /// Or the epoch.
    pub(super) generation: i32,
    /// Who leads this generation, as it was told.
    pub(super) leader: String,
    pub(super) phase: Phase,
    /// Its partitions, with what it reads next; None before that is fetched.
    pub(super) owned: BTreeMap<i32, Option<i64>>,
    /// The broker that it takes for the coordinator.
    pub(super) coordinator: Option<usize>,
    /// What it waits for: when that began in the history, and until when it waits.
    pub(super) asked: Option<(u64, u64)>,
    /// An answer that came while it was paused.
    pub(super) inbox: Option<(Asked, GroupReply)>,
    pub(super) paused_until: u64,
    pub(super) heartbeat_at: u64,
    pub(super) acts_at: u64,
    pub(super) proof: Proof,
    /// What it last had to commit, and in which generation: it may still be on its way when the next one has begun.
    pub(super) late: Option<(i32, Vec<(i32, i64)>)>,
    /// The generation before this one: a question for its assignment may still be on its way too.
    pub(super) late_sync: Option<i32>,
    /// A process before this one had its name. What that had yet to give up, when members share by and by, nobody may
    /// own until the group rebalances: as with Java's members.
    pub(super) is_successor: bool,
    /// Where partitions are given to it.
    pub(super) given: Given,
}

impl Member {
    pub(super) fn new(group: usize, number: usize, kind: Kind, acts_at: u64) -> Self {
        Self {
            group,
            number,
            kind,
            is_given: false,
            lives: 0,
            id: String::new(),
            generation: -1,
            leader: String::new(),
            phase: Phase::Down,
            owned: BTreeMap::new(),
            coordinator: None,
            asked: None,
            inbox: None,
            paused_until: 0,
            heartbeat_at: 0,
            acts_at,
            proof: Proof::Nothing,
            late: None,
            late_sync: None,
            is_successor: false,
            given: Given::default(),
        }
    }

    /// Its process starts: it knows nothing but who it is.
    pub(super) fn start(&mut self, partitions: i32) {
        let fresh = Self::new(self.group, self.number, self.kind.clone(), self.acts_at);
        let before = std::mem::replace(self, fresh);
        self.is_given = before.is_given;
        self.lives = before.lives + 1;
        self.is_successor = matches!(self.kind, Kind::Static(_)) && before.lives > 0;
        self.given.noted = before.given.noted;
        if self.kind.is_member() {
            self.phase = Phase::Joining;
            if self.is_given {
                self.id = format!("member-{}-{}", self.number, self.lives);
                self.generation = 0;
            }
        } else {
            self.phase = Phase::Working;
            self.owned = (0..partitions).map(|p| (p, None)).collect();
        }
    }

    /// Its process ends, without a word.
    pub(super) fn end(&mut self, until: u64) {
        self.phase = Phase::Down;
        self.owned.clear();
        self.given = Given {
            noted: std::mem::take(&mut self.given.noted),
            ..Given::default()
        };
        (self.asked, self.inbox, self.paused_until) = (None, None, 0);
        self.acts_at = until;
    }

    /// It is down and will not come back.
    pub(super) fn stay_away(&mut self) {
        self.end(u64::MAX);
    }

    pub(super) fn is_down(&self) -> bool {
        self.phase == Phase::Down
    }

    pub(super) fn is_observer(&self) -> bool {
        self.kind == Kind::Observer
    }

    /// It owns something, or would like to.
    pub(super) fn is_working(&self) -> bool {
        self.phase == Phase::Working && !self.is_observer()
    }

    /// It has shown what it can, or is away.
    pub(super) fn is_content(&self) -> bool {
        match self.phase {
            Phase::Down => self.acts_at == u64::MAX,
            Phase::Working => self.proof == Proof::Read,
            _ => false,
        }
    }

    /// What it wants next; None when it has nothing to ask now.
    pub(super) fn next_ask(
        &mut self,
        (now, chaos): (u64, bool),
        group: &mut Group,
        random: &mut Random,
    ) -> Result<Option<Ask>, String> {
        let ask = match &self.phase {
            Phase::Down => return Ok(None),
            Phase::Joining if self.is_given => self.beat(),
            Phase::Leaving if self.is_given => self.farewell(random),
            Phase::Joining => Ask::Join,
            Phase::Syncing(_) => Ask::Sync {
                generation: self.generation,
                // NB: who leads changes within a generation when a static member comes back under a new id.
                leader: (group.plan.statics == 0).then(|| self.leader.clone()),
            },
            Phase::Leaving => Ask::Leave,
            Phase::Working => return self.work((now, chaos), group, random),
        };
        Ok(Some(ask))
    }

    fn work(
        &mut self,
        (now, chaos): (u64, bool),
        group: &mut Group,
        random: &mut Random,
    ) -> Result<Option<Ask>, String> {
        self.maybe_reconcile(now);
        let late = self.late.take_if(|(of, _)| chaos && *of < self.generation);
        if let Some((generation, offsets)) = late {
            return Ok(Some(Ask::Commit {
                generation,
                offsets,
            }));
        }
        let late = self.late_sync.take_if(|_| chaos);
        if let Some(generation) = late.filter(|_| random.chance(LATE_SYNC_PER_MILLE)) {
            let leader = None;
            return Ok(Some(Ask::Sync { generation, leader }));
        }
        let unknown = self.owned.iter().filter(|(_, next)| next.is_none());
        let unknown: Vec<i32> = unknown.map(|(partition, _)| *partition).collect();
        // NB: an epoch that it has not heard of yet keeps it from asking.
        let beats_first = self.is_given && now >= self.heartbeat_at;
        if !unknown.is_empty() && !beats_first {
            return Ok(Some(self.fetch(unknown)));
        }
        // NB: one that was paused may commit before it hears that it is a member no longer.
        let is_late = self.kind.is_member() && now >= self.heartbeat_at;
        if is_late && random.chance(if chaos { 500 } else { 1000 }) {
            self.heartbeat_at = now + group.plan.session_ms / HEARTBEATS;
            let beat = match self.is_given {
                true => self.beat(),
                false => Ask::Heartbeat,
            };
            return Ok(Some(beat));
        }
        if self.owned.is_empty() {
            self.proof = Proof::Read;
        }
        let all = |member: &Self| member.fetch(member.owned.keys().copied().collect());
        match self.proof {
            _ if self.owned.is_empty() => Ok(None),
            _ if chaos && self.is_observer() => Ok(Some(all(self))),
            _ if chaos => self.commit(group, random, 600).map(Some),
            Proof::Nothing if !self.is_observer() => self.commit(group, random, 1000).map(Some),
            Proof::Nothing | Proof::Committed => Ok(Some(all(self))),
            Proof::Seen => Ok(Some(Ask::Describe)),
            Proof::Read => Ok(None),
        }
    }

    /// Where members say who they are, it does.
    fn fetch(&self, partitions: Vec<i32>) -> Ask {
        let says = self.is_given && self.kind.is_member();
        Ask::Fetch {
            partitions,
            epoch: if says { self.generation } else { -1 },
        }
    }

    /// Reads on in some of its partitions, and commits them; sometimes once more what it has committed before.
    fn commit(
        &mut self,
        group: &mut Group,
        random: &mut Random,
        per_mille: u64,
    ) -> Result<Ask, String> {
        let mut offsets = Vec::new();
        let last = self.owned.keys().next_back().copied();
        for (&partition, next) in &mut self.owned {
            let is_due =
                random.chance(per_mille) || (offsets.is_empty() && Some(partition) == last);
            let Some(first) = next.filter(|_| is_due) else {
                continue;
            };
            if random.chance(800) || first == 0 {
                let more = i64::try_from(random.between(1, 9)).expect("small");
                let read = group.history.read_on(self.number, partition, first, more)?;
                *next = Some(read);
            }
            offsets.push((partition, next.unwrap_or(first)));
        }
        self.late = self
            .kind
            .is_member()
            .then(|| (self.generation, offsets.clone()));
        Ok(Ask::Commit {
            generation: self.generation,
            offsets,
        })
    }

    /// When it looks again if it has nothing to ask and nobody disturbs it.
    pub(super) fn rest(&mut self, now: u64, chaos: bool) {
        if !chaos && self.proof == Proof::Read && self.phase == Phase::Working {
            let is_member = self.kind.is_member();
            self.acts_at = if is_member {
                self.heartbeat_at.min(self.reconciles_at()).max(now + 1)
            } else {
                u64::MAX
            };
        }
    }

    /// The request.
    pub(super) fn request(&self, group: &Group, topic: TopicId, ask: &Ask) -> GroupRequest {
        let name = group.name.clone();
        let member = MemberRef {
            id: self.id.clone(),
            instance: match &self.kind {
                Kind::Static(instance) => Some(instance.clone()),
                _ => None,
            },
        };
        match ask {
            Ask::Join => GroupRequest::Join(self.join(group, member)),
            Ask::Sync { generation, .. } => GroupRequest::Sync(Sync {
                group: name,
                generation: *generation,
                member,
                protocol_type: Some("consumer".to_owned()),
                protocol_name: None,
                assignments: match &self.phase {
                    Phase::Syncing(assignments) => assignments.clone(),
                    _ => Vec::new(),
                },
            }),
            Ask::Beat {
                epoch,
                is_full,
                owned,
            } => {
                let ask = (*epoch, *is_full, owned.as_ref());
                GroupRequest::ConsumerBeat(self.beat_request(
                    &group.plan,
                    (name, member),
                    topic,
                    ask,
                ))
            }
            Ask::Describe => GroupRequest::ConsumerDescribe { group: name },
            Ask::Heartbeat => GroupRequest::Heartbeat {
                group: name,
                generation: self.generation,
                member,
            },
            Ask::Leave => GroupRequest::Leave {
                group: name,
                members: vec![member.into()],
            },
            Ask::Commit {
                generation,
                offsets,
            } => GroupRequest::Commit(Commit {
                knows_epochs: true,
                group: name,
                generation: *generation,
                member,
                offsets: offsets.iter().map(committed).collect(),
                retention_ms: None,
            }),
            Ask::Fetch { partitions, epoch } => GroupRequest::Fetch(Fetch {
                group: name,
                member: MemberRef {
                    id: if *epoch < 0 { String::new() } else { member.id },
                    instance: None,
                },
                member_epoch: *epoch,
                partitions: Some(partitions.iter().map(|p| (TOPIC.to_owned(), *p)).collect()),
            }),
        }
    }

    fn join(&self, group: &Group, member: MemberRef) -> Join {
        let mut names = match group.plan.sharing {
            Sharing::Cooperative => vec![COOPERATIVE],
            _ => vec![RANGE, ROUND_ROBIN],
        };
        let first = self.number % names.len();
        names.rotate_left(first);
        let held = assignor::subscription(self.owned.keys().copied());
        let protocols = names.iter().map(|name| ((*name).to_owned(), held.clone()));
        Join {
            group: group.name.clone(),
            member,
            client: Client {
                id: format!("member-{}", self.number),
                host: "/sim".to_owned(),
            },
            session_timeout_ms: group.plan.session_ms,
            rebalance_timeout_ms: group.plan.rebalance_ms,
            protocol_type: "consumer".to_owned(),
            protocols: protocols.collect(),
            // An old client now and then.
            id_required: !self.number.is_multiple_of(3),
            may_skip_assignment: group.plan.may_skip_assignment,
            reason: String::new(),
        }
    }
}

fn committed(&(partition, offset): &(i32, i64)) -> CommitOffset {
    CommitOffset {
        topic: TOPIC.to_owned(),
        partition,
        offset,
        leader_epoch: -1,
        metadata: String::new(),
    }
}
