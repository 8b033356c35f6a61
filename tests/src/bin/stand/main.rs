//! Runs a command against a throwaway cluster of real processes, which lives as long as it does.
//!
//! ```text
//! cargo run -p tests --bin stand -- tests/clients/run.sh --bootstrap {} confluent java
//! ```
//!
//! `{}` stands for the addresses, `{brokers}` and `{processes}` for what `walser bench` wants to know of each broker
//! (`ADMIN,PID;...` and `HOST:PORT=PID,...`). `WALSER_PEER=kafka` takes Apache Kafka. The exit code is the
//! command's. The command may ask for faults: see [`session`]; `WALSER_STAND` tells it where.

mod feed;
mod session;
mod watch;

use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use clap::Parser;
use tests::cluster::{Cluster, Flavor, Options};

#[derive(Debug, Parser)]
struct Arguments {
    /// Brokers.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// A line for every broker's configuration file.
    #[arg(long)]
    config: Vec<String>,
    /// The command; `{}` in it stands for host:port,host:port,...
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        extra: arguments.config,
        ..Options::default()
    };
    let mut cluster = Cluster::start(arguments.nodes, &options);
    let bootstrap = cluster.bootstrap();
    eprintln!("{:?} at {bootstrap}", cluster.flavor());
    let (brokers, processes) = (brokers(&cluster), processes(&cluster));
    let mut words = arguments.command.iter().map(|word| {
        let word = word.replace("{}", &bootstrap);
        let word = word.replace("{brokers}", &brokers);
        word.replace("{processes}", &processes)
    });
    let program = words.next().unwrap_or_default();
    match run(&mut cluster, Command::new(&program).args(words)) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{program}: {status}\n{}", cluster.tails());
            ExitCode::from(
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(1),
            )
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(1)
        }
    }
}

/// Each broker's admin listener, where it has one, and its process.
fn brokers(cluster: &Cluster) -> String {
    let brokers = cluster.nodes().iter().filter_map(|node| {
        let admin = match cluster.flavor() {
            Flavor::Walser => node.admin(),
            Flavor::Kafka => "-".to_owned(),
        };
        Some(format!("{admin},{}", node.process.as_ref()?.pid()))
    });
    brokers.collect::<Vec<_>>().join(";")
}

/// Each broker's address and process.
fn processes(cluster: &Cluster) -> String {
    let processes = cluster.nodes().iter().filter_map(|node| {
        let pid = node.process.as_ref()?.pid();
        Some(format!("{}={pid}", node.kafka()))
    });
    processes.collect::<Vec<_>>().join(",")
}

/// The command: killed when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the command to its end, and meanwhile does the faults that it asks for.
fn run(cluster: &mut Cluster, command: &mut Command) -> std::io::Result<ExitStatus> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    command.env("WALSER_STAND", listener.local_addr()?.to_string());
    let mut running = Running(command.spawn()?);
    loop {
        if let Some(status) = running.0.try_wait()? {
            return Ok(status);
        }
        match listener.accept() {
            Ok((stream, _)) => session::serve(cluster, stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
}
