//! The lag of consumer groups as operators read it: at `/metrics` of every broker, and from `walser group describe`.

use std::process::Command;
use std::time::Instant;

use super::*;
use serde_json::Value;
use tests::cluster::walser::{binary, get};
use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, groups, requests};

/// Records of each batch.
const EACH: i64 = 5;
/// Batches of each partition at first.
const BATCHES: usize = 4;
/// Between the clocks of a broker and of the test, in seconds.
const SLACK: f64 = 0.25;

/// What was produced and committed, and so what the lag has to be.
struct Feed {
    topic: &'static str,
    group: &'static str,
    /// Before and after each batch of each partition was appended.
    batches: Vec<Vec<(Instant, Instant)>>,
    committed: Vec<i64>,
}

/// The lag of one partition as somebody tells it: in records, and in seconds.
type Told = BTreeMap<i32, (f64, f64)>;

impl Feed {
    fn new(topic: &'static str, group: &'static str, partitions: i32) -> Feed {
        Feed {
            topic,
            group,
            batches: vec![Vec::new(); partitions as usize],
            committed: vec![0; partitions as usize],
        }
    }

    fn produce(&mut self, cluster: &Cluster, partition: &Partition, records: i64) {
        let mut connection = connect(cluster, partition.leader);
        let values = vec![&b"value"[..]; records as usize];
        let batch = Batch::of(&values).encode();
        let before = Instant::now();
        let produced = requests::produce(&mut connection, self.topic, partition.id, &batch);
        let at = self.batches[partition.id as usize].len() as i64 * records;
        assert_eq!(produced.unwrap(), (0, at), "partition {}", partition.id);
        self.batches[partition.id as usize].push((before, Instant::now()));
    }

    /// At whoever coordinates the group by then.
    fn commit(&mut self, cluster: &Cluster, partition: i32, offset: i64) {
        let commit = || {
            let node = cluster.coordinator(self.group)?;
            let mut connection = connect(cluster, node);
            let place = (self.topic, partition);
            let code = groups::commit(&mut connection, self.group, (-1, ""), place, offset);
            (code.ok()? == 0).then_some(())
        };
        wait_for("a commit", failover(), Duration::from_millis(50), commit)
            .unwrap_or_else(|late| cluster.fail(&late.to_string()));
        self.committed[partition as usize] = offset;
    }

    /// Whether this is the lag of all partitions. It was asked for between these two moments.
    fn check(&self, told: &Told, (asked, answered): (Instant, Instant)) -> Result<(), String> {
        let partitions: Vec<i32> = told.keys().copied().collect();
        if partitions != (0..self.batches.len() as i32).collect::<Vec<_>>() {
            return Err(format!("told of partitions {partitions:?}"));
        }
        for (partition, (records, seconds)) in told {
            let (batches, committed) = (
                &self.batches[*partition as usize],
                self.committed[*partition as usize],
            );
            let lag = batches.len() as i64 * EACH - committed;
            let first = batches.get(usize::try_from(committed / EACH).unwrap());
            let age = match first {
                None => 0.0..=0.0,
                Some((before, after)) => {
                    asked.duration_since(*after).as_secs_f64() - SLACK
                        ..=answered.duration_since(*before).as_secs_f64() + SLACK
                }
            };
            if *records != lag as f64 || !age.contains(seconds) {
                return Err(format!(
                    "partition {partition}: {records} records, {seconds} s; not {lag}, {age:?}"
                ));
            }
        }
        Ok(())
    }

    /// Whether the coordinator, and no other broker, shows the lag as it is; and whether the command line does,
    /// whichever broker it asks.
    fn is_shown(&self, cluster: &Cluster) -> Result<(), String> {
        let coordinator = cluster.coordinator(self.group).ok_or("no coordinator")?;
        for node in cluster.nodes().iter().filter(|node| node.is_up()) {
            let asked = Instant::now();
            let told = self.scraped(&node.admin())?;
            let moments = (asked, Instant::now());
            let checked = match node.id == coordinator {
                true => self.check(&told, moments),
                false if told.is_empty() => Ok(()),
                false => Err(format!("{} rows", told.len())),
            };
            checked.map_err(|why| format!("metrics of node {}: {why}", node.id))?;
            let asked = Instant::now();
            let view = self.described(cluster, &node.admin())?;
            let told = offsets(&view)?;
            self.check(&told, (asked, Instant::now()))
                .map_err(|why| format!("described by node {}: {why}", node.id))?;
            let total: f64 = told.values().map(|(records, _)| records).sum();
            let longest = told.values().map(|(_, s)| *s).fold(0.0, f64::max);
            let whole = (view["lag"].as_f64(), view["lag_seconds"].as_f64());
            if whole != (Some(total), Some(longest)) || view["coordinator"] != coordinator {
                return Err(format!("described by node {}: {view}", node.id));
            }
        }
        Ok(())
    }

    fn expect(&self, cluster: &Cluster, when: &str) {
        let mut why = String::new();
        let shown = wait_for(
            "the lag as it is",
            failover(),
            Duration::from_millis(100),
            || self.is_shown(cluster).map_err(|wrong| why = wrong).ok(),
        );
        shown.unwrap_or_else(|late| cluster.fail(&format!("{when}: {late}: {why}")));
    }

