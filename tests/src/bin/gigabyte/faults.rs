//! Who is killed when: driven by the bytes acknowledged, proven by the leaders before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;
use tests::cluster::Cluster;
use tests::wait::{TimedOut, wait_for};
use tests::wire::requests::Partition;

use crate::load::Load;
use crate::{Arguments, TOPIC};

/// Without one acknowledgement for this long the run is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// One kill -9, as it was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    /// Which node.
    pub node: i32,
    /// Bytes acknowledged when it died.
    pub at_bytes: u64,
    /// The partitions it led, by Metadata just before.
    pub led: Vec<i32>,
    /// Time until Metadata showed another leader with a higher epoch for each of them.
    pub elected_ms: u64,
    /// Bytes acknowledged while it was down.
    pub missed_bytes: u64,
    /// Whether that is more than the leaders' tail caches hold.
    pub beyond_tail_cache: bool,
    /// Time from its restart until all replicas were in sync again, under load.
    pub in_sync_ms: u64,
    /// When it died, on the recorder's clock.
    #[serde(skip)]
    pub at: u64,
}

/// The plan and what came of it.
#[derive(Debug)]
pub struct Schedule {
    total: u64,
    partitions: i32,
    tail_cache: u64,
    /// All kills so far.
    pub kills: Vec<Kill>,
    /// Partitions that have lost a leader.
    pub hit: BTreeSet<i32>,
}

impl Schedule {
    /// Nobody killed yet.
    pub fn new(arguments: &Arguments, tail_cache: u64) -> Schedule {
        Schedule {
            total: arguments.bytes,
            partitions: arguments.partitions as i32,
            tail_cache,
            kills: Vec::new(),
            hit: BTreeSet::new(),
        }
    }

    /// Runs beside the load: a kill at each of the first six eighths. The victim of the fourth
    /// stays away for a whole eighth.
    pub fn run(&mut self, cluster: &mut Cluster, load: &Load) -> Result<(), TimedOut> {
        for eighth in 1..=6 {
            let at = self.total * eighth / 8;
            let absence = self.total / if eighth == 4 { 9 } else { 32 };
            load.full_speed_until(at + absence);
            reach(load, at)?;
            self.kill_one(cluster, load)?;
            let death = self.kills.last().map_or(0, |kill| kill.at_bytes);
            load.full_speed_until(death + absence);
            reach(load, (death + absence).min(self.total))?;
            self.restart(cluster, load)?;
        }
        load.full_speed_until(u64::MAX);
        Ok(())
    }

    /// Whether every partition lost its leader, every node died, one fell far behind, and each
    /// missed something.
    pub fn is_complete(&self) -> bool {
        let nodes: BTreeSet<i32> = self.kills.iter().map(|kill| kill.node).collect();
        self.hit.len() == self.partitions as usize
            && nodes.len() == 3
            && self.kills.iter().any(|kill| kill.beyond_tail_cache)
            && self
                .kills
                .iter()
                .all(|kill| !kill.led.is_empty() && kill.missed_bytes > 0)
    }

    /// Kills the node that leads most of the partitions whose leaders were spared so far.
    fn kill_one(&mut self, cluster: &mut Cluster, load: &Load) -> Result<(), TimedOut> {
        let before = cluster.wait_led_by(TOPIC, self.partitions, STUCK, |_| true)?;
        let node = self.victim(&before);
        let led: Vec<i32> = before
            .iter()
            .filter(|one| one.leader == node)
            .map(|one| one.id)
            .collect();
        let (at, at_bytes) = (load.recorder.now(), load.acked_bytes());
        cluster.kill(node);
        let died = Instant::now();
        expect_elected(cluster, &before, node)?;
        let elected_ms = died.elapsed().as_millis() as u64;
        eprintln!(
            "killed node {node}, leader of {}: {elected_ms} ms to elect",
            led.len()
        );
        self.hit.extend(&led);
        self.kills.push(Kill {
            node,
            at_bytes,
            led,
            elected_ms,
            missed_bytes: 0,
            beyond_tail_cache: false,
            in_sync_ms: 0,
            at,
        });
        Ok(())
    }

    fn victim(&self, before: &[Partition]) -> i32 {
        let mut score: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
        for one in before {
            let (spared, led) = score.entry(one.leader).or_default();
            *spared += usize::from(!self.hit.contains(&one.id));
            *led += 1;
        }
        let died = |node: i32| self.kills.iter().any(|kill| kill.node == node);
        let best = score
            .into_iter()
            .max_by_key(|(node, (spared, led))| (*spared, !died(*node), *led));
        best.map(|(node, _)| node)
            .expect("every partition has a leader")
    }

    fn restart(&mut self, cluster: &mut Cluster, load: &Load) -> Result<(), TimedOut> {
        let kill = self.kills.last_mut().expect("restart follows a kill");
        kill.missed_bytes = load.acked_bytes() - kill.at_bytes;
        kill.beyond_tail_cache = kill.missed_bytes > self.tail_cache;
        let started = Instant::now();
        cluster.restart(kill.node);
        cluster.wait_in_sync(TOPIC, self.partitions)?;
        kill.in_sync_ms = started.elapsed().as_millis() as u64;
        Ok(())
    }
}

fn expect_elected(cluster: &Cluster, before: &[Partition], dead: i32) -> Result<(), TimedOut> {
    let what = format!("new leaders for what node {dead} led");
    let orphans = before.iter().filter(|one| one.leader == dead);
    let orphans: Vec<&Partition> = orphans.collect();
    let elected = |now: &[Partition]| {
        orphans.iter().all(|old| {
            let new = now.iter().find(|one| one.id == old.id);
            new.is_some_and(|new| {
                new.leader > 0 && new.leader != dead && new.leader_epoch > old.leader_epoch
            })
        })
    };
    cluster.wait_metadata(&what, STUCK, &[TOPIC], |now| {
        elected(&now.partitions(TOPIC))
    })?;
    Ok(())
}

/// Waits until so many bytes are acknowledged; only a standstill is too late.
fn reach(load: &Load, bytes: u64) -> Result<(), TimedOut> {
    let mut seen = (load.acked_bytes(), Instant::now());
    let what = format!("{bytes} bytes acknowledged");
    let hour = Duration::from_secs(3600);
    let moved = wait_for(&what, hour, Duration::from_millis(5), || {
        let now = load.acked_bytes();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        let stuck = seen.1.elapsed() > STUCK;
        (now >= bytes || stuck).then_some(!stuck)
    })?;
    if moved {
        return Ok(());
    }
    let errors = load.recorder.errors();
    let what = format!("{what}: stuck at {} ({errors:?})", load.acked_bytes());
    Err(TimedOut {
        what,
        tries: 1,
        waited: STUCK,
    })
}
