//! A whole cluster is lost and comes back from its store: many topics through three brokers whose disks keep little, all of
//! it read and compared, then every process killed and every disk gone, `walser restore` into a new cluster, and all of it
//! read and compared again.
//!
//! ```text
//! tests/restore/run --bytes 2GiB        with a real S3 server
//! cargo run -p tests --release --bin lost-cluster -- --bytes 64MiB --store /a/folder
//! ```
//!
//! Exit codes: 0 all as promised, 12 a promise broken, 4 it did not come to an end.

mod disk;
mod records;
mod report;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use tests::cluster::walser::{binary, unstored_ms};
use tests::cluster::{Cluster, Options};
use tests::size::parse_bytes;
use tests::wait::{TimedOut, wait_for};

use records::{Digests, Work};
use report::Report;

#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// How many bytes of records: a number, or one with KiB, MiB, GiB.
    #[arg(long, default_value = "2GiB", value_parser = parse_bytes)]
    bytes: u64,
    /// How many topics share them.
    #[arg(long, default_value_t = 20)]
    topics: u32,
    /// Partitions of each.
    #[arg(long, default_value_t = 2)]
    partitions: u32,
    /// A partition's own log keeps about so much.
    #[arg(long, default_value = "1MiB", value_parser = parse_bytes)]
    local_bytes: u64,
    /// The store: an empty folder, or an empty prefix of a bucket.
    #[arg(long)]
    store: String,
}

/// Until everything is in the store, and the disks have given back what they need not keep.
const SETTLE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            println!("{}", report.json());
            ExitCode::from(report.exit_code())
        }
        Err(late) => {
            eprintln!("lost-cluster: {late}");
            ExitCode::from(4)
        }
    }
}

fn start(arguments: &Arguments) -> Cluster {
    let extra = vec![
        format!("snapshot.store = \"{}\"", arguments.store),
        "snapshot.max.lag = \"2s\"".to_owned(),
        "snapshot.size = \"32MiB\"".to_owned(),
        "tail.cache.size = \"8MiB\"".to_owned(),
        "retention.check.interval = \"1s\"".to_owned(),
        "offsets.topic.num.partitions = 4".to_owned(),
    ];
    Cluster::start(
        3,
        &Options {
            extra,
            ..Options::default()
        },
    )
}

fn run(arguments: &Arguments) -> Result<Report, TimedOut> {
    let mut report = Report::default();
    let work = Work::new(arguments.topics, arguments.partitions, arguments.bytes);
    let mut cluster = start(arguments);
    let local = arguments.local_bytes.to_string();
    let configs = [
        ("local.retention.bytes", local.as_str()),
        ("retention.ms", "-1"),
    ];
    for topic in work.topics() {
        cluster.create_topic(&topic, arguments.partitions as i32, &configs);
    }
    let watch = disk::Watch::start(&cluster);
    let began = Instant::now();
    let sent = records::send(&cluster.bootstrap(), &work).digests(&work);
    report.sent(&work, began.elapsed());
    settle(&cluster, &mut report)?;
    report.disk(watch.end(), disk::used(&cluster));
    let began = Instant::now();
    let read = records::read(&cluster.bootstrap(), &work)?;
    report.read("read from the store", &sent, &read, began.elapsed());
    let half: Vec<i64> = sent.ends().into_iter().map(|end| end / 2).collect();
    records::commit(&cluster.bootstrap(), &work, &half);
    settle(&cluster, &mut report)?;
    for node in 1..=3 {
        cluster.kill(node);
    }
    drop(cluster); // its disks with it

    let began = Instant::now();
    let cluster = start(arguments);
    let formed = began.elapsed();
    let restored = restore(arguments, &cluster, &mut report);
    if !restored {
        return Ok(report);
    }
    let restored = began.elapsed();
    records::first(&cluster.bootstrap(), &work)?;
    report.restored(formed, restored, began.elapsed());
    let began = Instant::now();
    let read = records::read(&cluster.bootstrap(), &work)?;
    report.read("read after the restore", &sent, &read, began.elapsed());
    report.committed(&half, &records::committed(&cluster.bootstrap(), &work)?);
    goes_on(&cluster, &work, sent, &mut report)?;
    Ok(report)
}

/// Producers append after the end, and consumers read it.
fn goes_on(
    cluster: &Cluster,
    work: &Work,
    mut sent: Digests,
    report: &mut Report,
) -> Result<(), TimedOut> {
    let more = Work {
        records: work.partitions_in_all() as u64 * 10,
        first: work.records,
        ..work.clone()
    };
    sent.add(&records::send(&cluster.bootstrap(), &more));
    let began = Instant::now();
    let read = records::read(&cluster.bootstrap(), work)?;
    report.read("read with what was appended", &sent, &read, began.elapsed());
    Ok(())
}

fn restore(arguments: &Arguments, cluster: &Cluster, report: &mut Report) -> bool {
    let admin = cluster.node(1).admin();
    let restored = Command::new(binary())
        .args([
            "restore",
            "--yes",
            "--from",
            &arguments.store,
            "--admin",
            &admin,
        ])
        .args(["--format", "json"])
        .output()
        .expect("the broker's program runs");
    eprint!("{}", String::from_utf8_lossy(&restored.stderr));
    if !restored.status.success() {
        report.broken(format!("walser restore: {}", restored.status));
    }
    restored.status.success()
}

/// Waits until the store lacks nothing and the logs are as short as they may be.
fn settle(cluster: &Cluster, report: &mut Report) -> Result<(), TimedOut> {
    let began = Instant::now();
    let lacks = |node: i32| unstored_ms(&cluster.node(node).admin());
    let nothing = || ((1..=3).all(|node| lacks(node) == Some(0))).then_some(());
    wait_for(
        "everything is in the store",
        SETTLE,
        Duration::from_millis(200),
        nothing,
    )
    .inspect_err(|_| eprintln!("{}", cluster.tails()))?;
    report.settled(began.elapsed());
    Ok(())
}
