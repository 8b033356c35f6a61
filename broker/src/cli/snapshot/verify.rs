//! `walser snapshot verify`.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::json;
use snapshot::verify::{self, Report};
use uuid::Uuid;

use super::super::bucket::{kind_name, refused};
use super::super::exit::{Exit, Failure, Result};
use super::super::output::{Table, column, print, wide};
use super::super::partition::Name;
use super::super::progress::Progress;
use super::super::stored::ClusterStore;
use super::{At, heal};

/// What is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Topic(String),
    Partition(Name),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.contains('/') {
            true => text.parse().map(Self::Partition),
            false => Ok(Self::Topic(text.to_owned())),
        }
    }
}

impl Subject {
    fn topic(&self) -> &str {
        match self {
            Self::Topic(topic) => topic,
            Self::Partition(name) => name.topic(),
        }
    }

    fn has(&self, partition: i32) -> bool {
        match self {
            Self::Topic(_) => true,
            Self::Partition(name) => name.partition() == partition,
        }
    }
}

pub(super) struct Place {
    pub(super) topic: String,
    pub(super) topic_id: u128,
    pub(super) partition: i32,
}

async fn places(opened: &ClusterStore, at: &At, subject: Option<&Subject>) -> Result<Vec<Place>> {
    let mut kafka = opened.kafka(at.wait());
    let topics = match subject {
        Some(subject) => vec![kafka.topic(subject.topic()).await?],
        None => kafka.metadata(None).await?.topics,
    };
    let mut places = Vec::new();
    for topic in topics {
        let of = topic.partitions.iter().map(|row| row.partition_index);
        places.extend(of.map(|partition| Place {
            topic: topic.name.as_deref().unwrap_or_default().to_owned(),
            topic_id: topic.topic_id.0,
            partition,
        }));
    }
    places.retain(|place| subject.is_none_or(|subject| subject.has(place.partition)));
    if let (Some(Subject::Partition(name)), true) = (subject, places.is_empty()) {
        return Err(Failure::with(Exit::NotFound, format!("there is no {name}")));
    }
    places.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(places)
}

pub(super) async fn run(at: &At, subject: Option<&Subject>, is_healed: bool) -> Result<()> {
    let opened = at.open().await?;
    let places = places(&opened, at, subject).await?;
    let (mut report, mut without) = read(&opened, &places).await?;
    if is_healed {
        heal::run(at, subject.is_none(), &places, &report).await?;
        // What is committed may be another one now.
        (report, without) = read(&at.open().await?, &places).await?;
    }
    let source = |place: &Place| opened.source(place.topic_id, place.partition).topic_id;
    let names = places
        .iter()
        .map(|place| (source(place), place.topic.as_str()));
    tell(at, &report, &names.collect(), (places.len(), without))
}

/// Reads the newest snapshots. How many partitions have none comes with it.
async fn read(opened: &ClusterStore, places: &[Place]) -> Result<(Report, u64)> {
    let mut report = Report::default();
    let mut progress = Progress::start();
    let mut without = 0;
    for place in places {
        let source = opened.source(place.topic_id, place.partition);
        let known = opened.committed(&place.topic, &source);
        let before = report.manifests;
        let told = |done, total| progress.told(done, total);
        let verified = verify::newest(&*opened.store, &source, known.as_ref(), &mut report, told);
        verified.await.map_err(refused)?;
        without += u64::from(report.manifests == before);
    }
    Ok((report, without))
}

fn tell(
    at: &At,
    report: &Report,
    names: &BTreeMap<Uuid, &str>,
    (partitions, without): (usize, u64),
) -> Result<()> {
    let table = table(report, names);
    let value = json!({
        "schema": 1,
        "sound": report.is_sound(),
        "partitions": partitions,
        "partitions_without_snapshot": without,
        "chunks": report.chunks,
        "stored_bytes": report.stored_bytes,
        "raw_bytes": report.raw_bytes,
        "findings": table.values(),
    });
    match at.format.data(&value) {
        Some(data) => print(&data)?,
        None => {
            if !report.findings.is_empty() {
                table.print(at.format, "findings")?;
            }
            print(&format!(
                "read the newest snapshots of {} partitions with {} chunks: {} bytes, {} of records; {without} have none yet\n",
                report.manifests, report.chunks, report.stored_bytes, report.raw_bytes
            ))?;
        }
    }
    if report.is_sound() {
        return Ok(());
    }
    let why = format!("{} objects are damaged or missing", report.findings.len());
    Err(Failure::with(Exit::Corruption, why)
        .next("what the brokers' logs still hold is not affected; `--heal` makes anew what they have a copy of, restore the rest from a copy of the store"))
}

fn table(report: &Report, names: &BTreeMap<Uuid, &str>) -> Table {
    let mut table = Table::new(&[
        column("kind"),
        column("topic"),
        column("partition"),
        column("offsets"),
        column("key"),
        column("what"),
        wide("topic_id"),
    ]);
    for finding in &report.findings {
        let source = finding.source.as_ref();
        let topic = source.and_then(|source| names.get(&source.topic_id));
        table.row(vec![
            json!(kind_name(finding.kind)),
            json!(topic),
            json!(source.map(|source| source.partition)),
            json!(finding.offsets.map(|(from, to)| format!("{from}..{to}"))),
            json!(finding.key),
            json!(finding.what),
            json!(source.map(|source| source.topic_id)),
        ]);
    }
    table
}
