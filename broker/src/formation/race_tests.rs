//! M14: seeds that start at once, over a network that loses, doubles, delays and reorders, with crashes and syncs that
//! take their time. A run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};

use raft::types::{DirectoryId, NodeId, Tick};

use super::*;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Node {
    formation: Option<Formation>,
    directory: DirectoryId,
    boot: u64,
    disk: Option<BootstrapRecord>,
    syncing: Option<BootstrapRecord>,
    formed: Option<BootstrapRecord>,
    /// The newest life of each other node that it heard: frames of older ones are gone with their connection.
    heard: BTreeMap<NodeId, u64>,
}

enum Happening {
    Start(NodeId),
    Crash(NodeId),
    Wipe(NodeId),
    Wake(NodeId, u64),
    Synced(NodeId, u64),
    Deliver {
        from: NodeId,
        from_boot: u64,
        to: NodeId,
        to_boot: Option<u64>,
        message: Message,
    },
}

#[derive(Default, Debug)]
struct Counts {
    lost: u64,
    doubled: u64,
    crashes: u64,
    crashes_in_sync: u64,
    wipes: u64,
}

struct World {
    random: Random,
    now: u64,
    order: u64,
    calm_after: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    nodes: BTreeMap<NodeId, Node>,
    seeds: Vec<NodeId>,
    ordered_connections: bool,
    counts: Counts,
    digest: u64,
}

impl World {
    fn new(seed: u64, wipe: bool) -> Self {
        let mut random = Random(seed);
        let count = [1, 2, 3, 3, 3, 4, 5][random.below(7) as usize];
        let count = if wipe {
            3 + random.below(3) as i32
        } else {
            count
        };
        let seeds: Vec<NodeId> = (1..=count).map(|id| NodeId(id * 10)).collect();
        let mut world = Self {
            random,
            now: 0,
            order: 0,
            calm_after: 6000,
            agenda: BTreeMap::new(),
            nodes: BTreeMap::new(),
            seeds: seeds.clone(),
            ordered_connections: wipe,
            counts: Counts::default(),
            digest: 0,
        };
        for id in &seeds {
            let directory = DirectoryId(u128::from(world.random.next()));
            world.nodes.insert(
                *id,
                Node {
                    formation: None,
                    directory,
                    boot: 0,
                    disk: None,
                    syncing: None,
                    formed: None,
                    heard: BTreeMap::new(),
                },
            );
            let at = world.random.below(3);
            world.at(at, Happening::Start(*id));
        }
        for _ in 0..world.random.below(6) {
            let node = seeds[world.random.below(seeds.len() as u64) as usize];
            let at = world
                .random
                .below(if world.random.0 & 1 == 0 { 60 } else { 5000 });
            world.at(at, Happening::Crash(node));
        }
        if wipe {
            let lowest = world.random.chance(70);
            let pick = if lowest {
                0
            } else {
                world.random.below(seeds.len() as u64) as usize
            };
            let at = world.random.below(120);
            world.at(at, Happening::Wipe(seeds[pick]));
        }
        world
    }

    fn at(&mut self, delay: u64, what: Happening) {
        self.order += 1;
        self.agenda.insert((self.now + delay, self.order), what);
    }

    fn run(&mut self) {
        for _ in 0..200_000 {
            let Some(((now, _), what)) = self.agenda.pop_first() else {
                break;
            };
            self.now = now;
            self.happen(what);
            self.check();
            if self.now > self.calm_after && self.done() {
                break;
            }
        }
        assert!(self.done(), "not all formed");
        let held: BTreeSet<_> = self
            .nodes
            .values()
            .map(|n| n.disk.clone().unwrap().cluster)
            .collect();
        assert_eq!(held.len(), 1);
    }

    fn done(&self) -> bool {
        self.nodes
            .values()
            .all(|node| node.formed.is_some() && node.disk == node.formed)
    }

