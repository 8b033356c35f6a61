//! Produce requests as a [`Dialect`]: one frame is built once, then patched in place.

use super::record;
use super::wire::{Reader, Writer, error_name, frame};
use crate::generator::{Answer, Asked, Dialect, Verdict};

const PRODUCE: (i16, i16) = (0, 7);
const TIMEOUT_MS: i32 = 30_000;
/// Length and correlation id of a request: where the latter stands.
const CORRELATION_AT: usize = 8;

/// Produces single records to the partitions that one broker leads, in turn.
pub struct Produce {
    frame: Vec<u8>,
    batch_at: usize,
    payload_bytes: usize,
    partitions: Vec<i32>,
    turn: usize,
    asked: i32,
    answered: i32,
    topic: String,
}

impl Produce {
    /// `turn` is the place in `partitions` to begin at, so that connections do not move in step.
    ///
    /// # Panics
    /// When there is no partition, or a payload too small to hold an id.
    #[must_use]
    pub fn new(
        topic: &str,
        partitions: Vec<i32>,
        turn: usize,
        acks: i16,
        payload_bytes: usize,
    ) -> Self {
        assert!(
            !partitions.is_empty(),
            "a connection produces to at least one partition"
        );
        assert!(
            payload_bytes >= record::PAYLOAD_BYTES_MIN,
            "a payload holds its record's id"
        );
        let batch = record::batch(payload_bytes);
        let mut body = Writer::default();
        body.i16(-1)
            .i16(acks)
            .i32(TIMEOUT_MS)
            .count(1)
            .string(topic)
            .count(1);
        // The partition, patched by every request, precedes the batch's length.
        body.i32(0).count(batch.len()).bytes(&batch);
        let frame = frame(PRODUCE.0, PRODUCE.1, 0, &body.0);
        let batch_at = frame.len() - batch.len();
        let topic = topic.into();
        Self {
            frame,
            batch_at,
            payload_bytes,
            partitions,
            turn,
            asked: 0,
            answered: 0,
            topic,
        }
    }
}

impl Dialect for Produce {
    fn ask(&mut self, id: u64, out: &mut Vec<u8>) -> Asked {
        let partition = self.partitions[self.turn % self.partitions.len()];
        self.turn += 1;
        self.asked = self.asked.wrapping_add(1);
        let (correlation, partition_at) = (self.asked.to_be_bytes(), self.batch_at - 8);
        self.frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation);
        self.frame[partition_at..partition_at + 4].copy_from_slice(&partition.to_be_bytes());
        record::rename(&mut self.frame[self.batch_at..], self.payload_bytes, id);
        out.extend_from_slice(&self.frame);
        Asked { partition }
    }

    fn answer(&mut self, inbox: &[u8]) -> Result<Option<Answer>, String> {
        let mut fields = Reader(inbox);
        let Ok(length) = fields.count() else {
            return Ok(None);
        };
        let Ok(body) = fields.take(length) else {
            return Ok(None);
        };
        let mut fields = Reader(body);
        self.answered = self.answered.wrapping_add(1);
        let answered = fields.i32()?;
        if answered != self.answered {
            return Err(format!(
                "the answer to {answered} instead of {}",
                self.answered
            ));
        }
        let topics = fields.count()?;
        let name_bytes = fields.i16()?;
        let name = fields.take(usize::try_from(name_bytes).unwrap_or(0))?;
        let (partitions, _partition) = (fields.count()?, fields.i32()?);
        if (topics, partitions) != (1, 1) || name != self.topic.as_bytes() {
            return Err("not the answer to one record of this topic".into());
        }
        let verdict = match (fields.i16()?, fields.i64()?) {
            (0, offset) => Verdict::Acked { offset },
            (code, _) => Verdict::Refused(error_name(code)),
        };
        Ok(Some(Answer {
            bytes: length + 4,
            requests: 1,
            verdict,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_the_partitions_in_turn() {
        let mut dialect = Produce::new("t", vec![4, 9], 1, -1, 100);
        let mut out = Vec::new();
        let partitions: Vec<i32> = (0..3)
            .map(|id| dialect.ask(id, &mut out).partition)
            .collect();
        assert_eq!(partitions, [9, 4, 9]);
        let at = dialect.batch_at - 8;
        assert_eq!(Reader(&out[at..]).i32(), Ok(9));
        assert_eq!(out.len() % 3, 0);
    }

    fn answered(code: i16, offset: i64) -> Vec<u8> {
        let mut out = Writer::default();
        out.i32(0)
            .i32(1)
            .count(1)
            .string("t")
            .count(1)
            .i32(4)
            .i16(code)
            .i64(offset);
        out.i64(-1).i64(0).i32(0);
        let length = out.0.len() as i32 - 4;
        out.0[..4].copy_from_slice(&length.to_be_bytes());
        out.0
    }

    #[test]
    fn an_error_code_is_no_acknowledgement() {
        let asked = || {
            let mut dialect = Produce::new("t", vec![4], 0, -1, 100);
            dialect.ask(0, &mut Vec::new());
            dialect
        };
        let good = asked().answer(&answered(0, 7)).unwrap().unwrap();
        assert_eq!(good.verdict, Verdict::Acked { offset: 7 });
        let bad = asked().answer(&answered(19, 7)).unwrap().unwrap();
        assert_eq!(
            bad.verdict,
            Verdict::Refused("NOT_ENOUGH_REPLICAS (19)".into())
        );
        let whole = answered(0, 7);
        assert!(asked().answer(&whole[..whole.len() - 1]).unwrap().is_none());
    }
}
