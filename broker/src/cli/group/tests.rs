//! The commands against a broker of a few lines, which knows one group and one topic.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use clap::Parser;
use protocol::api::ApiKey;
use protocol::header::{RequestHeader, RequestStart, response_frame};
use protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeResponse, DescribedGroup as DescribedConsumers,
};
use protocol::messages::delete_groups::DeletableGroupResult;
use protocol::messages::find_coordinator::Coordinator;
use protocol::messages::list_groups::ListedGroup;
use protocol::messages::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use protocol::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use protocol::messages::{
    AnyRequest, AnyResponse, DeleteGroupsResponse, DescribeGroupsResponse, FindCoordinatorResponse,
    ListGroupsResponse, ListOffsetsResponse, MetadataResponse, OffsetCommitResponse,
    OffsetFetchResponse,
};
use protocol::wire::{Reader, Str};

use super::describe::{Look, Row, View, total_lag};
use super::offsets::Committed;
use super::position::{Position, Selection};
use super::seek::{Move, summary};
use super::*;
use crate::cli::{Cli, execute};
use protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};

/// Group `g` on topic `orders` of two partitions, each of offsets 100 to 200.
struct World {
    port: i32,
    state: &'static str,
    committed: BTreeMap<i32, i64>,
    commits: usize,
    deleted: Vec<String>,
    /// So many times the coordinator is still moving.
    moving: usize,
    /// The code of each commit.
    refuses: i16,
}

type Shared = Arc<Mutex<World>>;

/// Starts the broker: its address, and what it knows.
fn broker(state: &'static str, committed: &[(i32, i64)]) -> (String, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let world = Arc::new(Mutex::new(World {
        port: i32::from(address.port()),
        state,
        committed: committed.iter().copied().collect(),
        commits: 0,
        deleted: Vec::new(),
        moving: 0,
        refuses: 0,
    }));
    let shared = world.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, world) = (stream.expect("a client"), shared.clone());
            std::thread::spawn(move || serve(stream, &world));
        }
    });
    (address.to_string(), world)
}

/// Answers until the client goes.
fn serve(mut stream: TcpStream, world: &Shared) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).expect("a whole request");
        let mut reader = Reader::new(frame.into());
        let start = RequestStart::decode(&mut reader).expect("a header");
        let key = ApiKey::from_number(start.key).expect("a known API");
        RequestHeader::decode_rest(key, start, &mut reader).expect("a header");
        let request = AnyRequest::decode(key, &mut reader, start.version).expect("a request");
        let answer = world.lock().expect("nobody panicked").answer(request);
        let frame = response_frame(&answer, start.version, start.correlation).expect("an answer");
        stream.write_all(&frame.concat()).expect("sent");
    }
}

