//! The three fields of a record batch's header that the directory keeps.

use protocol::record_batch::BatchHeader;

/// Where a batch lies in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSpan {
    /// Its first offset.
    pub(crate) base_offset: i64,
    /// The offset after its last.
    pub(crate) next_offset: i64,
    /// Its largest timestamp, ms.
    pub(crate) max_timestamp: i64,
}

/// Looks at a batch's header; None when it is none or its offsets make no sense. The broker has validated every batch
/// before it comes here, so None only means that lookups by offset do not see the entry.
pub(crate) fn batch_span(batch: &[u8]) -> Option<BatchSpan> {
    let header = BatchHeader::parse(batch).ok()?;
    let records = i64::from(header.last_offset_delta).checked_add(1)?;
    let next_offset = header.base_offset.checked_add(records)?;
    (header.base_offset >= 0 && header.last_offset_delta >= 0).then_some(BatchSpan {
        base_offset: header.base_offset,
        next_offset,
        max_timestamp: header.max_timestamp,
    })
}
