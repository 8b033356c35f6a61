//! Scripts: commands in, effects out. A script is `tests/scripts/<scenario>.txt`:
//!
//! ```text
//! # What must hold, and why.
//! > command argument ...
//! effect
//! ```
//!
//! The lines under a command are what it makes the cores do. `expect` is an oracle of its own: it
//! fails whatever the text says. `REWRITE=1` writes the text anew (not the expectations); read the
//! difference.
//!
//! Nothing happens by itself: messages wait until delivered, writes until synced, orders until
//! served.

use crate::world::{Disk, member, on_node};
use bytes::Bytes;
use raft::config::Config;
use raft::effect::{After, Effect, Persist, Role};
use raft::input::{Change, Input};
use raft::message::{Append, AppendResponse, AppendResult, Body, Campaign, Message};
use raft::types::{
    Base, Entry, EntryKind, Index, Member, Membership, NodeId, PersistSeq, ReplicaId, Term, Tick,
};
use raft::{Node, progress};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Default)]
struct Host {
    node: Option<Node>,
    disk: Disk,
    writing: VecDeque<Persist>,
    waiting: Vec<(PersistSeq, Member, Message)>,
    orders: Vec<Effect>,
}

struct Play {
    now: u64,
    config: Config,
    hosts: BTreeMap<u64, Host>,
    net: Vec<(NodeId, Member, Message)>,
    text: String,
    /// Only decisions are shown, not the messages and writes that lead to them.
    brief: bool,
}

/// Runs one script; panics at the first difference.
pub fn play(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scripts/{name}.txt"));
    let script = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut play = Play {
        now: 0,
        config: Config::tiny(),
        hosts: BTreeMap::new(),
        net: Vec::new(),
        text: String::new(),
        brief: false,
    };
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut whole = String::new();
    let (mut commands, mut answer_at) = (0, 0);
    let mut expected = String::new();
    let mut command = String::new();
    for line in script.lines().chain(["> end"]) {
        if line.starts_with('#') || line.is_empty() {
            whole.push_str(&format!("{line}\n"));
            continue;
        }
        let Some(next) = line.strip_prefix("> ") else {
            expected.push_str(&format!("{line}\n"));
            continue;
        };
        if !rewrite && play.text != expected {
            panic!(
                "{name}: after `{command}`\nexpected:\n{expected}\nfound:\n{}",
                play.text
            );
        }
        // Blank lines and comments before a command stay before it.
        whole.insert_str(answer_at, &play.text);
        if next == "end" {
            break;
        }
        play.text.clear();
        expected.clear();
        command = next.to_string();
        whole.push_str(&format!("> {next}\n"));
        answer_at = whole.len();
        commands += 1;
        play.command(name, next);
    }
    assert!(commands > 2, "{name}: a script does something");
    if rewrite {
        std::fs::write(&path, whole).unwrap();
    }
}

fn numbers(list: &str) -> Vec<u64> {
    list.split(',')
        .filter(|n| !n.is_empty())
        .map(|n| n.parse().unwrap())
        .collect()
}

fn members(list: &str) -> Vec<Member> {
    numbers(list).into_iter().map(member).collect()
}

/// `voters=1,2 outgoing=3 learners=4`
fn membership(words: &BTreeMap<&str, &str>) -> Membership {
    let set = |key: &str| members(words.get(key).copied().unwrap_or_default());
    Membership {
        voters: set("voters"),
        outgoing: set("outgoing"),
        learners: set("learners"),
    }
}

/// `i/t`
fn position(text: &str) -> (Index, Term) {
    let (index, term) = text.split_once('/').unwrap();
    (Index(index.parse().unwrap()), Term(term.parse().unwrap()))
}

