//! Produce requests as a [`Dialect`]: one frame is built once, then patched in place, and its
//! answer is known but for three fields. Both cost the cores that they share with the brokers
//! next to nothing.

use super::client::{Topic, connect};
use super::{CLIENT_ID, TIMEOUT_MS, error_name, record};
use crate::error::{Error, Result};
use crate::generator::{Answer, Asked, Dialect, Verdict};
use protocol::frame::frame_length;
use protocol::header::request_frame;
use protocol::messages::ProduceRequest;
use protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use std::net::TcpStream;

/// The last version but one whose request ends with its records.
const VERSION: i16 = 7;
/// Where the correlation id stands in a request.
const CORRELATION_AT: usize = 8;
/// Partition and length of the records precede a request's batch.
const PARTITION_BEFORE_BATCH: usize = 8;
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Produces single records to the partitions that one broker leads, in turn.
pub struct Produce {
    frame: Vec<u8>,
    batch_at: usize,
    payload_bytes: usize,
    partitions: Vec<i32>,
    turn: usize,
    asked: i32,
    answered: i32,
    /// What an answer holds between its correlation id and its partition.
    topic: Vec<u8>,
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
        Self::with_payload(topic, partitions, turn, acks, &record::noise(payload_bytes))
    }

    /// Records with this payload; the id takes the place of its first bytes.
    ///
    /// # Panics
    /// As [`Produce::new`].
    #[must_use]
    pub fn with_payload(
        topic: &str,
        partitions: Vec<i32>,
        turn: usize,
        acks: i16,
        payload: &[u8],
    ) -> Self {
        assert!(
            !partitions.is_empty(),
            "a connection produces to at least one partition"
        );
        assert!(
            payload.len() >= record::PAYLOAD_BYTES_MIN,
            "a payload holds its record's id"
        );
        let batch = record::batch_of(payload);
        let data = PartitionProduceData {
            index: 0,
            records: Some(batch.clone()),
        };
        let request = ProduceRequest {
            acks,
            timeout_ms: TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: topic.into(),
                partition_data: vec![data],
            }],
            ..ProduceRequest::default()
        };
        let frame = request_frame(&request, VERSION, 0, Some(CLIENT_ID.into()))
            .expect("a topic that was created has a name that can be encoded")
            .concat();
        let batch_at = frame.len() - batch.len();
        assert_eq!(frame[batch_at..], batch[..], "the records end the request");
        let topic = answered_topic(topic);
        Self {
            frame,
            batch_at,
            payload_bytes: payload.len(),
            partitions,
            turn,
            asked: 0,
            answered: 0,
            topic,
        }
    }
}

/// Connections to the leaders in turn, each with what it produces; those of one leader begin at different partitions.
///
/// # Errors
/// When a leader cannot be reached, or there is none.
pub(crate) fn producers(
    topic: &Topic,
    connections: usize,
    acks: i16,
    payload: &[u8],
) -> Result<Vec<(TcpStream, Produce)>> {
    let leaders: Vec<(&String, &Vec<i32>)> = topic.by_leader.iter().collect();
    if leaders.is_empty() {
        let name = &topic.name;
        return Err(Error::Cluster(format!("{name}: no partition has a leader")));
    }
    let producer = |number: usize| {
        let (address, partitions) = leaders[number % leaders.len()];
        let turn = number / leaders.len();
        let partitions = partitions.clone();
        let dialect = Produce::with_payload(&topic.name, partitions, turn, acks, payload);
        Ok((connect(address)?, dialect))
    };
    (0..connections).map(producer).collect()
}

/// One topic, its name, one partition.
fn answered_topic(name: &str) -> Vec<u8> {
    let length = (name.len() as u16).to_be_bytes();
    let one = 1_i32.to_be_bytes();
    [&one[..], &length, name.as_bytes(), &one].concat()
}

impl Dialect for Produce {
    fn ask(&mut self, id: u64, out: &mut Vec<u8>) -> Asked {
        let partition = self.partitions[self.turn % self.partitions.len()];
        self.turn += 1;
        self.asked = self.asked.wrapping_add(1);
        let mut patch = |at: usize, value: i32| {
            self.frame[at..at + 4].copy_from_slice(&value.to_be_bytes());
        };
        patch(CORRELATION_AT, self.asked);
        patch(self.batch_at - PARTITION_BEFORE_BATCH, partition);
        record::rename(&mut self.frame[self.batch_at..], self.payload_bytes, id);
        out.extend_from_slice(&self.frame);
        Asked { partition }
    }

