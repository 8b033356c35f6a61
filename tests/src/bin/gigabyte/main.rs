//! The gigabyte run: real text through three brokers while every leader is killed, then all of it
//! read back and compared.
//!
//! ```text
//! cargo run -p tests --release --bin gigabyte -- --bytes 1GiB
//! ```
//!
//! One idempotent producer with acks=all streams the sources of the crates that this build
//! downloaded into 16 partitions with three replicas. At every eighth of the bytes a leader is
//! killed with SIGKILL, until each partition has lost its leader and each node has died at least
//! once; one node stays away for longer than the leaders' tail caches reach. A second client
//! then reads everything: the same SHA-256 for every key, nothing lost, twice, or out of order.
//!
//! Exit codes: 0 all as promised, 12 a promise broken, 4 it did not come to an end, 1 otherwise.

mod faults;
mod load;
mod readback;
mod report;
mod text;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tests::cluster::{Cluster, Options};
use tests::size::parse_bytes;
use tests::wait::TimedOut;

use faults::Schedule;
use load::Load;
use report::Report;

#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// How much text: a number, or one with KiB, MiB, GiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_bytes)]
    bytes: u64,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    /// Bytes of one record at most.
    #[arg(long, default_value_t = 16 << 10)]
    record_bytes: usize,
    /// Kill nobody: the same work without faults, for comparison.
    #[arg(long)]
    calm: bool,
    /// Only the JSON object, no table.
    #[arg(long)]
    json: bool,
}

/// The topic of the run.
const TOPIC: &str = "gigabyte";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            if !arguments.json {
                println!("{}", report.table());
            }
            println!("{}", report.json());
            ExitCode::from(report.exit_code())
        }
        Err(late) => {
            eprintln!("gigabyte: {late}");
            ExitCode::from(4)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, TimedOut> {
    // Small enough that one absence leaves it behind whatever the size of the run.
    let tail_cache = (arguments.bytes / 64).clamp(1 << 20, 32 << 20);
    let extra = vec![format!("tail.cache.size = {tail_cache}")];
    let extra = match tests::cluster::Flavor::chosen() {
        tests::cluster::Flavor::Walser => extra,
        tests::cluster::Flavor::Kafka => Vec::new(),
    };
    let mut cluster = Cluster::start(
        3,
        &Options {
            extra,
            ..Options::default()
        },
    );
    cluster.create_topic(TOPIC, arguments.partitions as i32, &[]);
    let load = Arc::new(Load::new(arguments));
    let sending = {
        let (load, bootstrap) = (load.clone(), cluster.bootstrap());
        std::thread::spawn(move || load.send_all(&bootstrap))
    };
    let mut schedule = Schedule::new(arguments, tail_cache);
    let faults = if arguments.calm {
        Ok(())
    } else {
        schedule.run(&mut cluster, &load)
    };
    if let Err(late) = faults {
        load.give_up();
        let _ = sending.join();
        eprintln!("{}", cluster.tails());
        return Err(late);
    }
    let sent = sending.join().expect("the sending thread does not panic");
    let read = readback::read_all(&cluster.bootstrap(), arguments.partitions, &load);
    let read = read.inspect_err(|_| eprintln!("{}", cluster.tails()))?;
    let report = Report::new(arguments, &load, sent, read, schedule);
    if report.exit_code() != 0 {
        eprintln!("kept: {}\n{}", cluster.keep().display(), cluster.tails());
    }
    Ok(report)
}
