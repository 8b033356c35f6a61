//! Bytes that nobody honest sends: never a panic, and never an allocation that they do not pay for.

use super::generated::every_api;
use super::messages::encode;
use super::random::Random;
use crate::api::{ApiKey, KEYS};
use crate::header::{decode_response_header, response_frame};
use crate::messages::*;
use crate::record_batch::{BatchHeader, Limits, records, validate};
use crate::wire::{DecodeError, Reader};
use bytes::Bytes;

#[test]
fn a_giant_count_is_refused_before_anything_is_allocated() {
    for (flexible, count) in [(false, &[0x7f, 0xff, 0xff, 0xff][..]), (true, &[0xff; 4])] {
        let version = if flexible { 9 } else { 1 };
        let count = if flexible {
            [count, &[0x0f]].concat()
        } else {
            count.to_vec()
        };
        let decoded = MetadataRequest::decode(&mut Reader::new(count.into()), version);
        assert!(
            matches!(
                decoded,
                Err(DecodeError::Count {
                    field: "topics",
                    ..
                })
            ),
            "{decoded:?}"
        );
    }
    let negative = Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe]);
    let decoded = MetadataRequest::decode(&mut Reader::new(negative), 1);
    assert_eq!(
        decoded,
        Err(DecodeError::NegativeLength {
            field: "topics",
            length: -2
        })
    );
}

#[test]
fn counts_that_the_bytes_hold_but_memory_should_not_are_refused() {
    // Empty strings: a byte each on the wire, 32 in memory. The count is the varint of 20 Mi and
    // one.
    let elements = 20 << 20;
    let mut bytes = vec![0x81, 0x80, 0x80, 0x0a];
    bytes.resize(elements + 16, 1);
    let decoded = DeleteTopicsRequest::decode(&mut Reader::new(bytes.into()), 4);
    let expected = DecodeError::Count {
        field: "topic_names",
        count: elements as u64,
        left: elements + 12,
    };
    assert_eq!(decoded, Err(expected));
}

#[test]
fn a_large_cluster_fits_the_budgets() {
    let partition = |index| metadata::MetadataResponsePartition {
        partition_index: index,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    let partitions = (0..400_000).map(partition).collect();
    let topic = metadata::MetadataResponseTopic {
        partitions,
        ..Default::default()
    };
    let response = MetadataResponse {
        topics: vec![topic],
        ..Default::default()
    };
    let frame = response_frame(&response.clone().into(), 13, 1)
        .unwrap()
        .concat();
    let mut r = Reader::new(Bytes::from(frame).slice(4..));
    assert_eq!(decode_response_header(ApiKey::Metadata, 13, &mut r), Ok(1));
    assert!(MetadataResponse::decode(&mut r, 13) == Ok(response));

    let partitions = vec![fetch::FetchPartition::default(); 1_000_000];
    let topic = fetch::FetchTopic {
        partitions,
        ..Default::default()
    };
    let request = FetchRequest {
        topics: vec![topic],
        ..Default::default()
    };
    let decoded = FetchRequest::decode(&mut Reader::new(encode(&request, 17)), 17);
    assert!(decoded == Ok(request));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(7);
    for key in KEYS {
        for version in key.api().min..=key.api().max {
            for _ in 0..300 {
                let length = random.below(90) as usize;
                let mut bytes = random.exactly(length).to_vec();
                // Small numbers get further into a message than random ones.
                if random.bool() {
                    bytes.iter_mut().for_each(|byte| *byte %= 4);
                }
                let bytes = Bytes::from(bytes);
                let _ = AnyRequest::decode(*key, &mut Reader::new(bytes.clone()), version);
                let _ = AnyResponse::decode(*key, &mut Reader::new(bytes), version);
            }
        }
    }
}

#[test]
fn a_changed_byte_never_panics_and_what_still_decodes_can_be_encoded() {
    fn change<M: Message + PartialEq + std::fmt::Debug>(make: impl Fn(&mut Random, i16) -> M) {
        for version in M::VERSIONS.0..=M::VERSIONS.1 {
            let random = &mut Random::new(version as u64);
            let bytes = encode(&make(random, version), version);
            for _ in 0..200.min(bytes.len()) {
                let mut changed = bytes.to_vec();
                let at = random.below(bytes.len() as u64) as usize;
                changed[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5) as usize];
                if let Ok(message) = M::decode(&mut Reader::new(changed.into()), version) {
                    let again = encode(&message, version);
                    assert_eq!(M::decode(&mut Reader::new(again), version), Ok(message));
                }
            }
        }
    }
    macro_rules! check {
        ($name:ident, $request:ident, $response:ident) => {
            change($request::arbitrary);
            change($response::arbitrary);
        };
    }
    every_api!(check);
}

#[test]
fn random_batches_and_peer_frames_never_panic() {
    let mut random = Random::new(11);
    for round in 0..30_000 {
        let length = random.below(160) as usize;
        let mut bytes = random.exactly(length).to_vec();
        if round % 2 == 0 && length > 61 {
            // Past the first checks: magic, a true length, a small count, any codec.
            bytes[16] = 2;
            bytes[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
            bytes[57..61].copy_from_slice(&(random.below(6) as i32).to_be_bytes());
        }
        let bytes = Bytes::from(bytes);
        let _ = BatchHeader::parse(&bytes);
        let _ = validate(
            &bytes,
            &Limits {
                open_compressed: true,
                ..Limits::default()
            },
        );
        if let Ok(records) = records(&bytes) {
            assert!(records.count() <= length);
        }
        let mut frame = bytes.to_vec();
        if length > 2 {
            frame[0] = 1;
            frame[1] %= 9;
        }
        let _ = crate::peer::Frame::decode(frame.into());
    }
}
