//! A client whose process is of the one protocol or of the other, and changes when it is restarted.

use std::collections::BTreeSet;

use super::super::old::{Old, given};
use super::super::*;
use super::TOPICS;
use crate::coordinator::reply::Joined;
use crate::coordinator::request::MemberRef;
use crate::coordinator::subscription::Subscription;
use crate::coordinator::tests::harness::{Dice, Topics};

/// How far a client of the classic protocol is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// It has to join (again).
    Joining,
    /// It has joined, and gives these assignments if it leads.
    Syncing { assignments: Given, leads: bool },
    /// It reads. If it leads, it sees when topics grow.
    Stable { leads: bool },
}

pub(super) type Given = Vec<(String, bytes::Bytes)>;

#[derive(Clone, Debug)]
pub(super) enum Process {
    /// Whether the next heartbeat tells everything.
    New(Consumer, bool),
    Old(Old, Stage),
}

pub(super) struct Client {
    pub(super) process: Process,
    pub(super) topics: Vec<&'static str>,
    instance: Option<String>,
    pub(super) waiting: Option<Ticket>,
    /// A commit of this offset.
    pub(super) committing: Option<(Ticket, i64)>,
    /// The version of the topics as of its last assignment, if it leads.
    seen: u64,
}

impl Client {
    pub(super) fn new(number: usize, is_eager: bool, dice: &mut Dice) -> Self {
        let topics = match dice.roll(3) {
            0 => vec!["t"],
            _ => TOPICS.to_vec(),
        };
        let mut client = Self {
            process: Process::Old(Old::new(is_eager), Stage::Joining),
            topics,
            instance: (dice.roll(3) == 0).then(|| format!("instance-{number}")),
            waiting: None,
            committing: None,
            seen: 0,
        };
        client.begin(dice.roll(2) == 0, format!("new-{number}"), is_eager);
        client
    }

    /// A process begins.
    pub(super) fn begin(&mut self, is_new: bool, id: String, is_eager: bool) {
        self.waiting = None;
        self.committing = None;
        self.process = match is_new {
            true => Process::New(
                Consumer {
                    id,
                    epoch: 0,
                    owned: Partitions::default(),
                },
                true,
            ),
            false => {
                let mut old = Old::new(is_eager);
                old.topics.clone_from(&self.topics);
                Process::Old(old, Stage::Joining)
            }
        };
    }

    pub(super) fn member(&self) -> MemberRef {
        let id = match &self.process {
            Process::New(consumer, _) => &consumer.id,
            Process::Old(old, _) => &old.id,
        };
        let instance = self.instance.clone();
        MemberRef {
            id: id.clone(),
            instance,
        }
    }

    pub(super) fn epoch(&self) -> i32 {
        match &self.process {
            Process::New(consumer, _) => consumer.epoch,
            Process::Old(old, _) => old.generation,
        }
    }

    pub(super) fn request(&mut self, topics: &Topics) -> GroupRequest {
        let member = self.member();
        match &mut self.process {
            Process::New(consumer, tells_all) => {
                let says = match tells_all {
                    true => ConsumerBeat {
                        epoch: consumer.epoch,
                        owned: Some(consumer.owned.clone()),
                        ..join(&consumer.id, &self.topics)
                    },
                    false => consumer.says(),
                };
                GroupRequest::ConsumerBeat(ConsumerBeat { member, ..says })
            }
            Process::Old(old, stage) => {
                if matches!(stage, Stage::Stable { leads: true }) && self.seen != topics.version {
                    *stage = Stage::Joining;
                }
                match stage {
                    Stage::Joining => {
                        old.before_join();
                        let mut request = old.request();
                        request.member = member;
                        GroupRequest::Join(request)
                    }
                    Stage::Syncing { assignments, .. } => {
                        let mut request = old.sync();
                        request.member = member;
                        request.assignments.clone_from(assignments);
                        GroupRequest::Sync(request)
                    }
                    Stage::Stable { .. } => GroupRequest::Heartbeat {
                        group: "g".to_owned(),
                        generation: old.generation,
                        member,
                    },
                }
            }
        }
    }

    pub(super) fn hears(&mut self, reply: &GroupReply, topics: &Topics) {
        match &mut self.process {
            Process::New(consumer, tells_all) => hears_new(consumer, tells_all, reply),
            Process::Old(old, stage) => {
                if let GroupReply::Joined(_) = reply {
                    self.seen = topics.version;
                }
                hears_old(old, stage, reply, topics);
            }
        }
    }

