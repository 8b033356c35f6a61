//! What hostile bytes make the decoder allocate, measured: never more than a small multiple of what
//! was sent.
//!
//! One test, because the allocator counts for the whole process.

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use protocol::api::KEYS;
use protocol::messages::{AnyRequest, AnyResponse, DeleteTopicsRequest};
use protocol::peer::Frame;
use protocol::record_batch::{CodecError, Compression, decompress};
use protocol::wire::{Encoder, Reader};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The decoder's budget for the elements of a small frame.
const BUDGET: usize = 16 << 20;

/// The peak while `run` runs, in bytes, above what was there before.
fn peak(run: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    run();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

#[test]
fn hostile_counts_allocate_no_more_than_they_send() {
    let seen = peak(|| drop(std::hint::black_box(vec![0u8; 40 << 20])));
    assert!(
        seen >= 40 << 20,
        "the allocator counts, or this test could not fail: {seen}"
    );

    // Every prefix of ones and giant numbers, at every place where a count may stand.
    let mut worst = 0;
    for filler in [0x00, 0x01, 0x02, 0x10, 0x7f] {
        for count in [
            &[0x7f, 0xff, 0xff, 0xff][..],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            for place in 0..40 {
                let mut bytes = vec![filler; place];
                bytes.extend_from_slice(count);
                bytes.resize(4_096, filler);
                worst = worst.max(decode_all(&bytes.into()));
            }
        }
    }
    assert!(worst < 1 << 20, "4 KiB make it allocate {worst} bytes");
    assert!(worst > 16 << 10, "no array was begun: {worst} bytes");

    // The most elements for the fewest bytes: empty strings, 1 byte sent and 32 kept. Up to the
    // budget they are read (a growing array holds its old and its new half for a moment) ...
    let names = |count: u32| {
        let mut e = Encoder::new();
        e.uvarint(count + 1);
        e.raw(&vec![1; count as usize]);
        e.int32(0);
        e.uvarint(0);
        e.into_bytes().expect("a plain value")
    };
    let some = names(500_000);
    let read = peak(|| assert!(DeleteTopicsRequest::decode(&mut Reader::new(some), 4).is_ok()));
    assert!((15 << 20..2 * BUDGET).contains(&read), "{read} bytes");
    // ... and above it they are refused before the first one.
    let many = names(4_000_000);
    let refused = peak(|| assert!(DeleteTopicsRequest::decode(&mut Reader::new(many), 4).is_err()));
    assert!(refused < 1_000, "{refused} bytes");

    // 60 MiB of records claimed by six bytes of snappy.
    let claimed = [0x80, 0x80, 0x80, 0x1e, 0x00, 0x61];
    let opened = || decompress(Compression::Snappy, &claimed, 64 << 20);
    let refused = peak(|| assert_eq!(opened(), Err(CodecError::Corrupt)));
    assert!(refused < 1_000, "{refused} bytes");
}

fn decode_all(bytes: &Bytes) -> usize {
    let mut worst = 0;
    for key in KEYS {
        for version in [key.api().min, key.api().flexible, key.api().max] {
            let reader = || Reader::new(bytes.clone());
            let request = peak(|| drop(AnyRequest::decode(*key, &mut reader(), version)));
            let response = peak(|| drop(AnyResponse::decode(*key, &mut reader(), version)));
            worst = worst.max(request).max(response);
        }
    }
    for kind in 0..9 {
        let frame: Bytes = [&[1, kind], &bytes[..]].concat().into();
        worst = worst.max(peak(|| drop(Frame::decode(frame))));
    }
    worst
}
