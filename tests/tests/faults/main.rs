//! Faults on real processes, each proven to have happened, under load whose history is judged.
//!
//! `WALSER_SLOW=1` multiplies the load; `WALSER_PEER=kafka` runs what applies against Apache Kafka.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bench;
mod compare;
mod copies;
mod cut;
mod damage;
mod failure;
mod figures;
mod groups;
mod lag;
mod mend;
mod network;
mod recovery;
mod restore;
mod runbooks;
mod snapshots;
mod stop;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tests::cluster::{Cluster, Flavor, Options};
use tests::wire::requests::Partition;
use tests::workload::{Load, Outcomes, Plan};

/// Partitions of every test's topic: more than nodes, so that every node leads some.
const PARTITIONS: i32 = 6;

/// How long an election and the clients' turn to the new leader may take.
fn failover() -> Duration {
    Duration::from_secs(30)
}

/// Acknowledgements that count as "it goes on".
fn some() -> u64 {
    if std::env::var_os("WALSER_SLOW").is_some() {
        5_000
    } else {
        300
    }
}

/// A cluster of three with a topic.
fn three(topic: &str) -> Cluster {
    let cluster = Cluster::start(3, &Options::default());
    cluster.create_topic(topic, PARTITIONS, &[]);
    cluster
}

/// A load that has begun to flow.
fn flowing(cluster: &Cluster, topic: &str) -> Load {
    let load = Load::start(cluster, Plan::on(topic, PARTITIONS as u32));
    expect_progress(cluster, &load, "before the fault");
    load
}

fn expect_progress(cluster: &Cluster, load: &Load, when: &str) {
    if let Err(late) = load.progress(some(), failover()) {
        cluster.fail(&format!("no progress {when}: {late}"));
    }
}

fn partitions(cluster: &Cluster, topic: &str) -> Vec<Partition> {
    cluster
        .wait_led_by(topic, PARTITIONS, failover(), |_| true)
        .unwrap()
}

/// The node that leads most partitions, and those.
fn busiest(all: &[Partition]) -> (i32, Vec<i32>) {
    let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for one in all {
        led.entry(one.leader).or_default().push(one.id);
    }
    led.into_iter().max_by_key(|(_, led)| led.len()).unwrap()
}

/// Waits until another node leads each of these partitions, under a higher epoch, and proves it.
fn expect_reelected(cluster: &Cluster, topic: &str, before: &[Partition], deposed: i32) {
    let after = cluster.wait_led_by(topic, PARTITIONS, failover(), |leader| leader != deposed);
    let after = after.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    let mut changed = 0;
    for (old, new) in before
        .iter()
        .zip(&after)
        .filter(|(old, _)| old.leader == deposed)
    {
        assert!(new.leader_epoch > old.leader_epoch, "{old:?} then {new:?}");
        changed += 1;
    }
    assert!(
        changed > 0,
        "node {deposed} led nothing: the fault proved nothing"
    );
}

/// Ends the load and judges.
fn conclude(mut cluster: Cluster, load: Load, name: &str) -> Outcomes {
    let outcomes = load
        .finish()
        .unwrap_or_else(|late| cluster.fail(&late.to_string()));
    outcomes.assert_sound(&mut cluster);
    let gap = outcomes.longest_gap.as_millis();
    eprintln!("{name}: longest gap {gap} ms; {}", outcomes.verdict);
    outcomes
}

/// Whether this test cannot be asked of the chosen broker; says so.
fn is_only_for_walser(name: &str) -> bool {
    let other = Flavor::chosen() != Flavor::Walser;
    if other {
        eprintln!("{name}: not asked of Apache Kafka");
    }
    other
}