    fn answer(&mut self, inbox: &[u8]) -> std::result::Result<Option<Answer>, String> {
        let Some((prefix, rest)) = inbox.split_first_chunk() else {
            return Ok(None);
        };
        let length = frame_length(*prefix, ANSWER_BYTES_MAX).map_err(|e| e.to_string())?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        self.answered = self.answered.wrapping_add(1);
        let (correlation, body) = body.split_first_chunk().ok_or("an answer without a head")?;
        let correlation = i32::from_be_bytes(*correlation);
        if correlation != self.answered {
            return Err(format!(
                "the answer to {correlation} instead of {}",
                self.answered
            ));
        }
        let one_record = body.strip_prefix(&self.topic[..]).and_then(verdict);
        let verdict = one_record.ok_or("not the answer to one record of this topic")?;
        Ok(Some(Answer {
            bytes: prefix.len() + length,
            requests: 1,
            verdict,
        }))
    }
}

/// Partition, error and base offset; what follows does not matter here.
fn verdict(partition: &[u8]) -> Option<Verdict> {
    let (_partition, rest) = partition.split_first_chunk::<4>()?;
    let (code, rest) = rest.split_first_chunk()?;
    let (offset, _) = rest.split_first_chunk()?;
    Some(match i16::from_be_bytes(*code) {
        0 => Verdict::Acked {
            offset: i64::from_be_bytes(*offset),
        },
        code => Verdict::Refused(error_name(code)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::header::response_frame;
    use protocol::messages::ProduceResponse;
    use protocol::messages::produce::{PartitionProduceResponse, TopicProduceResponse};

    #[test]
    fn requests_take_the_partitions_in_turn() {
        let mut dialect = Produce::new("t", vec![4, 9], 1, -1, 100);
        let mut out = Vec::new();
        let partitions: Vec<i32> = (0..3)
            .map(|id| dialect.ask(id, &mut out).partition)
            .collect();
        assert_eq!(partitions, [9, 4, 9]);
        let frame = out.len() / 3;
        let at = frame + dialect.batch_at - PARTITION_BEFORE_BATCH;
        assert_eq!(out[at..at + 4], 4_i32.to_be_bytes());
        assert_eq!(out[frame + CORRELATION_AT..][..4], 2_i32.to_be_bytes());
    }

    fn answered(topic: &str, code: i16, offset: i64) -> Vec<u8> {
        let partition = PartitionProduceResponse {
            index: 4,
            error_code: code,
            base_offset: offset,
            ..PartitionProduceResponse::default()
        };
        let response = ProduceResponse {
            responses: vec![TopicProduceResponse {
                name: topic.into(),
                partition_responses: vec![partition],
            }],
            ..ProduceResponse::default()
        };
        response_frame(&response.into(), VERSION, 1)
            .unwrap()
            .concat()
    }

    fn asked() -> Produce {
        let mut dialect = Produce::new("t", vec![4], 0, -1, 100);
        dialect.ask(0, &mut Vec::new());
        dialect
    }

    #[test]
    fn an_error_code_is_no_acknowledgement() {
        let good = asked().answer(&answered("t", 0, 7)).unwrap().unwrap();
        assert_eq!(good.verdict, Verdict::Acked { offset: 7 });
        let bad = asked().answer(&answered("t", 19, 7)).unwrap().unwrap();
        assert_eq!(bad.verdict, Verdict::Refused("NotEnoughReplicas".into()));
    }

    #[test]
    fn an_answer_is_whole_and_to_the_request_or_none() {
        let whole = answered("t", 0, 7);
        for cut in 0..whole.len() {
            assert!(
                asked().answer(&whole[..cut]).unwrap().is_none(),
                "{cut} bytes"
            );
        }
        assert!(asked().answer(&answered("u", 0, 7)).is_err());
        let mut twice = asked();
        twice.answer(&whole).unwrap();
        assert!(twice.answer(&whole).is_err(), "the same correlation again");
    }
}