impl Play {
    fn command(&mut self, name: &str, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let keys: BTreeMap<&str, &str> = words.iter().filter_map(|w| w.split_once('=')).collect();
        let number = |at: usize| -> u64 {
            words
                .get(at)
                .unwrap_or_else(|| panic!("{line}"))
                .parse()
                .unwrap_or_else(|_| panic!("{line}"))
        };
        match words[0] {
            "config" => self.configure(&keys),
            "nodes" => {
                let membership = membership(&keys);
                for at in membership.all_members() {
                    self.create(at.replica.0, membership.clone(), &BTreeMap::new());
                }
            }
            "node" => self.create(number(1), membership(&keys), &keys),
            "brief" => self.brief = true,
            "full" if words.len() == 1 => self.brief = false,
            "time" => self.time(number(1)),
            "tick" => {
                let at = number(1);
                let due = self
                    .node(at)
                    .deadline()
                    .unwrap_or_else(|| panic!("{name}: no deadline"));
                self.now = self.now.max(due.0);
                self.step(at, Input::Tick);
            }
            "campaign" => {
                let forced = words.get(2) == Some(&"forced");
                self.step(number(1), Input::Campaign { forced });
            }
            "persist" => {
                let upto = words.get(2).map(|seq| PersistSeq(seq.parse().unwrap()));
                self.persist(number(1), upto);
            }
            "persisted" => self.step(number(1), Input::Persisted(PersistSeq(number(2)))),
            "deliver" => self.deliver(words.get(1).copied(), words.get(2).copied()),
            "drop" => {
                let (from, to) = (words.get(1).copied(), words.get(2).copied());
                self.net.retain(|flight| !matches(flight, from, to));
            }
            "twice" => {
                let again: Vec<_> = self.net.to_vec();
                self.net.extend(again);
            }
            "reverse" => self.net.reverse(),
            "settle" => self.settle(name),
            "propose" => self.propose(number(1), &words[2..]),
            "flush" => self.flush(number(1)),
            "transfer" => self.step(number(1), Input::Transfer(ReplicaId(number(2)))),
            "add-learner" => {
                let member = on_node(number(2), words.get(3).map_or(number(2), |_| number(3)));
                self.step(
                    number(1),
                    Input::ChangeMembership(Change::AddLearner(member)),
                );
            }
            "remove-learner" => {
                let change = Change::RemoveLearner(ReplicaId(number(2)));
                self.step(number(1), Input::ChangeMembership(change));
            }
            "set-voters" => {
                let change = Change::SetVoters(members(words.get(2).copied().unwrap_or("")));
                self.step(number(1), Input::ChangeMembership(change));
            }
            "read" => self.step(number(1), Input::ReadIndex(number(2))),
            "down" => self.step(number(1), Input::NodeDown(NodeId(number(2) as i32))),
            "up" => self.step(number(1), Input::NodeUp(NodeId(number(2) as i32))),
            "full" => self.step(number(1), Input::DiskFull(words[2] == "on")),
            "serve" if words.get(2) == Some(&"first") => {
                let orders = &mut self.hosts.get_mut(&number(1)).unwrap().orders;
                let later = orders.split_off(1);
                self.serve(number(1), true, None);
                self.hosts.get_mut(&number(1)).unwrap().orders = later;
            }
            "serve" => self.serve(number(1), true, words.get(2).map(|_| Index(number(2)))),
            "misread" => self.misread(number(1), Term(number(2))),
            "fail" => self.serve(number(1), false, None),
            "trim" => self.trim(number(1), Index(number(2))),
            "evict" => {
                let upto = Index(number(2));
                self.hosts
                    .get_mut(&number(1))
                    .unwrap()
                    .node
                    .as_mut()
                    .unwrap()
                    .evict(upto);
            }
            "crash" => {
                let host = self.hosts.get_mut(&number(1)).unwrap();
                host.node = None;
                host.writing.clear();
                host.waiting.clear();
                host.orders.clear();
            }
            "restart" => self.start(number(1)),
            "forge" => self.forge(&words, &keys),
            "state" => self.state(),
            "log" => self.log(number(1)),
            "progress" => self.progress(number(1)),
            "expect" => self.expect(name, line, &keys, number(1)),
            "expect-leader" => {
                let leads = |h: &Host| h.node.as_ref().is_some_and(|n| n.role() == Role::Leader);
                let leaders: Vec<_> = self
                    .hosts
                    .iter()
                    .filter(|h| leads(h.1))
                    .map(|h| *h.0)
                    .collect();
                assert_eq!(
                    leaders,
                    numbers(words.get(1).unwrap_or(&"")),
                    "{name}: `{line}`"
                );
            }
            other => panic!("{name}: unknown command {other}"),
        }
    }

