use crate::frame::{FrameError, frame_length, next_frame};
use crate::wire::{DecodeError, Element, EncodeError, Encoder, Reader, Slices, Uuid};
use bytes::{Bytes, BytesMut};

fn uvarint(bytes: &'static [u8]) -> Result<u32, DecodeError> {
    Reader::new(Bytes::from_static(bytes)).uvarint()
}

#[test]
fn varints_at_their_edges() {
    for value in [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        1 << 21,
        1 << 28,
        u32::MAX - 1,
        u32::MAX,
    ] {
        let mut e = Encoder::new();
        e.uvarint(value);
        let mut r = Reader::new(e.into_bytes().unwrap());
        assert_eq!(r.uvarint(), Ok(value));
        assert_eq!(r.finish(), Ok(()));
    }
    assert_eq!(uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    assert_eq!(
        uvarint(&[0xff, 0xff, 0xff, 0xff, 0x10]),
        Err(DecodeError::Varint),
        "33 bits"
    );
    assert_eq!(
        uvarint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        Err(DecodeError::Varint),
        "6 bytes"
    );
    assert_eq!(
        uvarint(&[0x80]),
        Err(DecodeError::Truncated { wanted: 1, left: 0 })
    );
}

#[test]
fn counts_at_their_bound() {
    let of = |least, size| Element {
        name: "list",
        least,
        size,
    };
    let count = |bytes: &[u8], budget, of| {
        Reader::with_budget(Bytes::copy_from_slice(bytes), budget).count(false, of)
    };
    let refused = |count, left| {
        Err(DecodeError::Count {
            field: "list",
            count,
            left,
        })
    };
    // Seven bytes hold three elements of two.
    assert_eq!(
        count(&[0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7], 1_000, of(2, 8)),
        Ok(3)
    );
    assert_eq!(
        count(&[0, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7], 1_000, of(2, 8)),
        refused(4, 7)
    );
    assert_eq!(
        count(&[0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7], 24, of(2, 8)),
        Ok(3)
    );
    assert_eq!(
        count(&[0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7], 23, of(2, 8)),
        refused(3, 7)
    );
    // The budget is one for the whole frame.
    let mut r = Reader::with_budget(Bytes::from_static(&[0, 0, 0, 2, 0, 0, 0, 2, 9, 9]), 30);
    assert_eq!(r.count(false, of(1, 10)), Ok(2));
    assert_eq!(r.count(false, of(1, 10)), refused(2, 2));
    let mut r = Reader::with_budget(Bytes::from_static(&[0, 0, 0, 5, 9, 9, 9, 9]), 1_000);
    assert_eq!(r.sized_count(of(1, 1)), refused(5, 4));
}

#[test]
fn strings_must_be_utf8_and_not_null() {
    let mut r = Reader::new(Bytes::from_static(&[0, 2, 0xc3, 0x28]));
    assert_eq!(
        r.string(false, "name"),
        Err(DecodeError::Utf8 { field: "name" })
    );
    let mut r = Reader::new(Bytes::from_static(&[0]));
    assert_eq!(
        r.string(true, "name"),
        Err(DecodeError::Null { field: "name" })
    );
    let mut r = Reader::new(Bytes::from_static(&[0xff, 0xfe]));
    let negative = DecodeError::NegativeLength {
        field: "name",
        length: -2,
    };
    assert_eq!(r.opt_string(false, true, "name"), Err(negative));
}

#[test]
fn a_string_too_long_for_two_bytes_is_an_error_and_nothing_is_sent() {
    let long = "x".repeat(40_000);
    let mut e = Encoder::framed();
    e.string(&long, false, "name");
    e.int32(1);
    assert_eq!(
        e.into_chain(),
        Err(EncodeError::Long {
            field: "name",
            length: 40_000
        })
    );
    let mut e = Encoder::framed();
    e.string(&long, true, "name");
    assert_eq!(e.into_bytes().unwrap().len(), 4 + 3 + 40_000);
}

#[test]
fn a_tagged_field_with_linked_bytes_keeps_its_order() {
    let large = Bytes::from(vec![9; 70_000]);
    let mut e = Encoder::new();
    e.int8(1);
    e.link(&large);
    let start = e.tag(3);
    e.int8(2);
    e.link(&large);
    e.int8(4);
    e.end_tag(start);
    e.int8(5);
    let bytes = e.into_bytes().unwrap();
    let mut r = Reader::new(bytes);
    assert_eq!(r.int8(), Ok(1));
    assert_eq!(r.take(70_000), Ok(large.clone()));
    assert_eq!((r.uvarint(), r.uvarint()), (Ok(3), Ok(70_002)));
    assert_eq!(r.int8(), Ok(2));
    assert_eq!(r.take(70_000), Ok(large));
    assert_eq!((r.int8(), r.int8()), (Ok(4), Ok(5)));
    assert_eq!(r.finish(), Ok(()));
}

#[test]
fn slices_are_equal_by_content() {
    let whole = Slices::from(Bytes::from_static(b"abcdef"));
    let mut cut = Slices::from(Bytes::from_static(b"abc"));
    assert_ne!(whole, cut);
    cut.push(Bytes::from_static(b"def"));
    assert_eq!(whole, cut);
    assert_eq!((cut.len(), cut.is_empty()), (6, false));
    assert_eq!(cut.into_bytes(), "abcdef");
    assert!(Slices::default().is_empty());
}

#[test]
fn uuids_read_as_kafka_writes_them() {
    // Kafka's own constants: Uuid(0L, 1L) and a random one of its documentation's kind.
    assert_eq!(Uuid(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(Uuid(u128::MAX).to_string(), "_____________________w");
    for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
        assert_eq!(Uuid(value).to_string().parse(), Ok(Uuid(value)));
    }
    for wrong in ["", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAA=="] {
        assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
    }
}

#[test]
fn frames_come_whole_or_not_at_all() {
    let mut buffer = BytesMut::new();
    for (nth, byte) in [0, 0, 0, 3, 7, 8, 9, 0, 0].into_iter().enumerate() {
        assert_eq!(next_frame(&mut buffer, 100), Ok(None), "after {nth} bytes");
        buffer.extend([byte]);
        if nth == 6 {
            assert_eq!(
                next_frame(&mut buffer, 100),
                Ok(Some(Bytes::from_static(&[7, 8, 9])))
            );
        }
    }
    assert_eq!(&buffer[..], &[0, 0]);
    let mut empty = BytesMut::from(&[0, 0, 0, 0][..]);
    assert_eq!(next_frame(&mut empty, 100), Ok(Some(Bytes::new())));
}

#[test]
fn a_large_claim_reserves_nothing() {
    let mut buffer = BytesMut::from(&[0x06, 0, 0, 0, 1, 2, 3][..]);
    let capacity = buffer.capacity();
    assert_eq!(next_frame(&mut buffer, 100 << 20), Ok(None));
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn what_is_no_kafka_is_named() {
    let next = |bytes: &[u8]| next_frame(&mut BytesMut::from(bytes), 100 << 20);
    assert_eq!(next(&[0x16, 0x03, 0x01, 0x02, 0x00]), Err(FrameError::Tls));
    assert_eq!(
        next(&[0x16, 0x03]),
        Err(FrameError::Tls),
        "two bytes are enough"
    );
    for method in [b"GET /", b"POST ", b"HEAD ", b"PUT /", b"OPTIO"] {
        assert_eq!(next(method), Err(FrameError::Http));
    }
    assert_eq!(
        frame_length([0x16, 0x03, 1, 2], usize::MAX),
        Err(FrameError::Tls),
        "any limit"
    );
    assert_eq!(next(&[0xff; 4]), Err(FrameError::Negative { length: -1 }));
    let large = (100 << 20) + 1;
    let error = FrameError::TooLarge {
        length: large,
        max: 100 << 20,
    };
    assert_eq!(next(&(large as i32).to_be_bytes()), Err(error));
    assert_eq!(
        frame_length((100i32 << 20).to_be_bytes(), 100 << 20),
        Ok(100 << 20)
    );
}
