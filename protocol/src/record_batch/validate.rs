use super::codec::Compression;
use super::cursor::{Cursor, RECORD_LEAST};
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_LENGTH, KNOWN_BITS, crc_of};
use super::records::opened;
use bytes::Bytes;

/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

/// What [`validate`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest whole batch in bytes, as sent (compressed). Kafka's `message.max.bytes` counts the
    /// same bytes.
    pub batch_bytes_max: usize,
    /// Transaction markers are accepted. Never from clients.
    pub control: bool,
    /// Compressed batches are opened and walked too: slower, and finds what only a consumer would
    /// find otherwise.
    pub open_compressed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_bytes_max: 1_048_588,
            control: false,
            open_compressed: false,
        }
    }
}

/// Checks that the bytes are exactly one batch that can be stored and read back.
///
/// Ok does not promise that compressed records can be opened, unless `open_compressed` asked for
/// it.
pub fn validate(batch: &Bytes, limits: &Limits) -> Result<BatchHeader, BatchError> {
    validate_timed(batch, limits).map(|(header, _)| header)
}

/// The lowest and the highest timestamp of a batch's records, in ms. Records without one (-1) do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The lowest.
    pub lowest: i64,
    /// The highest.
    pub highest: i64,
}

impl Times {
    fn of_header(header: &BatchHeader) -> Option<Self> {
        let highest = header.max_timestamp;
        let times = Self {
            lowest: header.base_timestamp.min(highest),
            highest,
        };
        (highest != NO_TIMESTAMP).then_some(times)
    }

    fn with(times: Option<Self>, timestamp: i64) -> Option<Self> {
        if timestamp == NO_TIMESTAMP {
            return times;
        }
        let (lowest, highest) = times.map_or((timestamp, timestamp), |t| (t.lowest, t.highest));
        Some(Self {
            lowest: lowest.min(timestamp),
            highest: highest.max(timestamp),
        })
    }
}

/// [`validate`], and between which times the records lie; None where none has a timestamp.
///
/// The times are those of the records, where they were walked. Of a compressed batch that was not opened they are what
/// its header says.
pub fn validate_timed(
    batch: &Bytes,
    limits: &Limits,
) -> Result<(BatchHeader, Option<Times>), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let (length, have) = (header.total_length(), batch.len());
    if length > limits.batch_bytes_max {
        return Err(BatchError::TooLarge {
            length,
            max: limits.batch_bytes_max,
        });
    }
    if length > have {
        return Err(BatchError::Truncated {
            wanted: length,
            have,
        });
    }
    if length < have {
        return Err(BatchError::Trailing {
            extra: have - length,
        });
    }
    let computed = crc_of(batch);
    if computed != header.crc {
        return Err(BatchError::Crc {
            stored: header.crc,
            computed,
        });
    }
    let compression = header.compression()?;
    check_fields(&header, limits)?;
    let times = if compression == Compression::None {
        walk(batch, HEADER_LENGTH, &header)?
    } else if limits.open_compressed {
        walk(&opened(batch, &header)?, 0, &header)?
    } else {
        Times::of_header(&header)
    };
    Ok((header, times))
}

fn check_fields(header: &BatchHeader, limits: &Limits) -> Result<(), BatchError> {
    let fault = if header.attributes & !KNOWN_BITS != 0 {
        "unknown attributes"
    } else if header.count <= 0 {
        "no records"
    } else if header.last_offset_delta != header.count - 1 {
        "the count is not the last offset delta and one"
    } else if header.is_control() && !limits.control {
        "a control batch from a client"
    } else if header.has_producer() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        // Markers carry the producer's id and epoch, and no sequence.
        if header.is_control() && header.producer_epoch >= 0 {
            return Ok(());
        }
        "a producer id without epoch or sequence"
    } else if header.is_transactional() && !header.has_producer() {
        "a transactional batch without a producer id"
    } else {
        return Ok(());
    };
    Err(BatchError::Header(fault))
}

fn walk(bytes: &[u8], start: usize, header: &BatchHeader) -> Result<Option<Times>, BatchError> {
    let count = header.count;
    if count as usize > (bytes.len() - start) / RECORD_LEAST {
        return Err(BatchError::Header("more records than bytes"));
    }
    let mut cursor = Cursor::new(bytes, start);
    let mut times = None;
    for index in 0..count {
        let fail = |what| BatchError::Record { index, what };
        let record = cursor.record(|_, _| ()).map_err(fail)?;
        if record.offset_delta != index {
            return Err(fail("offset deltas are not 0, 1, 2, ..."));
        }
        let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
        times = Times::with(times, timestamp);
    }
    match bytes.len() - cursor.position() {
        0 => Ok(times),
        _ => Err(BatchError::Header("bytes after the last record")),
    }
}
