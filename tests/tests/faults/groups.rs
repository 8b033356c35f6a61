//! A consumer group while its coordinator is killed, paused and stopped, and its members fall silent and return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;
use judge::{Event, Outcome, What, judge};
use tests::groups::history::History;
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
    let mut cluster = Cluster::start(3, &Options::default());
    // The records' times are long ago: retention would delete what a slow member has not read.
    cluster.create_topic(topic, PARTITIONS, &[("retention.ms", "-1")]);
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
    expect_commits(&cluster, &history, &members, "before the faults");
    let churn = Churn::start(plan.clone(), history.clone());

    let (started, mut number) = (Instant::now(), members.len());
    let mut faults = Faults::new();
    for round in 0.. {
        // For a while only members come and go.
        std::thread::park_timeout(Duration::from_secs(3));
        let coordinator = coordinator(&cluster, &plan.group);
        let fault = match round % 5 {
            0 => {
                // In the middle of a rebalance: a member has just asked to join.
                members.push(member(number));
                number += 1;
                cluster.kill(coordinator);
                expect_commits(
                    &cluster,
                    &history,
                    &members,
                    "after the coordinator was killed",
                );
                cluster.restart(coordinator);
                "coordinator killed in a rebalance"
            }
            1 => {
                members[0].pause(true);
                std::thread::park_timeout(SESSION + SESSION / 4);
                expect_commits(&cluster, &history, &members[1..], "with a silent member");
                members[0].pause(false);
                "member silent for longer than its session"
            }
            2 => {
                cluster.pause(coordinator);
                expect_commits(&cluster, &history, &members, "with a paused coordinator");
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
                expect_commits(&cluster, &history, &members, "after an orderly stop");
                cluster.restart(coordinator);
                "coordinator stopped"
            }
        };
        *faults.entry(fault).or_default() += 1;
        expect_commits(&cluster, &history, &members, fault);
        if started.elapsed() >= budget() && faults.len() == 5 {
            break;
        }
    }
    let visitors = churn.stop();
    feed.stop();
    let unread = expect_all_read(&cluster, topic, &plan.group).err();
    drop(members);

    let events = history.events();
    report(&events, &faults, visitors);
    let mut wrong = judge(&events);
    wrong.extend(unread);
    if !wrong.is_empty() {
        fail(&cluster, &history, &wrong.join("\n"));
    }
}

/// Fails, and leaves the history for a reader.
fn fail(cluster: &Cluster, history: &History, why: &str) -> ! {
    let path = format!("walser-groups-{}.txt", std::process::id());
    let path = std::env::temp_dir().join(path);
    let events = history.events();
    let lines: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    cluster.fail(&format!("{why}\nhistory: {}", path.display()))
}

/// How often each fault happened.
type Faults = BTreeMap<&'static str, u32>;

fn report(events: &[Event], faults: &Faults, visitors: usize) {
    let count = |is: fn(&What) -> bool| events.iter().filter(|e| is(&e.what)).count();
    let mut generations = BTreeSet::new();
    let mut records = 0;
    for event in events {
        match event.what {
            What::Assigned { generation, .. } => drop(generations.insert(generation)),
            What::Read { first, next, .. } => records += next - first,
            _ => {}
        }
    }
    println!(
        "{} generations, {} assignments, {} commits ({} refused, {} unknown), {} reads of {records} records, \
         {visitors} members came and went; faults: {faults:?}",
        generations.len(),
        count(|w| matches!(w, What::Assigned { .. })),
        count(|w| matches!(w, What::Committed { .. })),
        count(|w| matches!(
            w,
            What::Committed {
                outcome: Outcome::Refused,
                ..
            }
        )),
        count(|w| matches!(
            w,
            What::Committed {
                outcome: Outcome::Unknown,
                ..
            }
        )),
        count(|w| matches!(w, What::Read { .. })),
    );
}

