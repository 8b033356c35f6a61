//! Partitions come and go as the metadata says.

use std::collections::BTreeSet;

use raft::types::{DirectoryId, NodeId, ReplicaId};
use wal::Record;

use super::cluster::{TOPIC, directory};
use super::*;
use crate::metadata::Command;
use crate::shard::{Order, PeerBatch};

fn removes(records: &[Record]) -> Vec<ReplicaId> {
    let removed = records.iter().filter_map(|record| match record {
        Record::Remove { replica, .. } => Some(*replica),
        _ => None,
    });
    removed.collect()
}

fn confirmed(cluster: &Cluster, node: NodeId) -> Vec<ReplicaId> {
    let orders = cluster.broker(node).orders.iter();
    let confirmed = orders.filter_map(|order| match order {
        Order::ConfirmRemovals(replicas) => Some(replicas.clone()),
        _ => None,
    });
    confirmed.flatten().collect()
}

#[test]
fn a_removed_topic_is_dropped_from_the_log_and_confirmed_only_when_that_is_synced() {
    let mut cluster = Cluster::of(1);
    let replica = cluster.shard(ONE).replica(GROUP).unwrap();
    let waiting = cluster.produce(ONE, batch(1), Acks::All);
    cluster.flush(ONE);
    cluster.at(ONE).orders.clear();

    let (ticket, now) = (cluster.ticket(), cluster.now);
    let delete = Command::DeleteTopic { topic: TOPIC };
    let shard = &mut cluster.at(ONE).shard;
    shard.propose_metadata(now, &delete, now, ticket);
    cluster.flush(ONE);
    cluster.sync(ONE);
    let flushed = cluster.flush(ONE);
    let (_, records) = flushed.append.expect("the removal");
    assert_eq!(removes(&records), [replica]);
    assert!(cluster.status(ONE, GROUP).is_none());
    assert!(
        cluster.answer(ONE, waiting).is_some(),
        "nobody waits for ever"
    );
    cluster.now.0 += 50;
    let now = cluster.now;
    cluster.at(ONE).shard.tick(now);
    cluster.flush(ONE);
    assert_eq!(confirmed(&cluster, ONE), [], "not synced");

    cluster.sync(ONE);
    cluster.now.0 += 50;
    let now = cluster.now;
    cluster.at(ONE).shard.tick(now);
    cluster.flush(ONE);
    assert_eq!(confirmed(&cluster, ONE), [replica]);
    cluster.command(Command::ConfirmRemovals {
        directory: directory(ONE),
        replicas: vec![replica],
    });
    cluster.at(ONE).orders.clear();
    cluster.run(200);
    assert_eq!(confirmed(&cluster, ONE), [], "asked for no longer");
}

#[test]
fn a_removal_that_a_crash_interrupted_is_done_again() {
    let mut cluster = Cluster::of(1);
    let replica = cluster.shard(ONE).replica(GROUP).unwrap();
    cluster.command(Command::DeleteTopic { topic: TOPIC });
    // The record of the removal never reached the disk: as if the replica was still in the log.
    let base = Record::Base {
        group: GROUP,
        replica,
        base: raft::types::Base::default(),
    };
    cluster.at(ONE).disk.forget_removals();
    cluster.at(ONE).disk.write(base);
    cluster.restart(ONE);
    assert_eq!(
        cluster.shard(ONE).replica(GROUP),
        Some(replica),
        "it is back"
    );
    assert_eq!(confirmed(&cluster, ONE), [], "and not gone");
    cluster.run(300);
    assert!(!cluster.broker(ONE).disk.groups().contains(&GROUP));
    assert!(confirmed(&cluster, ONE).contains(&replica));
}

pub(super) fn set_target(cluster: &mut Cluster, nodes: &[i32]) {
    let image = cluster.shard(ONE).image().unwrap();
    let as_of = image.partition(GROUP).unwrap().version;
    cluster.command(Command::SetTarget {
        group: GROUP,
        nodes: nodes.iter().copied().map(NodeId).collect(),
        as_of,
    });
}

/// Waits until the move's target is reached, and reports it as the driver does.
pub(super) fn finish(cluster: &mut Cluster) {
    cluster.run_until("the target", |c| {
        let leader = c.leader().unwrap();
        let orders = &c.broker(leader).orders;
        orders.contains(&Order::ReportReassignment(GROUP))
    });
    let leader = cluster.leader().unwrap();
    let command = cluster.shard(leader).finished_reassignment(GROUP);
    cluster.command(command.expect("it is settled"));
    for node in cluster.nodes() {
        cluster.at(node).orders.clear();
    }
}

