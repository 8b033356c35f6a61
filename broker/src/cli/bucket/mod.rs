//! `walser bucket`: a snapshot store as it is, without a cluster.

pub(super) mod gc;

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use snapshot::key::{self, Key};
use snapshot::owner;
use snapshot::store::location::Location;
use snapshot::store::{self, Store};
use snapshot::tail;
use snapshot::verify::{self, Finding, Kind};

use super::exit::{Exit, Failure, Result};
use super::output::{Format, Table, column, print, wide};

/// Names in one answer of the store.
const PAGE: usize = 1000;
/// A larger object is not printed.
const PRINT_BYTES_MAX: usize = 256 << 20;

/// Look into a snapshot store and clean it up, without a cluster.
#[derive(Debug, Args)]
pub struct Bucket {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The objects, with their lengths.
    Ls {
        #[command(flatten)]
        at: At,
        /// Only names that begin so, as topics/TOPIC-ID/0/.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Print what a manifest, or another JSON object, says, or the directory of a tail.
    Cat {
        #[command(flatten)]
        at: At,
        /// The object's name, as `ls` shows it.
        key: String,
    },
    /// Read everything and compare it with what was written. Exit code 11 when something is damaged or missing.
    Verify {
        #[command(flatten)]
        at: At,
    },
    /// Remove what nobody needs any more: what later snapshots have replaced, and what is of deleted topics. Safe beside
    /// a running cluster, which does the same by itself.
    Gc {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        keep: gc::Keep,
        #[command(flatten)]
        how: gc::How,
    },
}

#[derive(Clone, Debug, Args)]
struct At {
    /// The store: /a/folder, or s3://bucket/prefix?region=...&endpoint=...&path-style=true
    #[arg(value_name = "URL")]
    url: Location,
    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl At {
    async fn open(&self) -> Result<Arc<dyn Store>> {
        expect_there(&self.url)?;
        self.url.open().await.map_err(refused)
    }
}

impl Bucket {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        match self.verb {
            Verb::Ls { at, prefix } => list(&at, &prefix).await,
            Verb::Cat { at, key } => cat(&at, &key).await,
            Verb::Verify { at } => verify(&at).await,
            Verb::Gc { at, keep, how } => gc::run(&*at.open().await?, keep, how, at.format).await,
        }
    }
}

/// A folder that is not there must not be made by looking into it.
pub(super) fn expect_there(location: &Location) -> Result<()> {
    match location {
        Location::Folder(path) if !path.is_dir() => {
            let why = format!("{} is no folder", path.display());
            Err(Failure::with(Exit::NotFound, why))
        }
        Location::Folder(_) | Location::S3(_) => Ok(()),
    }
}

async fn list(at: &At, prefix: &str) -> Result<()> {
    let store = at.open().await?;
    let mut table = Table::new(&[column("bytes"), column("modified_ms"), column("key")]);
    let mut after: Option<Key> = None;
    loop {
        let page = store.list(prefix, after.as_ref(), PAGE).await;
        let page = page.map_err(refused)?;
        let Some(last) = page.last() else {
            return table.print(at.format, "objects");
        };
        after = Some(last.key.clone());
        for object in &page {
            let key = object.key.as_str();
            table.row(vec![
                json!(object.bytes),
                json!(object.modified_ms),
                json!(key),
            ]);
        }
    }
}

async fn cat(at: &At, name: &str) -> Result<()> {
    let key = Key::parse(name);
    let key = key.ok_or_else(|| Failure::usage(format!("{name:?} is no object's name")))?;
    let store = at.open().await?;
    let value = match key::tail_name(&key) {
        Some(tail) => directory(&*store, &tail).await?,
        None => sealed(&*store, &key).await?,
    };
    let format = match at.format {
        Format::Yaml => Format::Yaml,
        Format::Text | Format::Wide | Format::Json => Format::Json,
    };
    print(&format.data(&value).expect("both are data"))
}

async fn sealed(store: &dyn Store, key: &Key) -> Result<Value> {
    let (bytes, _) = store.get(key, PRINT_BYTES_MAX).await.map_err(refused)?;
    snapshot::sealed::decode(&bytes).map_err(|why| {
        Failure::with(Exit::Corruption, format!("{key}: {why}")).next(
            "only JSON objects and tails' directories are printed; snapshot/FORMAT.md says how to read chunks with gunzip",
        )
    })
}

/// What a tail says that it holds.
async fn directory(store: &dyn Store, tail: &tail::Name) -> Result<Value> {
    let life = owner::latest(store).await;
    let life = life.map_err(|why| Failure::with(Exit::Unreachable, why.to_string()))?;
    match tail::Directory::read(store, tail, &life.store_id).await {
        Ok(read) => Ok(serde_json::to_value(read).expect("a directory is plain JSON")),
        Err(tail::Error::Store(why)) => Err(refused(why)),
        Err(why) => Err(Failure::with(Exit::Corruption, why.to_string())),
    }
}

async fn verify(at: &At) -> Result<()> {
    let store = at.open().await?;
    let report = verify::store(&*store).await.map_err(refused)?;
    let columns = [
        column("kind"),
        column("key"),
        column("offsets"),
        column("what"),
        wide("topic_id"),
        wide("partition"),
    ];
    let mut table = Table::new(&columns);
    for finding in &report.findings {
        table.row(row(finding));
    }
    let summary = json!({
        "schema": 1,
        "sound": report.is_sound(),
        "manifests": report.manifests,
        "chunks": report.chunks,
        "tails": report.tails,
        "stored_bytes": report.stored_bytes,
        "raw_bytes": report.raw_bytes,
        "findings": table.values(),
    });
    match at.format.data(&summary) {
        Some(data) => print(&data)?,
        None => {
            if !report.findings.is_empty() {
                table.print(at.format, "findings")?;
            }
            print(&format!(
                "read {} manifests, {} chunks and {} tails: {} bytes, {} of records in chunks\n",
                report.manifests,
                report.chunks,
                report.tails,
                report.stored_bytes,
                report.raw_bytes
            ))?;
        }
    }
    if report.is_sound() {
        return Ok(());
    }
    let bad = report.findings.iter().filter(|f| f.kind != Kind::Orphan);
    let why = format!("{} objects are damaged or missing", bad.count());
    Err(Failure::with(Exit::Corruption, why)
        .next("what the brokers' logs still hold is not affected; restore these objects from a copy of the store"))
}

fn row(finding: &Finding) -> Vec<Value> {
    let source = finding.source.as_ref();
    vec![
        json!(kind_name(finding.kind)),
        json!(finding.key.as_str()),
        json!(finding.offsets.map(|(from, to)| format!("{from}..{to}"))),
        json!(finding.what),
        json!(source.map(|source| source.topic_id.to_string())),
        json!(source.map(|source| source.partition)),
    ]
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Damaged => "damaged",
        Kind::Missing => "missing",
        Kind::Orphan => "orphan",
    }
}

pub(super) fn refused(why: store::Error) -> Failure {
    Failure::with(exit_of(&why), why.to_string())
}

pub(super) fn exit_of(why: &store::Error) -> Exit {
    match why {
        store::Error::NotFound(_) => Exit::NotFound,
        why if why.retriable() => Exit::Unreachable,
        _ => Exit::Failure,
    }
}
