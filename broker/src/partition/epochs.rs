//! Which leader epoch began at which offset.

use bytes::{Buf, BufMut, BytesMut};

/// Epochs in rising order with the offset of their first record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    starts: Vec<(i32, i64)>,
}

impl Epochs {
    /// A batch of `epoch` begins at `offset`; notes the epoch when it is new. An epoch whose records are all trimmed
    /// gives its place to it.
    pub fn append(&mut self, epoch: i32, offset: i64) {
        if self.starts.last().is_some_and(|&(last, _)| last >= epoch) {
            return;
        }
        self.truncate(offset);
        self.starts.push((epoch, offset));
    }

    /// Records at and above `offset` are gone.
    pub fn truncate(&mut self, offset: i64) {
        while self
            .starts
            .last()
            .is_some_and(|&(_, start)| start >= offset)
        {
            self.starts.pop();
        }
    }

    /// Records below `offset` are gone: the epoch in force there begins there now.
    pub fn trim(&mut self, offset: i64) {
        let keep = self
            .starts
            .partition_point(|&(_, start)| start <= offset)
            .saturating_sub(1);
        self.starts.drain(..keep);
        if let Some(first) = self.starts.first_mut() {
            first.1 = first.1.max(offset);
        }
    }

    /// Kafka's end offset of an epoch: the highest epoch at or below it, and where the next one begins. (-1, -1) when
    /// unknown.
    ///
    /// `current` is the leader's own epoch. It begins where the log ended when it was elected, whether it has a record
    /// yet or not: what is older never answers "unknown", which a consumer would take for lost records.
    #[must_use]
    pub fn end_offset(&self, epoch: i32, current: i32, log_end: i64) -> (i32, i64) {
        if epoch < 0 || epoch > current {
            return (-1, -1);
        }
        if epoch == current {
            return (epoch, log_end);
        }
        let above = self.starts.partition_point(|&(known, _)| known <= epoch);
        let end = self.starts.get(above).map_or(log_end, |&(_, start)| start);
        let floor = above.checked_sub(1).map(|at| self.starts[at].0);
        (floor.unwrap_or(epoch), end)
    }

    /// Epochs that have a record below `offset`, each with where it begins.
    #[must_use]
    pub fn starts_below(&self, offset: i64) -> Vec<(i32, i64)> {
        let count = self.starts.partition_point(|&(_, start)| start < offset);
        self.starts[..count].to_vec()
    }

    /// Epochs that have a record below `offset`, as bytes.
    pub fn encode_below(&self, offset: i64, out: &mut BytesMut) {
        let count = self.starts.partition_point(|&(_, start)| start < offset);
        out.put_u32(u32::try_from(count).expect("fewer epochs than 2^32"));
        for &(epoch, start) in &self.starts[..count] {
            out.put_i32(epoch);
            out.put_i64(start);
        }
    }

    /// None when the bytes are not what `encode_below` wrote.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = bytes.try_get_u32().ok()? as usize;
        if count > bytes.len() / 12 {
            return None;
        }
        let starts = (0..count)
            .map(|_| (bytes.get_i32(), bytes.get_i64()))
            .collect();
        Some(Self { starts })
    }
}
