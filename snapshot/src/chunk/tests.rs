use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use proptest::prelude::*;
use protocol::record_batch::Compression;

use super::{Config, Error, Member, Reader, Summary, Writer, check_batches};
use crate::manifest::EpochStart;
use crate::source::Incarnation;
use crate::testing::{batch, batch_of, batches, chunk_of, source};

const SMALL: Config = Config {
    member_bytes: 2000,
    level: 1,
};

fn stored_of<'a>(member: &Member, chunk: &'a [u8]) -> &'a [u8] {
    let start = usize::try_from(member.position).expect("small");
    &chunk[start..start + usize::try_from(member.stored_bytes).expect("small")]
}

fn open(summary: &Summary, stored: &[u8]) -> Result<Reader, Error> {
    let index = usize::try_from(summary.index_position).expect("small");
    Reader::open(&stored[index..], summary, &source(1))
}

fn read_all(summary: &Summary, stored: &[u8]) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::new();
    for member in open(summary, stored)?.members() {
        raw.extend_from_slice(&Reader::inflate(member, stored_of(member, stored))?);
    }
    Ok(raw)
}

#[test]
fn what_was_pushed_is_read_back_and_every_offset_is_found() {
    let batches = batches(500, 40, 7);
    let (finished, stored) = chunk_of(SMALL, &source(1), &batches);
    let summary = finished.summary;
    assert_eq!((summary.first_offset, summary.next_offset), (500, 900));
    assert_eq!(summary.stored_bytes, stored.len() as u64);
    assert_eq!(summary.stored_crc32, crc32fast::hash(&stored));
    assert_eq!(
        read_all(&summary, &stored).expect("whole"),
        batches.concat()
    );
    let reader = open(&summary, &stored).expect("an index");
    assert!(reader.members().len() > 5, "members are small here");
    for offset in 500..900 {
        let member = reader.at_offset(offset).expect("it is there");
        assert!((member.first_offset..member.next_offset).contains(&offset));
        // A record's time is its offset and a second.
        let member = reader.at_time(1_000 + offset).expect("it is there");
        assert!((member.first_offset..member.next_offset).contains(&offset));
    }
    assert_eq!(reader.at_offset(900), None);
    assert_eq!(reader.at_time(1_900), None);
}

/// Whoever has gzip can read the records.
#[test]
fn gzip_reads_the_records() {
    let batches = batches(0, 40, 1);
    let (finished, stored) = chunk_of(SMALL, &source(1), &batches);
    let records = usize::try_from(finished.summary.index_position).expect("small");
    let gunzip = |bytes: &[u8]| {
        let mut gzip = Command::new("gzip")
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gzip");
        let mut input = gzip.stdin.take().expect("piped");
        let bytes = bytes.to_vec();
        let writing = std::thread::spawn(move || input.write_all(&bytes));
        let output = gzip.wait_with_output().expect("it ends");
        writing.join().expect("no panic").expect("all is taken");
        assert!(output.status.success());
        output.stdout
    };
    assert_eq!(gunzip(&stored[..records]), batches.concat());
    let index = gunzip(&stored[records..]);
    let line = index.split(|byte| *byte == b'\n').next().expect("a line");
    let index: serde_json::Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!(index["source"]["partition"], 3);
    assert!(index["members"].as_array().expect("a list").len() > 5);
}

#[test]
fn x17_another_compressor_makes_the_same_chunk() {
    let batches = batches(0, 40, 1);
    let best = Config { level: 9, ..SMALL };
    let (quick, quick_bytes) = chunk_of(SMALL, &source(1), &batches);
    let (best, best_bytes) = chunk_of(best, &source(1), &batches);
    assert_ne!(quick_bytes, best_bytes, "else nothing is shown");
    assert_eq!(quick.summary.raw_sha256, best.summary.raw_sha256);
    assert_ne!(quick.summary.stored_crc32, best.summary.stored_crc32);
}

#[test]
fn compressed_batches_are_stored_as_they_are() {
    let compressed: Vec<Bytes> = (0..40)
        .map(|n| batch_of(n * 10, 1, 10, 40, Compression::Gzip))
        .collect();
    let (finished, stored) = chunk_of(SMALL, &source(1), &compressed);
    let summary = finished.summary;
    let reader = open(&summary, &stored).expect("an index");
    for member in reader.members() {
        // Stored blocks: the bytes can be seen, and gzip's frame is all that is added.
        let overhead = member.stored_bytes - member.raw_bytes;
        assert!(overhead < 64, "{overhead}");
    }
    assert_eq!(
        read_all(&summary, &stored).expect("whole"),
        compressed.concat()
    );
}

#[test]
fn x18_damage_is_not_made_valid() {
    let mut writer = Writer::new(SMALL, source(1), Incarnation(1), 0);
    writer.push(&batch(0, 1, 10, 40)).expect("sound");
    let mut damaged = batch(10, 1, 10, 40).to_vec();
    let last = damaged.len() - 3;
    damaged[last] ^= 4;
    let why = writer
        .push(&damaged)
        .expect_err("its checksum does not match");
    assert!(matches!(why, Error::BatchDamaged { offset: 10 }), "{why}");
    let cut = &batch(10, 1, 10, 40)[..80];
    assert!(matches!(writer.push(cut), Err(Error::Batch { .. })));
    // It is as if they had never come.
    writer.push(&batch(10, 1, 10, 40)).expect("sound");
    assert_eq!(writer.next_offset(), 20);
}