    /// What a broker's metrics show of the group. A partition with one of the two figures only is left out.
    fn scraped(&self, admin: &str) -> Result<Told, String> {
        let (status, text) = get(admin, "/metrics").ok_or("no answer")?;
        if status != 200 {
            return Err(format!("status {status}"));
        }
        let of = |family: &str| {
            let start = format!(
                "{family}{{group=\"{}\",topic=\"{}\",partition=\"",
                self.group, self.topic
            );
            let rows = text.lines().filter_map(|line| line.strip_prefix(&start));
            let row = |row: &str| {
                let (partition, value) = row.split_once("\"} ").expect("no further labels");
                (partition.parse().unwrap(), value.parse().unwrap())
            };
            rows.map(row).collect::<BTreeMap<i32, f64>>()
        };
        let seconds = of("walser_group_lag_seconds");
        let records = of("walser_group_lag_records").into_iter();
        let both = records.filter_map(|(p, records)| Some((p, (records, *seconds.get(&p)?))));
        Ok(both.collect())
    }

    fn described(&self, cluster: &Cluster, admin: &str) -> Result<Value, String> {
        let nodes = cluster.nodes().iter().filter(|node| node.is_up());
        let bootstrap: Vec<String> = nodes.map(|node| node.kafka()).collect();
        let output = Command::new(binary())
            .args(["group", "describe", self.group, "--format", "json"])
            .args(["--timeout", "5", "--admin", admin])
            .args(["--bootstrap", &bootstrap.join(",")])
            .output()
            .expect("the binary is there");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|why| why.to_string())
    }
}

/// The lag in a described group. A partition with one of the two figures only is left out.
fn offsets(view: &Value) -> Result<Told, String> {
    let offsets = view["offsets"].as_array().ok_or("no offsets")?.iter();
    let told = offsets.filter_map(|row| {
        let partition = i32::try_from(row["partition"].as_i64()?).ok()?;
        let figures = (row["lag"].as_f64()?, row["lag_seconds"].as_f64()?);
        Some((partition, figures))
    });
    Ok(told.collect())
}

fn connect(cluster: &Cluster, node: i32) -> Connection {
    Connection::open(&cluster.node(node).kafka(), Duration::from_secs(10)).unwrap()
}

fn coordinator(cluster: &Cluster, group: &str) -> i32 {
    let find = || cluster.coordinator(group);
    wait_for("a coordinator", failover(), Duration::from_millis(50), find)
        .unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

/// A cluster with a topic whose batches say when the broker appended them.
fn stamped(topic: &str, partitions: i32) -> Cluster {
    let cluster = Cluster::start(3, &Options::default());
    let configs = [("message.timestamp.type", "LogAppendTime")];
    cluster.create_topic(topic, partitions, &configs);
    cluster
}

#[test]
fn a_group_s_lag_is_shown_by_its_coordinator_whoever_dies() {
    let topic = "group-lag";
    if is_only_for_walser(topic) {
        return;
    }
    let mut cluster = stamped(topic, PARTITIONS);
    let mut feed = Feed::new(topic, "laggards", PARTITIONS);
    for partition in partitions(&cluster, topic) {
        for _ in 0..BATCHES {
            feed.produce(&cluster, &partition, EACH);
        }
        feed.commit(&cluster, partition.id, 3 * i64::from(partition.id));
    }
    feed.expect(&cluster, "at first");
    for partition in partitions(&cluster, topic) {
        feed.produce(&cluster, &partition, EACH);
    }
    feed.expect(&cluster, "when the producer went on");

    let before = partitions(&cluster, topic);
    let own = coordinator(&cluster, "laggards");
    let leader = before.iter().map(|one| one.leader);
    let leader = leader.filter(|node| *node != own).min();
    let leader = leader.expect("every node leads some");
    cluster.kill(leader);
    expect_reelected(&cluster, topic, &before, leader);
    feed.expect(&cluster, "after a leader was killed");
    cluster.restart(leader);

    let own = coordinator(&cluster, "laggards");
    cluster.kill(own);
    feed.expect(&cluster, "after the coordinator was killed");
    assert_ne!(coordinator(&cluster, "laggards"), own, "it is dead");
    cluster.restart(own);

    for partition in 0..PARTITIONS {
        let end = feed.batches[partition as usize].len() as i64 * EACH;
        feed.commit(&cluster, partition, end);
    }
    feed.expect(&cluster, "when the group has caught up");
}

/// Times are printed: a debug build on a busy machine has its own.
#[test]
fn the_lag_of_a_thousand_partitions_is_scraped_at_once() {
    const MANY: i32 = 1_000;
    let topic = "group-lag-many";
    if is_only_for_walser(topic) {
        return;
    }
    let cluster = stamped(topic, MANY);
    let all = cluster.wait_led_by(topic, MANY, failover(), |_| true);
    let mut feed = Feed::new(topic, "wide", MANY);
    for partition in all.unwrap() {
        feed.produce(&cluster, &partition, EACH);
        feed.commit(&cluster, partition.id, 1);
    }
    let admin = cluster.node(coordinator(&cluster, "wide")).admin();
    let mut took = Vec::new();
    for scrape in 0..20 {
        let asked = Instant::now();
        let told = feed.scraped(&admin).unwrap();
        let answered = Instant::now();
        feed.check(&told, (asked, answered))
            .unwrap_or_else(|why| cluster.fail(&format!("scrape {scrape}: {why}")));
        took.push(answered.duration_since(asked));
    }
    let first = took.remove(0);
    took.sort();
    println!(
        "lag of {MANY} partitions scraped in {first:?} at first, then {:?} to {:?}, half of them within {:?}",
        took[0],
        took[took.len() - 1],
        took[took.len() / 2]
    );
}
