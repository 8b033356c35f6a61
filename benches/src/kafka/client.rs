//! A blocking connection, and the few requests that prepare a topic.

use super::{CLIENT_ID, TIMEOUT_MS, error_name};
use crate::error::{Doing, Error, Result};
use bytes::Bytes;
use protocol::header::{decode_response_header, request_frame};
use protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use protocol::messages::metadata::MetadataRequestTopic;
use protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest, Message,
    MetadataRequest, MetadataResponse, Request,
};
use protocol::wire::Reader;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

// Versions that every Kafka broker of the last years serves, and any stand-in can.
const METADATA_VERSION: i16 = 5;
const CREATE_TOPICS_VERSION: i16 = 4;
const DELETE_TOPICS_VERSION: i16 = 1;
const ALTER_CONFIGS_VERSION: i16 = 1;
/// Of configs: the kind of a topic, and the operation that sets a value.
const TOPIC: i8 = 2;
const SET: i8 = 0;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Kafka has no push for "every partition has its leader": it has to be asked.
const LEADERS_POLL: Duration = Duration::from_millis(20);
const LEADERS_TIMEOUT: Duration = Duration::from_secs(60);

/// One connection on which requests are answered one at a time.
pub(crate) struct Client {
    peer: String,
    socket: TcpStream,
    correlation: i32,
}

impl Client {
    pub(crate) fn connect(peer: &str) -> Result<Self> {
        Self::connect_with(peer, ANSWER_TIMEOUT)
    }

    fn connect_with(peer: &str, patience: Duration) -> Result<Self> {
        let socket = connect(peer)?;
        socket
            .set_read_timeout(Some(patience))
            .doing(|| format!("prepare the connection to {peer}"))?;
        Ok(Self {
            peer: peer.into(),
            socket,
            correlation: 0,
        })
    }

    /// Asks and waits for the answer.
    pub(crate) fn call<M: Request>(&mut self, request: &M, version: i16) -> Result<M::Response> {
        self.correlation += 1;
        let frame = request_frame(request, version, self.correlation, Some(CLIENT_ID.into()))
            .map_err(|e| Error::Usage(e.to_string()))?;
        let answer = self.exchange(&frame.concat())?;
        let mut reader = Reader::new(answer);
        let correlation = decode_response_header(M::KEY, version, &mut reader);
        if correlation.as_ref() != Ok(&self.correlation) {
            return Err(self.malformed(format!("a header of another answer: {correlation:?}")));
        }
        M::Response::decode(&mut reader, version).map_err(|e| self.malformed(e.to_string()))
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Bytes> {
        let mut prefix = [0; 4];
        let mut ask = || {
            self.socket.write_all(request)?;
            self.socket.read_exact(&mut prefix)
        };
        ask().doing(|| format!("ask {}", self.peer))?;
        let length = protocol::frame::frame_length(prefix, ANSWER_BYTES_MAX)
            .map_err(|e| self.malformed(e.to_string()))?;
        let mut answer = vec![0; length];
        self.socket
            .read_exact(&mut answer)
            .doing(|| format!("read from {}", self.peer))?;
        Ok(answer.into())
    }

    fn malformed(&self, what: String) -> Error {
        Error::Malformed {
            peer: self.peer.clone(),
            what,
        }
    }
}

pub(crate) fn connect(peer: &str) -> Result<TcpStream> {
    let connect = || {
        let socket = TcpStream::connect(peer)?;
        socket.set_nodelay(true)?;
        Ok::<_, std::io::Error>(socket)
    };
    connect().doing(|| format!("connect to {peer}"))
}

/// A cluster, known by some of its brokers.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port,host:port,...`
    bootstrap: String,
    /// How long an answer may take.
    patience: Duration,
}

/// Where a topic's partitions are led.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// The topic's name.
    pub name: String,
    /// Partitions by the address of their leader.
    pub by_leader: BTreeMap<String, Vec<i32>>,
    /// What the topic answers, 0 when it is known.
    error: i16,
}

impl Topic {
    /// The address of a partition's leader.
    pub(crate) fn leader_of(&self, partition: i32) -> Option<&str> {
        let leads = |(_, led): &(&String, &Vec<i32>)| led.contains(&partition);
        let (leader, _) = self.by_leader.iter().find(leads)?;
        Some(leader)
    }
}

