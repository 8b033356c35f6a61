//! A consumer group while its coordinator is killed, paused and stopped, and its members fall silent and return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;
use tests::groups::history::{Event, History, What};
use tests::groups::judge::judge;
use tests::groups::member::{Plan as Membership, Running};
use tests::wire::batch::Batch;
use tests::wire::{Connection, groups, requests};

const SESSION: Duration = Duration::from_secs(6);

/// How long faults go on: `WALSER_GROUPS_SECONDS`, by default short.
fn budget() -> Duration {
    let seconds = std::env::var("WALSER_GROUPS_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(40))
}

#[test]
fn k8_a_group_under_faults_loses_no_commit_and_has_one_owner_a_partition() {
    let topic = "group-faults";
    let mut cluster = three(topic);
    let feed = Feed::start(&cluster, topic);
    let history = History::default();
    let plan = Membership {
        brokers: cluster.nodes().iter().map(|n| n.kafka()).collect(),
        group: "faults".to_owned(),
        topic: topic.to_owned(),
        partitions: PARTITIONS,
        session: SESSION,
    };
    let member = |number| Running::start(number, plan.clone(), history.clone());
    let mut members: Vec<Running> = (0..3).map(member).collect();
    expect_commits(&cluster, &members, "before the faults");

    let (started, mut number) = (Instant::now(), members.len());
    let mut faults = BTreeMap::<&str, u32>::new();
    for round in 0.. {
        let coordinator = coordinator(&cluster, &plan.group);
        let fault = match round % 5 {
            0 => {
                // In the middle of a rebalance: a member has just asked to join.
                members.push(member(number));
                number += 1;
                cluster.kill(coordinator);
                expect_commits(&cluster, &members, "after the coordinator was killed");
                cluster.restart(coordinator);
                "coordinator killed in a rebalance"
            }
            1 => {
                members[0].pause(true);
                std::thread::park_timeout(SESSION + SESSION / 4);
                expect_commits(&cluster, &members[1..], "with a silent member");
                members[0].pause(false);
                "member silent for longer than its session"
            }
            2 => {
                cluster.pause(coordinator);
                expect_commits(&cluster, &members, "with a paused coordinator");
                cluster.resume(coordinator);
                "coordinator paused"
            }
            3 => {
                drop(members.remove(0));
                "member left"
            }
            _ => {
                let stopped = cluster.terminate(coordinator, Duration::from_secs(30));
                stopped.unwrap_or_else(|late| cluster.fail(&late.to_string()));
                expect_commits(&cluster, &members, "after an orderly stop");
                cluster.restart(coordinator);
                "coordinator stopped"
            }
        };
        *faults.entry(fault).or_default() += 1;
        expect_commits(&cluster, &members, fault);
        if started.elapsed() >= budget() && faults.len() == 5 {
            break;
        }
    }
    feed.stop();
    expect_all_read(&cluster, topic, &plan.group);
    drop(members);

    let events = history.events();
    report(&events, &faults);
    let wrong = judge(&events);
    if !wrong.is_empty() {
        cluster.fail(&wrong.join("\n"));
    }
}

fn report(events: &[Event], faults: &BTreeMap<&str, u32>) {
    let count = |is: fn(&What) -> bool| events.iter().filter(|e| is(&e.what)).count();
    println!(
        "{} assignments, {} commits, {} reads; faults: {faults:?}",
        count(|w| matches!(w, What::Assigned { .. })),
        count(|w| matches!(w, What::Committed { .. })),
        count(|w| matches!(w, What::Read { .. })),
    );
}

/// The members go on: some more commits are acknowledged.
fn expect_commits(cluster: &Cluster, members: &[Running], when: &str) {
    let sum = || members.iter().map(Running::progress).sum::<u64>();
    let before = sum();
    let more = tests::wait::wait_until("commits", failover() * 2, || sum() > before + 20);
    more.unwrap_or_else(|late| cluster.fail(&format!("{when}: {late}")));
}

/// The node that coordinates the group.
fn coordinator(cluster: &Cluster, group: &str) -> i32 {
    let find = || {
        cluster.nodes().iter().find_map(|node| {
            let mut any = Connection::open(&node.kafka(), Duration::from_secs(5)).ok()?;
            let (error, address) = groups::find_coordinator(&mut any, group).ok()?;
            let port = address.rsplit(':').next().map(str::to_owned)?;
            let is_it = |n: &&tests::cluster::Node| n.kafka().ends_with(&format!(":{port}"));
            let node = cluster.nodes().iter().find(is_it)?;
            (error == 0 && node.is_up()).then_some(node.id)
        })
    };
    tests::wait::wait_for("a coordinator", failover(), Duration::from_millis(50), find)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

/// Every record that was produced is committed by the group in the end.
fn expect_all_read(cluster: &Cluster, topic: &str, group: &str) {
    let all = || {
        let node = coordinator(cluster, group);
        let connection = Connection::open(&cluster.node(node).kafka(), Duration::from_secs(5));
        let Ok(mut connection) = connection else {
            return false;
        };
        partitions(cluster, topic).iter().all(|partition| {
            let leader = cluster.node(partition.leader).kafka();
            let end = Connection::open(&leader, Duration::from_secs(5))
                .and_then(|mut c| requests::list_offset(&mut c, topic, partition.id, -1));
            let committed = groups::committed(&mut connection, group, topic, partition.id);
            matches!((end, committed), (Ok((0, end)), Ok((0, at))) if at == end)
        })
    };
    tests::wait::wait_until("everything read and committed", failover() * 2, all)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
}

/// A trickle of records into every partition, so that members have something to read.
struct Feed {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Feed {
    fn start(cluster: &Cluster, topic: &str) -> Feed {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, topic) = (stop.clone(), topic.to_owned());
        let brokers: Vec<String> = cluster.nodes().iter().map(|n| n.kafka()).collect();
        let thread = std::thread::spawn(move || {
            let records = Batch::of(&[b"one", b"two", b"three"]).encode();
            while !stopped.load(Ordering::Relaxed) {
                for broker in &brokers {
                    let Ok(mut any) = Connection::open(broker, Duration::from_secs(2)) else {
                        continue;
                    };
                    for partition in 0..PARTITIONS {
                        // Whoever does not lead it refuses, and nobody counts these records.
                        let _ = requests::produce(&mut any, &topic, partition, &records);
                    }
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        Feed { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feed does not panic");
    }
}
