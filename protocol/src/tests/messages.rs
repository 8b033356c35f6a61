//! Every message in every version: what is encoded decodes to the same value, and nothing but the
//! whole does.

use super::generated::every_api;
use super::random::Random;
use crate::api::{ApiKey, KEYS};
use crate::messages::*;
use crate::wire::{DecodeError, EncodeError, Encoder, Reader, Slices};
use bytes::Bytes;

const SEEDS: u64 = 40;

pub(super) fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut e = Encoder::new();
    message.encode(&mut e, version);
    e.into_bytes().unwrap()
}

fn round_trip<M: Message + PartialEq + std::fmt::Debug>(
    make: impl Fn(&mut Random, i16) -> M,
) -> usize {
    let mut walked = 0;
    for version in M::VERSIONS.0..=M::VERSIONS.1 {
        for seed in 0..SEEDS {
            let message = make(&mut Random::new(seed), version);
            let bytes = encode(&message, version);
            let decoded = M::decode(&mut Reader::new(bytes.clone()), version);
            assert_eq!(
                decoded.as_ref(),
                Ok(&message),
                "{:?} {version} seed {seed}",
                M::KEY
            );
            assert_eq!(encode(&message, version), bytes);
        }
        // The default can always be sent, or it would not be one.
        let bytes = encode(&M::default(), version);
        assert_eq!(
            M::decode(&mut Reader::new(bytes), version),
            Ok(M::default())
        );
        walked += 1;
    }
    walked
}

#[test]
fn every_message_of_every_version_round_trips() {
    let mut walked = 0;
    macro_rules! check {
        ($name:ident, $request:ident, $response:ident) => {
            walked += round_trip($request::arbitrary);
            walked += round_trip($response::arbitrary);
        };
    }
    every_api!(check);
    let table: usize = KEYS
        .iter()
        .map(|key| (key.api().max - key.api().min + 1) as usize)
        .sum();
    assert_eq!(
        walked,
        2 * table,
        "the table and the messages have the same versions"
    );
}

#[test]
fn truncated_and_prolonged_messages_are_errors() {
    fn cut<M: Message + PartialEq + std::fmt::Debug>(make: impl Fn(&mut Random, i16) -> M) {
        for version in M::VERSIONS.0..=M::VERSIONS.1 {
            for seed in 0..4 {
                let bytes = encode(&make(&mut Random::new(seed), version), version);
                // Long messages are cut at every 7th byte only: strings dominate them.
                let step = if bytes.len() > 1_000 { 7 } else { 1 };
                for length in (0..bytes.len()).step_by(step) {
                    let r = &mut Reader::new(bytes.slice(..length));
                    let cut = M::decode(r, version);
                    assert!(
                        cut.is_err(),
                        "{:?} {version}: {length} bytes suffice",
                        M::KEY
                    );
                }
                let longer: Bytes = [&bytes[..], &[0]].concat().into();
                let longer = M::decode(&mut Reader::new(longer), version);
                assert_eq!(longer, Err(DecodeError::Trailing { left: 1 }));
            }
        }
    }
    macro_rules! check {
        ($name:ident, $request:ident, $response:ident) => {
            cut($request::arbitrary);
            cut($response::arbitrary);
        };
    }
    every_api!(check);
}

#[test]
fn versions_outside_of_the_table_are_refused() {
    for key in KEYS {
        for version in [key.api().min - 1, key.api().max + 1] {
            let r = &mut Reader::new(Bytes::new());
            let expected = DecodeError::Version {
                key: key.number(),
                version,
            };
            assert_eq!(AnyRequest::decode(*key, r, version), Err(expected));
        }
    }
    let mut e = Encoder::framed();
    ProduceRequest::default().encode(&mut e, 2);
    assert_eq!(
        e.into_chain(),
        Err(EncodeError::Version { key: 0, version: 2 })
    );
}

#[test]
fn null_where_a_version_has_none_is_an_error_both_ways() {
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let mut e = Encoder::new();
    all.encode(&mut e, 0);
    assert_eq!(e.into_chain(), Err(EncodeError::Null { field: "topics" }));

    let null = Bytes::from_static(&[0xff; 4]);
    let decoded = MetadataRequest::decode(&mut Reader::new(null.clone()), 0);
    assert_eq!(decoded, Err(DecodeError::Null { field: "topics" }));
    assert_eq!(
        MetadataRequest::decode(&mut Reader::new(null), 1).map(|m| m.topics),
        Ok(None)
    );
}

