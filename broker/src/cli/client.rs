//! A small Kafka client: one connection per broker, one request at a time.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::header;
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use protocol::messages::{Message, Request};
use protocol::wire::{Reader, Str};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Target;
use super::exit::{Exit, Failure, Result};

/// Largest answer that is taken, in bytes.
const ANSWER_MAX: usize = 256 << 20;
/// Between two looks at metadata that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A connection to one broker.
pub struct Connection {
    stream: TcpStream,
    address: String,
    correlation: i32,
}

impl Connection {
    /// Connects.
    pub async fn open(address: &str, deadline: Instant) -> Result<Self> {
        let unreachable = |why: String| {
            Failure::with(Exit::Unreachable, format!("cannot reach {address}: {why}"))
                .next("is the broker running, and is --bootstrap its Kafka listener?")
        };
        let stream = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable("no answer in time".to_owned())),
        };
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Self {
            stream,
            address: address.to_owned(),
            correlation: 0,
        })
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response> {
        let api = R::KEY.name();
        let lost = |why: String| {
            let what = format!("{api} at {}: {why}", self.address);
            Failure::with(Exit::Unreachable, what)
                .next("try again; `walser cluster status` shows who is there")
        };
        self.correlation += 1;
        let correlation = self.correlation;
        let name = Some(Str::from_static("walser-cli"));
        let frame = header::request_frame(request, version, correlation, name)
            .map_err(|error| Failure::new(format!("{api}: {error}")))?;
        let exchange = exchange(&mut self.stream, &frame);
        let answer = match timeout_at(deadline, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(lost(format!("the connection broke: {error}"))),
            Err(_) => return Err(lost("no answer in time".to_owned())),
        };
        decode::<R>(answer, version, correlation)
            .map_err(|why| Failure::new(format!("{api} at {}: {why}", self.address)))
    }
}

