//! Whatever clients, clock and log do: each request is answered once, and what was acknowledged stays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::error_code::ErrorCode;

use super::harness::{
    Harness, Log, RETENTION, assignments, commit, config, instance_of, join, leave, member,
    protocol, sync, wall_ms,
};
use crate::coordinator::command::GroupCommand;
use crate::coordinator::core::Config;
use crate::coordinator::reply::{GroupReply, GroupStateName, Joined};
use crate::coordinator::request::{Fetch, GroupRequest, Join, MemberRef};
use crate::coordinator::state::Membership;
use crate::shard::Ticket;

const GROUPS: [&str; 2] = ["g", "h"];
const CLIENTS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A client does what a proper one does next.
    Go {
        client: usize,
    },
    Join {
        client: usize,
        is_other: bool,
    },
    Sync {
        client: usize,
        is_stale: bool,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Commit {
        client: usize,
    },
    CommitSimple {
        group: usize,
    },
    Fetch {
        group: usize,
    },
    Describe {
        group: usize,
    },
    List,
    Delete {
        group: usize,
    },
    DeleteOffsets {
        group: usize,
    },
    TopicDeleted,
    Advance {
        ms: u64,
    },
    Commits {
        to: Log,
    },
    Confirms {
        to: Log,
    },
    Proposal {
        is_committed: bool,
    },
    Confirm {
        is_confirmed: bool,
    },
    FailOver {
        committed: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS * GROUPS.len();
    let group = 0..GROUPS.len();
    let log = prop_oneof![4 => Just(Log::AtOnce), 2 => Just(Log::Waits), 1 => Just(Log::Refuses)];
    prop_oneof![
        60 => client.clone().prop_map(|client| Step::Go { client }),
        2 => (client.clone(), prop::bool::weighted(0.2))
            .prop_map(|(client, is_other)| Step::Join { client, is_other }),
        2 => (client.clone(), prop::bool::weighted(0.1))
            .prop_map(|(client, is_stale)| Step::Sync { client, is_stale }),
        2 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        2 => client.clone().prop_map(|client| Step::Leave { client }),
        8 => client.prop_map(|client| Step::Commit { client }),
        3 => group.clone().prop_map(|group| Step::CommitSimple { group }),
        2 => group.clone().prop_map(|group| Step::Fetch { group }),
        1 => group.clone().prop_map(|group| Step::Describe { group }),
        1 => Just(Step::List),
        1 => group.clone().prop_map(|group| Step::Delete { group }),
        1 => group.prop_map(|group| Step::DeleteOffsets { group }),
        1 => Just(Step::TopicDeleted),
        10 => prop_oneof![4 => 0..100_u64, 12 => 1_000..4_000_u64, 1 => 10_000..70_000_u64]
            .prop_map(|ms| Step::Advance { ms }),
        3 => log.clone().prop_map(|to| Step::Commits { to }),
        2 => log.prop_map(|to| Step::Confirms { to }),
        4 => prop::bool::weighted(0.8).prop_map(|is_committed| Step::Proposal { is_committed }),
        4 => prop::bool::weighted(0.8).prop_map(|is_confirmed| Step::Confirm { is_confirmed }),
        2 => (0..4_usize).prop_map(|committed| Step::FailOver { committed }),
    ]
}

/// A member as its process sees it. Odd ones are static.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    generation: i32,
    is_leader: bool,
    /// The ids that it has to give assignments to.
    members: Vec<String>,
    next: Next,
    /// For an answer.
    waits: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Join,
    Sync,
    Heartbeat,
}

#[derive(Debug)]
enum Asked {
    Join {
        client: usize,
    },
    Sync {
        client: usize,
        group: String,
        generation: i32,
        id: String,
    },
    Heartbeat {
        client: usize,
    },
    Commit {
        group: String,
        offset: i64,
    },
    Other,
}

struct Model {
    h: Harness,
    clients: Vec<Client>,
    asked: BTreeMap<Ticket, Asked>,
    /// How much of the history was looked at, and how many answers.
    seen: usize,
    answers_seen: usize,
    /// Memberships that were ever committed.
    memberships: BTreeMap<String, Vec<Membership>>,
    /// Offsets that were ever committed; each is committed once.
    offsets: BTreeMap<String, Vec<i64>>,
    /// The last one of each group, and when it was asked for.
    last: BTreeMap<String, (i64, i64)>,
    next_offset: i64,
    /// Who leads: by the coordinator's number, group, generation.
    leaders: BTreeMap<(usize, String, i32), String>,
    coordinators: usize,
    /// Groups that were ever deleted: their generations begin anew, while answers of before may be on their way.
    deleted: BTreeSet<String>,
    /// Groups from which clients have deleted offsets, or a topic's.
    is_deleted_from: bool,
}

