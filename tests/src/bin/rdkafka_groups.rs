//! The Rust crate rdkafka in groups, one line a check as every client of `tests/clients/run.sh`: admin, idempotent
//! producing with every codec of this build, a group of three, a member that dies, and a group under faults.
//!
//! ```text
//! rdkafka-groups BOOTSTRAP RUN [faults | member TOPIC]
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tests::wire::{Connection, requests};

const PARTITIONS: i32 = 6;
const COUNT: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(60);
/// Faults, and what a client needs to get over them.
const FAULTS: Duration = Duration::from_secs(240);

type Outcome<T = ()> = Result<T, String>;
/// Partition and value.
type Value = (i32, String);

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (suite, mode) = match words[..] {
        [bootstrap, run, ref mode @ ..] => (Suite::new(bootstrap, run), mode),
        _ => panic!("rdkafka-groups BOOTSTRAP RUN [faults | member TOPIC]"),
    };
    match mode {
        ["member", topic] => suite.be_member(topic),
        ["faults"] => {
            for strategy in ["range,roundrobin", "cooperative-sticky"] {
                let name = format!("kill and restart, {strategy}");
                check(&name, || suite.under_faults(strategy));
            }
        }
        _ => {
            for codec in ["none", "gzip", "snappy", "lz4"] {
                let name = format!("idempotent, {codec}");
                check(&name, || suite.both(codec).map(|()| String::new()));
            }
            for strategy in ["range,roundrobin", "cooperative-sticky"] {
                let name = format!("group of three, {strategy}");
                check(&name, || {
                    suite.three_and_back(strategy).map(|()| String::new())
                });
            }
            check("a member dies", || suite.one_dies().map(|()| String::new()));
        }
    }
    println!("DONE");
}

fn check(name: &str, body: impl FnOnce() -> Outcome<String>) {
    match body() {
        Ok(said) if said.is_empty() => println!("PASS {name}"),
        Ok(said) => println!("PASS {name}: {said}"),
        Err(why) => println!("FAIL {name}: {}", why.replace('\n', " ")),
    }
}

struct Suite {
    bootstrap: String,
    run: String,
}

impl Suite {
    fn new(bootstrap: &str, run: &str) -> Suite {
        Suite {
            bootstrap: bootstrap.to_owned(),
            run: run.to_owned(),
        }
    }

    fn name_of(&self, check: &str) -> String {
        format!("rdkafka-{}-{}", self.run, check.replace(',', "-"))
    }

    /// By hand: rdkafka's own administration is asynchronous, and no part of this suite.
    fn create(&self, topic: &str) -> Outcome {
        let broker = self.bootstrap.split(',').next().unwrap_or_default();
        let mut any = Connection::open(broker, PATIENCE).map_err(text)?;
        let metadata = requests::metadata(&mut any, &[]).map_err(text)?;
        let copies = metadata.brokers.len().min(3) as i16;
        let controller = metadata.address(metadata.controller);
        let mut controller =
            Connection::open(controller.ok_or("no controller")?, PATIENCE).map_err(text)?;
        let code = requests::create_topic(&mut controller, topic, PARTITIONS, copies, &[]);
        match code.map_err(text)? {
            0 => Ok(()),
            code => Err(format!("{topic} was not created: {code}")),
        }
    }

    fn send(&self, topic: &str, codec: &str, values: &[Value]) -> Outcome {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("enable.idempotence", "true")
            .set("compression.codec", codec)
            .set("linger.ms", "10")
            .create()
            .map_err(text)?;
        for (number, (partition, value)) in values.iter().enumerate() {
            let header = Header {
                key: "codec",
                value: Some(codec),
            };
            let key = number.to_string();
            let record = BaseRecord::to(topic)
                .partition(*partition)
                .key(&key)
                .payload(value)
                .headers(OwnedHeaders::new().insert(header));
            producer.send(record).map_err(|(error, _)| text(error))?;
        }
        producer.flush(PATIENCE).map_err(text)
    }

