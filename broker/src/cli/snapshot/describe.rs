//! `walser snapshot describe`.

use serde_json::json;
use snapshot::inventory::Objects;
use snapshot::key;
use snapshot::manifest::{self, Manifest};
use snapshot::store;

use super::super::bucket::refused;
use super::super::exit::{Exit, Failure, Result};
use super::super::output::{Table, column, print, wide};
use super::super::partition::Name;
use super::At;

pub(super) async fn run(at: &At, name: &Name) -> Result<()> {
    let opened = at.open().await?;
    let topic = opened.kafka(at.wait()).topic(name.topic()).await?;
    let is_it = |row: &i32| *row == name.partition();
    if !topic
        .partitions
        .iter()
        .map(|p| p.partition_index)
        .any(|row| is_it(&row))
    {
        return Err(Failure::with(Exit::NotFound, format!("there is no {name}")));
    }
    let source = opened.source(topic.topic_id.0, name.partition());
    let committed = opened.committed(name.topic(), &source).map(|it| it.age());
    let objects = Objects::list(&*opened.store, &key::manifests_prefix(&source)).await;
    let mut listed = objects.map_err(refused)?.manifests;
    listed.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    let mut all: Vec<Manifest> = Vec::new();
    for (_, listed) in listed {
        let (bytes, _) = match opened.store.get(&listed.key, manifest::BYTES_MAX).await {
            // Collected since it was listed.
            Err(store::Error::NotFound(_)) => continue,
            read => read.map_err(refused)?,
        };
        let read = Manifest::decode(&bytes, &listed.key, &source);
        all.push(read.map_err(|why| {
            Failure::with(Exit::Corruption, format!("{name}: {}: {why}", listed.key))
                .next("`walser bucket verify` names everything that is damaged or missing")
        })?);
    }
    let snapshots = snapshots(&all, |one| {
        committed.map(|committed| one.age() == committed)
    });
    let newest = all
        .iter()
        .find(|one| committed.is_none_or(|it| one.age() == it));
    let chunks = chunks(newest);
    let value = json!({
        "schema": 1,
        "topic": name.topic(),
        "partition": name.partition(),
        "topic_id": source.topic_id,
        "store": opened.there.address,
        "snapshots": snapshots.values(),
        "chunks": chunks.values(),
    });
    match at.format.data(&value) {
        Some(data) => print(&data),
        None => {
            snapshots.print(at.format, "snapshots")?;
            print("\n")?;
            chunks.print(at.format, "chunks")
        }
    }
}

fn snapshots(all: &[Manifest], is_committed: impl Fn(&Manifest) -> Option<bool>) -> Table {
    let mut table = Table::new(&[
        column("index"),
        column("committed"),
        column("created_ms"),
        column("log_start"),
        column("end"),
        column("chunks"),
        column("raw_bytes"),
        column("stored_bytes"),
        wide("incarnation"),
        wide("leader_epoch"),
        wide("key"),
    ]);
    for one in all {
        let sum = |of: &dyn Fn(&manifest::Chunk) -> u64| one.chunks.iter().map(of).sum::<u64>();
        table.row(vec![
            json!(one.index),
            json!(is_committed(one)),
            json!(one.created_ms),
            json!(one.log_start),
            json!(one.next_offset),
            json!(one.chunks.len()),
            json!(sum(&|named| named.chunk.raw_bytes)),
            json!(sum(&|named| named.chunk.stored_bytes)),
            json!(one.incarnation),
            json!(one.leader_epoch),
            json!(one.key()),
        ]);
    }
    table
}

fn chunks(of: Option<&Manifest>) -> Table {
    let mut table = Table::new(&[
        column("first_offset"),
        column("end"),
        column("raw_bytes"),
        column("stored_bytes"),
        column("key"),
        wide("max_timestamp"),
        wide("raw_sha256"),
    ]);
    for manifest::Chunk { key, chunk } in of.map_or(&[][..], |one| &one.chunks) {
        table.row(vec![
            json!(chunk.first_offset),
            json!(chunk.next_offset),
            json!(chunk.raw_bytes),
            json!(chunk.stored_bytes),
            json!(key),
            json!(chunk.max_timestamp),
            json!(chunk.raw_sha256),
        ]);
    }
    table
}
