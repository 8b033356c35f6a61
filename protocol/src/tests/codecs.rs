//! Compression: what other implementations wrote is read, what is written is read back, and bombs
//! end as errors.

use super::random::Random;
use crate::error_code::ErrorCode;
use crate::record_batch::{
    BatchBuilder, BatchError, CodecError, Compression, Limits, compress, decompress, inflated_max,
    records, validate,
};

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

// Made by zlib (two members), snappy (raw, and in xerial's framing), liblz4 and libzstd from
// [`text`].
const GZIP_TWO_MEMBERS: &str = "\
    1f8b08000000000002034b54c8c94f57c82c56c8cfcba954482c5648cfcf4f01d19925c50a3989c5250ac595\
    79c9a9290a499525a9d60a8923593900736a791c2c0100001f8b0800000000000203cbcf4f51482c56c82c29\
    56c8492c2e5128aecc4b4e4d5148aa2c49b5564854c8c94f57c82c56c8cfcba904294bcf1faeca0118e622a0\
    08010000";
const SNAPPY_RAW: &str = "\
    b4045061206c6f67206973206f6e6c7920617320676f6f64010854697473206c6173742073796e6365642062\
    7974653b20fe2f00fe2f00fe2f00fe2f00fe2f00fe2f00fe2f00fe2f00052f";
const SNAPPY_XERIAL: &str = "\
    82534e415050590000000001000000010000003ac8015061206c6f67206973206f6e6c7920617320676f6f64\
    010854697473206c6173742073796e63656420627974653b20fe2f00fe2f00622f0000000043ec0220792061\
    7320676f6f64010888697473206c6173742073796e63656420627974653b2061206c6f67206973206f6e6c79\
    0127fe2f00fe2f00fe2f00fe2f00de2f00";
const LZ4_FRAME: &str = "\
    04224d186c403402000000000000f73b000000f00661206c6f67206973206f6e6c7920617320676f6f640800\
    ff07697473206c6173742073796e63656420627974653b202f00ffee507974653b2000000000080b32dc";
const ZSTD_FRAME: &str = "\
    28b52ffd643401b50100b40261206c6f67206973206f6e6c7920617320676f6f64697473206c617374207379\
    6e63656420627974653b200200044855edacc204d75625ec";

