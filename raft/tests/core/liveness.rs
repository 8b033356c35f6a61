//! What must come about, not only what must not: one leader, under cables that are half broken, and
//! full speed after.

use crate::world::World;
use raft::Node;
use raft::config::Config;
use raft::effect::Role;
use raft::input::Input;
use raft::types::{EntryKind, NodeId, ReplicaId, Term};

fn leaders(world: &World) -> Vec<(ReplicaId, Term)> {
    let nodes = world.hosts.iter().filter_map(|h| h.node.as_ref());
    let leaders = nodes.filter(|n| n.role() == Role::Leader);
    leaders.map(|n| (n.me().replica, n.term())).collect()
}

fn cut(world: &mut World, one: i32, other: i32) {
    world.cut.insert((NodeId(one), NodeId(other)));
    world.cut.insert((NodeId(other), NodeId(one)));
}

#[test]
fn e11_one_stable_leader_in_a_chain() {
    for seed in 0..100 {
        let mut world = World::new(seed, Config::tiny(), 5, 0);
        for other in [1, 3, 5] {
            cut(&mut world, 4, other);
        }
        for other in [1, 2] {
            cut(&mut world, 5, other);
        }
        // Three of the longest timeouts, with the patience of the lowest priority.
        world.run(3 * 225);
        let first = leaders(&world);
        assert_eq!(first.len(), 1, "seed {seed}: {first:?}");
        for _ in 0..100 {
            world.run(world.now + 20);
            assert_eq!(leaders(&world), first, "seed {seed}");
        }
    }
}

#[test]
fn e13_a_leader_that_cannot_hear_is_replaced() {
    for seed in 0..100 {
        let mut world = World::new(seed, Config::tiny(), 3, 0);
        world.run(1000);
        let deaf = leaders(&world)[0];
        for from in 1..=3 {
            world.cut.insert((NodeId(from), NodeId(deaf.0.0 as i32)));
        }
        world.run(world.now + 200 + 4 * 225);
        let now: Vec<_> = leaders(&world);
        assert_eq!(now.len(), 1, "seed {seed}: {now:?}");
        assert_ne!(now[0].0, deaf.0, "seed {seed}");
    }
}

/// Who is left may stand in the same moment. Neither waits for the vote of the one that both miss.
#[test]
fn rivals_for_a_dead_leaders_place_try_again_soon() {
    let config = Config {
        election_timeout_min_ms: 500,
        election_timeout_max_ms: 1000,
        heartbeat_ms: 100,
        ..Config::tiny()
    };
    let mut late = 0;
    for seed in 0..200 {
        let mut world = World::new(seed, config, 3, 0);
        world.run(3000);
        let gone = leaders(&world)[0].0;
        let at = world.host_of(gone);
        let others: Vec<_> = (0..3).filter(|&other| other != at).collect();
        for &other in &others {
            cut(&mut world, at as i32 + 1, other as i32 + 1);
        }
        // What it has sent arrives before it is known to be gone.
        world.run(world.now + world.delay_max);
        for other in others {
            world.step(other, Input::NodeDown(NodeId(at as i32 + 1)));
        }
        world.run(world.now + config.election_timeout_min_ms);
        late += usize::from(leaders(&world).iter().all(|leader| leader.0 == gone));
    }
    assert!(late <= 1, "{late} of 200");
}

/// Two of three stand, in the same term, and the third comes back: it decides.
#[test]
fn who_comes_back_during_an_election_is_asked() {
    for seed in 0..50 {
        let mut world = World::new(seed, Config::tiny(), 3, 0);
        world.run(1000);
        let third = (world.leader().unwrap() + 1) % 3;
        let back = world.hosts[third].me.node;
        world.crash(third);
        let mut rivals = (0..3).filter(|&other| other != third);
        let (one, other) = (rivals.next().unwrap(), rivals.next().unwrap());
        for rival in [one, other] {
            world.crash(rival);
            world.start(rival);
        }
        // Neither knows that the third is away.
        for rival in [one, other] {
            world.step(rival, Input::Campaign { forced: true });
        }
        world.run(world.now + 30);
        assert_eq!(world.leader(), None, "seed {seed}");
        world.start(third);
        for rival in [one, other] {
            world.step(rival, Input::NodeUp(back));
        }
        world.run(world.now + 40);
        assert!(world.leader().is_some(), "seed {seed}");
    }
}