    fn produce(&self, topic: &str, first: u32, count: u32) -> Outcome {
        self.send(topic, "none", &values(first, count))
    }

    fn join(&self, topic: &str, strategy: &str) -> Outcome<Member> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", topic)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("partition.assignment.strategy", strategy)
            .create()
            .map_err(text)?;
        consumer.subscribe(&[topic]).map_err(text)?;
        Ok(Member {
            topic: topic.to_owned(),
            consumer: Arc::new(consumer),
            committing: None,
            read: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// Keys, values of many sizes and headers come back as they were sent.
    fn both(&self, codec: &str) -> Outcome {
        let topic = self.name_of(codec);
        self.create(&topic)?;
        let value = |(partition, value): Value| {
            let times = value.len() * 7 % 50 + 1;
            (partition, format!("{value} ").repeat(times))
        };
        let sent: Vec<Value> = values(0, 200).into_iter().map(value).collect();
        self.send(&topic, codec, &sent)?;
        let mut members = vec![self.join(&topic, "range")?];
        until(&mut members, "reading", PATIENCE, |members| {
            members[0].read.len() >= sent.len()
        })?;
        let intact =
            |(key, header): &(String, String)| key.parse::<u32>().is_ok() && header == codec;
        if !members[0].headers.iter().all(intact) {
            return Err("keys or headers are others".to_owned());
        }
        same(&members, sent, Repeats::None)
    }

    /// Three members share a topic, read all of it, commit, leave; the next one begins where they were.
    fn three_and_back(&self, strategy: &str) -> Outcome {
        let topic = self.name_of(&format!("three-{strategy}"));
        self.create(&topic)?;
        let mut members = self.members(&topic, strategy, 3)?;
        until(&mut members, "sharing", PATIENCE, |all| {
            shared(all, PARTITIONS)
        })?;
        self.produce(&topic, 0, COUNT)?;
        let wanted = values(0, COUNT);
        until(&mut members, "reading", PATIENCE, |members| {
            different(members).len() >= wanted.len()
        })?;
        same(&members, wanted, Repeats::None)?;
        members.iter().try_for_each(Member::commit)?;
        drop(members);
        self.produce(&topic, COUNT, 10)?;
        self.come_back(&topic, strategy, COUNT, 10)
    }

    fn members(&self, topic: &str, strategy: &str, count: usize) -> Outcome<Vec<Member>> {
        (0..count).map(|_| self.join(topic, strategy)).collect()
    }

    fn come_back(&self, topic: &str, strategy: &str, first: u32, count: u32) -> Outcome {
        let mut last = self.members(topic, strategy, 1)?;
        let wanted = values(first, count);
        until(&mut last, "coming back", PATIENCE, |last| {
            last[0].read.len() >= wanted.len()
        })?;
        same(&last, wanted, Repeats::None)
    }

    /// The life of the process that gets killed.
    fn be_member(&self, topic: &str) {
        let mut member = self.join(topic, "range").expect("the topic exists");
        loop {
            member.poll();
        }
    }

    /// A member in a process of its own is killed and leaves nothing behind: the others get what it had.
    fn one_dies(&self) -> Outcome {
        let topic = self.name_of("dies");
        self.create(&topic)?;
        let own = std::env::current_exe().map_err(text)?;
        let mut child = Command::new(own);
        child.args([&self.bootstrap, &self.run, "member", &topic]);
        let mut child = Killed(child.stdout(Stdio::null()).spawn().map_err(text)?);
        let mut members = self.members(&topic, "range", 2)?;
        // The third of the partitions is the child's.
        until(&mut members, "sharing with the third", PATIENCE, |all| {
            shared(all, PARTITIONS / 3 * 2)
        })?;
        child.0.kill().map_err(text)?;
        self.produce(&topic, 0, COUNT)?;
        until(&mut members, "taking over", PATIENCE, |all| {
            shared(all, PARTITIONS)
        })?;
        let wanted = values(0, COUNT);
        until(&mut members, "reading", PATIENCE, |members| {
            different(members).len() >= wanted.len()
        })?;
        // What was read and not committed before it died is read again.
        same(&members, wanted, Repeats::Some)
    }

    /// A group of three reads a topic while its coordinator is killed in a rebalance and then stopped in order.
    fn under_faults(&self, strategy: &str) -> Outcome<String> {
        let topic = self.name_of(&format!("faults-{strategy}"));
        let stand = Stand::open()?;
        stand.say(&format!("group {topic}"))?;
        stand.wait(&mut Vec::new())?;
        let mut members = self.members(&topic, strategy, 2)?;
        until(&mut members, "two sharing", PATIENCE, |all| {
            shared(all, PARTITIONS)
        })?;
        stand.say("faults")?;
        members.push(self.join(&topic, strategy)?);
        let count = number(&stand.wait(&mut members)?)?;
        let wanted = values(0, count);
        until(&mut members, "reading all", PATIENCE, |members| {
            members.iter_mut().for_each(Member::commit_or_tell);
            different(members).len() >= wanted.len()
        })?;
        same(&members, wanted, Repeats::Some)?;
        stand.say("judge")?;
        let verdict = stand.wait(&mut members)?;
        drop(members);
        stand.say("more")?;
        let after = number(&stand.wait(&mut Vec::new())?)?;
        self.come_back(&topic, strategy, count, after - count)?;
        Ok(verdict)
    }
}

/// A child that does not outlive its check.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A consumer of a group; dropping it leaves the group.
struct Member {
    topic: String,
    consumer: Arc<BaseConsumer>,
    committing: Option<JoinHandle<()>>,
    read: Vec<Value>,
    headers: Vec<(String, String)>,
}

impl Member {
    fn poll(&mut self) {
        let mut wait = Duration::from_millis(50);
        while let Some(polled) = self.consumer.poll(wait) {
            wait = Duration::ZERO;
            // An error gets over, or the check runs out of its time.
            let message = match polled {
                Ok(message) => message,
                Err(error) => {
                    eprintln!("poll: {error}");
                    return self.mend(&error);
                }
            };
            let lossy = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            self.read
                .push((message.partition(), lossy(message.payload())));
            let headers = message.headers();
            let first = headers.and_then(|all| all.try_get(0)).and_then(|h| h.value);
            self.headers.push((lossy(message.key()), lossy(first)));
        }
    }

    /// librdkafka (its issue 5586) never asks again for committed offsets when a coordinator that has just moved refused
    /// it: its partitions stand still until they are assigned anew.
    fn mend(&self, error: &KafkaError) {
        let refused = KafkaError::MessageConsumption(RDKafkaErrorCode::NotCoordinator);
        if *error == refused {
            self.consumer.unsubscribe();
            if let Err(error) = self.consumer.subscribe(&[&self.topic]) {
                eprintln!("subscribe: {error}");
            }
        }
    }

    fn assigned(&self) -> Vec<i32> {
        let assigned = self.consumer.assignment();
        let elements = assigned.as_ref().map(|list| list.elements());
        let elements = elements.unwrap_or_default();
        elements.iter().map(|one| one.partition()).collect()
    }

    fn commit(&self) -> Outcome {
        commit(&self.consumer)
    }

    /// Waits elsewhere: a commit may stand behind its member's own `JoinGroup`, which is answered once all others have
    /// joined, and they are polled by the thread that would wait. One at a time, so that none goes back.
    fn commit_or_tell(&mut self) {
        if self
            .committing
            .as_ref()
            .is_some_and(|one| !one.is_finished())
        {
            return;
        }
        let consumer = Arc::clone(&self.consumer);
        let committing = thread::spawn(move || {
            if let Err(why) = commit(&consumer) {
                eprintln!("commit: {why}");
            }
        });
        self.committing = Some(committing);
    }
}

impl Drop for Member {
    /// It has left its group when it is gone, not when its last commit is.
    fn drop(&mut self) {
        if let Some(committing) = self.committing.take() {
            let _ = committing.join();
        }
    }
}

fn commit(consumer: &BaseConsumer) -> Outcome {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Nothing was read since the last time.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) | Ok(()) => Ok(()),
        Err(error) => Err(text(error)),
    }
}