fn text() -> Vec<u8> {
    b"a log is only as good as its last synced byte; ".repeat(12)
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[test]
fn what_the_reference_implementations_wrote_is_read() {
    // Cut between two gzip members, and before or between two xerial blocks, what is left is whole
    // in itself.
    for (codec, hex, whole_when_cut) in [
        (Compression::Gzip, GZIP_TWO_MEMBERS, 1),
        (Compression::Snappy, SNAPPY_RAW, 0),
        (Compression::Snappy, SNAPPY_XERIAL, 2),
        (Compression::Lz4, LZ4_FRAME, 0),
        (Compression::Zstd, ZSTD_FRAME, 0),
    ] {
        let packed = from_hex(hex);
        let opened = decompress(codec, &packed, 1 << 20);
        assert_eq!(opened.as_deref(), Ok(&text()[..]), "{codec:?}");
        // A cap of one byte less is kept, and one of exactly the size is enough.
        let exact = decompress(codec, &packed, text().len());
        assert_eq!(exact.as_deref(), Ok(&text()[..]), "{codec:?}");
        let max = text().len() - 1;
        assert_eq!(
            decompress(codec, &packed, max),
            Err(CodecError::TooLarge { max }),
            "{codec:?}"
        );
        let cuts = (1..packed.len()).map(|length| decompress(codec, &packed[..length], 1 << 20));
        let whole: Vec<_> = cuts.filter_map(Result::ok).collect();
        assert_eq!(whole.len(), whole_when_cut, "{codec:?}");
        assert!(
            whole
                .iter()
                .all(|opened| text().starts_with(opened) && opened.len() < 564)
        );
        let twice = decompress(codec, &packed.repeat(2), 1 << 20);
        match codec {
            Compression::Snappy => assert_eq!(twice, Err(CodecError::Corrupt)),
            _ => assert_eq!(twice.as_deref(), Ok(&text().repeat(2)[..]), "{codec:?}"),
        }
    }
}

#[test]
fn every_codec_round_trips_through_a_batch() {
    for codec in CODECS {
        for size in [0, 1, 100, 70_000] {
            let mut builder = BatchBuilder::new().compression(codec);
            for nth in 0..5u8 {
                builder.value(1_000 + i64::from(nth), &vec![nth; size]);
            }
            let batch = builder.build();
            let limits = Limits {
                open_compressed: true,
                ..Limits::default()
            };
            let header = validate(&batch, &limits).unwrap();
            assert_eq!(header.compression(), Ok(codec));
            let read: Vec<_> = records(&batch).unwrap().map(Result::unwrap).collect();
            assert_eq!(read.len(), 5);
            for (nth, record) in read.iter().enumerate() {
                assert_eq!(
                    (record.offset, record.timestamp),
                    (nth as i64, 1_000 + nth as i64)
                );
                assert_eq!(record.value.as_deref(), Some(&vec![nth as u8; size][..]));
            }
        }
    }
}

#[test]
fn every_bomb_is_capped() {
    let zeros = vec![0; 80 << 20];
    for codec in CODECS {
        let bomb = compress(codec, &zeros).unwrap();
        assert!(
            bomb.len() < zeros.len() / 15,
            "{codec:?} packs {} bytes",
            bomb.len()
        );
        let max = inflated_max(bomb.len());
        assert!(max <= 64 << 20);
        assert_eq!(
            decompress(codec, &bomb, max),
            Err(CodecError::TooLarge { max }),
            "{codec:?}"
        );
    }
    assert_eq!(inflated_max(0), 16 << 20);
    assert_eq!(inflated_max(1 << 20), 20 << 20);
    assert_eq!(inflated_max(usize::MAX), 64 << 20);
}

#[test]
fn a_bomb_in_a_batch_is_too_large_for_the_producer() {
    let mut builder = BatchBuilder::new().compression(Compression::Gzip);
    builder.value(0, &vec![0; 20 << 20]);
    let batch = builder.build();
    let limits = Limits {
        open_compressed: true,
        ..Limits::default()
    };
    let error = validate(&batch, &limits).unwrap_err();
    assert_eq!(
        error,
        BatchError::Codec(CodecError::TooLarge { max: 16 << 20 })
    );
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
    assert!(
        validate(&batch, &Limits::default()).is_ok(),
        "unopened it passes: its header is true"
    );
}

#[test]
fn corrupt_compressed_bytes_are_errors_or_other_bytes_but_never_a_panic() {
    for codec in CODECS {
        let packed = compress(codec, &text()).unwrap();
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut flipped = packed.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(opened) = decompress(codec, &flipped, 1 << 20) {
                    assert!(opened.len() <= 1 << 20);
                }
            }
        }
    }
}

#[test]
fn random_changes_to_compressed_bytes_never_panic_or_pass_the_cap() {
    let mut random = Random::new(23);
    let words: Vec<u8> = (0..700)
        .flat_map(|_| text()[random.below(40) as usize..][..6].to_vec())
        .collect();
    let mut starts: Vec<_> = CODECS.map(|c| (c, compress(c, &words).unwrap())).to_vec();
    let vectors = [GZIP_TWO_MEMBERS, SNAPPY_RAW, LZ4_FRAME, ZSTD_FRAME].map(from_hex);
    starts.extend(CODECS.into_iter().zip(vectors));
    for (codec, packed) in starts {
        let mut refused = 0;
        for _ in 0..4_000 {
            let mut changed = packed.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(packed.len() as u64) as usize;
                changed[at] = random.next() as u8;
            }
            match decompress(codec, &changed, 100_000) {
                Ok(opened) => assert!(opened.len() <= 100_000),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 1_000, "{codec:?} refused only {refused}");
    }
}

#[test]
fn codec_names_and_numbers() {
    for (number, name) in ["none", "gzip", "snappy", "lz4", "zstd"]
        .into_iter()
        .enumerate()
    {
        let codec = Compression::from_number(number as u8).unwrap();
        assert_eq!((codec as usize, codec.name()), (number, name));
        assert_eq!(Compression::from_name(name), Some(codec));
    }
    assert_eq!(Compression::from_number(5), None);
    assert_eq!(Compression::from_name("brotli"), None);
}