/// The members go on: some more commits are acknowledged.
fn expect_commits(cluster: &Cluster, history: &History, members: &[Running], when: &str) {
    let sum = || members.iter().map(Running::progress).sum::<u64>();
    let before = sum();
    let more = tests::wait::wait_until("commits", failover() * 2, || sum() > before + 20);
    more.unwrap_or_else(|late| fail(cluster, history, &format!("{when}: {late}")));
}

/// The node that coordinates the group.
fn coordinator(cluster: &Cluster, group: &str) -> i32 {
    let find = || cluster.coordinator(group);
    tests::wait::wait_for("a coordinator", failover(), Duration::from_millis(50), find)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

/// Every record that was produced is committed by the group in the end.
fn expect_all_read(cluster: &Cluster, topic: &str, group: &str) -> Result<(), String> {
    let mut last = Vec::new();
    let all = tests::wait::wait_until("everything read and committed", failover() * 2, || {
        last = ends_and_commits(cluster, topic, group);
        last.iter().all(|(end, at)| end.is_some() && end == at)
    });
    all.map_err(|late| format!("{late}: ends and commits {last:?}"))
}

/// Of each partition, where the answers were no errors.
fn ends_and_commits(
    cluster: &Cluster,
    topic: &str,
    group: &str,
) -> Vec<(Option<i64>, Option<i64>)> {
    let of = |answer: std::io::Result<(i16, i64)>| match answer {
        Ok((0, offset)) => Some(offset),
        _ => None,
    };
    let open = |node: i32| Connection::open(&cluster.node(node).kafka(), Duration::from_secs(5));
    let one = |partition: &Partition| {
        let end = open(partition.leader)
            .and_then(|mut c| requests::list_offset(&mut c, topic, partition.id, -1));
        let committed = open(coordinator(cluster, group))
            .and_then(|mut c| groups::committed(&mut c, group, topic, partition.id));
        (of(end), of(committed))
    };
    partitions(cluster, topic).iter().map(one).collect()
}

/// Members that come and go all the time, so that there is hardly a moment without a rebalance near.
struct Churn {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

/// Visitors are numbered from here.
const FIRST_VISITOR: usize = 1_000_000;

impl Churn {
    fn start(plan: Membership, history: History) -> Churn {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut here = VecDeque::new();
            let mut visitors = 0;
            while !stopped.load(Ordering::Relaxed) {
                let number = FIRST_VISITOR + visitors;
                here.push_back(Running::start(number, plan.clone(), history.clone()));
                visitors += 1;
                if here.len() > 2 {
                    here.pop_front();
                }
                // A stay is long enough to own something, mostly.
                std::thread::park_timeout(Duration::from_millis(250));
            }
            visitors
        });
        Churn { stop, thread }
    }

    /// How many there were.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("visitors do not panic")
    }
}

/// A trickle of records into every partition, so that members have something to read: a thread for each broker, so
/// that one that hangs does not hold up the others.
struct Feed {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Feed {
    fn start(cluster: &Cluster, topic: &str) -> Feed {
        let stop = Arc::<AtomicBool>::default();
        let feed = |node: &tests::cluster::Node| {
            let (stopped, broker, topic) = (stop.clone(), node.kafka(), topic.to_owned());
            std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let _ = trickle(&broker, &topic, &stopped);
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            })
        };
        let threads = cluster.nodes().iter().map(feed).collect();
        Feed { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the feed does not panic");
        }
    }
}

/// Produces to one broker until something fails.
fn trickle(broker: &str, topic: &str, stopped: &AtomicBool) -> std::io::Result<()> {
    let records = Batch::of(&[b"one", b"two", b"three"]).encode();
    let mut connection = Connection::open(broker, Duration::from_secs(2))?;
    while !stopped.load(Ordering::Relaxed) {
        for partition in 0..PARTITIONS {
            // Whoever does not lead it refuses, and nobody counts these records.
            requests::produce(&mut connection, topic, partition, &records)?;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}
