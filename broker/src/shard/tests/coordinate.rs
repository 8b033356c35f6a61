//! Coordinators of consumer groups: their log, their leadership, what a new one knows.

use protocol::error_code::ErrorCode;
use raft::types::Index;

use super::*;
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::{
    Commit, CommitOffset, Fetch, GroupRequest, Join, MemberRef, Sync,
};
use crate::metadata::{Command, TopicId};
use crate::shard::{Answer, Ticket};

fn ask(cluster: &mut Cluster, node: NodeId, request: GroupRequest) -> Ticket {
    let (ticket, now) = (cluster.ticket(), cluster.now);
    let shard = &mut cluster.at(node).shard;
    shard.set_wall(5000);
    shard.group_request(now, GROUP, request, ticket);
    ticket
}

/// The answer, or the code of the refusal. Each comes once.
fn told(cluster: &Cluster, node: NodeId, of: Ticket) -> Option<Result<GroupReply, ErrorCode>> {
    let answers = &cluster.broker(node).answers;
    let mut to_it = answers.iter().filter_map(|answer| match answer {
        Answer::Group(ticket, result) if *ticket == of => {
            Some(result.clone().map_err(|why| why.code))
        }
        _ => None,
    });
    let first = to_it.next();
    assert!(to_it.next().is_none(), "{of:?} was answered twice");
    first
}

fn commit(offset: i64) -> GroupRequest {
    GroupRequest::Commit(Commit {
        knows_epochs: true,
        group: "g".to_owned(),
        generation: -1,
        member: MemberRef::default(),
        offsets: vec![CommitOffset {
            topic: "t".to_owned(),
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }],
        retention_ms: None,
    })
}

fn fetch_offset(cluster: &mut Cluster, node: NodeId) -> Result<i64, ErrorCode> {
    let request = GroupRequest::Fetch(Fetch {
        group: "g".to_owned(),
        member: MemberRef::default(),
        member_epoch: -1,
        partitions: Some(vec![("t".to_owned(), 0)]),
    });
    let ticket = ask(cluster, node, request);
    cluster.run_until("an answer", |c| told(c, node, ticket).is_some());
    match told(cluster, node, ticket).expect("just seen") {
        Ok(GroupReply::Fetched(offsets)) => Ok(offsets[0].offset),
        Ok(GroupReply::Failed { code, .. }) | Err(code) => Err(code),
        Ok(other) => panic!("{other:?}"),
    }
}

fn refused(answer: Option<Result<GroupReply, ErrorCode>>) -> Option<ErrorCode> {
    match answer? {
        Ok(GroupReply::Failed { code, .. }) | Err(code) => Some(code),
        Ok(_) => None,
    }
}

#[test]
fn k8_a_commit_is_answered_when_a_majority_has_synced_it_and_stays() {
    let mut cluster = Cluster::of(3);
    let ticket = ask(&mut cluster, ONE, commit(7));
    cluster.flush(ONE);
    cluster.sync(ONE);
    cluster.flush(ONE);
    assert_eq!(told(&cluster, ONE, ticket), None, "synced here alone");
    cluster.settle();
    let done = GroupReply::Offsets(vec![ErrorCode::None]);
    assert_eq!(told(&cluster, ONE, ticket), Some(Ok(done)));
    assert_eq!(fetch_offset(&mut cluster, ONE), Ok(7));
    assert_eq!(
        fetch_offset(&mut cluster, TWO),
        Err(ErrorCode::NotCoordinator)
    );
    cluster.lead(TWO);
    assert_eq!(fetch_offset(&mut cluster, TWO), Ok(7));
    for node in [ONE, TWO, THREE] {
        cluster.restart(node);
    }
    cluster.lead(THREE);
    assert_eq!(fetch_offset(&mut cluster, THREE), Ok(7));
}

#[test]
fn k8_a_deposed_coordinator_tells_nothing_that_it_cannot_know() {
    let mut cluster = Cluster::of(3);
    ask(&mut cluster, ONE, commit(7));
    cluster.settle();
    cluster.cut.insert(ONE);
    let now = cluster.now;
    cluster.at(TWO).shard.campaign(now, GROUP, true);
    cluster.run_until("another leader", |c| c.shard(TWO).offsets(GROUP).is_ok());
    let newer = ask(&mut cluster, TWO, commit(9));
    cluster.run_until("its commit", |c| told(c, TWO, newer).is_some());
    assert!(
        cluster.shard(ONE).offsets(GROUP).is_ok(),
        "it has not heard"
    );
    let late = ask(&mut cluster, ONE, commit(8));
    assert_eq!(
        fetch_offset(&mut cluster, ONE),
        Err(ErrorCode::NotCoordinator),
        "the old offset is not told"
    );
    cluster.run(500);
    assert_eq!(
        refused(told(&cluster, ONE, late)),
        Some(ErrorCode::NotCoordinator)
    );
    cluster.heal();
    cluster.run(300);
    assert_eq!(fetch_offset(&mut cluster, TWO), Ok(9));
}