#[test]
fn batches_that_do_not_continue_are_refused() {
    let mut writer = Writer::new(SMALL, source(1), Incarnation(1), 0);
    writer.push(&batch(0, 3, 10, 40)).expect("the first");
    let overlap = writer.push(&batch(9, 3, 10, 40));
    assert!(matches!(
        overlap,
        Err(Error::Overlap {
            expected: 10,
            found: 9
        })
    ));
    let back = writer.push(&batch(10, 2, 10, 40));
    assert!(matches!(
        back,
        Err(Error::Epoch {
            offset: 10,
            wanted: 3,
            found: 2
        })
    ));
    // A hole is what compaction leaves.
    writer
        .push(&batch(30, 4, 1, 40))
        .expect("a hole is no damage");
    assert_eq!(writer.finish(33).summary.next_offset, 33);
}

/// Bits that say nothing (gzip's time stamp in the index) are found by verifying the whole object, not by reading.
#[test]
fn no_flipped_bit_changes_what_is_read() {
    let batches = batches(0, 12, 1);
    let (finished, stored) = chunk_of(SMALL, &source(1), &batches);
    let raw = batches.concat();
    let mut flipped = stored.to_vec();
    let mut noticed = 0;
    for bit in 0..stored.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        match read_all(&finished.summary, &flipped) {
            Ok(read) => assert_eq!(read, raw, "bit {bit}"),
            Err(_) => noticed += 1,
        }
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    let silent = stored.len() * 8 - noticed;
    assert!(silent < 100, "{silent} bits said nothing");
    assert_eq!(
        read_all(&finished.summary, &flipped).expect("as it was"),
        raw
    );
}

#[test]
fn c2_a_member_is_exactly_what_is_declared() {
    let (finished, stored) = chunk_of(SMALL, &source(1), &batches(0, 12, 1));
    let reader = open(&finished.summary, &stored).expect("an index");
    let member = &reader.members()[0];
    let bytes = stored_of(member, &stored);
    // The CRC is made right, so that only the length can be wrong.
    let declare = |raw_bytes| Member {
        raw_bytes,
        ..member.clone()
    };
    for raw_bytes in [member.raw_bytes - 1, member.raw_bytes + 1, 0, u64::MAX] {
        assert!(Reader::inflate(&declare(raw_bytes), bytes).is_err());
    }
    let followed = [bytes, b"more"].concat();
    let longer = Member {
        stored_bytes: followed.len() as u64,
        stored_crc32: crc32fast::hash(&followed),
        ..member.clone()
    };
    assert!(Reader::inflate(&longer, &followed).is_err(), "bytes follow");
    let cut = Member {
        stored_bytes: bytes.len() as u64 - 5,
        stored_crc32: crc32fast::hash(&bytes[..bytes.len() - 5]),
        ..member.clone()
    };
    assert!(
        Reader::inflate(&cut, &bytes[..bytes.len() - 5]).is_err(),
        "cut off"
    );
}

#[test]
fn c11_another_partitions_chunk_is_refused() {
    let (finished, stored) = chunk_of(SMALL, &source(2), &batches(0, 12, 1));
    let why = open(&finished.summary, &stored).expect_err("it is of source 2");
    assert!(matches!(why, Error::Foreign { .. }), "{why}");
}

#[test]
fn an_index_that_disagrees_with_the_manifest_is_refused() {
    let (finished, stored) = chunk_of(SMALL, &source(1), &batches(0, 12, 1));
    let (other, _) = chunk_of(SMALL, &source(1), &batches(0, 12, 2));
    let right = finished.summary;
    let wrong = [
        Summary {
            first_offset: 1,
            ..right.clone()
        },
        Summary {
            next_offset: 121,
            ..right.clone()
        },
        Summary {
            raw_bytes: 5,
            ..right.clone()
        },
        Summary {
            max_timestamp: 5,
            ..right.clone()
        },
        Summary {
            raw_sha256: other.summary.raw_sha256,
            ..right.clone()
        },
    ];
    for wrong in wrong {
        let index = usize::try_from(right.index_position).expect("small");
        let opened = Reader::open(&stored[index..], &wrong, &source(1));
        assert!(matches!(opened, Err(Error::Disagrees(_))));
    }
}

#[test]
fn batches_of_another_leader_are_found() {
    let (finished, stored) = chunk_of(SMALL, &source(1), &batches(0, 4, 5));
    let reader = open(&finished.summary, &stored).expect("an index");
    let member = &reader.members()[0];
    let raw = Reader::inflate(member, stored_of(member, &stored)).expect("whole");
    let epoch = |epoch, start_offset| EpochStart {
        epoch,
        start_offset,
    };
    check_batches(&raw, member, &[epoch(5, 0)]).expect("as it was");
    check_batches(&raw, member, &[]).expect("nothing is known");
    let wrong = check_batches(&raw, member, &[epoch(5, 0), epoch(6, 10)]);
    assert!(matches!(
        wrong,
        Err(Error::Epoch {
            offset: 10,
            wanted: 6,
            found: 5
        })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batches_come_back(
        sizes in prop::collection::vec((1_usize..20, 1_usize..300, prop::bool::ANY), 1..40),
        member_bytes in 1_usize..5_000,
    ) {
        let mut offset = 77;
        let batches: Vec<Bytes> = sizes.iter().map(|(records, bytes, compressed)| {
            let codec = if *compressed { Compression::Lz4 } else { Compression::None };
            let made = batch_of(offset, 2, *records, *bytes, codec);
            offset += i64::try_from(*records).expect("few");
            made
        }).collect();
        let config = Config { member_bytes, level: 1 };
        let (finished, stored) = chunk_of(config, &source(1), &batches);
        prop_assert_eq!(finished.summary.next_offset, offset);
        prop_assert_eq!(read_all(&finished.summary, &stored).expect("whole"), batches.concat());
    }
}