impl Cluster {
    /// `bootstrap` is the `host:port` of any broker, or of several, separated by commas.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            patience: ANSWER_TIMEOUT,
        }
    }

    /// The same, that asks another of its brokers first and waits so long for an answer.
    pub(crate) fn beginning_with(&self, number: usize, patience: Duration) -> Self {
        let mut brokers: Vec<_> = self.bootstrap.split(',').collect();
        let first = number % brokers.len();
        brokers.rotate_left(first);
        Self {
            bootstrap: brokers.join(","),
            patience,
        }
    }

    /// The broker that is asked first.
    pub(crate) fn first(&self) -> &str {
        self.bootstrap.split(',').next().unwrap_or_default()
    }

    /// Creates a topic and waits until every partition has a leader.
    ///
    /// # Errors
    /// When the cluster refuses, or some partition stays without a leader.
    pub fn create_topic(&self, name: &str, partitions: i32, replicas: i16) -> Result<Topic> {
        self.create_topic_with(name, partitions, replicas, &[])
    }

    /// The same, with configs of its own.
    ///
    /// # Errors
    /// As [`Cluster::create_topic`].
    pub fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> Result<Topic> {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor: replicas,
                configs: configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: TIMEOUT_MS,
            ..CreateTopicsRequest::default()
        };
        let answer = self.ask(&request, CREATE_TOPICS_VERSION)?;
        refused(
            "create",
            name,
            answer.topics.first().map(|topic| topic.error_code),
        )?;
        self.await_leaders(name, partitions)
    }

    /// Sets configs of a topic that is there.
    pub(crate) fn set_topic_configs(&self, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
        let config = |(name, value): &(&str, &str)| AlterableConfig {
            name: (*name).into(),
            config_operation: SET,
            value: Some((*value).into()),
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: topic.into(),
                configs: configs.iter().map(config).collect(),
            }],
            validate_only: false,
        };
        let answer = self.ask(&request, ALTER_CONFIGS_VERSION)?;
        let code = answer.responses.first().map(|topic| topic.error_code);
        refused("set configs of", topic, code)
    }

    pub(crate) fn ask<M: Request>(&self, request: &M, version: i16) -> Result<M::Response> {
        self.connect()?.call(request, version)
    }

    /// The first broker that can be reached.
    fn connect(&self) -> Result<Client> {
        let mut unreachable = Error::Usage("no broker is named".into());
        for broker in self.bootstrap.split(',') {
            match Client::connect_with(broker, self.patience) {
                Ok(client) => return Ok(client),
                Err(e) => unreachable = e,
            }
        }
        Err(unreachable)
    }

    fn await_leaders(&self, name: &str, partitions: i32) -> Result<Topic> {
        let started = Instant::now();
        loop {
            let topic = self.topic(name)?;
            let led: usize = topic.by_leader.values().map(Vec::len).sum();
            if topic.error == 0 && usize::try_from(partitions) == Ok(led) {
                return Ok(topic);
            }
            if started.elapsed() > LEADERS_TIMEOUT {
                let (waited, error) = (LEADERS_TIMEOUT.as_secs(), error_name(topic.error));
                return Err(Error::Cluster(format!(
                    "{name}: {led} of {partitions} partitions have a leader after {waited} s; \
                     the topic answers {error}"
                )));
            }
            thread::sleep(LEADERS_POLL);
        }
    }

    /// Asks where the partitions of a topic are led now.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        let wanted = MetadataRequestTopic {
            name: Some(name.into()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        Ok(leaders(name, self.ask(&request, METADATA_VERSION)?))
    }

    /// Deletes a topic, so that one cell leaves nothing to the next.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.into()],
            timeout_ms: TIMEOUT_MS,
            ..DeleteTopicsRequest::default()
        };
        let answer = self.ask(&request, DELETE_TOPICS_VERSION)?;
        refused(
            "delete",
            name,
            answer.responses.first().map(|topic| topic.error_code),
        )
    }
}

fn refused(deed: &str, topic: &str, code: Option<i16>) -> Result<()> {
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(Error::Cluster(format!(
            "{deed} {topic}: {}",
            error_name(code)
        ))),
        None => Err(Error::Cluster(format!(
            "{deed} {topic}: an answer without the topic"
        ))),
    }
}

fn leaders(name: &str, answer: MetadataResponse) -> Topic {
    let address = |id| {
        let broker = answer.brokers.iter().find(|broker| broker.node_id == id)?;
        Some(format!("{}:{}", &*broker.host, broker.port))
    };
    let mut found = Topic {
        name: name.into(),
        ..Topic::default()
    };
    for topic in &answer.topics {
        found.error = topic.error_code;
        for partition in topic
            .partitions
            .iter()
            .filter(|partition| partition.error_code == 0)
        {
            if let Some(leader) = address(partition.leader_id) {
                found
                    .by_leader
                    .entry(leader)
                    .or_default()
                    .push(partition.partition_index);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broker_can_be_the_first_that_is_asked() {
        let cluster = Cluster::new("a:1,b:1,c:1");
        let from = |number| cluster.beginning_with(number, Duration::ZERO);
        assert_eq!(from(0).first(), "a:1");
        assert_eq!(from(4).bootstrap, "b:1,c:1,a:1");
    }
}
