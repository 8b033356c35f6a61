use super::codec::Compression;
use super::error::BatchError;

/// Bytes before the records.
pub const HEADER_LENGTH: usize = 61;

/// Bytes that the batch's length field does not count: the base offset and the field itself.
pub const LENGTH_OVERHEAD: usize = 12;

pub(super) const LEADER_EPOCH_AT: usize = 12;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;

pub(super) const CODEC_BITS: i16 = 0x07;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;
pub(super) const KNOWN_BITS: i16 =
    CODEC_BITS | LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT;

/// The fields in front of a batch, in their order. Only length and magic are checked by parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record. Outside of the CRC.
    pub base_offset: i64,
    /// Bytes after this field. Outside of the CRC.
    pub batch_length: i32,
    /// The term of the leader that appended it. Outside of the CRC.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control.
    pub attributes: i16,
    /// The offset of the last record, less the first.
    pub last_offset_delta: i32,
    /// The first record's timestamp, in ms; the others are relative to it.
    pub base_timestamp: i64,
    /// The highest timestamp, or the log append time.
    pub max_timestamp: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// The first record's sequence number; -1 without idempotence.
    pub base_sequence: i32,
    /// The number of records.
    pub count: i32,
}

/// The bytes of the batch at the front, from its length field; needs [`LENGTH_OVERHEAD`] bytes.
pub fn total_length(bytes: &[u8]) -> Result<usize, BatchError> {
    let Some((head, _)) = bytes.split_first_chunk::<LENGTH_OVERHEAD>() else {
        return Err(BatchError::Truncated {
            wanted: HEADER_LENGTH,
            have: bytes.len(),
        });
    };
    let length = i32::from_be_bytes(at(head, 8));
    match usize::try_from(length) {
        Ok(count) if count >= HEADER_LENGTH - LENGTH_OVERHEAD => Ok(count + LENGTH_OVERHEAD),
        _ => Err(BatchError::Length { length }),
    }
}

/// Kafka's checksum.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum that a whole batch should have: of everything from its attributes on. What stands before them, base
/// offset and leader epoch, is the broker's.
///
/// # Panics
/// When it is shorter than a header.
#[must_use]
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c(&batch[ATTRIBUTES_AT..])
}

pub(super) fn at<const N: usize>(bytes: &[u8], position: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&bytes[position..position + N]);
    found
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may go on after it. Does not look at the
    /// records or the CRC.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic stands at the same place in every format: an old message set must not be called
        // truncated.
        if let Some(&magic) = bytes.get(MAGIC_AT).filter(|magic| **magic != 2) {
            return Err(BatchError::Magic { magic: magic as i8 });
        }
        if bytes.len() < HEADER_LENGTH {
            return Err(BatchError::Truncated {
                wanted: HEADER_LENGTH,
                have: bytes.len(),
            });
        }
        total_length(bytes)?;
        Ok(Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            batch_length: i32::from_be_bytes(at(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(at(bytes, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(at(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(at(bytes, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)),
            base_timestamp: i64::from_be_bytes(at(bytes, 27)),
            max_timestamp: i64::from_be_bytes(at(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
            count: i32::from_be_bytes(at(bytes, 57)),
        })
    }

    /// The bytes of the whole batch. Positive once parsed.
    #[must_use]
    pub fn total_length(&self) -> usize {
        self.batch_length as usize + LENGTH_OVERHEAD
    }

    /// The last record's offset.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(self.last_offset_delta.into())
    }

    /// The last record's sequence number; they wrap from `i32::MAX` to 0. -1 without idempotence.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let codec = (self.attributes & CODEC_BITS) as u8;
        Compression::from_number(codec).ok_or(BatchError::UnknownCodec { codec })
    }

    /// The max timestamp is the broker's and counts for all records.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Holds a transaction marker, no user's record.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Has a producer id: idempotent or transactional.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    pub(super) fn set_transactional(&mut self) {
        self.attributes |= TRANSACTIONAL_BIT;
    }

    pub(super) fn set_control(&mut self) {
        self.attributes |= CONTROL_BIT;
    }
}
