use super::codec::{CodecError, Compression, compress};
use super::cursor::put_varlong;
use super::header::{BatchHeader, CRC_AT, HEADER_LENGTH, LENGTH_OVERHEAD, crc_of};
use bytes::Bytes;

/// A record to be put into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// In ms.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null.
    pub value: Option<&'a [u8]>,
    /// Names and values, in their order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Makes one batch: for the command line's producer, benchmarks, tests and compaction.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// Uncompressed, without a producer id, from offset 0.
    #[must_use]
    pub fn new() -> Self {
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp: 0,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
        };
        let (records, scratch) = (Vec::new(), Vec::new());
        Self {
            header,
            compression: Compression::None,
            records,
            scratch,
        }
    }

    /// Compresses the records at the end.
    #[must_use]
    pub fn compression(mut self, codec: Compression) -> Self {
        self.compression = codec;
        self
    }

    /// Gives the batch to an idempotent producer.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes it a part of the producer's transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.set_transactional();
        self
    }

    /// Makes it a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.header.set_control();
        self
    }

    /// The offset of the first record; producers leave it at 0.
    #[must_use]
    pub fn base_offset(mut self, offset: i64, leader_epoch: i32) -> Self {
        self.header.base_offset = offset;
        self.header.partition_leader_epoch = leader_epoch;
        self
    }

    /// Appends a record with only a value.
    pub fn value(&mut self, timestamp: i64, value: &[u8]) -> &mut Self {
        self.push(NewRecord {
            timestamp,
            value: Some(value),
            ..NewRecord::default()
        })
    }

    /// Appends a record.
    pub fn push(&mut self, record: NewRecord<'_>) -> &mut Self {
        if self.header.count == 0 {
            self.header.base_timestamp = record.timestamp;
        }
        self.header.max_timestamp = self.header.max_timestamp.max(record.timestamp);
        let out = &mut self.scratch;
        out.clear();
        out.push(0);
        put_varlong(
            out,
            record.timestamp.wrapping_sub(self.header.base_timestamp),
        );
        put_varlong(out, self.header.count.into());
        put_opt(out, record.key);
        put_opt(out, record.value);
        put_varlong(out, record.headers.len() as i64);
        for (name, value) in record.headers {
            put_opt(out, Some(name.as_bytes()));
            put_opt(out, *value);
        }
        put_varlong(&mut self.records, self.scratch.len() as i64);
        self.records.extend_from_slice(&self.scratch);
        self.header.count += 1;
        self.header.last_offset_delta += 1;
        self
    }

    /// The number of records so far.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.header.count
    }

    /// The bytes of the batch so far, before compression.
    #[must_use]
    pub fn len(&self) -> usize {
        HEADER_LENGTH + self.records.len()
    }

    /// There are no records yet; such a batch is not valid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// The batch. Fails only when built without the codec.
    pub fn try_build(&self) -> Result<Bytes, CodecError> {
        let body = match self.compression {
            Compression::None => None,
            codec => Some(compress(codec, &self.records)?),
        };
        let body = body.as_deref().unwrap_or(&self.records);
        let header = &self.header;
        let length = HEADER_LENGTH - LENGTH_OVERHEAD + body.len();
        let length = i32::try_from(length).expect("a batch is built of less than 2 GiB");
        let mut out = Vec::with_capacity(HEADER_LENGTH + body.len());
        out.extend(header.base_offset.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(header.partition_leader_epoch.to_be_bytes());
        out.push(2);
        out.extend([0; 4]);
        out.extend((header.attributes | i16::from(self.compression as u8)).to_be_bytes());
        out.extend(header.last_offset_delta.to_be_bytes());
        out.extend(header.base_timestamp.to_be_bytes());
        out.extend(header.max_timestamp.to_be_bytes());
        out.extend(header.producer_id.to_be_bytes());
        out.extend(header.producer_epoch.to_be_bytes());
        out.extend(header.base_sequence.to_be_bytes());
        out.extend(header.count.to_be_bytes());
        out.extend_from_slice(body);
        let crc = crc_of(&out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(out.into())
    }

    /// The batch, of a codec that is built in.
    #[must_use]
    pub fn build(&self) -> Bytes {
        self.try_build().expect("the codec is built in")
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

fn put_opt(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            put_varlong(out, value.len() as i64);
            out.extend_from_slice(value);
        }
        None => put_varlong(out, -1),
    }
}
