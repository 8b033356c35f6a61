//! Thousands of short lives of a group under every fault that the core can meet, each from a seed.
//!
//! `RAFT_SEED=n` runs one seed; `RAFT_RUNS=n` sets how many.

use crate::world::{World, on_node};
use raft::config::Config;
use raft::input::{Change, Input};
use raft::types::{EntryKind, Membership, ReplicaId};
use raft::{Node, quorum};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Which faults a run has is part of its seed: some are only found where others are absent.
fn swarm(world: &mut World) {
    let chance = &mut world.chance;
    world.loss_percent = [0, 0, 5, 20][chance.below(4) as usize];
    world.twice_percent = [0, 5, 50][chance.below(3) as usize];
    world.delay_max = [3, 10, 60][chance.below(3) as usize];
    world.sync_max = [2, 10, 120][chance.below(3) as usize];
    world.read_fails_percent = [0, 10][chance.below(2) as usize];
}

fn act(world: &mut World) {
    let at = world.chance.below(world.hosts.len() as u64) as usize;
    let node = world.hosts[at].me.node;
    match world.chance.below(100) {
        0..35 => {
            let at = world.leader().unwrap_or(at);
            for _ in 0..=world.chance.below(4) {
                let size = world.chance.below(400) as usize;
                let value = world.chance.next();
                let payload: Vec<u8> = value
                    .to_le_bytes()
                    .into_iter()
                    .cycle()
                    .take(8 + size)
                    .collect();
                let kind = if value.is_multiple_of(4) {
                    EntryKind::Command
                } else {
                    EntryKind::Records
                };
                world.propose(at, kind, &payload);
            }
            if world.chance.percent(80) {
                world.flush(at);
            }
        }
        35..43 => {
            let at = world.leader().unwrap_or(at);
            world.read_index(at);
        }
        43..50 => {
            if world.hosts[at].node.is_some() {
                world.crash(at);
            } else if !world.hosts[at].wiped {
                world.start(at);
            }
        }
        50..60 => {
            if world.hosts[at].node.is_none() && !world.hosts[at].wiped {
                world.start(at);
                for other in 0..world.hosts.len() {
                    world.step(other, Input::NodeUp(node));
                }
            }
        }
        60..64 => {
            let other = world.chance.below(world.hosts.len() as u64) as usize;
            world.cut.insert((node, world.hosts[other].me.node));
            if world.chance.percent(60) {
                world.cut.insert((world.hosts[other].me.node, node));
            }
        }
        64..67 => isolate_leader(world),
        67..73 => world.cut.clear(),
        73..77 => world.trim(at),
        77..80 => {
            let keep = world.chance.below(4);
            if let Some(node) = &mut world.hosts[at].node {
                let upto = node.last_index().0.saturating_sub(keep);
                node.evict(raft::types::Index(upto));
            }
        }
        80..88 => change(world),
        88..90 => {
            let full = !world.hosts[at].full;
            world.hosts[at].full = full;
            world.step(at, Input::DiskFull(full));
        }
        90..93 => {
            if let Some(leader) = world.leader() {
                let to = world.hosts[at].me.replica;
                world.step(leader, Input::Transfer(to));
            }
        }
        93..95 => {
            let forced = world.chance.percent(30);
            world.step(at, Input::Campaign { forced });
        }
        95..97 => {
            let other = world.chance.below(world.hosts.len() as u64) as usize;
            world.step(other, Input::NodeDown(node));
        }
        97..99 => {
            let other = world.chance.below(world.hosts.len() as u64) as usize;
            world.step(other, Input::NodeUp(node));
        }
        _ => wipe(world, at),
    }
}

/// It goes on appending what nobody gets, until somebody else leads.
fn isolate_leader(world: &mut World) {
    let Some(leader) = world.leader() else { return };
    let alone = world.hosts[leader].me.node;
    for other in 0..world.hosts.len() {
        let node = world.hosts[other].me.node;
        world.cut.insert((alone, node));
        world.cut.insert((node, alone));
    }
    for round in 0..world.chance.below(4) {
        world.propose(leader, EntryKind::Records, &[round as u8; 30]);
        world.flush(leader);
    }
    let pause = 100 + world.chance.below(300);
    world.run(world.now + pause);
}

fn change(world: &mut World) {
    let Some(leader) = world.leader() else { return };
    let membership = world
        .node(leader)
        .map(Node::membership)
        .cloned()
        .unwrap_or_default();
    let living: Vec<_> = world
        .hosts
        .iter()
        .filter(|h| !h.wiped)
        .map(|h| h.me)
        .collect();
    let one = living[world.chance.below(living.len() as u64) as usize];
    let change = match world.chance.below(5) {
        0 | 1 => Change::AddLearner(one),
        2 => Change::RemoveLearner(one.replica),
        _ => {
            let mut voters: Vec<_> = membership.voters.clone();
            voters.extend(membership.learners.iter().copied());
            let (keep, wiped) = (world.chance.below(100), wiped_voters(world, &membership));
            voters.retain(|v| !wiped.contains(&v.replica));
            if keep < 60 && voters.len() > 1 {
                voters.remove((keep % voters.len() as u64) as usize);
            }
            Change::SetVoters(voters)
        }
    };
    world.stats.changes += 1;
    world.step(leader, Input::ChangeMembership(change));
}

fn wiped_voters(world: &World, membership: &Membership) -> Vec<ReplicaId> {
    let wiped = world
        .hosts
        .iter()
        .filter(|h| h.wiped && membership.is_voter(h.me.replica));
    wiped.map(|h| h.me.replica).collect()
}

