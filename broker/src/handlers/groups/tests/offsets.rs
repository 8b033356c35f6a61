//! Offsets: committed, fetched, deleted.

use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};

use super::*;
use crate::coordinator::reply::FetchedOffset;
use crate::coordinator::request::{Commit, CommitOffset, Fetch, MemberRef};

fn commit_request() -> OffsetCommitRequest {
    let partition =
        |partition_index, committed_offset, metadata: Option<&str>| OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_leader_epoch: 4,
            committed_metadata: metadata.map(text),
        };
    let topic = |name: &str, partitions| OffsetCommitRequestTopic {
        topic_id: id_of(name),
        name: text(name),
        partitions,
    };
    OffsetCommitRequest {
        group_id: text("g"),
        generation_id_or_member_epoch: 7,
        member_id: text("me"),
        group_instance_id: Some(text("static")),
        retention_time_ms: 5000,
        topics: vec![
            topic("absent", vec![partition(0, 1, None)]),
            topic(
                "orders",
                vec![
                    partition(0, 10, Some("words")),
                    partition(3, 11, None),
                    partition(-1, 12, None),
                    partition(2, -1, None),
                ],
            ),
        ],
    }
}

/// As the stand-in has them; of topics that it has not, one that it does not know.
fn id_of(name: &str) -> Uuid {
    Fake::silent().topic_id(name).unwrap_or(Uuid(99))
}

/// The name of a topic of an answer, which tells either that or the id.
fn named(version: i16, name: &str, id: Uuid) -> String {
    if version < 10 {
        return name.to_owned();
    }
    assert!(name.is_empty());
    let known = Fake::silent().topic_name(id);
    known.unwrap_or_else(|| {
        assert_eq!(id, Uuid(99));
        "absent".to_owned()
    })
}

