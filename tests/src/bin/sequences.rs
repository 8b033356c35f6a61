//! Plays the recorded sequences of groups against a throwaway broker.
//!
//! ```text
//! WALSER_PEER=kafka cargo run -p tests --bin sequences -- record   # writes Kafka's answers into the files
//! WALSER_PEER=kafka cargo run -p tests --bin sequences -- play     # Kafka still answers so
//! cargo run -p tests --bin sequences -- play                       # and ours does
//! ```

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use tests::cluster::{Cluster, Flavor};
use tests::sequences::{self, judge};

#[derive(Debug, Parser)]
struct Arguments {
    /// What to do with the answers.
    what: What,
    /// Only files of this name.
    #[arg(long)]
    file: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Write them into the files.
    Record,
    /// Compare them.
    Play,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.what == What::Record && Flavor::chosen() != Flavor::Kafka {
        eprintln!("only Kafka's answers are recorded: WALSER_PEER=kafka");
        return ExitCode::from(2);
    }
    let mut files = sequences::files();
    if let Some(wanted) = &arguments.file {
        files.retain(|file| {
            file.path
                .file_stem()
                .is_some_and(|stem| stem == wanted.as_str())
        });
    }
    let cluster = Cluster::start(1, &sequences::options());
    let started = Instant::now();
    let played = sequences::play_all(&cluster, &files);
    println!(
        "{} sequences in {:.1} s",
        played.len(),
        started.elapsed().as_secs_f64()
    );
    let failed: Vec<String> = match arguments.what {
        What::Play => judge::findings(cluster.flavor(), &played),
        What::Record => {
            let failed = played.iter().filter_map(|one| {
                let why = one.answers.as_ref().err()?;
                Some(format!("{}: {why}", one.sequence.name))
            });
            failed.collect()
        }
    };
    if arguments.what == What::Record {
        for file in &files {
            let own = played.iter().filter(|one| std::ptr::eq(one.file, file));
            let answers = own.flat_map(|one| one.answers.iter().flatten().cloned());
            let text = file.with_answers(&answers.collect::<HashMap<_, _>>());
            std::fs::write(&file.path, text).expect("the file of sequences can be written");
        }
    }
    failed.iter().for_each(|finding| println!("{finding}"));
    println!("{} findings", failed.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
