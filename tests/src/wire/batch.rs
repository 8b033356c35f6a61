//! Record batches of magic 2, well-formed unless told otherwise.

use super::codec::{Reader, Writer};

/// What a batch says of itself; the records follow from the values.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Format version; 2 is the only one in use.
    pub magic: i8,
    /// Bits 0-2 name the codec.
    pub attributes: i16,
    /// -1: no producer id.
    pub producer_id: i64,
    /// -1: none.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1: none.
    pub base_sequence: i32,
    /// Of all records, in ms.
    pub time: i64,
    /// The values, one record each, without keys.
    pub values: Vec<Vec<u8>>,
    /// Added to the true checksum.
    pub crc_error: u32,
    /// Added to the true last offset delta.
    pub delta_error: i32,
    /// Added to the true record count.
    pub count_error: i32,
    /// Added to the true batch length.
    pub length_error: i32,
}

impl Batch {
    /// A plain batch.
    pub fn of(values: &[&[u8]]) -> Batch {
        Batch {
            magic: 2,
            attributes: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            time: 1_700_000_000_000,
            values: values.iter().map(|value| value.to_vec()).collect(),
            crc_error: 0,
            delta_error: 0,
            count_error: 0,
            length_error: 0,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let count = self.values.len() as i32;
        let mut body = Writer::default(); // what the checksum covers
        body.i16(self.attributes).i32(count - 1 + self.delta_error);
        body.i64(self.time).i64(self.time);
        body.i64(self.producer_id)
            .i16(self.producer_epoch)
            .i32(self.base_sequence);
        body.i32(count + self.count_error);
        for (delta, value) in self.values.iter().enumerate() {
            let mut record = Writer::default();
            record.i8(0).varint(0).varint(delta as i64).varint(-1);
            record.varint(value.len() as i64).raw(value).varint(0);
            body.varint(record.0.len() as i64).raw(&record.0);
        }
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &body.0) as u32;
        let crc = crc.wrapping_add(self.crc_error);
        let mut batch = Writer::default();
        let length = body.0.len() as i32 + 9 + self.length_error;
        batch.i64(0).i32(length).i32(-1).i8(self.magic);
        batch.raw(&crc.to_be_bytes()).raw(&body.0);
        batch.0
    }
}

/// The offsets of the whole batches in a fetched answer: the first, and the one after the last.
pub fn offsets(records: &[u8]) -> Option<(i64, i64)> {
    let mut reader = Reader(records);
    let mut found: Option<(i64, i64)> = None;
    while let Some((base, next)) = batch_offsets(&mut reader) {
        found = Some((found.map_or(base, |(first, _)| first), next));
    }
    found
}

fn batch_offsets(reader: &mut Reader<'_>) -> Option<(i64, i64)> {
    let base = reader.i64().ok()?;
    let length = usize::try_from(reader.i32().ok()?).ok()?;
    let mut body = Reader(reader.take(length).ok()?);
    body.take(11).ok()?; // leader epoch, magic, checksum, attributes
    let last_delta = body.i32().ok()?;
    Some((base, base + i64::from(last_delta) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_whole_batches() {
        let mut first = Batch::of(&[b"one", b"two", b"three"]).encode();
        first[..8].copy_from_slice(&7i64.to_be_bytes());
        let mut second = Batch::of(&[b"four"]).encode();
        second[..8].copy_from_slice(&10i64.to_be_bytes());
        let both = [first.clone(), second].concat();
        assert_eq!(offsets(&both), Some((7, 11)));
        assert_eq!(offsets(&both[..both.len() - 1]), Some((7, 10)));
        assert_eq!(offsets(&first[..20]), None);
    }
}