#[test]
fn a_move_away_and_back_gives_a_new_replica_that_starts_with_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(5), Acks::All);
    cluster.settle();
    let old = cluster.shard(THREE).replica(GROUP).unwrap();
    set_target(&mut cluster, &[1, 2]);
    finish(&mut cluster);
    assert!(cluster.shard(THREE).replica(GROUP).is_none());
    set_target(&mut cluster, &[1, 2, 3]);
    finish(&mut cluster);
    let new = cluster.shard(THREE).replica(GROUP).unwrap();
    assert!(new > old, "a replica id is never used again");
    cluster.run(100);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().offsets, (0, 5, 5));
}

#[test]
fn a_dropped_replica_is_not_opened_again_by_older_metadata() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(5), Acks::All);
    cluster.settle();
    let old = cluster.shard(THREE).replica(GROUP).unwrap();
    cluster.at(THREE).shard.save_all_derived();
    cluster.settle();
    let known = cluster.broker(THREE).disk.metadata_commit();
    set_target(&mut cluster, &[1, 2]);
    finish(&mut cluster);
    cluster.run(100);
    assert_eq!(cluster.broker(THREE).disk.removed(), [(GROUP, old)]);

    cluster.at(THREE).disk.lower_metadata_commit(known);
    cluster.restart(THREE);
    let image = cluster.shard(THREE).image().unwrap();
    let replicas = &image.partition(GROUP).unwrap().replicas;
    assert!(replicas.iter().any(|m| m.replica == old), "it is older");
    assert!(cluster.shard(THREE).replica(GROUP).is_none());

    cluster.run(400);
    assert!(cluster.shard(THREE).replica(GROUP).is_none());
    set_target(&mut cluster, &[1, 2, 3]);
    finish(&mut cluster);
    assert!(cluster.shard(THREE).replica(GROUP).unwrap() > old);
    cluster.run(100);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().offsets, (0, 5, 5));
}

/// Broker 3 learns in one step that its replica was removed and another one assigned.
fn away_and_back_unseen(cluster: &mut Cluster) {
    cluster.cut.insert(THREE);
    cluster.run(400);
    set_target(cluster, &[1, 2]);
    finish(cluster);
    set_target(cluster, &[1, 2, 3]);
}

#[test]
fn a_move_away_and_back_that_a_restart_finds_opens_the_new_replica() {
    let mut cluster = Cluster::of(3);
    cluster.produce(ONE, batch(5), Acks::All);
    cluster.settle();
    let old = cluster.shard(THREE).replica(GROUP).unwrap();
    away_and_back_unseen(&mut cluster);
    // The metadata reached the disk, the removal did not.
    let other = cluster.broker(ONE).disk.clone();
    cluster.at(THREE).disk.adopt_metadata(&other);
    cluster.restart(THREE);
    assert_ne!(cluster.shard(THREE).replica(GROUP), Some(old));
    assert!(cluster.shard(THREE).replica(GROUP).is_some());
    cluster.run(400);
    assert_eq!(cluster.status(THREE, GROUP).unwrap().offsets, (0, 5, 5));
}

#[test]
fn writes_of_a_removed_replica_prove_nothing_about_its_successor() {
    let mut cluster = Cluster::of(3);
    let old = cluster.shard(THREE).replica(GROUP).unwrap();
    away_and_back_unseen(&mut cluster);
    // The old replica writes (it votes for itself), and before that is synced the metadata arrives.
    let now = cluster.now;
    for _ in 0..5 {
        cluster.at(THREE).shard.campaign(now, GROUP, true);
        cluster.flush(THREE);
    }
    cluster.wire.clear();
    let writing = std::mem::take(&mut cluster.at(THREE).unsynced);
    assert!(!writing.is_empty(), "the fault happened");
    cluster.heal();
    for _ in 0..200 {
        cluster.now.0 += 5;
        let now = cluster.now;
        for node in [ONE, TWO, THREE] {
            cluster.at(node).shard.tick(now);
            cluster.flush(node);
            if node != THREE {
                cluster.sync(node);
            }
            cluster.flush(node);
        }
        for node in [ONE, TWO, THREE] {
            cluster.deliver_to(node);
        }
        if cluster
            .shard(THREE)
            .replica(GROUP)
            .is_some_and(|r| r != old)
        {
            break;
        }
    }
    let opened = cluster.shard(THREE).replica(GROUP);
    assert!(opened.is_some_and(|r| r != old), "before any sync");
    let later = std::mem::take(&mut cluster.at(THREE).unsynced);
    cluster.at(THREE).unsynced = writing.into_iter().chain(later).collect();
    cluster.sync(THREE);
    cluster.flush(THREE);
    let said = cluster
        .wire
        .iter()
        .flat_map(|(_, _, batch)| &batch.messages);
    let of_the_old: Vec<_> = said.filter(|(_, message)| message.from == old).collect();
    assert!(of_the_old.is_empty(), "it is gone: {of_the_old:?}");
    cluster.run(500);
    assert!(
        cluster
            .shard(THREE)
            .replica(GROUP)
            .is_some_and(|r| r != old)
    );
}