async fn exchange(stream: &mut TcpStream, frame: &[Bytes]) -> std::io::Result<Bytes> {
    for piece in frame {
        stream.write_all(piece).await?;
    }
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_MAX {
        return Err(std::io::Error::other(format!(
            "an answer of {length} bytes"
        )));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}

fn decode<R: Request>(
    answer: Bytes,
    version: i16,
    correlation: i32,
) -> std::result::Result<R::Response, String> {
    let mut reader = Reader::new(answer);
    let got = header::decode_response_header(R::KEY, version, &mut reader);
    match got.map_err(|error| error.to_string())? {
        other if other != correlation => Err(format!("the answer of request {other}")),
        _ => <R::Response as Message>::decode(&mut reader, version).map_err(|e| e.to_string()),
    }
}

/// A cluster: its brokers, found through any of them.
pub struct Cluster {
    /// How long commands wait.
    pub deadline: Instant,
    /// How long that is from the start, in milliseconds, as requests say it.
    pub timeout_ms: i32,
    bootstrap: Vec<String>,
    addresses: HashMap<i32, String>,
    connections: HashMap<String, Connection>,
}

impl Cluster {
    /// The cluster that the command line names. Nothing is sent yet.
    pub fn new(target: &Target) -> Self {
        Self {
            deadline: Instant::now() + target.wait(),
            timeout_ms: i32::try_from(target.wait().as_millis()).unwrap_or(i32::MAX),
            bootstrap: target
                .bootstrap
                .split(',')
                .map(|a| a.trim().to_owned())
                .collect(),
            addresses: HashMap::new(),
            connections: HashMap::new(),
        }
    }

    /// Begins the wait anew, for commands that run for long.
    pub fn extend(&mut self, wait: Duration) {
        self.deadline = Instant::now() + wait;
    }

    /// Asks any broker.
    pub async fn any<R: Request>(&mut self, request: &R) -> Result<R::Response> {
        let known = self.addresses.values().cloned();
        let all: Vec<String> = self.bootstrap.iter().cloned().chain(known).collect();
        let mut last = Failure::usage("--bootstrap names no broker");
        for address in all {
            match self.at(&address, request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Asks one broker.
    pub async fn node<R: Request>(&mut self, node: i32, request: &R) -> Result<R::Response> {
        let Some(address) = self.addresses.get(&node).cloned() else {
            return Err(
                Failure::with(Exit::NotFound, format!("there is no node {node}"))
                    .next("`walser node list` shows the nodes"),
            );
        };
        self.at(&address, request).await
    }

    async fn at<R: Request>(&mut self, address: &str, request: &R) -> Result<R::Response> {
        let version = version(R::KEY);
        if !self.connections.contains_key(address) {
            let connection = Connection::open(address, self.deadline).await?;
            self.connections.insert(address.to_owned(), connection);
        }
        let connection = self.connections.get_mut(address).expect("just made");
        let answer = connection.call(version, request, self.deadline).await;
        if answer.is_err() {
            self.connections.remove(address);
        }
        answer
    }

    /// Metadata of these topics (None: all), and the brokers' addresses with it. Creates nothing.
    pub async fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let named = |name: &&str| MetadataRequestTopic {
            name: Some(Str::from(*name)),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = self.any(&request).await?;
        for broker in &answer.brokers {
            self.addresses
                .insert(broker.node_id, format!("{}:{}", broker.host, broker.port));
        }
        Ok(answer)
    }

    /// One topic.
    pub async fn topic(&mut self, name: &str) -> Result<MetadataResponseTopic> {
        let answer = self.metadata(Some(&[name])).await?;
        let topic = answer.topics.into_iter().next();
        let topic =
            topic.ok_or_else(|| Failure::new(format!("nothing was answered about {name}")))?;
        match topic.error_code {
            0 => Ok(topic),
            code => Err(Failure::of_code(code, None, &format!("topic {name}"))),
        }
    }

    /// The leader of a partition; waits for one within the deadline.
    pub async fn leader(&mut self, topic: &str, partition: i32) -> Result<i32> {
        loop {
            let found = self.topic(topic).await?;
            let row = found
                .partitions
                .iter()
                .find(|row| row.partition_index == partition);
            let what = format!("topic {topic} partition {partition}");
            match row {
                None => {
                    let code = ErrorCode::UnknownTopicOrPartition.code();
                    return Err(Failure::of_code(code, None, &what));
                }
                Some(row) if row.leader_id >= 0 => return Ok(row.leader_id),
                Some(_) if Instant::now() + LOOK_AGAIN >= self.deadline => {
                    let code = ErrorCode::LeaderNotAvailable.code();
                    return Err(Failure::of_code(code, None, &what));
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// The node that coordinates a group; waits for one within the deadline.
    pub async fn coordinator(&mut self, group: &str) -> Result<i32> {
        let what = format!("group {group}");
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![Str::from(group)],
            ..Default::default()
        };
        loop {
            let answer = self.any(&request).await?;
            let row = answer.coordinators.into_iter().next();
            let row =
                row.ok_or_else(|| Failure::new(format!("{what}: nothing was answered about it")))?;
            if row.error_code == 0 {
                let address = format!("{}:{}", row.host, row.port);
                self.addresses.insert(row.node_id, address);
                return Ok(row.node_id);
            }
            let message = row.error_message.as_deref();
            self.pause(&what, row.error_code, message).await?;
        }
    }

    /// Asks the coordinator of a group; another one when it has moved. `code` is the code of an answer.
    pub async fn coordinated<R: Request>(
        &mut self,
        group: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        let what = format!("group {group}");
        loop {
            let node = self.coordinator(group).await?;
            let answer = match self.node(node, request).await {
                Err(lost) if lost.exit == Exit::Unreachable => {
                    if Instant::now() + LOOK_AGAIN >= self.deadline {
                        return Err(lost);
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
                answer => answer?,
            };
            match ErrorCode::from_code(code(&answer)) {
                Some(
                    moved @ (ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::CoordinatorLoadInProgress),
                ) => self.pause(&what, moved.code(), None).await?,
                _ => return Ok(answer),
            }
        }
    }

    /// Waits before an attempt is repeated; an error when the time is over.
    pub async fn pause(&self, what: &str, code: i16, message: Option<&str>) -> Result<()> {
        let again = ErrorCode::from_code(code).is_some_and(ErrorCode::retriable);
        if !again || Instant::now() + LOOK_AGAIN >= self.deadline {
            return Err(Failure::of_code(code, message, what));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }
}

/// The version that this program speaks: the highest of the table, but where topics would have to be named by id.
fn version(key: ApiKey) -> i16 {
    match key {
        ApiKey::Fetch => 12,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        other => other.api().max,
    }
}
