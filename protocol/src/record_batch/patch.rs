use super::header::{
    ATTRIBUTES_AT, BatchHeader, CRC_AT, HEADER_LENGTH, LEADER_EPOCH_AT, LOG_APPEND_TIME_BIT,
    MAX_TIMESTAMP_AT, crc_of,
};

/// Writes the offset and the leader epoch that the partition gives to the batch. Both lie outside
/// of the CRC.
///
/// The batch must have passed [`super::validate`].
pub fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(
        batch.len() >= HEADER_LENGTH,
        "only a validated batch is patched"
    );
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Makes `now` (wall clock, ms) the time of all records, for topics whose `message.timestamp.type`
/// is LogAppendTime.
///
/// This lies inside the CRC, which is computed anew: one of the named exceptions to keeping a batch
/// verbatim.
pub fn set_log_append_time(batch: &mut [u8], now: i64) {
    assert!(
        batch.len() >= HEADER_LENGTH,
        "only a validated batch is patched"
    );
    let known = BatchHeader::parse(batch).is_ok_and(|header| header.total_length() == batch.len());
    assert!(known, "only exactly one validated batch is patched");
    let attributes = [batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]];
    let attributes = i16::from_be_bytes(attributes) | LOG_APPEND_TIME_BIT;
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now.to_be_bytes());
    let crc = crc_of(batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}