#[test]
fn messages_for_a_partition_that_is_not_open_yet_are_not_lost() {
    let mut cluster = Cluster::without_topic(3, |_| {});
    // Broker 3 hears of the partition from its peers before the metadata tells it: the frames of the metadata group
    // are kept back.
    let (ticket, now) = (cluster.ticket(), cluster.now);
    let create = Command::CreateTopic {
        topic: TOPIC,
        name: "topic".to_owned(),
        assignments: vec![vec![ONE, TWO, THREE]],
        configs: std::collections::BTreeMap::new(),
    };
    let controller = cluster
        .nodes()
        .into_iter()
        .find(|&n| cluster.shard(n).is_controller())
        .unwrap();
    let late = cluster
        .nodes()
        .into_iter()
        .rfind(|&n| n != controller)
        .unwrap();
    let shard = &mut cluster.at(controller).shard;
    shard.propose_metadata(now, &create, now, ticket);
    let mut kept = Vec::new();
    for _ in 0..20 {
        for node in cluster.nodes() {
            cluster.flush(node);
            cluster.sync(node);
            cluster.flush(node);
        }
        keep_metadata_back(&mut cluster, late, &mut kept);
        for node in cluster.nodes() {
            cluster.deliver_to(node);
        }
        cluster.now.0 += 1;
        let now = cluster.now;
        for node in cluster.nodes().into_iter().filter(|&n| n != late) {
            cluster.at(node).shard.tick(now);
        }
    }
    assert!(cluster.status(late, GROUP).is_none(), "not told yet");
    let early = |c: &Cluster| c.shard(late).early.iter().filter(|e| e.1 == GROUP).count();
    assert!(early(&cluster) > 0, "the fault happened");
    let now = cluster.now;
    for (from, batch) in kept {
        cluster.at(late).shard.peer_frame(now, from, batch);
    }
    cluster.settle();
    assert!(cluster.status(late, GROUP).is_some(), "it is open");
    assert_eq!(early(&cluster), 0, "replayed");
    assert!(
        cluster.status(late, GROUP).unwrap().term.0 > 0,
        "and what they said is known"
    );
}

fn keep_metadata_back(cluster: &mut Cluster, late: NodeId, kept: &mut Vec<(NodeId, PeerBatch)>) {
    for (from, to, batch) in &mut cluster.wire {
        if *to != late {
            continue;
        }
        let (metadata, rest) = std::mem::take(&mut batch.messages)
            .into_iter()
            .partition(|(group, _)| *group == GroupId::METADATA);
        batch.messages = rest;
        let messages: Vec<_> = metadata;
        if !messages.is_empty() {
            let soft = Vec::new();
            kept.push((*from, PeerBatch { messages, soft }));
        }
    }
}

#[test]
fn a_disk_that_is_not_named_opens_nothing() {
    let mut cluster = Cluster::of(1);
    cluster.settle();
    let other = DirectoryId(999);
    let disk = cluster.broker(ONE).disk.clone();
    let config = crate::shard::Config {
        directory: other,
        ..cluster.config.clone()
    };
    let mut shard = crate::shard::Shard::new(config, cluster.now);
    let metadata = disk.restored(GroupId::METADATA);
    shard
        .restore(cluster.now, metadata, |from, until| {
            Ok(disk.entries(GroupId::METADATA, from, until))
        })
        .unwrap();
    shard.start(cluster.now);
    assert!(
        shard.replica(GROUP).is_none(),
        "its replica is on another disk"
    );
    let out = shard.flush(cluster.now);
    let records = out.append.map(|(_, records)| records).unwrap_or_default();
    assert_eq!(removes(&records), [], "and nothing is removed for it");
}

