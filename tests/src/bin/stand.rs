//! Runs a command against a throwaway cluster of real processes, which lives as long as it does.
//!
//! ```text
//! cargo run -p tests --bin stand -- tests/clients/run.sh --bootstrap {} confluent java
//! ```
//!
//! `{}` stands for the addresses. `WALSER_PEER=kafka` takes Apache Kafka. The exit code is the
//! command's.

use std::process::{Command, ExitCode};

use clap::Parser;
use tests::cluster::{Cluster, Options};

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
    let cluster = Cluster::start(arguments.nodes, &options);
    let bootstrap = cluster.bootstrap();
    eprintln!("{:?} at {bootstrap}", cluster.flavor());
    let mut words = arguments
        .command
        .iter()
        .map(|word| word.replace("{}", &bootstrap));
    let program = words.next().unwrap_or_default();
    match Command::new(&program).args(words).status() {
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
