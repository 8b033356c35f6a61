//! Batches and chunks for tests.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord, patch};
use uuid::Uuid;

use crate::chunk::{Config, Finished, Writer};
use crate::key;
use crate::manifest::{Chunk, EpochStart, FORMAT, Manifest};
use crate::source::{Incarnation, Source};
use crate::store::memory::Memory;
use crate::store::{Condition, Store};

/// Members of some two of [`batches`].
pub(crate) const SMALL: Config = Config {
    member_bytes: 1000,
    level: 1,
};

/// A source that differs by its number.
pub(crate) fn source(number: u128) -> Source {
    Source {
        cluster_id: "cluster-of-tests".to_owned(),
        topic_id: Uuid::from_u128(number),
        partition: 3,
    }
}

/// A batch of so many records with so many bytes each, whose text compresses well.
pub(crate) fn batch(base_offset: i64, epoch: i32, records: usize, value_bytes: usize) -> Bytes {
    batch_of(base_offset, epoch, records, value_bytes, Compression::None)
}

pub(crate) fn batch_of(
    base_offset: i64,
    epoch: i32,
    records: usize,
    value_bytes: usize,
    codec: Compression,
) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec);
    for number in 0..records {
        let offset = base_offset + i64::try_from(number).expect("few");
        let mut value = format!("record {offset} ");
        while value.len() < value_bytes {
            value.push_str(&offset.to_string());
        }
        value.truncate(value_bytes);
        builder.push(NewRecord {
            timestamp: 1_000 + offset,
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    let mut bytes = BytesMut::from(&builder.build()[..]);
    patch(&mut bytes, base_offset, epoch);
    bytes.freeze()
}

/// Batches of ten records, one after the other.
pub(crate) fn batches(first_offset: i64, count: usize, epoch: i32) -> Vec<Bytes> {
    let starts = (0..count).map(|n| first_offset + 10 * i64::try_from(n).expect("few"));
    starts.map(|start| batch(start, epoch, 10, 40)).collect()
}

/// A chunk of these batches, whole.
pub(crate) fn chunk_of(config: Config, of: &Source, batches: &[Bytes]) -> (Finished, Bytes) {
    let first = protocol::record_batch::BatchHeader::parse(&batches[0]).expect("a batch");
    let mut writer = Writer::new(config, of.clone(), Incarnation(1), first.base_offset);
    let mut stored = BytesMut::new();
    for batch in batches {
        writer.push(batch).expect("it continues");
        stored.extend_from_slice(&writer.take());
    }
    let next_offset = writer.next_offset();
    let finished = writer.finish(next_offset);
    stored.extend_from_slice(&finished.rest);
    (finished, stored.freeze())
}

/// A manifest without chunks, of the leader of epoch 1.
pub(crate) fn empty_manifest(of: &Source) -> Manifest {
    Manifest {
        format: FORMAT,
        source: of.clone(),
        topic: "orders".to_owned(),
        incarnation: Incarnation(1),
        leader_epoch: 1,
        index: 77,
        term: 1,
        created_ms: 5,
        log_start: 0,
        next_offset: 0,
        leader_epochs: vec![EpochStart {
            epoch: 1,
            start_offset: 0,
        }],
        configs: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
        voters: vec![1, 2, 3],
        state: Bytes::from_static(b"state"),
        aborted_transactions: Vec::new(),
        chunks: Vec::new(),
    }
}

/// Puts a chunk of these batches, which reaches up to `next_offset`, and names it in the manifest.
pub(crate) async fn put_chunk(
    store: &Memory,
    manifest: &mut Manifest,
    batches: &[Bytes],
    next_offset: i64,
) {
    let of = manifest.source.clone();
    let first_offset = manifest.next_offset;
    let mut writer = Writer::new(SMALL, of.clone(), Incarnation(1), first_offset);
    for batch in batches {
        writer.push(batch).expect("it continues");
    }
    let mut bytes = BytesMut::from(&writer.take()[..]);
    let finished = writer.finish(next_offset);
    bytes.extend_from_slice(&finished.rest);
    let key = key::chunk(
        &of,
        manifest.incarnation,
        first_offset,
        manifest.leader_epoch,
        manifest.index,
    );
    store
        .put(&key, bytes.freeze(), Condition::Absent)
        .await
        .expect("stored");
    manifest.next_offset = next_offset;
    manifest.chunks.push(Chunk {
        key,
        chunk: finished.summary,
    });
}

/// Puts a manifest.
pub(crate) async fn put_manifest(store: &Memory, manifest: &Manifest) {
    store
        .put(&manifest.key(), manifest.encode(), Condition::Absent)
        .await
        .expect("stored");
}

/// A manifest over chunks of so many batches each, all in the store.
pub(crate) async fn snapshot(
    store: &Memory,
    of: &Source,
    chunks: usize,
    batches_each: usize,
) -> Manifest {
    let mut manifest = empty_manifest(of);
    for _ in 0..chunks {
        let batches = batches(manifest.next_offset, batches_each, 1);
        let next_offset = manifest.next_offset + 10 * i64::try_from(batches_each).expect("few");
        put_chunk(store, &mut manifest, &batches, next_offset).await;
    }
    put_manifest(store, &manifest).await;
    manifest
}
