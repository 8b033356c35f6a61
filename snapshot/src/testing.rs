//! Batches and chunks for tests.

use bytes::{Bytes, BytesMut};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord, patch};
use uuid::Uuid;

use crate::chunk::{Config, Finished, Writer};
use crate::source::{Incarnation, Source};

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
