//! The `kafka-protocol` crate as a second opinion: encode with ours, decode and encode with theirs,
//! the bytes must be equal, and ours must read them back.
//!
//! Exceptions, where the oracle is not asked:
//! - DescribeLogDirs 5: it ends at 4.
//! - Requests of OffsetCommit 10 and OffsetFetch 10: they end at 9, though their answers do not.
//! - Records are opaque here; [`super::record_batch`] compares batches.

use super::generated::every_api;
use super::messages::encode;
use super::random::Random;
use crate::messages::*;
use crate::wire::Reader;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

const SEEDS: u64 = 40;

fn compare<Ours, Theirs>(make: impl Fn(&mut Random, i16) -> Ours) -> usize
where
    Ours: Message + PartialEq + std::fmt::Debug,
    Theirs: TheirMessage + Encodable + Decodable + std::fmt::Debug,
{
    let (low, high) = Ours::VERSIONS;
    let range = low.max(Theirs::VERSIONS.min)..=high.min(Theirs::VERSIONS.max);
    for version in range.clone() {
        for seed in 0..SEEDS {
            let what = format!("{:?} version {version} seed {seed}", Ours::KEY);
            let ours = make(&mut Random::new(1_000 + seed), version);
            let bytes = encode(&ours, version);
            let mut rest = bytes.clone();
            let read = Theirs::decode(&mut rest, version).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(rest.is_empty(), "{what}: they leave {} bytes", rest.len());
            // They keep and give back tagged fields that they do not know: a wrong tag of ours.
            let unknown = format!("{read:?}").replace("unknown_tagged_fields: {}", "");
            assert!(
                !unknown.contains("unknown_tagged_fields"),
                "{what}: {unknown}"
            );
            let mut back = BytesMut::new();
            read.encode(&mut back, version)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(Bytes::from(back), bytes, "{what}: {ours:?}");
            let again = Ours::decode(&mut Reader::new(bytes), version);
            assert_eq!(again.as_ref(), Ok(&ours), "{what}");
        }
    }
    range.count()
}

#[test]
fn the_oracle_agrees_on_every_message_and_version_that_it_has() {
    let (mut compared, mut ours) = (0, 0);
    macro_rules! check {
        ($name:ident, $request:ident, $response:ident) => {
            compared += compare::<$request, theirs::$request>($request::arbitrary);
            compared += compare::<$response, theirs::$response>($response::arbitrary);
            ours += 2 * ($request::VERSIONS.1 - $request::VERSIONS.0 + 1) as usize;
        };
    }
    every_api!(check);
    assert_eq!(
        compared,
        ours - 4,
        "all but the two messages of DescribeLogDirs 5, and two requests"
    );
}

#[test]
fn the_oracle_agrees_on_headers() {
    use crate::api::KEYS;
    use crate::header::RequestHeader;
    use crate::wire::Encoder;
    for key in KEYS {
        for version in key.api().min..=key.api().max {
            let their = theirs::ApiKey::try_from(key.number()).unwrap();
            let header = key.request_header_version(version);
            assert_eq!(
                header,
                their.request_header_version(version),
                "{key:?} {version}"
            );
            let response = key.response_header_version(version);
            assert_eq!(
                response,
                their.response_header_version(version),
                "{key:?} {version}"
            );

            let client_id = (version % 2 == 0).then(|| "söme client".into());
            let ours = RequestHeader {
                key: *key,
                version,
                correlation: -7,
                client_id,
            };
            let mut e = Encoder::new();
            ours.encode(&mut e);
            let mut bytes = e.into_bytes().unwrap();
            let read = theirs::RequestHeader::decode(&mut bytes, header).unwrap();
            assert!(bytes.is_empty());
            assert_eq!(read.request_api_key, key.number());
            assert_eq!(
                (read.request_api_version, read.correlation_id),
                (version, -7)
            );
            assert_eq!(read.client_id.as_deref(), ours.client_id.as_deref());
        }
    }
}

#[test]
fn the_oracle_agrees_on_error_codes() {
    use crate::error_code::{CODES, ErrorCode};
    use kafka_protocol::ResponseError;
    let mut differ = Vec::new();
    for code in CODES.iter().filter(|code| **code != ErrorCode::None) {
        match ResponseError::try_from_code(code.code()) {
            Some(ResponseError::Unknown(_)) | None => differ.push((code.code(), None)),
            Some(theirs) if theirs.is_retriable() != code.retriable() => {
                differ.push((code.code(), Some(theirs.is_retriable())));
            }
            Some(_) => {}
        }
    }
    assert_eq!(differ, []);
}
