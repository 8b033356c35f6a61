use super::generated::every_api;
use crate::api::{ApiKey, KEYS, api_versions, api_versions_unsupported};
use crate::error_code::{CODES, ErrorCode};
use crate::header::{RequestHeader, RequestStart, decode_response_header, response_frame};
use crate::messages::*;
use crate::wire::{Encoder, Reader};

#[test]
fn the_table_and_the_messages_say_the_same() {
    let mut seen = 0;
    macro_rules! check {
        ($name:ident, $request:ident, $response:ident) => {
            let api = ApiKey::$name.api();
            assert_eq!(<$request as Message>::KEY, api.key);
            assert_eq!(<$response as Message>::KEY, api.key);
            assert_eq!(
                <$request as Message>::VERSIONS,
                (api.min, api.max),
                "{}",
                api.name
            );
            assert_eq!(
                <$request as Message>::FLEXIBLE,
                api.flexible,
                "{}",
                api.name
            );
            seen += 1;
        };
    }
    every_api!(check);
    assert_eq!(seen, KEYS.len());
    assert!(KEYS.is_sorted());
    for key in KEYS {
        let api = key.api();
        assert_eq!(ApiKey::from_number(key.number()), Some(*key));
        assert!(
            api.min <= api.max && api.advertised_max == api.max,
            "{}",
            api.name
        );
        let below = api.advertised_min < api.min;
        assert_eq!(
            below,
            *key == ApiKey::Produce,
            "only Produce advertises what it refuses"
        );
        assert!(key.serves(api.min) && key.serves(api.max));
        assert!(!key.serves(api.min - 1) && !key.serves(api.max + 1));
    }
}

#[test]
fn api_versions_is_the_table() {
    let answer = api_versions();
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.api_keys.len(), KEYS.len());
    for (row, key) in answer.api_keys.iter().zip(KEYS) {
        let api = key.api();
        assert_eq!(row.api_key, key.number());
        assert_eq!(
            (row.min_version, row.max_version),
            (api.advertised_min, api.advertised_max)
        );
    }
    let produce = &answer.api_keys[0];
    assert_eq!(
        (produce.api_key, produce.min_version, produce.max_version),
        (0, 0, 12)
    );
    assert!(answer.supported_features.is_empty() && answer.finalized_features.is_empty());
    assert_eq!(answer.finalized_features_epoch, -1);
}

#[test]
fn an_unsupported_api_versions_request_is_answered_in_version_0() {
    let answer = response_frame(&api_versions_unsupported().into(), 0, 9)
        .unwrap()
        .concat();
    // Length, correlation, error 35, one key: 18, versions 0 to 4. No tags, no throttle time.
    let expected = [
        0, 0, 0, 16, 0, 0, 0, 9, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4,
    ];
    assert_eq!(answer, expected);
}

#[test]
fn the_response_header_of_api_versions_never_has_tags() {
    for version in 0..=4 {
        assert_eq!(ApiKey::ApiVersions.response_header_version(version), 0);
    }
    assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
    assert_eq!(ApiKey::Fetch.response_header_version(12), 1);
    assert_eq!(ApiKey::Fetch.response_header_version(11), 0);
}

#[test]
fn headers_round_trip_and_client_id_is_plain_in_every_version() {
    for (version, tags) in [(8, 0), (9, 1)] {
        let client_id = Some("x".into());
        let key = ApiKey::Metadata;
        let header = RequestHeader {
            key,
            version,
            correlation: 3,
            client_id,
        };
        let mut e = Encoder::new();
        header.encode(&mut e);
        let bytes = e.into_bytes().unwrap();
        assert_eq!(bytes.len(), 8 + 3 + tags);
        let mut r = Reader::new(bytes);
        let start = RequestStart::decode(&mut r).unwrap();
        assert_eq!(
            (start.key, start.version, start.correlation),
            (3, version, 3)
        );
        assert_eq!(
            RequestHeader::decode_rest(ApiKey::Metadata, start, &mut r),
            Ok(header)
        );
        assert_eq!(r.finish(), Ok(()));
    }
    let frame = response_frame(&MetadataResponse::default().into(), 9, 77)
        .unwrap()
        .concat();
    let mut r = Reader::new(frame[4..].to_vec().into());
    assert_eq!(decode_response_header(ApiKey::Metadata, 9, &mut r), Ok(77));
    assert_eq!(
        MetadataResponse::decode(&mut r, 9),
        Ok(MetadataResponse::default())
    );
}

#[test]
fn error_codes_are_all_there_once() {
    for (code, number) in CODES.iter().zip(-1..) {
        assert_eq!(code.code(), number);
        assert_eq!(ErrorCode::from_code(number), Some(*code));
    }
    assert_eq!(CODES.len(), 135);
    assert_eq!(ErrorCode::from_code(134), None);
    assert!(ErrorCode::NotLeaderOrFollower.retriable() && !ErrorCode::InvalidRecord.retriable());
}
