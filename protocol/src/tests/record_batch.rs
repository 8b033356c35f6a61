//! Batches: what is valid, what is not, what it is answered with, and what may change in place.

use super::random::Random;
use crate::error_code::ErrorCode;
use crate::record_batch::*;
use bytes::{Bytes, BytesMut};
use kafka_protocol::records as theirs;

fn sample() -> Bytes {
    let mut builder = BatchBuilder::new().producer(4_000, 3, 17);
    builder.push(NewRecord {
        timestamp: 1_700_000_000_000,
        key: Some(b"key"),
        value: Some(b"a value"),
        headers: &[("trace", Some(b"1")), ("trace", None), ("", Some(b""))],
    });
    builder.push(NewRecord {
        timestamp: 1_699_999_999_000,
        key: Some(b""),
        ..Default::default()
    });
    builder.value(1_700_000_000_500, &[0xee; 200]);
    builder.build()
}

/// A batch whose bytes were changed, with a true CRC and length again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = sample().to_vec();
    change(&mut bytes);
    let length = (bytes.len() - LENGTH_OVERHEAD) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn code(batch: &Bytes) -> Result<(), ErrorCode> {
    validate(batch, &Limits::default())
        .map(drop)
        .map_err(|error| error.code())
}

#[test]
fn a_valid_batch_is_accepted_and_read_back() {
    let batch = sample();
    let header = validate(&batch, &Limits::default()).unwrap();
    assert_eq!(
        (header.count, header.last_offset_delta, header.last_offset()),
        (3, 2, 2)
    );
    assert_eq!(
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence
        ),
        (4_000, 3, 17)
    );
    assert_eq!(header.last_sequence(), 19);
    assert_eq!(header.total_length(), batch.len());
    assert_eq!(total_length(&batch), Ok(batch.len()));
    assert_eq!(header.max_timestamp, 1_700_000_000_500);
    assert!(!header.is_control() && !header.is_transactional() && !header.is_log_append_time());

    let read: Vec<Record> = records(&batch).unwrap().map(Result::unwrap).collect();
    assert_eq!(read[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(read[0].headers.len(), 3, "the same name twice stays twice");
    assert_eq!(
        read[0].headers[1],
        RecordHeader {
            name: "trace".into(),
            value: None
        }
    );
    assert_eq!(
        (read[1].timestamp, &read[1].value),
        (1_699_999_999_000, &None)
    );
    assert_eq!(read[1].key.as_deref(), Some(&b""[..]));
    assert!(
        batch
            .as_ptr_range()
            .contains(&read[2].value.as_ref().unwrap().as_ptr())
    );
}

#[test]
fn sequences_wrap_after_the_largest() {
    let mut header = BatchHeader::parse(&sample()).unwrap();
    header.base_sequence = i32::MAX - 1;
    assert_eq!(header.last_sequence(), 0);
    header.base_sequence = -1;
    assert_eq!(header.last_sequence(), -1);
}

#[test]
fn k12_crc_mismatch_is_corrupt_message_for_every_flipped_bit() {
    let batch = sample();
    let mut unprotected = 0;
    for bit in 0..batch.len() * 8 {
        let mut bytes = batch.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let answer = code(&bytes.into());
        match bit / 8 {
            // Base offset and leader epoch: the broker writes them anew, the CRC does not cover
            // them.
            0..8 | 12..16 => {
                assert_eq!(answer, Ok(()), "bit {bit}");
                unprotected += 1;
            }
            16 => assert_eq!(
                answer,
                Err(ErrorCode::UnsupportedForMessageFormat),
                "bit {bit}"
            ),
            // A length that is too large, too small or not even one of a batch.
            8..12 => {
                use ErrorCode::{CorruptMessage, InvalidRecord, MessageTooLarge};
                let expected = [CorruptMessage, InvalidRecord, MessageTooLarge];
                assert!(expected.contains(&answer.unwrap_err()), "bit {bit}");
            }
            _ => assert_eq!(answer, Err(ErrorCode::CorruptMessage), "bit {bit}"),
        }
    }
    assert_eq!(unprotected, 12 * 8);
}

#[test]
fn every_truncation_is_an_error() {
    let batch = sample();
    for length in 0..batch.len() {
        let cut = batch.slice(..length);
        assert_eq!(code(&cut), Err(ErrorCode::CorruptMessage), "{length} bytes");
        assert!(records(&cut).is_err());
    }
}

#[test]
fn more_than_one_batch_is_refused() {
    let two: Bytes = [sample(), sample()].concat().into();
    let extra = sample().len();
    assert_eq!(
        validate(&two, &Limits::default()),
        Err(BatchError::Trailing { extra })
    );
    assert_eq!(code(&two), Err(ErrorCode::InvalidRecord));
    assert_eq!(
        total_length(&two),
        Ok(extra),
        "walking over them still works"
    );
    assert_eq!(records(&two).unwrap().count(), 3);
}

#[test]
fn fetched_bytes_are_cut_into_batches() {
    let one = sample();
    let two: Bytes = [&one[..], &one[..]].concat().into();
    let cut: Vec<_> = batches(two.clone()).collect();
    assert_eq!(cut, [Ok(one.clone()), Ok(one.clone())]);
    let cut: Vec<_> = batches(two.slice(..two.len() - 1)).collect();
    let error = BatchError::Truncated {
        wanted: one.len(),
        have: one.len() - 1,
    };
    assert_eq!(cut, [Ok(one), Err(error)]);
    assert_eq!(batches(Bytes::new()).count(), 0);
    let zeros = batches(Bytes::from_static(&[0; 100])).collect::<Vec<_>>();
    assert_eq!(zeros, [Err(BatchError::Length { length: 0 })]);
}

#[test]
fn size_limit_counts_the_whole_batch() {
    let batch = sample();
    let limit = |batch_bytes_max| Limits {
        batch_bytes_max,
        ..Limits::default()
    };
    assert!(validate(&batch, &limit(batch.len())).is_ok());
    let error = validate(&batch, &limit(batch.len() - 1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let i32_at = |at: usize, value: i32| {
        changed(|bytes| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes()))
    };
    let attributes =
        |value: i16| changed(|bytes| bytes[21..23].copy_from_slice(&value.to_be_bytes()));
    assert_eq!(
        code(&i32_at(57, 4)),
        Err(ErrorCode::InvalidRecord),
        "count above the delta"
    );
    assert_eq!(
        code(&i32_at(57, -1)),
        Err(ErrorCode::InvalidRecord),
        "a negative count"
    );
    assert_eq!(
        code(&i32_at(57, 0)),
        Err(ErrorCode::InvalidRecord),
        "no records"
    );
    assert_eq!(
        code(&i32_at(23, -1)),
        Err(ErrorCode::InvalidRecord),
        "a negative delta"
    );
    assert_eq!(
        code(&i32_at(53, -1)),
        Err(ErrorCode::InvalidRecord),
        "a producer, no sequence"
    );
    assert_eq!(
        code(&attributes(0x80)),
        Err(ErrorCode::InvalidRecord),
        "an unknown attribute"
    );
    assert_eq!(
        code(&attributes(0x20)),
        Err(ErrorCode::InvalidRecord),
        "control from a client"
    );
    assert_eq!(
        code(&attributes(0x10)),
        Ok(()),
        "transactional with a producer"
    );
    for codec in 5..8 {
        assert_eq!(
            code(&attributes(codec)),
            Err(ErrorCode::UnsupportedCompressionType)
        );
    }
    let anonymous = changed(|bytes| {
        bytes[21..23].copy_from_slice(&0x10i16.to_be_bytes());
        bytes[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    });
    assert_eq!(
        code(&anonymous),
        Err(ErrorCode::InvalidRecord),
        "a transaction of nobody"
    );
    let control = BatchBuilder::new()
        .control()
        .producer(1, 0, -1)
        .value(0, b"marker")
        .build();
    let limits = Limits {
        control: true,
        ..Limits::default()
    };
    assert!(validate(&control, &limits).is_ok());
}

#[test]
fn records_that_contradict_the_format_are_refused() {
    // The first record begins at 61: length, attributes, timestamp delta, offset delta, key length,
    // ...
    let patch_at = |at: usize, byte: u8| changed(|bytes| bytes[at] = byte);
    let base = sample();
    assert_eq!(base[61..67], [base[61], 0, 0, 0, 6, b'k']);
    assert_eq!(
        code(&patch_at(61, base[61] + 2)),
        Err(ErrorCode::InvalidRecord),
        "too long"
    );
    assert_eq!(
        code(&patch_at(61, base[61] - 2)),
        Err(ErrorCode::InvalidRecord),
        "too short"
    );
    assert_eq!(
        code(&patch_at(61, 1)),
        Err(ErrorCode::InvalidRecord),
        "negative length"
    );
    assert_eq!(
        code(&patch_at(64, 2)),
        Err(ErrorCode::InvalidRecord),
        "offset delta 1 first"
    );
    assert_eq!(
        code(&patch_at(65, 3)),
        Err(ErrorCode::InvalidRecord),
        "key length -2"
    );
    assert_eq!(
        code(&patch_at(65, 0x7e)),
        Err(ErrorCode::InvalidRecord),
        "key beyond the record"
    );
    let headers = 66 + 3 + 1 + 7;
    assert_eq!(base[headers], 6, "three headers");
    assert_eq!(
        code(&patch_at(headers, 0x7e)),
        Err(ErrorCode::InvalidRecord),
        "header count"
    );
    assert_eq!(
        code(&patch_at(headers, 5)),
        Err(ErrorCode::InvalidRecord),
        "negative count"
    );
    assert_eq!(
        code(&patch_at(headers + 1, 1)),
        Err(ErrorCode::InvalidRecord),
        "nameless header"
    );
    let longer = changed(|bytes| bytes.push(0));
    assert_eq!(
        code(&longer),
        Err(ErrorCode::InvalidRecord),
        "bytes after the last record"
    );
    // An over-long varint as the first record's timestamp delta.
    let mut record = vec![0];
    record.extend([0x80; 10]);
    record.extend([0, 0, 1, 1, 0]);
    let overlong = changed(|bytes| {
        bytes.truncate(61);
        bytes.push(2 * record.len() as u8);
        bytes.extend_from_slice(&record);
        bytes[57..61].copy_from_slice(&1i32.to_be_bytes());
        bytes[23..27].copy_from_slice(&0i32.to_be_bytes());
    });
    let error = validate(&overlong, &Limits::default()).unwrap_err();
    assert_eq!(
        error,
        BatchError::Record {
            index: 0,
            what: "an over-long varint"
        }
    );
}

#[test]
fn a_giant_count_walks_nothing() {
    let giant = changed(|bytes| {
        bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        bytes[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    });
    let error = BatchError::Header("more records than bytes");
    assert_eq!(validate(&giant, &Limits::default()), Err(error.clone()));
    assert_eq!(records(&giant).map(drop), Err(error));
}

#[test]
fn old_formats_are_named() {
    for magic in [0u8, 1, 3, 0xff] {
        let old = changed(|bytes| bytes[16] = magic);
        let error = validate(&old, &Limits::default()).unwrap_err();
        assert_eq!(error, BatchError::Magic { magic: magic as i8 });
        assert_eq!(error.code(), ErrorCode::UnsupportedForMessageFormat);
    }
    // A whole message of magic 1 can be shorter than a batch's header.
    let short = Bytes::from([&[0; 16][..], &[1, 0, 0, 0]].concat());
    assert_eq!(code(&short), Err(ErrorCode::UnsupportedForMessageFormat));
}

#[test]
fn patching_leaves_the_crc_true_and_touches_nothing_else() {
    let before = sample();
    let mut bytes = BytesMut::from(&before[..]);
    patch(&mut bytes, 123_456_789_012, 42);
    let after = bytes.freeze();
    let header = validate(&after, &Limits::default()).unwrap();
    assert_eq!(
        (header.base_offset, header.partition_leader_epoch),
        (123_456_789_012, 42)
    );
    assert_eq!(header.crc, BatchHeader::parse(&before).unwrap().crc);
    assert_eq!(after[16..], before[16..]);
    assert_eq!(after[8..12], before[8..12]);
    let offsets: Vec<i64> = records(&after)
        .unwrap()
        .map(|r| r.unwrap().offset)
        .collect();
    assert_eq!(offsets, [123_456_789_012, 123_456_789_013, 123_456_789_014]);
}

#[test]
fn log_append_time_counts_for_all_records_under_a_new_crc() {
    let before = sample();
    let mut bytes = BytesMut::from(&before[..]);
    set_log_append_time(&mut bytes, 1_800_000_000_000);
    let after = bytes.freeze();
    let header = validate(&after, &Limits::default()).unwrap();
    assert!(header.is_log_append_time());
    assert_ne!(header.crc, BatchHeader::parse(&before).unwrap().crc);
    for record in records(&after).unwrap() {
        assert_eq!(record.unwrap().timestamp, 1_800_000_000_000);
    }
}

#[test]
fn times_are_those_of_the_records_where_they_are_walked() {
    let batch = |times: &[i64], codec| {
        let mut builder = BatchBuilder::new().compression(codec);
        for &timestamp in times {
            builder.push(NewRecord {
                timestamp,
                key: None,
                value: Some(b"value"),
                headers: &[],
            });
        }
        builder.build()
    };
    let times = |batch: &Bytes, open_compressed| {
        let limits = Limits {
            open_compressed,
            ..Limits::default()
        };
        let found = validate_timed(batch, &limits).unwrap().1;
        found.map(|times| (times.lowest, times.highest))
    };
    for codec in [Compression::None, Compression::Gzip] {
        let mixed = batch(&[5_000, 9_000, 2_000], codec);
        assert_eq!(times(&mixed, true), Some((2_000, 9_000)), "{codec:?}");
        assert_eq!(times(&batch(&[-1, -1], codec), true), None, "{codec:?}");
        let some = batch(&[7_000, -1], codec);
        assert_eq!(times(&some, true), Some((7_000, 7_000)), "{codec:?}");
    }
    // Unopened: the first and the highest, as the header says.
    let closed = batch(&[5_000, 9_000, 2_000], Compression::Gzip);
    assert_eq!(times(&closed, false), Some((5_000, 9_000)));
    assert_eq!(times(&batch(&[-1], Compression::Gzip), false), None);
}

#[test]
fn the_oracle_reads_our_batches_and_we_read_the_oracles() {
    let mut random = Random::new(3);
    for round in 0..200 {
        let count = 1 + random.below(9) as usize;
        let fields: Vec<(Bytes, Bytes)> = (0..count)
            .map(|_| (random.bytes(), random.bytes()))
            .collect();
        let mut builder = BatchBuilder::new().producer(9, 1, 5);
        for (nth, (key, value)) in fields.iter().enumerate() {
            let headers = [("h", Some(&key[..]))];
            let (key, value) = (Some(&key[..]), (nth != 2).then_some(&value[..]));
            builder.push(NewRecord {
                timestamp: 1_000 + nth as i64,
                key,
                value,
                headers: &headers,
            });
        }
        let batch = builder.build();
        assert!(
            validate(&batch, &Limits::default()).is_ok(),
            "round {round}"
        );
        let read = theirs::RecordBatchDecoder::decode(&mut batch.clone())
            .unwrap()
            .records;
        let mut packed = BytesMut::new();
        let options = theirs::RecordEncodeOptions {
            version: 2,
            compression: theirs::Compression::None,
        };
        theirs::RecordBatchEncoder::encode(&mut packed, read.iter(), &options).unwrap();
        let packed = packed.freeze();
        let header = validate(&packed, &Limits::default()).unwrap();
        assert_eq!((header.count, header.producer_id), (count as i32, 9));
        let ours: Vec<Record> = records(&packed).unwrap().map(Result::unwrap).collect();
        for (nth, (key, value)) in fields.iter().enumerate() {
            assert_eq!(read[nth].key.as_ref(), Some(key));
            assert_eq!(ours[nth].key.as_ref(), Some(key));
            assert_eq!(ours[nth].value.as_ref(), (nth != 2).then_some(value));
            assert_eq!(ours[nth].timestamp, 1_000 + nth as i64);
            assert_eq!(ours[nth].headers[0].value.as_ref(), Some(key));
        }
    }
}