impl World {
    fn answer(&mut self, request: AnyRequest) -> AnyResponse {
        use AnyRequest as R;
        match request {
            R::Metadata(_) => self.metadata().into(),
            R::FindCoordinator(r) => FindCoordinatorResponse {
                coordinators: r
                    .coordinator_keys
                    .iter()
                    .map(|key| self.coordinator(key))
                    .collect(),
                ..Default::default()
            }
            .into(),
            R::ListGroups(_) => ListGroupsResponse {
                groups: vec![ListedGroup {
                    group_id: Str::from("g"),
                    group_state: Str::from(self.state),
                    ..Default::default()
                }],
                ..Default::default()
            }
            .into(),
            R::DescribeGroups(r) => DescribeGroupsResponse {
                groups: r.groups.iter().map(|group| self.describe(group)).collect(),
                ..Default::default()
            }
            .into(),
            // None of them is of the consumer protocol.
            R::ConsumerGroupDescribe(r) => {
                let absent = |group: &Str| DescribedConsumers {
                    group_id: group.clone(),
                    error_code: ErrorCode::GroupIdNotFound.code(),
                    ..Default::default()
                };
                ConsumerGroupDescribeResponse {
                    groups: r.group_ids.iter().map(absent).collect(),
                    ..Default::default()
                }
                .into()
            }
            R::OffsetFetch(_) => self.fetch().into(),
            R::ListOffsets(r) => {
                let topic = |topic: &protocol::messages::list_offsets::ListOffsetsTopic| {
                    let asked = &topic.partitions[0];
                    ListOffsetsTopicResponse {
                        name: topic.name.clone(),
                        partitions: vec![ListOffsetsPartitionResponse {
                            partition_index: asked.partition_index,
                            offset: match asked.timestamp {
                                -1 => 200,
                                -2 => 100,
                                5000 => 150,
                                _ => -1,
                            },
                            ..Default::default()
                        }],
                    }
                };
                ListOffsetsResponse {
                    topics: r.topics.iter().map(topic).collect(),
                    ..Default::default()
                }
                .into()
            }
            R::OffsetCommit(r) => self.commit(&r).into(),
            R::DeleteGroups(r) => {
                let result = |name: &Str| {
                    self.deleted.push(name.to_string());
                    DeletableGroupResult {
                        group_id: name.clone(),
                        error_code: 0,
                    }
                };
                DeleteGroupsResponse {
                    results: r.groups_names.iter().map(result).collect(),
                    ..Default::default()
                }
                .into()
            }
            other => panic!("{:?} was not expected", other.key()),
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            ..Default::default()
        };
        let topic = |name: &str, partitions: i32| MetadataResponseTopic {
            name: Some(Str::from(name)),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        };
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: Str::from("127.0.0.1"),
                port: self.port,
                rack: None,
            }],
            topics: vec![topic("orders", 2), topic("__consumer_offsets", 4)],
            ..Default::default()
        }
    }

    fn coordinator(&self, key: &Str) -> Coordinator {
        Coordinator {
            key: key.clone(),
            node_id: 1,
            host: Str::from("127.0.0.1"),
            port: self.port,
            ..Default::default()
        }
    }

    fn describe(&mut self, name: &Str) -> DescribedGroup {
        if self.moving > 0 {
            self.moving -= 1;
            return DescribedGroup {
                error_code: 16,
                group_id: name.clone(),
                ..Default::default()
            };
        }
        if **name != *"g" {
            return DescribedGroup {
                error_code: 69,
                group_id: name.clone(),
                group_state: Str::from("Dead"),
                ..Default::default()
            };
        }
        let member = DescribedGroupMember {
            member_id: Str::from("m-1"),
            client_id: Str::from("app"),
            member_assignment: assigned(&[("orders", &[1, 0])]),
            ..Default::default()
        };
        DescribedGroup {
            group_id: name.clone(),
            group_state: Str::from(self.state),
            protocol_type: Str::from("consumer"),
            members: if self.state == "Stable" {
                vec![member]
            } else {
                Vec::new()
            },
            ..Default::default()
        }
    }

    fn fetch(&self) -> OffsetFetchResponse {
        let row = |(partition, offset): (&i32, &i64)| OffsetFetchResponsePartitions {
            partition_index: *partition,
            committed_offset: *offset,
            metadata: Some(Str::new()),
            ..Default::default()
        };
        OffsetFetchResponse {
            groups: vec![OffsetFetchResponseGroup {
                group_id: Str::from("g"),
                topics: vec![OffsetFetchResponseTopics {
                    name: Str::from("orders"),
                    partitions: self.committed.iter().map(row).collect(),
                    ..Default::default()
                }],
                error_code: 0,
            }],
            ..Default::default()
        }
    }

    fn commit(&mut self, request: &OffsetCommitRequest) -> OffsetCommitResponse {
        assert_eq!(request.generation_id_or_member_epoch, -1);
        assert!(request.member_id.is_empty());
        self.commits += 1;
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for row in &topic.partitions {
                if self.refuses == 0 {
                    self.committed
                        .insert(row.partition_index, row.committed_offset);
                }
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: row.partition_index,
                    error_code: self.refuses,
                });
            }
            topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                partitions,
                ..Default::default()
            });
        }
        OffsetCommitResponse {
            topics,
            ..Default::default()
        }
    }
}

