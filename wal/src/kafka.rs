//! The three fields of a record batch's header that the directory keeps.

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

/// Shortest record batch: its header.
const HEADER_BYTES: usize = 61;

/// Looks at a batch's header; None when it is too short or its offsets make no sense. The broker has validated every
/// batch before it comes here, so None only means that lookups by offset do not see the entry.
pub(crate) fn batch_span(batch: &[u8]) -> Option<BatchSpan> {
    if batch.len() < HEADER_BYTES {
        return None;
    }
    let i64_at = |at: usize| batch[at..at + 8].try_into().ok().map(i64::from_be_bytes);
    let last_delta = batch[23..27].try_into().ok().map(i32::from_be_bytes)?;
    let base_offset = i64_at(0)?;
    let next_offset = base_offset
        .checked_add(i64::from(last_delta))?
        .checked_add(1)?;
    (base_offset >= 0 && last_delta >= 0).then_some(BatchSpan {
        base_offset,
        next_offset,
        max_timestamp: i64_at(35)?,
    })
}