/// A leader that has nothing to send falls silent; its move still ends when the report was lost.
#[test]
fn the_move_of_a_silent_group_is_reported_until_it_is_taken() {
    let mut cluster = Cluster::with(3, |config| config.raft.quiesce_after_ms = 100, &[]);
    cluster.produce(ONE, batch(5), Acks::All);
    cluster.settle();
    set_target(&mut cluster, &[1, 2]);
    cluster.run(2000);
    assert!(cluster.status(ONE, GROUP).unwrap().quiesced, "silent");
    cluster.at(ONE).orders.clear();
    cluster.run(100);
    let orders = &cluster.broker(ONE).orders;
    assert!(orders.contains(&Order::ReportReassignment(GROUP)));
    finish(&mut cluster);
    cluster.run(2000);
    cluster.at(ONE).orders.clear();
    cluster.run(100);
    let orders = &cluster.broker(ONE).orders;
    assert!(!orders.contains(&Order::ReportReassignment(GROUP)));
}

#[test]
fn nothing_of_a_deleted_topic_is_remembered_where_it_had_no_replica() {
    let mut cluster = Cluster::without_topic(3, |_| {});
    cluster.create_topic(&[1, 2], &[]);
    cluster.lead(ONE);
    cluster.run(100);
    assert!(cluster.shard(THREE).leader(GROUP).is_some(), "it was told");
    cluster.command(Command::DeleteTopic { topic: TOPIC });
    cluster.run(500);
    assert!(cluster.shard(THREE).leader(GROUP).is_none());
    for node in [ONE, TWO] {
        let replicas: Vec<ReplicaId> = cluster.shard(node).removed.keys().copied().collect();
        assert_eq!(replicas.len(), 1, "dropped at {node}");
        let directory = directory(node);
        cluster.command(Command::ConfirmRemovals {
            directory,
            replicas,
        });
        cluster.run(100);
        assert!(
            cluster.shard(node).removed.is_empty(),
            "confirmed at {node}"
        );
    }
}

/// What a finished move has removed is still there, where nobody knows yet that it is to go. A leader that knows as little
/// would make it a voter again, and then it is dropped with what was committed to it.
#[test]
fn a_leader_does_not_act_on_an_older_assignment_than_one_before_it() {
    const FOUR: NodeId = NodeId(4);
    let mut cluster = Cluster::without_topic(5, |_| {});
    cluster.create_topic(&[1, 2, 3], &[]);
    cluster.lead(ONE);
    cluster.produce(ONE, batch(5), Acks::All);
    cluster.settle();
    let members = |cluster: &Cluster, node| {
        let members = cluster.status(node, GROUP).unwrap().members;
        let mut nodes: Vec<(i32, bool)> = members.iter().map(|m| (m.node.0, m.voter)).collect();
        nodes.sort_unstable();
        nodes
    };
    // The group goes over to broker 4, and back, because the move is given up before anybody has said that it is done.
    set_target(&mut cluster, &[1, 2, 4]);
    cluster.run(500);
    assert_eq!(members(&cluster, ONE), [(1, true), (2, true), (4, true)]);
    let (two, four) = (cluster.shard(TWO), cluster.shard(FOUR));
    assert!(!two.is_controller() && !four.is_controller());
    cluster.unaware = BTreeSet::from([TWO, FOUR]);
    set_target(&mut cluster, &[1, 2, 3]);
    finish(&mut cluster);
    assert!(cluster.shard(FOUR).replica(GROUP).is_some(), "not dropped");
    let settled = [(1, true), (2, true), (3, true)];
    assert_eq!(members(&cluster, ONE), settled);

    cluster.lead(TWO);
    cluster.run(1000);
    assert_eq!(cluster.leader(), Some(TWO));
    let image = cluster.shard(TWO).image().unwrap();
    assert!(image.partition(GROUP).unwrap().is_moving(), "it is older");
    assert_eq!(members(&cluster, TWO), settled);

    cluster.unaware.clear();
    cluster.run(500);
    assert!(cluster.shard(FOUR).replica(GROUP).is_none(), "dropped");
    set_target(&mut cluster, &[1, 2, 5]);
    finish(&mut cluster);
    assert_eq!(members(&cluster, TWO), [(1, true), (2, true), (5, true)]);
}
