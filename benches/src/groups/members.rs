//! Groups of members: joining and rebalancing, timed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::member::{Event, Member, Told};
use super::{Bench, GroupRow, PATIENCE};
use crate::error::{Error, Result};

/// Members that run. They leave when they are dropped.
struct Group<'a> {
    bench: &'a Bench<'a>,
    name: String,
    running: Vec<Running>,
    tell: Sender<Told>,
    told: Receiver<Told>,
    /// The newest generation that each member knows its assignment of, and since when.
    assigned: BTreeMap<usize, (i32, Instant)>,
    /// Members that have read.
    read: BTreeMap<usize, Instant>,
    started: usize,
}

struct Running {
    number: usize,
    leave: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.leave = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a member panicked"
            );
        }
    }
}

impl<'a> Group<'a> {
    fn new(bench: &'a Bench<'a>, name: String) -> Self {
        let (tell, told) = channel();
        Self {
            bench,
            name,
            running: Vec::new(),
            tell,
            told,
            assigned: BTreeMap::new(),
            read: BTreeMap::new(),
            started: 0,
        }
    }

    fn start(&mut self) {
        let (leave, told_to_leave) = channel();
        let member = Member {
            number: self.started,
            cluster: self.bench.cluster.clone(),
            topic: self.bench.topic.clone(),
            group: self.name.clone(),
            tell: self.tell.clone(),
            leave: told_to_leave,
        };
        self.running.push(Running {
            number: self.started,
            leave: Some(leave),
            thread: Some(std::thread::spawn(move || member.run())),
        });
        self.started += 1;
    }

    /// Takes in what members tell until it is enough.
    fn until(&mut self, what: &str, is_enough: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(left).map_err(|_| {
                Error::Cluster(format!(
                    "{}: {what} did not happen in {PATIENCE:?}",
                    self.name
                ))
            })?;
            match told.event {
                Event::Assigned(generation) => {
                    self.assigned.insert(told.member, (generation, told.at));
                }
                Event::First => {
                    self.read.insert(told.member, told.at);
                }
                Event::Failed(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Waits until all members are of one generation after that one; answers which, and when the last one knew.
    fn settle(&mut self, after: i32) -> Result<(i32, Instant)> {
        self.until("a rebalance", |group| {
            let generations: BTreeSet<i32> = group.assigned.values().map(|(of, _)| *of).collect();
            let is_newer = generations.first().is_some_and(|of| *of > after);
            group.assigned.len() == group.running.len() && generations.len() == 1 && is_newer
        })?;
        let (generation, at) = self.assigned.values().copied().max().expect("members");
        Ok((generation, at))
    }
}

impl Bench<'_> {
    /// So many members start at once: until the last of them has read a record.
    pub(super) fn joins(&self, members: usize) -> Result<GroupRow> {
        let mut took = Vec::new();
        for number in 0..self.options.repeats {
            let name = self.group(&format!("join{members}"), number);
            let mut group = Group::new(self, name);
            let began = Instant::now();
            (0..members).for_each(|_| group.start());
            group.until("every member's first record", |group| {
                group.read.len() == members
            })?;
            let last = group.read.values().max().expect("members");
            took.push(*last - began);
        }
        Ok(GroupRow::of_times(format!("join-{members}"), &took))
    }

    /// One more member comes, one goes: until all know what they own.
    pub(super) fn rebalances(&self) -> Result<(GroupRow, GroupRow)> {
        let members = self.options.members;
        let mut group = Group::new(self, self.group("rebalance", 0));
        (0..members).for_each(|_| group.start());
        let (mut generation, _) = group.settle(0)?;
        let (mut joins, mut leaves): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
        for _ in 0..self.options.repeats {
            let began = Instant::now();
            group.start();
            let (joined, at) = group.settle(generation)?;
            joins.push(at - began);
            let goes = group.running.remove(0);
            let (number, began) = (goes.number, Instant::now());
            drop(goes);
            group.assigned.remove(&number);
            let (left, at) = group.settle(joined)?;
            leaves.push(at - began);
            generation = left;
        }
        let name = |what: &str| format!("rebalance-{members}-{what}");
        let joins = GroupRow::of_times(name("join"), &joins);
        Ok((joins, GroupRow::of_times(name("leave"), &leaves)))
    }
}
