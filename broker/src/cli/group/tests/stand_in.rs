//! A broker of a few lines, which knows one group and one topic.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use protocol::api::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::header::{RequestHeader, RequestStart, response_frame};
use protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeResponse, DescribedGroup as DescribedConsumers,
};
use protocol::messages::delete_groups::DeletableGroupResult;
use protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
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

/// Group `g` on topic `orders` of two partitions, each of offsets 100 to 200.
pub(super) struct World {
    port: i32,
    state: &'static str,
    pub(super) committed: BTreeMap<i32, i64>,
    pub(super) commits: usize,
    pub(super) deleted: Vec<String>,
    /// So many times the coordinator is still moving.
    pub(super) moving: usize,
    /// The code of each commit.
    pub(super) refuses: i16,
}

pub(super) type Shared = Arc<Mutex<World>>;

/// Starts the broker: its address, and what it knows.
pub(super) fn broker(state: &'static str, committed: &[(i32, i64)]) -> (String, Shared) {
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
pub(super) fn assigned(topics: &[(&str, &[i32])]) -> Bytes {
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