impl Model {
    fn new(retention_ms: u64) -> Self {
        let mut model = Self {
            h: Harness::with(Config {
                offsets_retention_ms: retention_ms,
                members_max: 3,
                command_bytes_max: 1 << 20,
                ..config()
            }),
            clients: vec![Client::default(); CLIENTS * GROUPS.len()],
            asked: BTreeMap::new(),
            seen: 0,
            answers_seen: 0,
            memberships: BTreeMap::new(),
            offsets: BTreeMap::new(),
            last: BTreeMap::new(),
            next_offset: 0,
            leaders: BTreeMap::new(),
            coordinators: 0,
            deleted: BTreeSet::new(),
            is_deleted_from: false,
        };
        for group in GROUPS {
            model.commit(group, -1, member(""));
        }
        model
    }

    fn group(client: usize) -> &'static str {
        GROUPS[client / CLIENTS]
    }

    fn who(&self, client: usize) -> MemberRef {
        let id = &self.clients[client].id;
        match client % 2 {
            0 => member(id),
            _ => instance_of(id, &format!("instance{client}")),
        }
    }

    fn send(&mut self, request: GroupRequest, asked: Asked) {
        let ticket = self.h.send(request);
        self.asked.insert(ticket, asked);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Go { client } => match (self.clients[client].waits, self.clients[client].next) {
                (true, _) => {}
                (false, Next::Join) => self.join(client, false),
                (false, Next::Sync) => self.sync(client, 0),
                (false, Next::Heartbeat) => self.heartbeat(client),
            },
            Step::Join { client, is_other } => self.join(client, is_other),
            Step::Sync { client, is_stale } => self.sync(client, i32::from(is_stale)),
            Step::Heartbeat { client } => self.heartbeat(client),
            Step::Leave { client } => {
                let request = leave(Self::group(client), vec![self.who(client)]);
                self.send(request, Asked::Other);
                self.clients[client].id.clear();
            }
            Step::Commit { client } => {
                let generation = self.clients[client].generation;
                self.commit(Self::group(client), generation, self.who(client));
            }
            Step::CommitSimple { group } => self.commit(GROUPS[group], -1, member("")),
            Step::Advance { ms } => self.h.advance(ms),
            Step::Commits { to } => self.h.commits = to,
            Step::Confirms { to } => self.h.confirms = to,
            Step::Proposal { is_committed } => {
                self.h.settle_proposal(is_committed);
            }
            Step::Confirm { is_confirmed } => {
                self.h.settle_confirm(is_confirmed);
            }
            Step::FailOver { committed } => {
                self.h.resign(committed);
                assert_eq!(self.h.open(), 0, "all are told");
                self.coordinators += 1;
                self.h.begin();
            }
            other => self.administer(other),
        }
        self.look();
    }

    fn administer(&mut self, step: Step) {
        let name = |group: usize| GROUPS[group].to_owned();
        let request = match step {
            Step::Fetch { group } => GroupRequest::Fetch(Fetch {
                group: name(group),
                ..Fetch::default()
            }),
            Step::Describe { group } => GroupRequest::Describe { group: name(group) },
            Step::Delete { group } => {
                self.is_deleted_from = true;
                GroupRequest::Delete { group: name(group) }
            }
            Step::DeleteOffsets { group } => {
                self.is_deleted_from = true;
                GroupRequest::DeleteOffsets {
                    group: name(group),
                    partitions: vec![("t".to_owned(), 0)],
                }
            }
            Step::TopicDeleted => {
                self.is_deleted_from = true;
                self.h.topic_deleted("t");
                return self.h.topics.put("t", 1);
            }
            _ => GroupRequest::List,
        };
        self.send(request, Asked::Other);
    }

    fn heartbeat(&mut self, client: usize) {
        let request = GroupRequest::Heartbeat {
            group: Self::group(client).to_owned(),
            generation: self.clients[client].generation,
            member: self.who(client),
        };
        self.clients[client].waits = true;
        self.send(request, Asked::Heartbeat { client });
    }

    fn join(&mut self, client: usize, is_other: bool) {
        self.clients[client].waits = true;
        let mut request = Join {
            member: self.who(client),
            id_required: true,
            ..join(Self::group(client), "")
        };
        if is_other {
            request.protocols = vec![protocol("range", &["u"])];
        }
        self.send(GroupRequest::Join(request), Asked::Join { client });
    }

    fn sync(&mut self, client: usize, stale: i32) {
        let state = &self.clients[client];
        let (group, generation) = (Self::group(client), state.generation - stale);
        let mut request = sync(group, generation, "");
        request.member = self.who(client);
        if state.is_leader {
            request.assignments = assignments(state.members.iter().map(String::as_str));
        }
        let asked = Asked::Sync {
            client,
            group: group.to_owned(),
            generation,
            id: state.id.clone(),
        };
        self.clients[client].waits = true;
        self.send(GroupRequest::Sync(request), asked);
    }

    fn commit(&mut self, group: &str, generation: i32, who: MemberRef) {
        self.next_offset += 1;
        let mut request = commit(group, generation, "", self.next_offset);
        request.member = who;
        let asked = Asked::Commit {
            group: group.to_owned(),
            offset: self.next_offset,
        };
        self.send(GroupRequest::Commit(request), asked);
    }

    /// What was committed and answered since, in that order.
    fn look(&mut self) {
        while let Some((ticket, before)) = self.h.answered.get(self.answers_seen).copied() {
            self.answers_seen += 1;
            self.look_at_history(before);
            let asked = self.asked.remove(&ticket).unwrap();
            let reply = self.h.reply(ticket).unwrap().clone();
            self.answered(asked, reply);
        }
        self.look_at_history(self.h.history.len());
        self.check_state();
    }

    fn look_at_history(&mut self, until: usize) {
        for at in self.seen..until {
            self.applied(self.h.history[at].clone(), self.h.applied_ms[at]);
        }
        self.seen = until;
    }

    fn applied(&mut self, command: GroupCommand, now_ms: u64) {
        match command {
            GroupCommand::PutMembership { group, membership } => {
                let former = self.memberships.entry(group).or_default();
                if let Some(last) = former.last() {
                    assert!(
                        last.generation <= membership.generation,
                        "{last:?} {membership:?}"
                    );
                }
                assert_eq!(membership.members.is_empty(), membership.leader.is_empty());
                assert!(
                    membership.members.is_empty()
                        || membership.members.contains_key(&membership.leader)
                );
                former.push(membership);
            }
            GroupCommand::CommitOffsets {
                group,
                at_ms,
                offsets,
                ..
            } => {
                let offset = offsets[0].offset;
                self.last.insert(group.clone(), (offset, at_ms));
                self.offsets.entry(group).or_default().push(offset);
            }
            GroupCommand::DeleteOffsets { group, .. }
            | GroupCommand::ForgetTopics { group, .. } => self.check_age(&group, now_ms),
            GroupCommand::ChangeConsumers { .. } => panic!("of the other protocol"),
            GroupCommand::DeleteGroup { group } => {
                self.check_age(&group, now_ms);
                self.memberships.remove(&group);
                self.deleted.insert(group);
            }
        }
    }

    /// Unless somebody asked for it, nothing goes before its time.
    fn check_age(&mut self, group: &str, now_ms: u64) {
        if let Some((offset, at_ms)) = self.last.remove(group) {
            let age_ms = wall_ms(now_ms) - at_ms;
            let retention_ms = self.h.config.offsets_retention_ms.cast_signed();
            assert!(
                self.is_deleted_from || age_ms >= retention_ms,
                "{offset} is {age_ms} ms old"
            );
        }
    }

    fn answered(&mut self, asked: Asked, reply: GroupReply) {
        match (asked, reply) {
            (Asked::Join { client }, GroupReply::Joined(joined)) => self.joined(client, joined),
            (
                Asked::Join { client } | Asked::Sync { client, .. } | Asked::Heartbeat { client },
                GroupReply::Failed { code, member },
            ) => self.failed(client, code, member),
            (Asked::Heartbeat { client }, GroupReply::Done) => self.clients[client].waits = false,
            (
                Asked::Sync {
                    client,
                    group,
                    generation,
                    id,
                },
                GroupReply::Synced { assignment, .. },
            ) => {
                self.clients[client].waits = false;
                self.clients[client].next = Next::Heartbeat;
                let deleted = self.deleted.contains(&group);
                let committed = self
                    .memberships
                    .get(&group)
                    .into_iter()
                    .flatten()
                    .any(|former| {
                        former.generation == generation
                            && former
                                .members
                                .get(&id)
                                .is_some_and(|m| m.assignment == assignment)
                    });
                assert!(committed || deleted, "{id} was told what is not committed");
            }
            (Asked::Commit { group, offset }, GroupReply::Offsets(codes)) => {
                assert_eq!(codes, [ErrorCode::None]);
                let committed = self
                    .offsets
                    .get(&group)
                    .is_some_and(|all| all.contains(&offset));
                assert!(committed, "{offset} is acknowledged and not committed");
            }
            _ => {}
        }
    }

    fn joined(&mut self, client: usize, joined: Joined) {
        let group = Self::group(client).to_owned();
        let state = Client {
            generation: joined.generation,
            is_leader: joined.leader == joined.member && !joined.skip_assignment,
            members: joined.members.into_iter().map(|member| member.id).collect(),
            id: joined.member,
            next: Next::Sync,
            waits: false,
        };
        assert_eq!(
            state.is_leader,
            !state.members.is_empty() && !joined.skip_assignment
        );
        if state.is_leader && !self.deleted.contains(&group) {
            let key = (self.coordinators, group, state.generation);
            let leader = self.leaders.entry(key).or_insert_with(|| state.id.clone());
            assert_eq!(*leader, state.id, "two leaders of one generation");
        }
        self.clients[client] = state;
    }

    fn failed(&mut self, client: usize, code: ErrorCode, member: String) {
        let state = &mut self.clients[client];
        state.waits = false;
        state.next = Next::Join;
        match code {
            ErrorCode::MemberIdRequired => state.id = member,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => state.id.clear(),
            _ => {}
        }
    }

    fn check_state(&self) {
        let core = self.h.coordinator.as_ref().unwrap();
        for (name, group) in self.h.groups.iter() {
            let has_members = group
                .membership
                .as_ref()
                .is_some_and(|m| !m.members.is_empty());
            assert!(
                !has_members || core.live.contains_key(name),
                "{name} has members"
            );
            if !self.is_deleted_from
                && let Some((offset, _)) = self.last.get(name)
            {
                assert_eq!(
                    group.offsets["t"][&0].offset, *offset,
                    "the last one is in force"
                );
            }
        }
    }

    /// When nothing fails any more and nobody comes, all are answered and all members expire.
    fn end(mut self) {
        self.h.release();
        self.h.advance(5 * 60_000 + 3 * 60_000);
        self.look();
        assert_eq!(self.h.open(), 0, "somebody waits for ever");
        for group in GROUPS {
            let state = self.h.describe(group).state;
            assert!(
                matches!(state, GroupStateName::Empty | GroupStateName::Dead),
                "{state:?}"
            );
        }
        assert!(self.h.coordinator.as_ref().unwrap().live.is_empty());
    }
}

const NEVER: u64 = 1 << 40;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_request_is_answered_once_and_what_is_acknowledged_stays(
        steps in proptest::collection::vec(step(), 1..250),
        retention_ms in prop_oneof![Just(RETENTION), Just(NEVER)],
    ) {
        let mut model = Model::new(retention_ms);
        for step in steps {
            model.step(step);
        }
        model.end();
    }
}

/// The random steps do reach what they are to test.
#[test]
fn random_steps_reach_stable_groups() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(step(), 300);
    let (mut stable, mut commits) = (0, 0);
    for _ in 0..20 {
        let mut model = Model::new(NEVER);
        for step in steps.new_tree(&mut runner).unwrap().current() {
            model.step(step);
        }
        stable += model
            .memberships
            .values()
            .flatten()
            .filter(|m| m.members.len() > 1)
            .count();
        commits += model.offsets.values().map(Vec::len).sum::<usize>();
        model.end();
    }
    assert!(
        stable >= 20,
        "{stable} rebalances of several members were completed"
    );
    assert!(commits >= 50, "{commits} commits");
}
