//! `walser disk`: a stopped broker's data directory as it is, without a broker.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use raft::types::{Entry, EntryKind, GroupId};
use serde_json::{Value, json};
use wal::verify::{Finding, Kind, Report};

use super::exit::{Exit, Failure, Result};
use super::output::{Format, Table, column, print, wide};
use super::progress::Progress;
use crate::data_directory::{self, look::Look};
use crate::metadata::{Command, Image};

/// Look into a stopped broker's data directory.
#[derive(Debug, Args)]
pub struct Disk {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read everything and compare it with what was written. Changes nothing. Exit code 11 when something is damaged.
    Verify {
        /// The broker's data.dir. The broker must not be running.
        directory: PathBuf,
        /// What the answer looks like.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

impl Disk {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        match self.verb {
            Verb::Verify { directory, format } => verify(&directory, format),
        }
    }
}

fn verify(directory: &std::path::Path, format: Format) -> Result<()> {
    let look = Look::at(directory).map_err(refused)?;
    let report = match &look.log {
        Some(log) => {
            let disk = wal::RealDisk::open_to_read(log).map_err(unreadable)?;
            let mut progress = Progress::start();
            let told = |done, total| progress.told(done, total);
            wal::verify::verify(&*disk, Some(GroupId::METADATA), told).map_err(unreadable)?
        }
        None => Report::default(),
    };
    let table = table(&look, &report);
    let damages = look.damages.len() + identities(&look, &report).len() + report.damages().count();
    let summary = json!({
        "schema": 1,
        "sound": damages == 0,
        "segments": report.segments,
        "rounds": report.rounds,
        "entries": report.entries,
        "batches": report.batches,
        "bytes": report.bytes,
        "uncovered_bytes": report.uncovered_bytes,
        "findings": table.values(),
    });
    match format.data(&summary) {
        Some(data) => print(&data)?,
        None => {
            if !table.objects().is_empty() {
                table.print(format, "findings")?;
            }
            print(&format!(
                "read {} entries with {} batches in {} segments: {} bytes, {} of them in use by nobody\n",
                report.entries,
                report.batches,
                report.segments,
                report.bytes,
                report.uncovered_bytes
            ))?;
        }
    }
    if damages == 0 {
        return Ok(());
    }
    let why = format!("{damages} places are damaged");
    Err(Failure::with(Exit::Corruption, why).next(
        "what other replicas hold is not affected; ops/runbooks/damaged-disk.md says what to do",
    ))
}

/// Everything that was found: the directory's own files first.
fn table(look: &Look, report: &Report) -> Table {
    let columns = [
        column("kind"),
        column("file"),
        column("position"),
        column("partition"),
        column("offsets"),
        column("what"),
        wide("bytes"),
        wide("group"),
        wide("replica"),
        wide("index"),
    ];
    let mut table = Table::new(&columns);
    let none = || Value::Null;
    let mut plain = |kind: &str, file: &str, what: &str| {
        let mut row = vec![
            json!(kind),
            json!(file),
            none(),
            none(),
            none(),
            json!(what),
        ];
        row.resize_with(columns.len(), none);
        table.row(row);
    };
    for (file, what) in look.damages.iter().chain(&identities(look, report)) {
        plain("damaged", file, what);
    }
    for name in &look.strange {
        plain("not_live", name, "no name of a data directory's");
    }
    let image = image(look, report);
    for finding in &report.findings {
        table.row(row(finding, image.as_ref()));
    }
    table
}

fn row(finding: &Finding, image: Option<&Image>) -> Vec<Value> {
    let kind = match finding.kind {
        Kind::Damaged => "damaged",
        Kind::Copy => "copy",
        Kind::NotLive => "not_live",
        Kind::Torn => "torn",
    };
    let offsets = finding.offsets.map(|(from, to)| format!("{from}..{to}"));
    vec![
        json!(kind),
        json!(format!("log/{}", finding.file)),
        json!(finding.position),
        json!(finding.group.map(|group| name_of(group, image))),
        json!(offsets),
        json!(finding.what),
        json!(finding.bytes),
        json!(finding.group.map(|group| group.0)),
        json!(finding.replica.map(|replica| replica.0)),
        json!(finding.index.map(|index| index.0)),
    ]
}

/// Topic and partition, where the directory's own metadata knows them.
fn name_of(group: GroupId, image: Option<&Image>) -> String {
    if group == GroupId::METADATA {
        return "metadata".to_owned();
    }
    let named = image.and_then(|image| {
        let partition = image.partition(group)?;
        let topic = image.topic(partition.topic)?;
        Some(format!("{}/{}", topic.name, partition.partition))
    });
    named.unwrap_or_else(|| format!("group {}", group.0))
}

/// Where the log is another's than the directory.
fn identities(look: &Look, report: &Report) -> Vec<(String, String)> {
    let (Some(of), Some(log)) = (&look.identity, &report.identity) else {
        return Vec::new();
    };
    if (of.node, of.directory) == (log.node, log.directory) {
        return Vec::new();
    }
    let what = format!("is of node {}, directory {}", log.node.0, log.directory);
    vec![("log".to_owned(), what)]
}

/// The metadata as this disk has it, for names: what was not committed yet is in it, too.
fn image(look: &Look, report: &Report) -> Option<Image> {
    let is_it = |group: &&wal::RecoveredGroup| group.group == GroupId::METADATA;
    let group = report.groups.iter().find(is_it)?;
    let (from, state) = match &group.derived {
        Some((index, state)) if *index > group.base.index => (*index, state),
        _ => (group.base.index, &group.base.state),
    };
    let mut image = match Image::decode(state) {
        Ok(image) => image,
        Err(_) => {
            let record = look.bootstrap.as_ref()?;
            Image::bootstrap(record.cluster.0, record.membership().voters)
        }
    };
    let after = |entry: &&Entry| entry.index > from && entry.kind == EntryKind::Command;
    for entry in report.kept.iter().filter(after) {
        // A command that is refused changes nothing, as in the broker.
        if let Ok(command) = Command::decode(&entry.payload) {
            let _ = image.apply(entry.index, &command);
        }
    }
    Some(image)
}

fn refused(why: data_directory::Error) -> Failure {
    match why {
        data_directory::Error::InUse { .. } => Failure::new(why.to_string())
            .next("only a stopped broker's directory can be read: what a running one writes changes meanwhile"),
        data_directory::Error::Foreign { .. } => {
            Failure::with(Exit::NotFound, why.to_string())
        }
        data_directory::Error::Io { ref source, .. }
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Failure::with(Exit::NotFound, why.to_string())
        }
        other => Failure::new(other.to_string()),
    }
}

fn unreadable(why: wal::Error) -> Failure {
    Failure::new(why.to_string())
}