    /// One record in the whole world, on disks, on its way to them, and in the minds of those that formed.
    fn check(&mut self) {
        let mut records = Vec::new();
        for node in self.nodes.values() {
            assert!(
                node.formed.is_none() || node.formed == node.disk,
                "formed before its sync"
            );
            records.extend(
                [&node.disk, &node.syncing, &node.formed]
                    .into_iter()
                    .flatten(),
            );
        }
        records.dedup();
        assert!(
            records.len() <= 1,
            "two records at {}: {records:?}",
            self.now
        );
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Start(id) => self.start(id),
            Happening::Crash(id) => self.crash(id),
            Happening::Wipe(id) => {
                self.crash(id);
                self.counts.wipes += 1;
                let directory = DirectoryId(u128::from(self.random.next()));
                let node = self.nodes.get_mut(&id).unwrap();
                (node.disk, node.directory) = (None, directory);
            }
            Happening::Wake(id, boot) => {
                if self.nodes[&id].boot == boot {
                    self.step(id, Event::Tick);
                }
            }
            Happening::Synced(id, boot) => {
                let node = self.nodes.get_mut(&id).unwrap();
                if node.boot == boot && node.formation.is_some() {
                    node.disk = node.syncing.take();
                    self.step(id, Event::RecordSynced);
                }
            }
            Happening::Deliver {
                from,
                from_boot,
                to,
                to_boot,
                message,
            } => {
                let node = self.nodes.get_mut(&to).unwrap();
                let newest = node.heard.get(&from).copied().unwrap_or(0);
                let stale = from_boot < newest || to_boot.is_some_and(|boot| boot != node.boot);
                if node.formation.is_none() || (self.ordered_connections && stale) {
                    return;
                }
                node.heard.insert(from, from_boot);
                self.step(
                    to,
                    Event::Presented {
                        node: from,
                        message,
                    },
                );
            }
        }
    }

    fn start(&mut self, id: NodeId) {
        let new_cluster = ClusterId(u128::from(self.random.next()));
        let seeds = self.seeds.clone();
        let node = self.nodes.get_mut(&id).unwrap();
        if node.formation.is_some() {
            return;
        }
        node.boot += 1;
        node.formation = Some(Formation::new(Setup {
            me: id,
            directory: node.directory,
            seeds: seeds.clone(),
            seeds_fingerprint: 1,
            tries: 1000,
            retry_min_ms: 20,
            retry_max_ms: 200,
            held: node.disk.clone(),
            new_cluster,
        }));
        self.step(id, Event::Tick);
        for other in seeds.into_iter().filter(|other| *other != id) {
            if self.nodes[&other].formation.is_some() {
                self.step(id, Event::PeerUp(other));
                self.step(other, Event::PeerUp(id));
            }
        }
    }

    fn crash(&mut self, id: NodeId) {
        if self.nodes[&id].formation.is_none() {
            return;
        }
        let keeps = self.random.chance(50);
        let delay = self.random.below(400);
        let node = self.nodes.get_mut(&id).unwrap();
        self.counts.crashes += 1;
        node.formation = None;
        node.formed = None;
        if let Some(record) = node.syncing.take() {
            self.counts.crashes_in_sync += 1;
            // The write may have reached the disk, only its completion did not reach the node.
            if keeps {
                node.disk = Some(record);
            }
        }
        self.at(delay, Happening::Start(id));
    }

    fn step(&mut self, id: NodeId, event: Event) {
        let now = Tick(self.now);
        let Some(formation) = self.nodes.get_mut(&id).unwrap().formation.as_mut() else {
            return;
        };
        let mut effects = Vec::new();
        formation.step(now, event, &mut effects);
        let wakeup = formation.wakeup();
        let boot = self.nodes[&id].boot;
        if let Some(wakeup) = wakeup {
            self.at(
                wakeup.0.saturating_sub(self.now).max(1),
                Happening::Wake(id, boot),
            );
        }
        for effect in effects {
            let text = format!("{} {id} {effect:?}", self.now);
            self.digest = text.bytes().fold(self.digest, |d, b| {
                (d ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
            });
            self.execute(id, boot, effect);
        }
    }

    fn execute(&mut self, id: NodeId, boot: u64, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(id, boot, to, message),
            Effect::SyncRecord(record) => {
                let delay = self.random.below(80);
                self.nodes.get_mut(&id).unwrap().syncing = Some(record);
                self.at(delay, Happening::Synced(id, boot));
            }
            Effect::Formed(record) => self.nodes.get_mut(&id).unwrap().formed = Some(record),
            Effect::Refused { .. } | Effect::Failed(_) => panic!("{effect:?}"),
        }
    }

    fn send(&mut self, from: NodeId, from_boot: u64, to: NodeId, message: Message) {
        let message = Message::decode(&message.encode()).unwrap();
        let calm = self.now > self.calm_after;
        let copies = match self.random.below(100) {
            0..25 if !calm => 0,
            25..35 if !calm => 2,
            _ => 1,
        };
        self.counts.lost += u64::from(copies == 0);
        self.counts.doubled += u64::from(copies == 2);
        let to_boot = self.ordered_connections.then(|| self.nodes[&to].boot);
        for _ in 0..copies {
            let delay = if calm {
                1
            } else {
                [3, 30, 3000][self.random.below(3) as usize]
            };
            let delay = self.random.below(delay);
            let message = message.clone();
            self.at(
                delay,
                Happening::Deliver {
                    from,
                    from_boot,
                    to,
                    to_boot,
                    message,
                },
            );
        }
    }
}

#[test]
fn m14_simultaneous_start_makes_exactly_one_cluster() {
    let mut total = Counts::default();
    for seed in 0..1000 {
        let mut world = World::new(seed, false);
        world.run();
        total.lost += world.counts.lost;
        total.doubled += world.counts.doubled;
        total.crashes += world.counts.crashes;
        total.crashes_in_sync += world.counts.crashes_in_sync;
    }
    let happened = total.lost > 1000 && total.doubled > 500 && total.crashes > 1000;
    assert!(
        happened && total.crashes_in_sync > 50,
        "the faults did not happen: {total:?}"
    );
}

#[test]
fn m14_a_disk_lost_during_formation_does_not_make_a_second_cluster() {
    let mut wipes = 0;
    for seed in 0..1000 {
        let mut world = World::new(seed, true);
        world.run();
        wipes += world.counts.wipes;
    }
    assert_eq!(wipes, 1000);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in [3, 77, 500] {
        let digest = || {
            let mut world = World::new(seed, true);
            world.run();
            (world.digest, world.now, world.order)
        };
        assert_eq!(digest(), digest());
    }
}