    fn configure(&mut self, keys: &BTreeMap<&str, &str>) {
        for (key, value) in keys {
            let value: u64 = value.parse().unwrap();
            match *key {
                "inflight" => self.config.inflight_max_bytes = value,
                "append" => self.config.append_max_bytes = value,
                "uncommitted" => self.config.uncommitted_max_bytes = value,
                "quiesce" => self.config.quiesce_after_ms = value,
                "received" => self.config.announce_received = value == 1,
                "announce" => self.config.announce_commit = value == 1,
                _ => panic!("unknown setting {key}"),
            }
        }
        self.config.validate().unwrap();
    }

    /// `node 1 voters=.. term=3 vote=2 commit=1 base=5/2 log=3,3,4` (the log as one term per
    /// entry).
    fn create(&mut self, at: u64, membership: Membership, keys: &BTreeMap<&str, &str>) {
        let mut disk = Disk::default();
        let number = |key: &str| keys.get(key).map_or(0, |value| value.parse().unwrap());
        disk.base.membership = membership;
        if let Some(base) = keys.get("base") {
            (disk.base.index, disk.base.term) = position(base);
        }
        for term in numbers(keys.get("log").copied().unwrap_or_default()) {
            let index = disk.last().next();
            let payload = Bytes::from(format!("{index}{}", Term(term)));
            let kind = EntryKind::Records;
            disk.entries.push_back(Entry {
                index,
                term: Term(term),
                kind,
                payload,
            });
        }
        let last_term = disk
            .entries
            .back()
            .map_or(disk.base.term, |entry| entry.term);
        disk.hard_state.term = Term(number("term")).max(last_term);
        disk.hard_state.vote = keys
            .get("vote")
            .map(|vote| ReplicaId(vote.parse().unwrap()));
        disk.hard_state.commit = Index(number("commit"));
        self.hosts.insert(
            at,
            Host {
                disk,
                ..Host::default()
            },
        );
        self.start(at);
    }

    fn start(&mut self, at: u64) {
        let (config, now) = (self.config, Tick(self.now));
        let host = self.hosts.get_mut(&at).unwrap();
        host.node = Some(Node::new(config, host.disk.start(member(at), at), now));
    }

    fn node(&self, at: u64) -> &Node {
        self.hosts[&at].node.as_ref().unwrap()
    }

    fn step(&mut self, at: u64, input: Input) {
        let Some(node) = &mut self.hosts.get_mut(&at).unwrap().node else {
            return;
        };
        let mut out = Vec::new();
        node.step(Tick(self.now), input, &mut out);
        self.execute(at, out);
    }

    fn execute(&mut self, at: u64, effects: Vec<Effect>) {
        for effect in effects {
            self.show(at, &effect);
            let host = self.hosts.get_mut(&at).unwrap();
            match effect {
                Effect::Persist(persist) => host.writing.push_back(persist),
                Effect::Send {
                    to,
                    message,
                    after: After::Now,
                } => {
                    self.net.push((NodeId(at as i32), to, message));
                }
                Effect::Send {
                    to,
                    message,
                    after: After::Persisted(seq),
                } => {
                    host.waiting.push((seq, to, message));
                }
                Effect::Read { .. } | Effect::NeedsInstall { .. } => host.orders.push(effect),
                _ => {}
            }
        }
    }

    fn time(&mut self, pass: u64) {
        self.now += pass;
        for at in self.hosts.keys().copied().collect::<Vec<_>>() {
            let due = self.hosts[&at].node.as_ref().and_then(Node::deadline);
            if due.is_some_and(|due| due.0 <= self.now) {
                self.step(at, Input::Tick);
            }
        }
    }

    /// Syncs what was written, up to one number or all; messages that waited leave.
    fn persist(&mut self, at: u64, upto: Option<PersistSeq>) {
        let host = self.hosts.get_mut(&at).unwrap();
        let mut last = None;
        while host
            .writing
            .front()
            .is_some_and(|p| upto.is_none_or(|upto| p.seq <= upto))
        {
            let persist = host.writing.pop_front().unwrap();
            host.disk.apply(&persist);
            last = Some(persist.seq);
        }
        let Some(last) = last else { return };
        let waiting = std::mem::take(&mut host.waiting);
        let (ready, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|w| w.0 <= last);
        host.waiting = waiting;
        for (_, to, message) in ready {
            self.net.push((NodeId(at as i32), to, message));
        }
        self.step(at, Input::Persisted(last));
    }

