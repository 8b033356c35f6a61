//! What many quiet topics cost a store, and how far it is behind one of them: three brokers, many topics that get a record
//! now and then, and the requests that the store's own server has logged.
//!
//! ```text
//! tests/restore/run quiet-topics --topics 1000 --seconds 60
//! ```
//!
//! Exit codes: 0 all as promised, 12 a promise broken, 4 it did not come to an end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use tests::cluster::walser::unstored_ms;
use tests::cluster::{Cluster, Options};
use tests::wait::{TimedOut, wait_for, wait_until};
use tests::wire::batch::Batch;
use tests::wire::{Connection, requests};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many.
    #[arg(long, default_value_t = 1000)]
    topics: usize,
    /// How long their requests are counted.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The store.
    #[arg(long)]
    store: String,
    /// Where its server logs what it is asked for.
    #[arg(long)]
    access_log: PathBuf,
}

/// The brokers' own default.
const LAG: Duration = Duration::from_secs(10);
/// Tails in that time.
const TAILS: u32 = 2;
/// What a broker may cost in an interval, without chunks and manifests.
const PUTS_MAX: f64 = 1.2;
/// A topic gets a record so often.
const EVERY: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(120);
const REQUEST: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(12),
        Err(late) => {
            eprintln!("quiet-topics: {late}");
            ExitCode::from(4)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, TimedOut> {
    let extra = vec![
        format!("snapshot.store = \"{}\"", arguments.store),
        "offsets.topic.num.partitions = 1".to_owned(),
    ];
    let cluster = Cluster::start(
        3,
        &Options {
            extra,
            ..Options::default()
        },
    );
    let topics = Topics::create(&cluster, arguments.topics)?;
    let mut leaders = Leaders::default();
    for topic in &topics.0 {
        leaders.produce(topic);
    }
    settle(&cluster)?;

    let before = requests_of(&arguments.access_log);
    let (began, window) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let share = EVERY / u32::try_from(arguments.topics).expect("few");
    let mut sent = 0;
    while began.elapsed() < window {
        leaders.produce(&topics.0[sent % arguments.topics]);
        sent += 1;
        let next = share * u32::try_from(sent).expect("few");
        std::thread::park_timeout(next.saturating_sub(began.elapsed()));
    }
    settle(&cluster)?;
    // What the last records cost is counted too.
    let took = began.elapsed().as_secs_f64();
    let after = requests_of(&arguments.access_log);

    let quiet = &topics.0[arguments.topics / 2];
    leaders.produce(quiet);
    let produced = Instant::now();
    settle(&cluster)?;
    let behind = produced.elapsed();

    let count = |kind: &str| after.get(kind).unwrap_or(&0) - before.get(kind).unwrap_or(&0);
    let intervals = took / (LAG / TAILS).as_secs_f64();
    let tails = count("tail") as f64 / intervals / 3.0;
    println!(
        "{}",
        json!({
            "topics": arguments.topics,
            "seconds": took.round(),
            "records": sent,
            "put_tails": count("tail"),
            "put_chunks": count("chunk"),
            "put_manifests": count("manifest"),
            "put_metadata": count("metadata"),
            "put_tails_per_broker_and_interval": (tails * 1000.0).round() / 1000.0,
            "quiet_record_in_store_seconds": (behind.as_secs_f64() * 1000.0).round() / 1000.0,
        })
    );
    let is_cheap = tails <= PUTS_MAX && count("tail") > 0;
    let is_prompt = behind <= LAG;
    if !is_cheap || !is_prompt {
        eprintln!(
            "BROKEN: more than {PUTS_MAX} tails per broker and interval, none, or later than {LAG:?}"
        );
    }
    Ok(is_cheap && is_prompt)
}

/// Each with the address of its leader.
struct Topics(Vec<(String, String)>);

impl Topics {
    fn create(cluster: &Cluster, count: usize) -> Result<Self, TimedOut> {
        let names: Vec<String> = (0..count).map(|at| format!("quiet-{at}")).collect();
        let controller = wait_for("a controller", WITHIN, LOOK, || {
            let metadata = cluster.metadata(&[], &[])?;
            Connection::open(metadata.address(metadata.controller)?, REQUEST).ok()
        });
        let mut controller = controller?;
        for name in &names {
            let created = requests::create_topic(&mut controller, name, 1, 3, &[]);
            assert_eq!(created.expect("an answer"), 0, "{name}");
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let leaders = wait_for("leaders of all", WITHIN, LOOK, || {
            let metadata = cluster.metadata(&asked, &[])?;
            let leader = |name: &&str| {
                let all = metadata.partitions(name);
                let leader = all.first().filter(|one| one.leader > 0)?.leader;
                Some(((*name).to_owned(), cluster.node(leader).kafka()))
            };
            asked.iter().map(leader).collect()
        });
        Ok(Self(leaders?))
    }
}

#[derive(Default)]
struct Leaders(BTreeMap<String, Connection>);

impl Leaders {
    fn produce(&mut self, (topic, leader): &(String, String)) {
        let open = || Connection::open(leader, REQUEST).expect("it listens");
        let connection = self.0.entry(leader.clone()).or_insert_with(open);
        let batch = Batch::of(&[b"a record now and then"]).encode();
        let produced = wait_until("a record is acknowledged", REQUEST, || {
            let answer = requests::produce(connection, topic, 0, &batch);
            answer.is_ok_and(|(code, _)| code == 0)
        });
        produced.expect("nobody is killed here");
    }
}

/// Waits until the store lacks nothing.
fn settle(cluster: &Cluster) -> Result<(), TimedOut> {
    let lacks = |node: i32| unstored_ms(&cluster.node(node).admin());
    wait_until("everything is in the store", WITHIN, || {
        (1..=3).all(|node| lacks(node) == Some(0))
    })
}

/// Objects that were put into the store, by their kind.
fn requests_of(log: &Path) -> BTreeMap<&'static str, u64> {
    let text = std::fs::read_to_string(log).expect("the server's log");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let writes = [
            "s3_PutObject ",
            "s3_CompleteMultipartUpload ",
            "s3_UploadPart ",
        ];
        if !writes.iter().any(|write| line.contains(write)) {
            continue;
        }
        let kinds = [
            ("tails/", "tail"),
            ("/chunks/", "chunk"),
            ("/manifests/", "manifest"),
            ("metadata/", "metadata"),
        ];
        let kind = kinds.iter().find(|(part, _)| line.contains(part));
        *counts
            .entry(kind.map_or("other", |(_, kind)| kind))
            .or_default() += 1;
    }
    counts
}
