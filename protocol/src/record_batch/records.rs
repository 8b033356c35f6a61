use super::codec::{Compression, decompress, inflated_max};
use super::cursor::{Cursor, RECORD_LEAST};
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_LENGTH, total_length};
use bytes::Bytes;

/// One record. Key, value and headers are slices of the batch, or of its opened records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// In ms; the log append time where the batch says so.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<Bytes>,
    /// `None` is null: a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// In their order; names may repeat.
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// UTF-8 by convention, not checked.
    pub name: Bytes,
    /// `None` is null.
    pub value: Option<Bytes>,
}

/// The records of one batch, in order. After an error it ends.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
    position: usize,
    /// Records given so far.
    given: i32,
}

/// Opens the batch at the front of `batch`. What opening may allocate is bounded by
/// [`inflated_max`].
///
/// Compacted batches have gaps between offsets; this reads them too. It does not check the CRC.
pub fn records(batch: &Bytes) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let length = header.total_length();
    if length > batch.len() {
        return Err(BatchError::Truncated {
            wanted: length,
            have: batch.len(),
        });
    }
    let bytes = opened(&batch.slice(..length), &header)?;
    if header.count < 0 || header.count as usize > bytes.len() / RECORD_LEAST {
        return Err(BatchError::Header("more records than bytes"));
    }
    Ok(Records {
        header,
        bytes,
        position: 0,
        given: 0,
    })
}

/// The batches that follow each other in `bytes`, as a fetch returns them. Each is cut out, not
/// validated; a batch that is not whole is an error and the last item.
pub fn batches(mut bytes: Bytes) -> impl Iterator<Item = Result<Bytes, BatchError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let have = bytes.len();
        let length = total_length(&bytes).and_then(|wanted| match wanted <= have {
            true => Ok(wanted),
            false => Err(BatchError::Truncated { wanted, have }),
        });
        if length.is_err() {
            bytes.clear();
        }
        Some(length.map(|length| bytes.split_to(length)))
    })
}

/// The uncompressed bytes of the records of exactly one batch.
pub(super) fn opened(batch: &Bytes, header: &BatchHeader) -> Result<Bytes, BatchError> {
    let body = batch.slice(HEADER_LENGTH..);
    match header.compression()? {
        Compression::None => Ok(body),
        codec => Ok(decompress(codec, &body, inflated_max(body.len()))?),
    }
}

impl Records {
    /// The batch's header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn read(&mut self) -> Result<Record, BatchError> {
        let mut headers = Vec::new();
        let mut cursor = Cursor::new(&self.bytes, self.position);
        let raw = cursor.record(|name, value| {
            let slice = |range| self.bytes.slice(range);
            headers.push(RecordHeader {
                name: slice(name),
                value: value.map(slice),
            });
        });
        let raw = raw.map_err(|what| BatchError::Record {
            index: self.given,
            what,
        })?;
        self.position = cursor.position();
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header
                .base_timestamp
                .saturating_add(raw.timestamp_delta)
        };
        Ok(Record {
            offset: self
                .header
                .base_offset
                .saturating_add(raw.offset_delta.into()),
            timestamp,
            key: raw.key.map(|range| self.bytes.slice(range)),
            value: raw.value.map(|range| self.bytes.slice(range)),
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given >= self.header.count {
            let left = self.bytes.len() - self.position;
            self.position = self.bytes.len();
            return (left > 0).then_some(Err(BatchError::Header("bytes after the last record")));
        }
        let found = self.read();
        if found.is_ok() {
            self.given += 1;
        } else {
            self.given = self.header.count;
            self.position = self.bytes.len();
        }
        Some(found)
    }
}