    fn deliver(&mut self, from: Option<&str>, to: Option<&str>) {
        let all = std::mem::take(&mut self.net);
        let (now, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|f| matches(f, from, to));
        self.net = later;
        for (node, to, message) in now {
            if self.hosts.contains_key(&to.replica.0) {
                self.step(to.replica.0, Input::Message { node, message });
            }
        }
    }

    /// Syncs, serves and delivers until nothing is left to do at this time.
    fn settle(&mut self, name: &str) {
        for _ in 0..200 {
            let mut busy = !self.net.is_empty();
            for at in self.hosts.keys().copied().collect::<Vec<_>>() {
                busy |= !self.hosts[&at].writing.is_empty() || !self.hosts[&at].orders.is_empty();
                self.persist(at, None);
                self.serve(at, true, None);
            }
            if !busy {
                return;
            }
            self.deliver(None, None);
        }
        panic!("{name}: never settles: {:?}", self.net.first());
    }

    /// Answers the orders of a node to read entries and states.
    fn serve(&mut self, at: u64, well: bool, state: Option<Index>) {
        for order in std::mem::take(&mut self.hosts.get_mut(&at).unwrap().orders) {
            let host = &self.hosts[&at];
            let input = match order {
                Effect::Read { to, session, .. } | Effect::NeedsInstall { to, session }
                    if !well =>
                {
                    Input::ReadFailed { to, session }
                }
                Effect::Read {
                    to,
                    session,
                    from,
                    until,
                    ..
                } => {
                    let wanted = |e: &&Entry| e.index >= from && e.index <= until;
                    let entries = host.disk.entries.iter().filter(wanted).cloned().collect();
                    Input::Read {
                        to,
                        session,
                        entries,
                    }
                }
                Effect::NeedsInstall { to, session } => {
                    let index = state.unwrap_or(host.node.as_ref().unwrap().commit());
                    let state = Bytes::from(format!("state at {index}"));
                    Input::InstallState {
                        to,
                        session,
                        base: Base {
                            index,
                            state,
                            ..Base::default()
                        },
                    }
                }
                _ => unreachable!("only orders are kept"),
            };
            self.step(at, input);
        }
    }

    /// Answers the orders of a node to read entries with others of this term, at the same indexes.
    fn misread(&mut self, at: u64, term: Term) {
        for order in std::mem::take(&mut self.hosts.get_mut(&at).unwrap().orders) {
            let Effect::Read {
                to,
                session,
                from,
                until,
                ..
            } = order
            else {
                panic!("nothing is read: {order:?}")
            };
            let entry = |index| Entry {
                index: Index(index),
                term,
                kind: EntryKind::Records,
                payload: Bytes::from_static(b"other"),
            };
            let entries = (from.0..=until.0).map(entry).collect();
            self.step(
                at,
                Input::Read {
                    to,
                    session,
                    entries,
                },
            );
        }
    }

    fn propose(&mut self, at: u64, payloads: &[&str]) {
        let now = Tick(self.now);
        for payload in payloads {
            let kind = if payload.starts_with('!') {
                EntryKind::Command
            } else {
                EntryKind::Records
            };
            let node = self.hosts.get_mut(&at).unwrap().node.as_mut().unwrap();
            let size = payload.strip_prefix("bytes:").map(|n| n.parse().unwrap());
            let bytes = size.map_or(Bytes::copy_from_slice(payload.as_bytes()), |n| {
                vec![b'x'; n].into()
            });
            match node.propose(now, kind, bytes) {
                Ok(index) => writeln!(self.text, "{at} proposed {index}").unwrap(),
                Err(why) => writeln!(self.text, "{at} refused: {why}").unwrap(),
            }
        }
        self.flush(at);
    }

    fn flush(&mut self, at: u64) {
        let mut out = Vec::new();
        let node = self.hosts.get_mut(&at).unwrap().node.as_mut().unwrap();
        node.flush(Tick(self.now), &mut out);
        self.execute(at, out);
    }

    fn trim(&mut self, at: u64, index: Index) {
        let state = Bytes::from(format!("state at {index}"));
        let mut out = Vec::new();
        let node = self.hosts.get_mut(&at).unwrap().node.as_mut().unwrap();
        if let Err(why) = node.trim(
            Base {
                index,
                state,
                ..Base::default()
            },
            &mut out,
        ) {
            writeln!(self.text, "{at} refused: {why}").unwrap();
        }
        self.execute(at, out);
    }