/// A disk is lost: the replica never returns, its node comes back with another one. Within the
/// fault model: one lost disk at a time, and only where the others hold everything (no voter of any
/// membership in use is lost).
fn wipe(world: &mut World, at: usize) {
    let lost = world.hosts.iter().filter(|h| h.wiped).map(|h| h.me.replica);
    let lost: Vec<_> = lost.collect();
    let counts = |m: &Membership| lost.iter().any(|r| m.is_voter(*r));
    let busy = world
        .hosts
        .iter()
        .any(|h| !h.wiped && counts(&h.membership));
    let small = world
        .hosts
        .iter()
        .any(|h| h.membership.voters.len() == 2 || h.membership.voters.len() == 1);
    if busy || small || world.hosts.len() > 8 || world.hosts[at].wiped {
        return;
    }
    world.crash(at);
    world.hosts[at].wiped = true;
    world.stats.wiped += 1;
    let replica = world.hosts.len() as u64 + 1;
    let me = on_node(replica, world.hosts[at].me.node.0 as u64);
    world.add_host(me, Membership::default());
}

/// A replica that does not come back, where a majority of each half of every membership in use
/// does.
fn victim(world: &mut World) -> Option<usize> {
    let at = world.chance.below(world.hosts.len() as u64) as usize;
    let alive = |r: ReplicaId| world.host_of(r) != at && !world.hosts[world.host_of(r)].wiped;
    let mut memberships = Vec::new();
    for host in &world.hosts {
        if !host.wiped {
            memberships.push(host.membership.clone());
            for entry in &host.disk.entries {
                memberships.extend(
                    Membership::decode(&entry.payload)
                        .filter(|_| entry.kind == EntryKind::Membership),
                );
            }
        }
    }
    memberships.retain(|membership| !membership.is_empty());
    let enough = memberships
        .iter()
        .all(|membership| quorum::has(membership, alive));
    (enough && !world.hosts[at].wiped).then_some(at)
}

/// After the faults: one leader, nothing joint, everybody the same, and it still takes proposals.
fn settle(world: &mut World) {
    let missing = victim(world);
    world.heal(missing);
    world.delay_max = 3;
    world.sync_max = 3;
    let end = world.now + 6000;
    let mut marker = None;
    while world.now < end {
        world.run(world.now + 50);
        let Some(leader) = world.leader() else {
            continue;
        };
        let Some(node) = world.node(leader) else {
            continue;
        };
        if !node.is_leader_established() {
            continue;
        }
        let index = match marker {
            Some((at, index)) if at == leader => index,
            _ => {
                let index = world.propose(leader, EntryKind::Command, b"after all");
                world.flush(leader);
                let Some(index) = index else { continue };
                marker = Some((leader, index));
                index
            }
        };
        let node = world.node(leader).unwrap();
        let membership = node.membership().clone();
        let alive = |r: &ReplicaId| {
            let at = world.host_of(*r);
            !world.hosts[at].wiped && missing != Some(at)
        };
        let members = membership
            .all_members()
            .into_iter()
            .map(|m| m.replica)
            .filter(alive);
        let mut members = members.collect::<Vec<_>>().into_iter();
        let same = members.all(|r| world.hosts[world.host_of(r)].applied >= index);
        if same && !membership.is_joint() {
            return;
        }
    }
    for at in 0..world.hosts.len() {
        let host = &world.hosts[at];
        eprintln!(
            "{at} {:?} wiped {} applied {} last {}",
            host.me.replica,
            host.wiped,
            host.applied,
            host.disk.last()
        );
        if let Some(n) = &host.node {
            eprintln!(
                "   {:?} {} leader {:?} commit {} {:?}",
                n.role(),
                n.term(),
                n.leader(),
                n.commit(),
                n.membership()
            );
            for p in n.progress() {
                eprintln!("      {p:?}");
            }
        }
    }
    panic!("the group did not settle without {missing:?}");
}

fn live(seed: u64) -> World {
    let mut world = World::new(seed, Config::tiny(), 0, 0);
    let voters = [1, 2, 3, 3, 3, 4, 5][world.chance.below(7) as usize];
    let fresh = world.chance.below(3);
    let mut config = Config::tiny();
    config.announce_commit = seed.is_multiple_of(3);
    config.announce_received = seed.is_multiple_of(5);
    if seed.is_multiple_of(2) {
        config.quiesce_after_ms = 60;
    }
    world = World::new(seed, config, voters, fresh);
    swarm(&mut world);
    world.run(300);
    for _ in 0..120 {
        act(&mut world);
        let pause = world.chance.below(60);
        world.run(world.now + pause);
    }
    settle(&mut world);
    world
}

#[test]
fn random_clusters_keep_the_invariants() {
    if let Some(seed) = number("RAFT_SEED") {
        live(seed);
        return;
    }
    let mut sum = crate::world::Stats::default();
    let runs = number("RAFT_RUNS").unwrap_or(1000);
    for seed in 0..runs {
        let result = std::panic::catch_unwind(|| live(seed).stats);
        let Ok(stats) = result else {
            panic!("RAFT_SEED={seed}")
        };
        sum.add(stats);
    }
    eprintln!("{sum:?}");
    sum.assert_felt(runs);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let (first, second) = (live(seed), live(seed));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.stats, second.stats, "seed {seed}");
        assert_ne!(first.trace, 0);
    }
}