/// Codes by topic, in the order asked.
fn commit_codes(fake: &Fake, request: &OffsetCommitRequest, expected: &[(&str, &[(i32, i16)])]) {
    let run = async |version, request| offset_commit::handle(fake.clone(), version, request).await;
    in_every_version(request, run, |version, answer| {
        let rows: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| {
                let rows = topic.partitions.iter();
                let rows: Vec<_> = rows.map(|p| (p.partition_index, p.error_code)).collect();
                (named(version, &topic.name, topic.topic_id), rows)
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(topic, rows)| {
                let by_id = version >= 10 && *topic == "absent";
                let code = |code| if by_id { 100 } else { code };
                let rows = rows.iter().map(|(partition, c)| (*partition, code(*c)));
                ((*topic).to_owned(), rows.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(rows, expected, "version {version}");
    });
}

#[test]
fn a_partition_that_is_not_there_fails_alone() {
    let codes = vec![ErrorCode::None, ErrorCode::OffsetMetadataTooLarge];
    let fake = Fake::replying(GroupReply::Offsets(codes));
    let orders = [(0, 0), (3, 3), (-1, 3), (2, 12)];
    let expected = [("absent", &[(0, 3)][..]), ("orders", &orders)];
    commit_codes(&fake, &commit_request(), &expected);
    for (version, asked) in versions::<OffsetCommitRequest>().zip(fake.asked()) {
        let offset = |partition, offset, metadata: &str| CommitOffset {
            topic: "orders".to_owned(),
            partition,
            offset,
            leader_epoch: if version >= 6 { 4 } else { -1 },
            metadata: metadata.to_owned(),
        };
        let expected = Commit {
            group: "g".to_owned(),
            generation: 7,
            member: MemberRef {
                id: "me".to_owned(),
                instance: (version >= 7).then(|| "static".to_owned()),
            },
            offsets: vec![offset(0, 10, "words"), offset(2, -1, "")],
            knows_epochs: version >= 9,
            retention_ms: (version <= 4).then_some(5_000),
        };
        assert_eq!(asked, GroupRequest::Commit(expected), "version {version}");
    }
}

#[test]
fn a_commit_that_fails_as_a_whole_fails_where_it_was_tried() {
    let mut request = commit_request();
    // Clients that are no members may commit for the group without a name.
    request.group_id = Str::new();
    for (fake, code) in [
        (Fake::failing(ErrorCode::IllegalGeneration), 22),
        (Fake::elsewhere(), 16),
    ] {
        let orders = [(0, code), (3, 3), (-1, 3), (2, code)];
        let expected = [("absent", &[(0, 3)][..]), ("orders", &orders)];
        commit_codes(&fake, &request, &expected);
    }
}

#[test]
fn a_group_that_is_not_there_is_a_wrong_generation_to_older_clients() {
    let fake = Fake::failing(ErrorCode::GroupIdNotFound);
    let run = async |version, request| offset_commit::handle(fake.clone(), version, request).await;
    in_every_version(&commit_request(), run, |version, answer| {
        let code = if version >= 9 { 69 } else { 22 };
        let row = &answer.topics[1].partitions[0];
        assert_eq!(row.error_code, code, "version {version}");
    });
}

#[test]
fn nobody_is_asked_about_nothing() {
    let mut request = commit_request();
    request.topics.truncate(1);
    commit_codes(&Fake::silent(), &request, &[("absent", &[(0, 3)])]);
    request.topics.clear();
    commit_codes(&Fake::silent(), &request, &[]);
}

/// Group `g` has two offsets, `x` is elsewhere, all others have none.
fn committed() -> Fake {
    let offset = |topic: &str, partition, offset| FetchedOffset {
        topic: topic.to_owned(),
        partition,
        offset,
        leader_epoch: 4,
        metadata: "words".to_owned(),
    };
    Fake::answering(move |group, request| {
        assert!(matches!(request, GroupRequest::Fetch(fetch) if fetch.group == group));
        match group {
            // Not in the order of any request.
            "g" => Ok(GroupReply::Fetched(vec![
                offset("orders", 2, 20),
                offset("clicks", 0, 5),
            ])),
            "x" => Err(ErrorCode::NotCoordinator),
            _ => Ok(GroupReply::Fetched(Vec::new())),
        }
    })
}

type Rows = Vec<(String, Vec<(i32, i64, i32, Option<String>, i16)>)>;

/// What one group was answered, whatever the version calls it.
fn fetched(answer: &OffsetFetchResponse, version: i16, at: usize) -> (i16, Rows) {
    let words = |metadata: &Option<Str>| metadata.as_deref().map(str::to_owned);
    if version < 8 {
        let rows = answer.topics.iter().map(|topic| {
            let rows = topic.partitions.iter().map(|p| {
                let epoch = p.committed_leader_epoch;
                let words = words(&p.metadata);
                (
                    p.partition_index,
                    p.committed_offset,
                    epoch,
                    words,
                    p.error_code,
                )
            });
            (topic.name.to_string(), rows.collect())
        });
        return (answer.error_code, rows.collect());
    }
    let group = &answer.groups[at];
    let rows = group.topics.iter().map(|topic| {
        let rows = topic.partitions.iter().map(|p| {
            let epoch = p.committed_leader_epoch;
            let words = words(&p.metadata);
            (
                p.partition_index,
                p.committed_offset,
                epoch,
                words,
                p.error_code,
            )
        });
        (named(version, &topic.name, topic.topic_id), rows.collect())
    });
    (group.error_code, rows.collect())
}

fn fetch_request(groups: &[&str], topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    let batched = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopics {
        topic_id: id_of(name),
        name: text(name),
        partition_indexes: partitions.to_vec(),
    };
    let single = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopic {
        name: text(name),
        partition_indexes: partitions.to_vec(),
    };
    let group = |group: &&str| OffsetFetchRequestGroup {
        group_id: text(group),
        member_id: Some(text("me")),
        member_epoch: 3,
        topics: topics.map(|topics| topics.iter().map(batched).collect()),
    };
    OffsetFetchRequest {
        groups: groups.iter().map(group).collect(),
        group_id: text(groups[0]),
        topics: topics.map(|topics| topics.iter().map(single).collect()),
        require_stable: true,
    }
}

#[test]
fn each_partition_asked_for_is_answered_in_that_order() {
    let fake = committed();
    let asked: [(&str, &[i32]); 2] = [("absent", &[0]), ("orders", &[1, 2])];
    let request = fetch_request(&["g"], Some(&asked));
    let run = async |version, request| offset_fetch::handle(fake.clone(), version, request).await;
    in_every_version(&request, run, |version, answer| {
        let epoch = if version >= 5 { 4 } else { -1 };
        let none = |partition| (partition, -1, -1, Some(String::new()), 0);
        let known = (2, 20, epoch, Some("words".to_owned()), 0);
        let mut nowhere = none(0);
        nowhere.4 = if version >= 10 { 100 } else { 0 };
        let expected = vec![
            ("absent".to_owned(), vec![nowhere]),
            ("orders".to_owned(), vec![none(1), known]),
        ];
        assert_eq!(
            fetched(&answer, version, 0),
            (0, expected),
            "version {version}"
        );
    });
    for (version, asked) in versions::<OffsetFetchRequest>().zip(fake.asked()) {
        let partition = |topic: &str, partition| (topic.to_owned(), partition);
        let expected = Fetch {
            group: "g".to_owned(),
            member: MemberRef {
                id: if version >= 9 { "me" } else { "" }.to_owned(),
                instance: None,
            },
            member_epoch: if version >= 9 { 3 } else { -1 },
            partitions: Some(
                [("absent", 0), ("orders", 1), ("orders", 2)]
                    .into_iter()
                    // What has no topic is not asked for.
                    .filter(|(topic, _)| version < 10 || *topic != "absent")
                    .map(|(topic, p)| partition(topic, p))
                    .collect(),
            ),
        };
        assert_eq!(asked, GroupRequest::Fetch(expected), "version {version}");
    }
}

#[test]
fn no_topics_are_none_and_null_topics_are_all() {
    let run = async |version, request| offset_fetch::handle(committed(), version, request).await;
    in_every_version(&fetch_request(&["g"], Some(&[])), run, |version, answer| {
        assert_eq!(fetched(&answer, version, 0), (0, Vec::new()));
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for version in 2..=10 {
        let request = wire(version, &fetch_request(&["g"], None));
        let run = offset_fetch::handle(committed(), version, request);
        let answer = wire(version, &LocalSet::new().block_on(&runtime, run));
        let (code, rows) = fetched(&answer, version, 0);
        let rows: Vec<_> = rows
            .iter()
            .map(|(topic, rows)| (topic.as_str(), rows[0].0, rows[0].1))
            .collect();
        assert_eq!(code, 0);
        assert_eq!(rows, [("orders", 2, 20), ("clicks", 0, 5)]);
    }
}

#[test]
fn a_group_that_is_elsewhere_fails_where_each_version_says_so() {
    let asked: [(&str, &[i32]); 1] = [("orders", &[1, 2])];
    let request = fetch_request(&["x"], Some(&asked));
    let run = async |version, request| offset_fetch::handle(committed(), version, request).await;
    in_every_version(&request, run, |version, answer| {
        let (code, rows) = fetched(&answer, version, 0);
        if version >= 2 {
            assert_eq!((code, rows), (16, Vec::new()), "version {version}");
            return;
        }
        assert_eq!(code, 0, "version 1 has no such field");
        let failed = |partition| (partition, -1, -1, Some(String::new()), 16);
        let expected = vec![("orders".to_owned(), vec![failed(1), failed(2)])];
        assert_eq!(rows, expected);
    });
}

#[test]
fn a_batch_of_groups_is_answered_group_by_group() {
    let asked: [(&str, &[i32]); 1] = [("orders", &[2])];
    let request = fetch_request(&["x", "g", "absent", "g"], Some(&asked));
    let run = async |version, request| offset_fetch::handle(committed(), version, request).await;
    in_every_version(&request, run, |version, answer| {
        if version < 8 {
            return;
        }
        let names: Vec<&str> = answer.groups.iter().map(|group| &*group.group_id).collect();
        assert_eq!(names, ["x", "g", "absent", "g"]);
        let codes: Vec<i16> = answer.groups.iter().map(|group| group.error_code).collect();
        assert_eq!(codes, [16, 0, 0, 0]);
        let offset = |at| fetched(&answer, version, at).1[0].1[0].1;
        assert_eq!([offset(1), offset(2), offset(3)], [20, -1, 20]);
    });
}

fn delete_request(group: &str) -> OffsetDeleteRequest {
    let topic = |name: &str, partitions: &[i32]| OffsetDeleteRequestTopic {
        name: text(name),
        partitions: partitions
            .iter()
            .map(|partition_index| OffsetDeleteRequestPartition {
                partition_index: *partition_index,
            })
            .collect(),
    };
    OffsetDeleteRequest {
        group_id: text(group),
        topics: vec![topic("orders", &[0, 7, 1]), topic("absent", &[0])],
    }
}

#[test]
fn offsets_are_deleted_one_by_one() {
    let codes = vec![ErrorCode::GroupSubscribedToTopic, ErrorCode::None];
    let fake = Fake::replying(GroupReply::Offsets(codes));
    let run = async |_, request| offset_delete::handle(fake.clone(), request).await;
    in_every_version(&delete_request("g"), run, |_, answer| {
        assert_eq!(answer.error_code, 0);
        let rows: Vec<_> = answer
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|row| (row.partition_index, row.error_code))
            .collect();
        assert_eq!(rows, [(0, 86), (7, 3), (1, 0), (0, 3)]);
    });
    let partitions = vec![("orders".to_owned(), 0), ("orders".to_owned(), 1)];
    let group = "g".to_owned();
    assert_eq!(
        fake.asked(),
        [GroupRequest::DeleteOffsets { group, partitions }]
    );
}

#[test]
fn offsets_that_cannot_be_deleted_at_all() {
    for (fake, group, code) in [
        (Fake::failing(ErrorCode::GroupIdNotFound), "g", 69),
        (Fake::elsewhere(), "g", 16),
        (Fake::silent(), "", 24),
    ] {
        let run = async |_, request| offset_delete::handle(fake.clone(), request).await;
        in_every_version(&delete_request(group), run, |_, answer| {
            assert_eq!((answer.error_code, answer.topics.len()), (code, 0));
        });
    }
    // Also where no partition is there.
    let mut request = delete_request("g");
    request.topics.remove(0);
    for (fake, code, topics) in [
        (Fake::failing(ErrorCode::GroupIdNotFound), 69, 0),
        (Fake::replying(GroupReply::Offsets(Vec::new())), 0, 1),
    ] {
        let run = async |_, request| offset_delete::handle(fake.clone(), request).await;
        in_every_version(&request, run, |_, answer| {
            assert_eq!((answer.error_code, answer.topics.len()), (code, topics));
            let mut rows = answer.topics.iter().flat_map(|topic| &topic.partitions);
            assert!(rows.all(|row| row.error_code == 3));
        });
    }
}