    /// `forge 9 1 term=5 vote last=3/2 [forced] [node=4]`: a message that nobody sent.
    fn forge(&mut self, words: &[&str], keys: &BTreeMap<&str, &str>) {
        let (from, to): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let target = keys.get("to").map_or(to, |to| to.parse().unwrap());
        let number = |key: &str| keys.get(key).map_or(0, |value| value.parse().unwrap());
        let at = |key: &str| {
            keys.get(key)
                .map_or((Index(0), Term(0)), |value| position(value))
        };
        let has = |word: &str| words.contains(&word);
        let (last_index, last_term) = at("last");
        let claim = Campaign {
            last_index,
            last_term,
            forced: has("forced"),
        };
        let (session, read_round) = (number("session"), number("round"));
        let answer = |result| {
            Body::AppendResponse(AppendResponse {
                result,
                session,
                read_round,
            })
        };
        let kind = words.iter().skip(3).find(|w| !w.contains('=')).unwrap();
        let body = match *kind {
            "pre-vote" => Body::PreVote(claim),
            "pre-vote-yes" => Body::PreVoteResponse { granted: true },
            "pre-vote-no" => Body::PreVoteResponse { granted: false },
            "vote" => Body::Vote(claim),
            "vote-yes" => Body::VoteResponse { granted: true },
            "vote-no" => Body::VoteResponse { granted: false },
            "append" => {
                let ((prev_index, prev_term), commit) = (at("prev"), Index(number("commit")));
                let mut entries: Vec<Entry> = Vec::new();
                for term in numbers(keys.get("log").copied().unwrap_or_default())
                    .into_iter()
                    .map(Term)
                {
                    let index = entries.last().map_or(prev_index, |e| e.index).next();
                    let payload = Bytes::from(format!("{index}{term}"));
                    entries.push(Entry {
                        index,
                        term,
                        kind: EntryKind::Records,
                        payload,
                    });
                }
                Body::Append(Append {
                    prev_index,
                    prev_term,
                    commit,
                    entries,
                    session,
                    read_round,
                })
            }
            "matched" => answer(AppendResult::Matched(Index(number("index")))),
            "conflict" => {
                let ((hint_index, hint_term), rejected) = (at("hint"), Index(number("rejected")));
                answer(AppendResult::Conflict {
                    rejected,
                    hint_index,
                    hint_term,
                })
            }
            "heartbeat" => {
                let (commit, quiesce) = (Index(number("commit")), has("quiesce"));
                Body::Heartbeat {
                    commit,
                    read_round,
                    quiesce,
                }
            }
            "heartbeat-answer" => Body::HeartbeatResponse {
                read_round,
                last_index: Index(number("index")),
            },
            "install" => {
                let (index, term) = at("base");
                let (state, membership) = (Bytes::from_static(b"forged"), membership(keys));
                Body::Install {
                    base: Base {
                        index,
                        term,
                        membership,
                        state,
                    },
                    session,
                }
            }
            "timeout-now" => Body::TimeoutNow,
            other => panic!("cannot forge {other}"),
        };
        let term = Term(number("term"));
        let node = NodeId(
            keys.get("node")
                .map_or(from as i32, |node| node.parse().unwrap()),
        );
        let message = Message {
            from: ReplicaId(from),
            to: ReplicaId(target),
            term,
            body,
        };
        self.step(to, Input::Message { node, message });
    }

    fn state(&mut self) {
        for (at, host) in &self.hosts {
            let Some(n) = &host.node else {
                writeln!(self.text, "{at} down").unwrap();
                continue;
            };
            let leader = n.leader().map_or("-".into(), |leader| leader.to_string());
            let (role, term, commit, last) = (n.role(), n.term(), n.commit(), n.last_index());
            let durable = n.durable_index();
            let rest = format!("leader {leader} commit {commit} last {last} synced {durable}");
            writeln!(self.text, "{at} {role:?} {term} {rest}").unwrap();
        }
    }