fn until(
    members: &mut [Member],
    what: &str,
    within: Duration,
    mut holds: impl FnMut(&mut [Member]) -> bool,
) -> Outcome {
    let started = Instant::now();
    while !holds(members) {
        if started.elapsed() > within {
            let read: Vec<usize> = members.iter().map(|one| one.read.len()).collect();
            let parts: Vec<Vec<i32>> = members.iter().map(Member::assigned).collect();
            return Err(format!("{what}: not in time, {parts:?}, {read:?} records"));
        }
        members.iter_mut().for_each(Member::poll);
    }
    Ok(())
}

/// Everybody has something, nobody has the same, all of them have so many.
fn shared(members: &[Member], wanted: i32) -> bool {
    let parts: Vec<Vec<i32>> = members.iter().map(Member::assigned).collect();
    let mut all = parts.concat();
    let sum = all.len();
    all.sort_unstable();
    all.dedup();
    parts.iter().all(|part| !part.is_empty()) && sum == wanted as usize && all.len() == sum
}

fn values(first: u32, count: u32) -> Vec<Value> {
    let of = |partition| {
        (first..first + count).map(move |number| (partition, format!("{partition}-{number}")))
    };
    (0..PARTITIONS).flat_map(of).collect()
}

/// How often each record was read.
fn different(members: &[Member]) -> BTreeMap<&Value, u32> {
    let mut times = BTreeMap::new();
    for value in members.iter().flat_map(|one| &one.read) {
        *times.entry(value).or_default() += 1;
    }
    times
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    None,
    Some,
}