/// An assignment as Kafka's consumers write it.
fn assigned(topics: &[(&str, &[i32])]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(i32::try_from(topics.len()).expect("few"));
    for (topic, partitions) in topics {
        bytes.put_i16(i16::try_from(topic.len()).expect("short"));
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(i32::try_from(partitions.len()).expect("few"));
        for partition in *partitions {
            bytes.put_i32(*partition);
        }
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

fn run(address: &str, arguments: &[&str]) -> Result<()> {
    let target = ["-b", address, "--timeout", "5"];
    let all = [&["walser", "group"], arguments, &target].concat();
    execute(
        Cli::try_parse_from(all)
            .expect("arguments that parse")
            .command,
    )
}

#[test]
fn positions_are_read_as_they_are_written() {
    for (text, position) in [
        ("start", Position::Start),
        ("end", Position::End),
        ("0", Position::At(0)),
        ("17", Position::At(17)),
        ("+5", Position::Shift(5)),
        ("-5", Position::Shift(-5)),
        ("@1700000000000", Position::Time(1_700_000_000_000)),
        ("@2023-11-14T22:13:20Z", Position::Time(1_700_000_000_000)),
        (
            "@2024-02-29T00:00:00.25Z",
            Position::Time(1_709_164_800_250),
        ),
        ("@1970-01-01T00:00:00Z", Position::Time(0)),
    ] {
        assert_eq!(text.parse(), Ok(position), "{text}");
    }
    for wrong in [
        "",
        "middle",
        "+",
        "--5",
        "+-5",
        "1.5",
        "@",
        "@yesterday",
        "@2023-02-29T00:00:00Z",
        "@2023-11-14T24:00:00Z",
        "@2023-11-14T22:13:20",
        "@2023-11-+4T22:13:20Z",
        "99999999999999999999",
    ] {
        assert!(wrong.parse::<Position>().is_err(), "{wrong}");
    }
}

#[test]
fn positions_stay_within_what_is_there() {
    let range = (100, 200);
    for (position, committed, of_time, offset) in [
        (Position::Start, Some(150), None, 100),
        (Position::End, Some(150), None, 200),
        (Position::At(120), None, None, 120),
        (Position::At(5), None, None, 100),
        (Position::At(500), None, None, 200),
        (Position::Shift(7), Some(150), None, 157),
        (Position::Shift(-7), Some(150), None, 143),
        (Position::Shift(-70), Some(150), None, 100),
        (Position::Shift(i64::MAX), Some(150), None, 200),
        (Position::Shift(7), None, None, 107),
        (Position::Time(1), Some(150), Some(160), 160),
        (Position::Time(1), Some(150), None, 200),
    ] {
        assert_eq!(
            position.resolve(committed, range, of_time),
            offset,
            "{position:?}"
        );
    }
}

#[test]
fn selections_are_topics_or_their_partitions() {
    let selection = |topic: &str, partition| Selection {
        topic: topic.to_owned(),
        partition,
    };
    assert_eq!("orders".parse(), Ok(selection("orders", None)));
    assert_eq!("orders/7".parse(), Ok(selection("orders", Some(7))));
    for wrong in ["", "/7", "orders/", "orders/-1", "orders/x"] {
        assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
    }
}

#[test]
fn assignments_are_read_and_garbage_is_not() {
    let two = assigned(&[("orders", &[1, 0]), ("clicks", &[3])]);
    let place = |topic: &str, partition| (topic.to_owned(), partition);
    let expected = vec![place("clicks", 3), place("orders", 0), place("orders", 1)];
    assert_eq!(assignment::decode(&two), Some(expected));
    assert_eq!(assignment::decode(&Bytes::new()), Some(Vec::new()));
    for length in 1..two.len() - 4 {
        assert_eq!(
            assignment::decode(&two.slice(..length)),
            None,
            "{length} bytes"
        );
    }
    let huge = Bytes::from_static(&[0, 1, 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(assignment::decode(&huge), None);
}

#[test]
fn groups_are_listed_and_described() {
    let (address, world) = broker("Stable", &[(0, 150)]);
    assert_eq!(run(&address, &["list"]), Ok(()));
    world.lock().expect("nobody panicked").moving = 2;
    for format in ["text", "wide", "json"] {
        assert_eq!(
            run(&address, &["describe", "g", "--format", format]),
            Ok(())
        );
    }
    assert_eq!(
        world.lock().expect("nobody panicked").moving,
        0,
        "asked again"
    );
    assert_eq!(run(&address, &["why", "g"]), Ok(()));
    let absent = run(&address, &["describe", "other"]).expect_err("no such group");
    assert_eq!(absent.exit, Exit::NotFound, "{absent}");
}

#[test]
fn a_group_is_moved() {
    let (address, world) = broker("Empty", &[(0, 150), (1, 160)]);
    let committed = || {
        let world = world.lock().expect("nobody panicked");
        (world.commits, world.committed[&0], world.committed[&1])
    };
    let dry = ["seek", "g", "--to", "start", "--dry-run"];
    assert_eq!(run(&address, &dry), Ok(()));
    assert_eq!(committed(), (0, 150, 160), "nothing is changed");
    for (to, topics, after) in [
        ("start", &[][..], (1, 100, 100)),
        ("+5", &[], (2, 105, 105)),
        ("-5", &["orders/1"], (3, 105, 100)),
        ("@5000", &["orders"], (4, 150, 150)),
        ("@9000", &[], (5, 200, 200)),
        ("170", &["orders/0", "orders/1"], (6, 170, 170)),
    ] {
        let mut arguments = vec!["seek", "g", "--to", to, "--yes"];
        arguments.extend(topics.iter().flat_map(|topic| ["--topic", topic]));
        assert_eq!(run(&address, &arguments), Ok(()), "{to}");
        assert_eq!(committed(), after, "{to}");
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let unsaid = run(&address, &["seek", "g", "--to", "end"]).expect_err("not said");
        assert_eq!(unsaid.exit, Exit::NeedsYes);
        assert_eq!(committed(), (6, 170, 170));
    }
    let absent = ["seek", "other", "--to", "end", "--yes"];
    let absent = run(&address, &absent).expect_err("no such group");
    assert_eq!(absent.exit, Exit::NotFound);
    let nowhere = ["seek", "g", "--to", "end", "--yes", "--topic", "orders/9"];
    let nowhere = run(&address, &nowhere).expect_err("no such partition");
    assert_eq!(nowhere.exit, Exit::NotFound);
    // A commit that is refused is not told as done.
    world.lock().expect("nobody panicked").refuses = 25;
    let refused = ["seek", "g", "--to", "end", "--yes"];
    let refused = run(&address, &refused).expect_err("somebody joined meanwhile");
    assert_eq!(refused.exit, Exit::Failure, "{refused}");
}

#[test]
fn a_group_that_reads_is_left_alone() {
    let (address, world) = broker("Stable", &[(0, 150)]);
    for arguments in [
        &["seek", "g", "--to", "start", "--yes"][..],
        &["delete", "g", "--yes"],
    ] {
        let refused = run(&address, arguments).expect_err("it has members");
        assert_eq!(refused.exit, Exit::Failure);
        assert!(
            refused.message.contains("has 1 members and is Stable"),
            "{refused}"
        );
    }
    let world = world.lock().expect("nobody panicked");
    assert_eq!((world.commits, world.deleted.len()), (0, 0));
}

#[test]
fn groups_are_deleted() {
    let (address, world) = broker("Empty", &[(0, 150)]);
    assert_eq!(run(&address, &["delete", "g", "--dry-run"]), Ok(()));
    let deleted = || world.lock().expect("nobody panicked").deleted.clone();
    assert_eq!(deleted(), Vec::<String>::new());
    let absent = run(&address, &["delete", "g", "other", "--yes"]).expect_err("no such group");
    assert_eq!(absent.exit, Exit::NotFound);
    assert_eq!(deleted(), Vec::<String>::new(), "all or none are there");
    assert_eq!(run(&address, &["delete", "g", "--yes"]), Ok(()));
    assert_eq!(deleted(), ["g"]);
}

fn row(partition: i32, committed: Option<i64>, end: Option<i64>) -> Row {
    Row {
        place: ("orders".to_owned(), partition),
        committed: committed.map(|offset| Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }),
        end,
        member: None,
        client: None,
    }
}

#[test]
fn a_lag_that_is_not_known_is_not_zero() {
    assert_eq!(
        total_lag(&[row(0, Some(5), Some(7)), row(1, Some(5), Some(5))]),
        Some(2)
    );
    assert_eq!(
        total_lag(&[row(0, Some(5), None), row(1, Some(5), Some(7))]),
        None
    );
    assert_eq!(
        total_lag(&[row(0, None, Some(7))]),
        Some(0),
        "nothing is committed"
    );
    assert_eq!(row(0, Some(9), Some(7)).lag(), Some(0));
}

#[test]
fn causes_are_named() {
    let reason = |state: &str, rows: Vec<Row>| {
        why::reason(&View {
            look: Look {
                name: "g".to_owned(),
                coordinator: 2,
                described: DescribedGroup {
                    group_state: Str::from(state),
                    ..Default::default()
                },
            },
            rows,
            told: None,
        })
    };
    for (state, rows, expected) in [
        (
            "Empty",
            vec![row(0, Some(5), Some(7))],
            "nobody reads: it has no members, lag 2, most of it in orders/0",
        ),
        (
            "Stable",
            vec![row(0, Some(7), Some(7))],
            "stable with 0 members, it has read everything",
        ),
        (
            "Stable",
            vec![row(0, Some(7), None)],
            "the leader of orders/0 cannot be asked",
        ),
        (
            "PreparingRebalance",
            Vec::new(),
            "node 2 waits for its 0 members",
        ),
        ("CompletingRebalance", Vec::new(), "has not assigned yet"),
    ] {
        let reason = reason(state, rows);
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn what_a_move_means_is_said_before() {
    let to = |partition, before, after| Move {
        place: ("orders".to_owned(), partition),
        before,
        after,
        range: (0, 100),
    };
    let moves = [
        to(0, Some(50), 20),
        to(1, Some(50), 60),
        to(2, Some(9), 9),
        to(3, None, 5),
    ];
    assert_eq!(
        summary("g", &moves),
        "group g: 3 offsets move, 30 records will be read again, 10 skipped"
    );
}