#[test]
fn a_stable_group_goes_on_at_a_new_coordinator_without_a_rebalance() {
    let mut cluster = Cluster::with(3, |c| c.groups.initial_rebalance_delay_ms = 10, &[]);
    let join = ask(
        &mut cluster,
        ONE,
        GroupRequest::Join(Join {
            group: "g".to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"s"))],
            ..Join::default()
        }),
    );
    cluster.run_until("the rebalance", |c| told(c, ONE, join).is_some());
    let Some(Ok(GroupReply::Joined(joined))) = told(&cluster, ONE, join) else {
        panic!("it joined")
    };
    let member = MemberRef {
        id: joined.member.clone(),
        instance: None,
    };
    let sync = GroupRequest::Sync(Sync {
        group: "g".to_owned(),
        generation: joined.generation,
        member: member.clone(),
        assignments: vec![(joined.member.clone(), Bytes::from_static(b"a"))],
        ..Sync::default()
    });
    let synced = ask(&mut cluster, ONE, sync);
    cluster.flush(ONE);
    assert_eq!(told(&cluster, ONE, synced), None, "not before the commit");
    cluster.settle();
    assert!(matches!(
        told(&cluster, ONE, synced),
        Some(Ok(GroupReply::Synced { .. }))
    ));
    cluster.lead(TWO);
    let beat = GroupRequest::Heartbeat {
        group: "g".to_owned(),
        generation: joined.generation,
        member,
    };
    let beat = ask(&mut cluster, TWO, beat);
    cluster.run(50);
    assert_eq!(told(&cluster, TWO, beat), Some(Ok(GroupReply::Done)));
}

#[test]
fn the_log_of_commits_is_summed_up_and_read_back() {
    let mut cluster = Cluster::with(3, |config| config.metadata_trim_entries = 20, &[]);
    for offset in 1..=60 {
        ask(&mut cluster, ONE, commit(offset));
        cluster.settle();
    }
    cluster.run(200);
    for node in [ONE, TWO, THREE] {
        let status = cluster.status(node, GROUP).unwrap();
        assert!(
            status.last_index.0 - status.base_index.0 <= 25,
            "{status:?}"
        );
    }
    cluster.cut.insert(THREE);
    for offset in 61..=120 {
        ask(&mut cluster, ONE, commit(offset));
        cluster.run(20);
    }
    let base = cluster.status(ONE, GROUP).unwrap().base_index;
    let behind = cluster.status(THREE, GROUP).unwrap().last_index;
    assert!(base > behind.max(Index(60)), "it needs the state itself");
    cluster.heal();
    cluster.run(500);
    cluster.lead(THREE);
    assert_eq!(fetch_offset(&mut cluster, THREE), Ok(120));
    cluster.restart(THREE);
    cluster.lead(THREE);
    assert_eq!(fetch_offset(&mut cluster, THREE), Ok(120));
}

/// Creates topic `t`, under another id each time.
fn create(cluster: &mut Cluster, id: u128) -> TopicId {
    let topic = TopicId(id);
    cluster.command(Command::CreateTopic {
        topic,
        name: "t".to_owned(),
        assignments: vec![vec![ONE, TWO, THREE]],
        configs: std::collections::BTreeMap::new(),
    });
    cluster.run(100);
    topic
}

/// Stored offsets, whether they are told or not.
fn stored(cluster: &Cluster, node: NodeId) -> usize {
    let state = cluster.shard(node).groups[&GROUP].partition();
    let groups = state.expect("a partition").groups().iter();
    groups.map(|(_, group)| group.offsets_count()).sum()
}

#[test]
fn offsets_go_with_their_topic_and_those_of_a_later_one_of_its_name_stay() {
    let mut cluster = Cluster::of(3);
    let first = create(&mut cluster, 78);
    ask(&mut cluster, ONE, commit(7));
    cluster.settle();
    assert_eq!(fetch_offset(&mut cluster, ONE), Ok(7));
    cluster.command(Command::DeleteTopic { topic: first });
    cluster.run(100);
    assert_eq!(fetch_offset(&mut cluster, ONE), Ok(-1));
    create(&mut cluster, 79);
    assert_eq!(fetch_offset(&mut cluster, ONE), Ok(-1), "of the former");
    ask(&mut cluster, ONE, commit(9));
    cluster.run(2_500);
    assert_eq!(fetch_offset(&mut cluster, ONE), Ok(9));
    for node in [ONE, TWO, THREE] {
        cluster.restart(node);
    }
    cluster.lead(TWO);
    assert_eq!(fetch_offset(&mut cluster, TWO), Ok(9));
    cluster.run(2_500);
    assert_eq!(fetch_offset(&mut cluster, TWO), Ok(9), "it has looked");
}

#[test]
fn offsets_of_a_topic_that_went_before_are_forgotten_by_the_next_coordinator() {
    let mut cluster = Cluster::of(3);
    let topic = create(&mut cluster, 78);
    ask(&mut cluster, ONE, commit(7));
    cluster.settle();
    cluster.command(Command::DeleteTopic { topic });
    cluster.run(100);
    assert_eq!(stored(&cluster, ONE), 1, "it has not looked yet");
    cluster.lead(TWO);
    assert_eq!(fetch_offset(&mut cluster, TWO), Ok(-1));
    cluster.run(2_500);
    for node in [ONE, TWO, THREE] {
        assert_eq!(stored(&cluster, node), 0, "{node:?}");
    }
}