#[test]
fn e1_all_restart_at_once() {
    for seed in 0..100 {
        let mut world = World::new(seed, Config::tiny(), 3, 0);
        world.run(1000);
        let leader = world.leader().unwrap();
        for _ in 0..5 {
            world.propose(leader, EntryKind::Records, b"acknowledged");
        }
        world.flush(leader);
        let pause = world.chance.below(12);
        world.run(world.now + pause);
        let (terms, acknowledged) = (world.node(leader).unwrap().term(), world.committed.len());
        for at in 0..3 {
            world.crash(at);
        }
        for at in 0..3 {
            world.start(at);
        }
        world.run(world.now + 2000);
        let leader = world.leader().unwrap();
        let node = world.node(leader).unwrap();
        assert!(node.term() > terms, "seed {seed}");
        assert!(node.commit().0 as usize > acknowledged, "seed {seed}");
    }
}

#[test]
fn r13_full_speed_after_a_burst_of_loss() {
    let committed_in = |world: &mut World, time: u64| {
        let before = world.committed.len();
        let end = world.now + time;
        while world.now < end {
            if let Some(leader) = world.leader() {
                for _ in 0..3 {
                    world.propose(leader, EntryKind::Records, &[7; 100]);
                }
                world.flush(leader);
            }
            world.run(world.now + 5);
        }
        world.committed.len() - before
    };
    for seed in 0..20 {
        let mut world = World::new(seed, Config::tiny(), 3, 0);
        world.run(1000);
        let healthy = committed_in(&mut world, 2000);
        world.loss_percent = 40;
        let lossy = committed_in(&mut world, 2000);
        assert!(world.stats.lost > 100, "seed {seed}: the burst was felt");
        world.loss_percent = 0;
        world.run(world.now + 1000);
        let healed = committed_in(&mut world, 2000);
        assert!(
            healed * 100 >= healthy * 95,
            "seed {seed}: {healthy} {lossy} {healed}"
        );
    }
}

#[test]
fn e17_transfer_to_a_dead_node_under_reads() {
    for seed in 0..50 {
        let mut world = World::new(seed, Config::tiny(), 3, 0);
        world.run(1000);
        let leader = world.leader().unwrap();
        let dead = (leader + 1) % 3;
        world.crash(dead);
        world.chance.next();
        let to = world.hosts[dead].me.replica;
        world.step(leader, Input::Transfer(to));
        let begin = world.now;
        let before = world.committed.len();
        while world.committed.len() == before {
            assert!(world.now < begin + 5 * 225, "seed {seed}: nothing commits");
            if let Some(leader) = world.leader() {
                world.read_index(leader);
                world.propose(leader, EntryKind::Records, b"after the transfer");
                world.flush(leader);
            }
            world.run(world.now + 10);
        }
    }
}

#[test]
fn g_a_silent_group_hears_of_a_member_that_lost_its_leader() {
    // 3 loses the leader alone. Whoever it asks wakes, and the leader is heard again instead of
    // replaced.
    let mut config = Config::tiny();
    config.quiesce_after_ms = 100;
    for seed in 0..50 {
        let mut world = World::new(seed, config, 3, 0);
        world.run(3000);
        let first = leaders(&world);
        assert!(
            world
                .hosts
                .iter()
                .all(|h| h.node.as_ref().is_some_and(Node::quiesced)),
            "{seed}"
        );
        let leader = world.leader().unwrap();
        let (alone, node) = ((leader + 1) % 3, world.hosts[leader].me.node);
        let other = world.hosts[alone].me.node;
        cut(&mut world, node.0, other.0);
        world.step(alone, Input::NodeDown(node));
        for _ in 0..40 {
            world.run(world.now + 25);
            assert_eq!(leaders(&world), first, "seed {seed}");
        }
    }
}