fn same(members: &[Member], wanted: Vec<Value>, repeats: Repeats) -> Outcome {
    let found = different(members);
    let missing = wanted.iter().filter(|one| !found.contains_key(one)).count();
    let others = found.len() + missing - wanted.len();
    let twice = found.values().filter(|times| **times > 1).count();
    if missing + others > 0 || (twice > 0 && repeats == Repeats::None) {
        let sum = wanted.len();
        return Err(format!(
            "of {sum} records {missing} are missing and {twice} came twice; {others} others"
        ));
    }
    Ok(())
}

/// The conversation with what runs the brokers, in lines: it makes faults, and judges the group's commits.
struct Stand {
    stream: TcpStream,
    lines: mpsc::Receiver<String>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        // The thread that reads holds the connection too. Errors mean that it is closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Stand {
    fn open() -> Outcome<Stand> {
        let address = std::env::var("WALSER_STAND").map_err(text)?;
        let stream = TcpStream::connect(address).map_err(text)?;
        let reader = BufReader::new(stream.try_clone().map_err(text)?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut read = reader.lines().map_while(Result::ok);
            read.try_for_each(|line| sender.send(line))
        });
        Ok(Stand { stream, lines })
    }

    fn say(&self, line: &str) -> Outcome {
        let mut stream = &self.stream;
        writeln!(stream, "{line}").map_err(text)
    }

    /// The answer; meanwhile members read and commit.
    fn wait(&self, members: &mut [Member]) -> Outcome<String> {
        let mut answer = None;
        until(members, "an answer", FAULTS, |members| {
            members.iter_mut().for_each(Member::commit_or_tell);
            answer = self.lines.recv_timeout(Duration::from_millis(20)).ok();
            answer.is_some()
        })?;
        let answer = answer.unwrap_or_default();
        if answer.starts_with("wrong") {
            return Err(answer);
        }
        Ok(answer)
    }
}

fn number(answer: &str) -> Outcome<u32> {
    let last = answer.rsplit(' ').next().unwrap_or_default();
    last.parse().map_err(|_| answer.to_owned())
}