    fn log(&mut self, at: u64) {
        let disk = &self.hosts[&at].disk;
        let base = format!("base {}/{}", disk.base.index, disk.base.term);
        let entries = disk.entries.iter().map(entry).collect::<Vec<_>>().join(" ");
        writeln!(self.text, "{at} disk {base} {entries}").unwrap();
    }

    fn progress(&mut self, at: u64) {
        for p in self.hosts[&at].node.as_ref().unwrap().progress() {
            let flags = [(p.down, " down"), (p.full, " full")];
            let flags: String = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
            let (r, matched) = (p.member.replica, p.matched);
            let bytes = p.inflight_bytes;
            writeln!(
                self.text,
                "{r} {:?} matched {matched} inflight {bytes}{flags}",
                p.state
            )
            .unwrap();
        }
    }

    /// `expect 2 role=Leader term=3 commit=4 last=5 leader=2 voters=1,2 joint=no synced=5
    /// next-append=no`
    fn expect(&mut self, name: &str, line: &str, keys: &BTreeMap<&str, &str>, at: u64) {
        let node = self.node(at);
        for (key, value) in keys {
            let found = match *key {
                "role" => format!("{:?}", node.role()),
                "term" => node.term().0.to_string(),
                "commit" => node.commit().0.to_string(),
                "last" => node.last_index().0.to_string(),
                "synced" => node.durable_index().0.to_string(),
                "received" => node.received_index().0.to_string(),
                "leader" => node
                    .leader()
                    .map_or("-".into(), |leader| leader.0.to_string()),
                "joint" => node.membership().is_joint().to_string(),
                "quiesced" => node.quiesced().to_string(),
                "timer" => node.deadline().is_some().to_string(),
                "vote" => {
                    let vote = self.hosts[&at].disk.hard_state.vote;
                    vote.map_or("-".into(), |vote| vote.0.to_string())
                }
                "voters" => list(&node.membership().voters),
                "learners" => list(&node.membership().learners),
                "waiting" => self.hosts[&at].waiting.len().to_string(),
                "sent" => self
                    .net
                    .iter()
                    .filter(|f| f.0.0 as u64 == at)
                    .count()
                    .to_string(),
                "regressed" => {
                    let bad = |p: &progress::MemberProgress| p.state == progress::State::Regressed;
                    node.progress()
                        .iter()
                        .filter(|p| bad(p))
                        .count()
                        .to_string()
                }
                _ => panic!("{name}: unknown expectation {key}"),
            };
            assert_eq!(&found, value, "{name}: `{line}`: {key}");
        }
    }

    fn show(&mut self, at: u64, effect: &Effect) {
        let traffic = matches!(
            effect,
            Effect::Send { .. } | Effect::Persist(_) | Effect::Appended { .. }
        );
        let line = match effect {
            _ if traffic && self.brief => return,
            Effect::Appended { .. } => return,
            Effect::Persist(p) => format!("persist {}{}", p.seq, persist(p)),
            Effect::Send { to, message, after } => {
                let after = match after {
                    After::Now => String::new(),
                    After::Persisted(seq) => format!(" after {seq}"),
                };
                format!(
                    "-> {} {} {}{after}",
                    to.replica.0,
                    message.term,
                    body(&message.body)
                )
            }
            Effect::Read {
                to,
                session,
                from,
                until,
                max_bytes,
            } => {
                format!("read for {to} s{session} {from}..{until} at most {max_bytes} bytes")
            }
            Effect::NeedsInstall { to, session } => format!("needs install for {to} s{session}"),
            Effect::Installed { base, .. } => {
                let state = String::from_utf8_lossy(&base.state);
                format!("installed {}/{} \"{state}\"", base.index, base.term)
            }
            Effect::Truncated { from } => format!("truncated {from}"),
            Effect::Committed { index } => format!("committed {index}"),
            Effect::Role { role, term, leader } => {
                let leader = leader.map_or(String::new(), |leader| format!(" of {leader}"));
                format!("{role:?} {term}{leader}")
            }
            Effect::Membership {
                membership,
                committed,
            } => {
                let committed = if *committed { " committed" } else { "" };
                format!("membership {}{committed}", sets(membership))
            }
            Effect::ReadReady { id, index } => format!("read {id} ready at {index}"),
            Effect::ReadRefused { id } => format!("read {id} refused"),
            Effect::Violation { what } => format!("VIOLATION {what}"),
            Effect::Refused { why } => format!("refused: {why}"),
        };
        writeln!(self.text, "{at} {line}").unwrap();
    }
}