    /// It knows its generation, and not yet what it owns in it.
    pub(super) fn has_yet_to_hear(&self) -> bool {
        matches!(&self.process, Process::Old(_, Stage::Syncing { .. }))
    }

    /// Its connection broke: it asks again.
    pub(super) fn is_cut_off(&mut self) {
        self.waiting = None;
        match &mut self.process {
            Process::New(_, tells_all) => *tells_all = true,
            Process::Old(old, stage) => joins_anew(old, stage),
        }
    }

    /// What it reads, if it is a member as far as it knows.
    pub(super) fn owns(&self, topics: &Topics) -> BTreeSet<(String, i32)> {
        match &self.process {
            Process::New(consumer, _) => {
                let named =
                    |(id, partition)| Some((topics.name(id).map(str::to_owned)?, partition));
                consumer.owned.iter().filter_map(named).collect()
            }
            Process::Old(old, _) => old.owned.clone(),
        }
    }
}

/// If it does not know what it owns in its generation, it has none.
fn joins_anew(old: &mut Old, stage: &mut Stage) {
    if let Stage::Syncing { .. } = stage {
        old.generation = -1;
        *stage = Stage::Joining;
    }
}

fn hears_new(consumer: &mut Consumer, tells_all: &mut bool, reply: &GroupReply) {
    match reply {
        GroupReply::ConsumerBeaten(told) => {
            assert!(told.epoch >= consumer.epoch, "epochs never fall");
            consumer.hears(told);
            *tells_all = false;
        }
        GroupReply::Failed { code, .. } => match code {
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress => *tells_all = true,
            ErrorCode::UnknownMemberId
            | ErrorCode::FencedMemberEpoch
            | ErrorCode::GroupIdNotFound => {
                consumer.epoch = 0;
                consumer.owned = Partitions::default();
                *tells_all = true;
            }
            ErrorCode::UnreleasedInstanceId | ErrorCode::GroupMaxSizeReached => {}
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn hears_old(old: &mut Old, stage: &mut Stage, reply: &GroupReply, topics: &Topics) {
    match reply {
        GroupReply::Joined(joined) => {
            // NB: it may be less than before: of the classic protocol a generation is stored with its assignment only.
            old.id.clone_from(&joined.member);
            old.generation = joined.generation;
            let leads = joined.leader == old.id;
            let assignments = match leads && !joined.skip_assignment {
                true => assign(joined, topics),
                false => Vec::new(),
            };
            *stage = Stage::Syncing { assignments, leads };
        }
        GroupReply::Synced { assignment, .. } => {
            let leads = matches!(stage, Stage::Syncing { leads: true, .. });
            *stage = match old.hears(assignment) {
                true => Stage::Joining,
                false => Stage::Stable { leads },
            };
        }
        GroupReply::Done => {}
        GroupReply::Failed { code, member } => match code {
            ErrorCode::MemberIdRequired => old.id.clone_from(member),
            ErrorCode::RebalanceInProgress => {
                joins_anew(old, stage);
                *stage = Stage::Joining;
            }
            ErrorCode::GroupMaxSizeReached => {}
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress => joins_anew(old, stage),
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId => {
                if *code != ErrorCode::IllegalGeneration {
                    old.id.clear();
                }
                old.generation = -1;
                old.owned.clear();
                *stage = Stage::Joining;
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// As a leader does it: in turns, and what another one still owns is given to nobody yet.
fn assign(joined: &Joined, topics: &Topics) -> Given {
    let members = joined.members.iter().map(|member| {
        let said = Subscription::decode(&member.subscription).expect("it can be read");
        (member.id.clone(), said)
    });
    let members: Vec<(String, Subscription)> = members.collect();
    let mut sets: BTreeMap<&str, BTreeSet<(String, i32)>> = BTreeMap::new();
    for topic in TOPICS {
        let takers = members
            .iter()
            .filter(|(_, said)| said.topics.contains(topic));
        let takers: Vec<&String> = takers.map(|(id, _)| id).collect();
        let Some((_, count)) = topics.topic(topic).filter(|_| !takers.is_empty()) else {
            continue;
        };
        for (partition, taker) in (0..count).zip(takers.iter().cycle()) {
            let place = (topic.to_owned(), partition);
            let owner = members.iter().find(|(_, said)| said.owned.contains(&place));
            if owner.is_none_or(|(id, _)| id == *taker) {
                sets.entry(taker).or_default().insert(place);
            }
        }
    }
    let set = |id: &String| given(sets.get(id.as_str()).unwrap_or(&BTreeSet::new()));
    members
        .iter()
        .map(|(id, _)| (id.clone(), set(id)))
        .collect()
}
