//! Walks the records of an opened batch without allocating.

use std::ops::Range;

/// What is wrong with a record.
pub(super) type Fault = &'static str;

/// The least bytes of a record: its length, attributes, two deltas, two lengths and a header count.
pub(super) const RECORD_LEAST: usize = 7;

/// A position in the records' bytes.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where the current record ends.
    end: usize,
}

/// One record; ranges are positions in the records' bytes.
#[derive(Clone, Debug)]
pub(super) struct RawRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Range<usize>>,
    pub value: Option<Range<usize>>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            end: bytes.len(),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Reads one record; `header` is called for each of its headers.
    pub(super) fn record(
        &mut self,
        mut header: impl FnMut(Range<usize>, Option<Range<usize>>),
    ) -> Result<RawRecord, Fault> {
        self.end = self.bytes.len();
        let length = usize::try_from(self.varint()?).map_err(|_| "negative length")?;
        let end = self
            .position
            .checked_add(length)
            .filter(|end| *end <= self.end);
        self.end = end.ok_or("longer than the batch")?;
        // The record's own attributes have no meaning yet and are not checked, as in Kafka.
        self.skip(1)?;
        let timestamp_delta = self.varlong()?;
        let offset_delta = self.varint()?;
        let key = self.opt_range()?;
        let value = self.opt_range()?;
        let headers = usize::try_from(self.varint()?).map_err(|_| "negative header count")?;
        // A header is two lengths at least.
        if headers > (self.end - self.position) / 2 {
            return Err("more headers than bytes");
        }
        for _ in 0..headers {
            let name = self.opt_range()?.ok_or("header without a name")?;
            header(name, self.opt_range()?);
        }
        if self.position != self.end {
            return Err("shorter than its length");
        }
        Ok(RawRecord {
            timestamp_delta,
            offset_delta,
            key,
            value,
        })
    }

    fn skip(&mut self, count: usize) -> Result<Range<usize>, Fault> {
        let start = self.position;
        let end = start.checked_add(count).filter(|end| *end <= self.end);
        self.position = end.ok_or("a field beyond the record's end")?;
        Ok(start..self.position)
    }

    fn opt_range(&mut self) -> Result<Option<Range<usize>>, Fault> {
        match self.varint()? {
            -1 => Ok(None),
            length @ 0.. => self.skip(length as usize).map(Some),
            _ => Err("a negative field length"),
        }
    }

    fn varint(&mut self) -> Result<i32, Fault> {
        let value = self.unsigned(5)?;
        let value = u32::try_from(value).map_err(|_| "an over-long varint")?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, Fault> {
        let value = self.unsigned(10)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn unsigned(&mut self, bytes_max: u32) -> Result<u64, Fault> {
        let mut value = 0u64;
        for nth in 0..bytes_max {
            if self.position >= self.end {
                return Err("a varint beyond the record's end");
            }
            let byte = self.bytes[self.position];
            self.position += 1;
            // The tenth byte holds the 64th bit alone.
            if nth == 9 && byte > 1 {
                return Err("an over-long varint");
            }
            value |= u64::from(byte & 0x7f) << (7 * nth);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("an over-long varint")
    }
}

/// Appends a zigzag varint.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
