//! Consumer groups of a run: simulated members that talk to the real coordinators, and what must hold of both.
//!
//! A member works as a real client does: it looks for the coordinator, joins, assigns when it leads, fetches where to
//! begin, commits, sends heartbeats; it tries again, loses answers, is paused beyond its session and goes on as if
//! nothing had happened, dies, leaves. What it reads is made up: offsets that rise, so that each tells which commit it is
//! of.
//!
//! | file | |
//! |---|---|
//! | `plan` | which groups a run has |
//! | `member`, `hearing` | a member: what it asks next, what it makes of an answer |
//! | `beats` | a member to which the coordinator gives partitions (the consumer protocol) |
//! | `assignor` | what the leader of a group gives to whom |
//! | `asking` | requests on their way to a coordinator and back |
//! | `history` | what was asked and answered, for the judge |
//! | `states` | the replicated states of all replicas, held against each other |

mod asking;
mod assignor;
mod beats;
mod hearing;
mod history;
mod member;
pub mod plan;
mod states;

use broker::coordinator::partition_of;
use broker::metadata::TopicId;
use raft::types::{GroupId, NodeId};

pub use asking::{Ask, Asked};
use history::History;
use member::{Kind, Member, Phase, Proof};
use plan::{GroupPlan, Plan, Sharing};
pub use states::States;

use crate::random::Random;

/// See the module.
#[derive(Debug)]
pub(crate) struct ConsumerGroups {
    plan: Plan,
    /// The partitions of the internal topic.
    pub(crate) partitions: Vec<GroupId>,
    /// The topic that all groups read.
    pub(crate) topic: TopicId,
    groups: Vec<Group>,
    members: Vec<Member>,
    /// Members act.
    begun: bool,
    pub(crate) states: States,
}

/// One consumer group.
#[derive(Debug)]
struct Group {
    name: String,
    plan: GroupPlan,
    history: History,
    /// The broker that acknowledged a commit last.
    coordinator: Option<NodeId>,
}

impl ConsumerGroups {
    pub(crate) fn new(plan: Plan, random: &mut Random) -> Self {
        let mut members = Vec::new();
        let mut groups = Vec::new();
        for (at, group) in plan.groups.iter().enumerate() {
            for kind in Kind::all(group) {
                let mut member = Member::new(at, members.len(), kind, random.below(200));
                member.is_given = group.sharing == Sharing::Given;
                members.push(member);
            }
            groups.push(Group {
                name: format!("group-{at}"),
                plan: group.clone(),
                history: History::default(),
                coordinator: None,
            });
        }
        Self {
            plan,
            partitions: Vec::new(),
            topic: TopicId::default(),
            groups,
            members,
            begun: false,
            states: States::default(),
        }
    }

    /// Partitions that the internal topic is to have; none where there are no groups.
    pub(crate) fn wanted_partitions(&self) -> i32 {
        self.plan.partitions
    }

    /// The partition that holds a group.
    fn partition(&self, group: usize) -> Option<GroupId> {
        let count = i32::try_from(self.partitions.len()).expect("few");
        let at = partition_of(&self.groups[group].name, count);
        self.partitions.get(usize::try_from(at).ok()?).copied()
    }

    /// The faults begin, and with them the members.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    /// When a member acts next.
    pub(crate) fn next(&self) -> u64 {
        let next = self.members.iter().map(|m| m.acts_at);
        next.filter(|_| self.begun).min().unwrap_or(u64::MAX)
    }

    /// Members whose time has come.
    pub(crate) fn due(&self, now: u64) -> Vec<usize> {
        let due = (0..self.members.len()).filter(|m| self.members[*m].acts_at <= now);
        due.filter(|_| self.begun).collect()
    }

    /// The faults have ended: some members are gone for good, as often as not without anybody having missed them yet. One
    /// of each group at least stays, or comes back.
    pub(crate) fn heal(&mut self, now: u64, random: &mut Random) {
        let mut here = vec![false; self.groups.len()];
        for member in self.members.iter_mut().filter(|m| !m.is_observer()) {
            let goes = match member.is_down() {
                true => random.chance(500),
                false => random.chance(300),
            };
            if here[member.group] && goes {
                member.stay_away();
            } else {
                here[member.group] = true;
            }
            let shares = self.groups[member.group].plan.sharing == Sharing::Cooperative;
            if shares && member.is_working() && std::mem::take(&mut member.is_successor) {
                member.phase = Phase::Joining;
            }
            member.proof = Proof::Nothing;
        }
        (0..self.members.len()).for_each(|number| self.note_kept(number, now));
    }

    /// What a member has given up since it was last looked at.
    fn note_kept(&mut self, number: usize, now: u64) {
        let member = &mut self.members[number];
        let held = member.held();
        let noted = std::mem::replace(&mut member.given.noted, held.clone());
        if member.is_given && !noted.is_subset(&held) {
            let history = &mut self.groups[member.group].history;
            history.at(now);
            history.kept(number, held.into_iter().collect());
        }
    }

    /// Every group has its members, each of its partitions has one owner, and everybody has committed and read it back
    /// since the faults ended.
    pub(crate) fn is_well(&self, partitions: usize) -> bool {
        self.members.iter().all(Member::is_content)
            && (0..self.groups.len()).all(|group| self.is_covered(group, partitions))
    }

    fn is_covered(&self, group: usize, partitions: usize) -> bool {
        let of_group = self
            .members
            .iter()
            .filter(|m| m.group == group && m.is_working());
        let of_group: Vec<&Member> = of_group.collect();
        let generation = of_group.first().map(|m| m.generation);
        let owned: usize = of_group.iter().map(|m| m.owned.len()).sum();
        owned == partitions && of_group.iter().all(|m| Some(m.generation) == generation)
    }

    /// For the message of a run that does not get well.
    pub(crate) fn why_not_well(&self, partitions: usize) -> String {
        let mut why = String::new();
        for member in self.members.iter().filter(|m| !m.is_content()) {
            why += &format!("; {member:?}");
        }
        for (at, group) in self.groups.iter().enumerate() {
            if !self.is_covered(at, partitions) {
                why += &format!("; {} does not cover {partitions} partitions", group.name);
                for member in self.members.iter().filter(|m| m.group == at) {
                    why += &format!("; {member:?}");
                }
            }
        }
        why
    }

    /// What is wrong with the histories as a whole.
    pub(crate) fn judge_all(&self) -> Result<(), String> {
        for group in &self.groups {
            let wrong = group.history.finish();
            wrong.map_err(|why| format!("{}: {why}", group.name))?;
        }
        Ok(())
    }
}