fn matches(flight: &(NodeId, Member, Message), from: Option<&str>, to: Option<&str>) -> bool {
    let is = |wanted: Option<&str>, id: u64| {
        wanted.is_none_or(|w| w == "*" || w.parse::<u64>().unwrap() == id)
    };
    is(from, flight.2.from.0) && is(to, flight.1.replica.0)
}

fn list(members: &[Member]) -> String {
    members
        .iter()
        .map(|m| m.replica.0.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

fn sets(membership: &Membership) -> String {
    let mut text = format!("({}", list(&membership.voters));
    if membership.is_joint() {
        write!(text, "|{}", list(&membership.outgoing)).unwrap();
    }
    if !membership.learners.is_empty() {
        write!(text, "+{}", list(&membership.learners)).unwrap();
    }
    text + ")"
}

fn entry(entry: &Entry) -> String {
    let what = match entry.kind {
        EntryKind::Noop => "noop".into(),
        EntryKind::Membership => sets(&Membership::decode(&entry.payload).unwrap()),
        _ if entry.payload.len() > 20 => format!("{} bytes", entry.payload.len()),
        _ => String::from_utf8_lossy(&entry.payload).into_owned(),
    };
    format!("{}/{}:{what}", entry.index, entry.term)
}

fn entries(list: &[Entry]) -> String {
    format!("[{}]", list.iter().map(entry).collect::<Vec<_>>().join(" "))
}

fn persist(persist: &Persist) -> String {
    let mut text = String::new();
    if let Some(base) = &persist.base {
        write!(
            text,
            " base {}/{} {}",
            base.index,
            base.term,
            sets(&base.membership)
        )
        .unwrap();
    }
    if let Some(from) = persist.truncate {
        write!(text, " truncate {from}").unwrap();
    }
    if !persist.entries.is_empty() {
        write!(text, " {}", entries(&persist.entries)).unwrap();
    }
    if let Some(hard) = persist.hard_state {
        let vote = hard.vote.map_or("-".into(), |vote| vote.to_string());
        write!(text, " {} vote {vote} commit {}", hard.term, hard.commit).unwrap();
    }
    text
}

fn body(body: &Body) -> String {
    let claim = |kind: &str, c: &Campaign| {
        let forced = if c.forced { " forced" } else { "" };
        format!("{kind} last {}/{}{forced}", c.last_index, c.last_term)
    };
    let answer = |granted: &bool| if *granted { "yes" } else { "no" };
    match body {
        Body::PreVote(c) => claim("pre-vote?", c),
        Body::PreVoteResponse { granted } => format!("pre-vote {}", answer(granted)),
        Body::Vote(c) => claim("vote?", c),
        Body::VoteResponse { granted } => format!("vote {}", answer(granted)),
        Body::Append(a) => {
            let prev = format!("{}/{}", a.prev_index, a.prev_term);
            let (session, round) = (a.session, a.read_round);
            let entries = entries(&a.entries);
            format!(
                "append {prev} {entries} commit {} s{session} round {round}",
                a.commit
            )
        }
        Body::AppendResponse(a) => {
            let what = match a.result {
                AppendResult::Matched(index) => format!("matched {index}"),
                AppendResult::Conflict {
                    rejected,
                    hint_index,
                    hint_term,
                } => {
                    format!("conflict {rejected} hint {hint_index}/{hint_term}")
                }
                AppendResult::Full => "full".into(),
            };
            format!("{what} s{} round {}", a.session, a.read_round)
        }
        Body::Heartbeat {
            commit,
            read_round,
            quiesce,
        } => {
            let quiesce = if *quiesce { " quiesce" } else { "" };
            format!("heartbeat commit {commit} round {read_round}{quiesce}")
        }
        Body::HeartbeatResponse {
            read_round,
            last_index,
        } => {
            format!("heard {last_index} round {read_round}")
        }
        Body::Install { base, session } => {
            format!(
                "install {}/{} {} s{session}",
                base.index,
                base.term,
                sets(&base.membership)
            )
        }
        Body::InstallResponse { index, session } => format!("installed {index} s{session}"),
        Body::TimeoutNow => "campaign now".into(),
    }
}