#[test]
fn strings_and_records_share_the_frame_and_large_records_are_linked() {
    let records = Bytes::from(vec![7; 100_000]);
    let mut e = Encoder::framed();
    let partition = fetch::PartitionData {
        records: Some(Slices::from(vec![
            records.slice(..60_000),
            records.slice(60_000..),
        ])),
        ..Default::default()
    };
    let topic = fetch::FetchableTopicResponse {
        partitions: vec![partition],
        ..Default::default()
    };
    let response = FetchResponse {
        responses: vec![topic],
        ..Default::default()
    };
    response.encode(&mut e, 12);
    let chain = e.into_chain().unwrap();
    assert_eq!(chain.len(), 4, "front, two slices, end");
    assert_eq!(chain[1].as_ptr(), records.as_ptr());
    assert_eq!(chain[2].as_ptr(), records[60_000..].as_ptr());

    let whole: Bytes = chain.concat().into();
    assert_eq!(
        whole.len() - 4,
        i32::from_be_bytes(whole[..4].try_into().unwrap()) as usize
    );
    let decoded = FetchResponse::decode(&mut Reader::new(whole.slice(4..)), 12).unwrap();
    assert_eq!(decoded, response);
    let found = decoded.responses[0].partitions[0]
        .records
        .clone()
        .unwrap()
        .into_bytes();
    assert!(whole.as_ptr_range().contains(&found.as_ptr()));
}

#[test]
fn unknown_tagged_fields_are_passed_over_and_disorder_is_refused() {
    let decode = |tags: &'static [u8]| {
        // DescribeCluster 0: one flag, then tagged fields.
        let bytes = [&[1], tags].concat();
        DescribeClusterRequest::decode(&mut Reader::new(bytes.into()), 0)
    };
    assert!(
        decode(&[2, 5, 1, 0xaa, 9, 0])
            .unwrap()
            .include_cluster_authorized_operations
    );
    assert_eq!(
        decode(&[2, 5, 0, 5, 0]),
        Err(DecodeError::TagOrder {
            tag: 5,
            previous: 5
        })
    );
    assert_eq!(
        decode(&[1, 5, 3, 0]),
        Err(DecodeError::Truncated { wanted: 3, left: 1 })
    );
    let many = decode(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert!(
        matches!(
            many,
            Err(DecodeError::Count {
                field: "tagged fields",
                ..
            })
        ),
        "{many:?}"
    );
}

#[test]
fn a_known_tagged_field_must_end_where_it_says() {
    let response = ApiVersionsResponse {
        finalized_features_epoch: 5,
        ..Default::default()
    };
    let mut bytes = encode(&response, 3).to_vec();
    // ... count of tags 1, tag 1, size 8, the epoch.
    let size = bytes.len() - 9;
    assert_eq!(bytes[size - 2..=size], [1, 1, 8]);
    bytes[size] = 9;
    bytes.push(0);
    let decoded = ApiVersionsResponse::decode(&mut Reader::new(bytes.into()), 3);
    assert_eq!(decoded, Err(DecodeError::Trailing { left: 1 }));
}

#[test]
fn any_request_and_response_go_by_their_key() {
    for key in KEYS {
        let version = key.api().max;
        let mut e = Encoder::new();
        let request = any_default(*key);
        request.encode(&mut e, version);
        let bytes = e.into_bytes().unwrap();
        let decoded = AnyRequest::decode(*key, &mut Reader::new(bytes), version).unwrap();
        assert_eq!((decoded.key(), &decoded), (*key, &request));
    }
}

fn any_default(key: ApiKey) -> AnyRequest {
    let mut found = None;
    macro_rules! pick {
        ($name:ident, $request:ident, $response:ident) => {
            if key == ApiKey::$name {
                assert_eq!(AnyResponse::from($response::default()).key(), key);
                found = Some($request::default().into());
            }
        };
    }
    every_api!(pick);
    found.expect("every key has a request")
}

/// librdkafka's "all topics" in Metadata 13: four zero bytes for the null array leave three bytes over.
#[test]
fn metadata_of_librdkafka_is_read() {
    let frame = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
    let mut strict = Reader::new(frame.clone());
    let decoded = AnyRequest::decode(ApiKey::Metadata, &mut strict, 13);
    assert_eq!(decoded.map(|_| ()), Err(DecodeError::Trailing { left: 3 }));
    let mut reader = Reader::new(frame);
    reader.allow_spare(3);
    let Ok(AnyRequest::Metadata(request)) = AnyRequest::decode(ApiKey::Metadata, &mut reader, 13)
    else {
        panic!("it is a Metadata request");
    };
    assert_eq!(request.topics, None);
    assert!(!request.allow_auto_topic_creation);
}
