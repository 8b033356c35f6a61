//! A blocking connection, and the few requests that prepare a topic.

use super::wire::{Read as Fields, Reader, Writer, error_name, frame};
use crate::error::{Doing, Error, Result};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const METADATA: (i16, i16) = (3, 5);
const CREATE_TOPICS: (i16, i16) = (19, 4);
const DELETE_TOPICS: (i16, i16) = (20, 1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Kafka has no push for "every partition has its leader": it has to be asked.
const LEADERS_POLL: Duration = Duration::from_millis(20);
const LEADERS_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_MS: i32 = 30_000;

/// One connection on which requests are answered one at a time.
pub(super) struct Client {
    peer: String,
    socket: TcpStream,
    correlation: i32,
}

impl Client {
    pub(super) fn connect(peer: &str) -> Result<Self> {
        let socket = connect(peer)?;
        socket
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .doing(|| format!("prepare the connection to {peer}"))?;
        Ok(Self {
            peer: peer.into(),
            socket,
            correlation: 0,
        })
    }

    /// The body of the answer to one request.
    pub(super) fn call(&mut self, (key, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
        self.correlation += 1;
        let request = frame(key, version, self.correlation, body);
        let mut exchange = || {
            self.socket.write_all(&request)?;
            let mut head = [0; 8];
            self.socket.read_exact(&mut head)?;
            Ok::<_, std::io::Error>(head)
        };
        let head = exchange().doing(|| format!("ask {} (API key {key})", self.peer))?;
        let [length, correlation] = [&head[..4], &head[4..]].map(|four| Reader(four).i32());
        let bytes = length
            .ok()
            .and_then(|n| usize::try_from(n).ok()?.checked_sub(4));
        let Some(bytes) = bytes.filter(|bytes| *bytes <= ANSWER_BYTES_MAX) else {
            return Err(self.malformed("a length out of bounds".into()));
        };
        if correlation != Ok(self.correlation) {
            return Err(self.malformed("the answer to another request".into()));
        }
        let mut answer = vec![0; bytes];
        self.socket
            .read_exact(&mut answer)
            .doing(|| format!("read from {}", self.peer))?;
        Ok(answer)
    }

    pub(super) fn malformed(&self, what: String) -> Error {
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

/// A cluster, known by one of its brokers.
#[derive(Clone, Debug)]
pub struct Cluster {
    bootstrap: String,
}

/// Where a topic's partitions are led.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// The topic's name.
    pub name: String,
    /// Partitions by the address of their leader.
    pub by_leader: BTreeMap<String, Vec<i32>>,
    /// Partitions that have no leader yet.
    leaderless: usize,
    error: i16,
}

impl Cluster {
    /// `bootstrap` is the `host:port` of any broker.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.into(),
        }
    }

    /// Creates a topic and waits until every partition has a leader.
    ///
    /// # Errors
    /// When the cluster refuses, or some partition stays without a leader.
    pub fn create_topic(&self, name: &str, partitions: usize, replicas: i16) -> Result<Topic> {
        let mut body = Writer::default();
        body.count(1)
            .string(name)
            .count(partitions)
            .i16(replicas)
            .count(0)
            .count(0);
        body.i32(TIMEOUT_MS).i8(0);
        let mut client = Client::connect(&self.bootstrap)?;
        let answer = client.call(CREATE_TOPICS, &body.0)?;
        match created(&answer).map_err(|what| client.malformed(what))? {
            0 => self.await_leaders(name, partitions),
            code => Err(Error::Cluster(format!(
                "create {name}: {}",
                error_name(code)
            ))),
        }
    }

    fn await_leaders(&self, name: &str, partitions: usize) -> Result<Topic> {
        let started = Instant::now();
        loop {
            let topic = self.topic(name)?;
            let led: usize = topic.by_leader.values().map(Vec::len).sum();
            if topic.error == 0 && led == partitions {
                return Ok(topic);
            }
            if started.elapsed() > LEADERS_TIMEOUT {
                let (waited, error) = (LEADERS_TIMEOUT.as_secs(), error_name(topic.error));
                return Err(Error::Cluster(format!(
                    "{name}: {led} of {partitions} partitions have a leader after {waited} s, \
                     {} have none, the topic answers {error}",
                    topic.leaderless
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
        let mut body = Writer::default();
        body.count(1).string(name).i8(0);
        let mut client = Client::connect(&self.bootstrap)?;
        let answer = client.call(METADATA, &body.0)?;
        let mut topic = leaders(&answer).map_err(|what| client.malformed(what))?;
        topic.name = name.into();
        Ok(topic)
    }

    /// Deletes a topic, so that one cell leaves nothing to the next.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let mut body = Writer::default();
        body.count(1).string(name).i32(TIMEOUT_MS);
        let mut client = Client::connect(&self.bootstrap)?;
        let answer = client.call(DELETE_TOPICS, &body.0)?;
        match created(&answer).map_err(|what| client.malformed(what))? {
            0 => Ok(()),
            code => Err(Error::Cluster(format!(
                "delete {name}: {}",
                error_name(code)
            ))),
        }
    }
}

/// The error of the one topic in an answer to CreateTopics or DeleteTopics.
fn created(answer: &[u8]) -> Fields<i16> {
    let mut fields = Reader(answer);
    let _throttle_ms = fields.i32()?;
    match fields.count()? {
        1 => fields.string().and_then(|_| fields.i16()),
        count => Err(format!("{count} topics, asked for one")),
    }
}

fn leaders(answer: &[u8]) -> Fields<Topic> {
    let mut fields = Reader(answer);
    let _throttle_ms = fields.i32()?;
    let mut brokers = BTreeMap::new();
    for _ in 0..fields.count()? {
        let (id, host, port) = (fields.i32()?, fields.string()?, fields.i32()?);
        let _rack = fields.string()?;
        brokers.insert(id, format!("{host}:{port}"));
    }
    let (_cluster_id, _controller) = (fields.string()?, fields.i32()?);
    let mut topic = Topic::default();
    for _ in 0..fields.count()? {
        topic.error = fields.i16()?;
        let (_name, _internal) = (fields.string()?, fields.i8()?);
        for _ in 0..fields.count()? {
            let (error, partition, leader) = (fields.i16()?, fields.i32()?, fields.i32()?);
            for _replicas_isr_offline in 0..3 {
                fields.skip_ids()?;
            }
            match brokers.get(&leader) {
                Some(address) if error == 0 => {
                    topic
                        .by_leader
                        .entry(address.clone())
                        .or_default()
                        .push(partition);
                }
                _ => topic.leaderless += 1,
            }
        }
    }
    Ok(topic)
}
