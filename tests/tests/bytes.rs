//! Wrong bytes at the door: each is refused as it should be, and the broker stands.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use tests::cluster::{Cluster, Flavor, Options};
use tests::wire::batch::Batch;
use tests::wire::codec::Writer;
use tests::wire::requests::{self, code};
use tests::wire::{Connection, requests::parse_api_versions};

/// Longer than any stall timeout that a test may wait for.
const WITHIN: Duration = Duration::from_secs(10);

fn open(cluster: &Cluster) -> Connection {
    Connection::open(&cluster.node(1).kafka(), WITHIN).unwrap()
}

/// Runs every row, then panics with all that went wrong.
fn judge(rows: Vec<(&str, Result<(), String>)>) {
    let total = rows.len();
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, result)| result.err().map(|why| format!("{name}: {why}")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {total} rows\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A frame with a true length.
fn framed(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes()[..], content].concat()
}

/// Header version 1 with a client id, then a body.
fn request(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Writer::default();
    frame
        .i16(api)
        .i16(version)
        .i32(1)
        .string(Some("hostile"))
        .raw(body);
    framed(&frame.0)
}

/// Bytes after which the broker must close the connection without an answer.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let count = |api: i16, version: i16, fill: &[u8], count: i32| {
        let mut body = Writer::default();
        body.raw(fill).i32(count);
        request(api, version, &body.0)
    };
    let garbage: Vec<u8> = (1..4096u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect();
    vec![
        ("garbage", garbage),
        (
            "tls hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(60),
        ),
        (
            "http get",
            b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(),
        ),
        (
            "length of 2 GiB",
            [&i32::MAX.to_be_bytes()[..], &[0; 64]].concat(),
        ),
        (
            "negative length",
            [&(-1i32).to_be_bytes()[..], &[0; 64]].concat(),
        ),
        (
            "lowest length",
            [&i32::MIN.to_be_bytes()[..], &[0; 64]].concat(),
        ),
        ("empty frame", framed(&[])),
        ("header cut short", framed(&[0, 18, 0])),
        ("unknown request", request(9999, 0, &[])),
        ("negative request key", request(-1, 0, &[])),
        ("metadata of a version to come", request(3, 99, &[0; 16])),
        ("negative version", request(3, -1, &[0; 16])),
        (
            "produce 2",
            request(
                0,
                2,
                &requests::produce_body("any", 0, -1, Some(&[0; 32]))[2..],
            ),
        ),
        ("fetch 3", request(1, 3, &[0; 32])),
        ("metadata of 2 billion topics", count(3, 7, &[], i32::MAX)),
        ("metadata of fewer topics than none", count(3, 7, &[], -2)),
        ("create 2 billion topics", count(19, 4, &[], i32::MAX)),
        (
            "produce to 2 billion topics",
            count(0, 7, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1], i32::MAX),
        ),
        (
            "delete records of 2 billion topics",
            count(21, 1, &[], i32::MAX),
        ),
        (
            "compact array of 2^32 topics",
            request(3, 12, b"\x00\xff\xff\xff\xff\x0f"),
        ),
        ("endless varint", request(3, 12, &[0xff; 64])),
        (
            "string longer than the frame",
            request(3, 7, b"\0\0\0\x01\x7f\xff"),
        ),
        (
            "client id longer than the frame",
            framed(b"\0\x12\0\0\0\0\0\x01\x7f\xff"),
        ),
    ]
}

#[test]
fn hostile_bytes_close_one_connection_and_nothing_else() {
    let cluster = Cluster::start(1, &Options::default());
    cluster.create_topic("bytes", 1, &[]);
    let mut bystander = open(&cluster);
    let mut rows = Vec::new();
    for (name, bytes) in hostile() {
        let mut connection = open(&cluster);
        let sent = connection.send(&bytes);
        let (closed, answered) = connection.is_closed_by_peer();
        let refused = match (closed, answered) {
            (true, 0) => Ok(()),
            _ => Err(format!(
                "closed {closed}, {answered} bytes answered, sent {sent:?}"
            )),
        };
        // The bystander's connection is the same all the time, a new one is taken, data flows.
        let alive = works(&mut bystander).and_then(|()| works(&mut open(&cluster)));
        rows.push((name, refused.and(alive)));
    }
    judge(rows);
}

/// One record in, read back at its offset.
fn works(connection: &mut Connection) -> Result<(), String> {
    let text = |error: std::io::Error| format!("the broker is gone: {error}");
    let records = Batch::of(&[b"alive"]).encode();
    let (error, offset) = requests::produce(connection, "bytes", 0, &records).map_err(text)?;
    let fetched = requests::fetch(connection, "bytes", 0, offset, 1 << 20).map_err(text)?;
    match (error, fetched.0, fetched.2.is_empty()) {
        (0, 0, false) => Ok(()),
        other => Err(format!("produce, fetch, empty: {other:?}")),
    }
}

#[test]
fn api_versions_of_a_version_to_come_is_answered_in_version_0() {
    let cluster = Cluster::start(1, &Options::default());
    for version in [5, 99, i16::MAX] {
        let mut connection = open(&cluster);
        // No tags in the header, then a body of a format that nobody knows yet: it must not be read.
        let answer = connection.request(18, version, b"\0\xff\xfe\xfd").unwrap();
        let (error, ranges) = parse_api_versions(&answer).unwrap();
        assert_eq!(error, code::UNSUPPORTED_VERSION, "version {version}");
        assert!(
            ranges.iter().any(|range| range.key == 18 && range.max >= 3),
            "{ranges:?}"
        );
        // The connection goes on with a version that both know.
        let (error, ranges) = requests::api_versions(&mut connection).unwrap();
        assert_eq!(error, 0);
        let all: Vec<i16> = ranges.iter().map(|range| range.key).collect();
        for key in [0, 1, 2, 3, 18, 19, 20, 22, 32, 37, 44] {
            assert!(all.contains(&key), "request {key} is not offered: {all:?}");
        }
    }
}

/// librdkafka writes the null array of topics in four bytes where one belongs, and so leaves three
/// too many. Apache Kafka does not mind, so nobody may.
#[test]
fn bytes_after_a_whole_request_are_tolerated() {
    let cluster = Cluster::start(1, &Options::default());
    let mut connection = open(&cluster);
    let metadata_13 = b"\0\x03\0\x0d\0\0\0\x03\0\x07rdkafka\0\0\0\0\0\x01\0\0";
    connection.send(&framed(metadata_13)).unwrap();
    let (correlation, body) = connection.receive_any().unwrap();
    assert!(
        correlation == 3 && body.len() > 20,
        "{correlation}: {} bytes",
        body.len()
    );
}

#[test]
fn wrong_batches_are_refused_and_leave_nothing() {
    // By default compressed batches are judged by their header alone.
    let full = match Flavor::chosen() {
        Flavor::Walser => vec!["validate.records = \"full\"".to_owned()],
        Flavor::Kafka => Vec::new(),
    };
    let options = Options {
        extra: full,
        ..Options::default()
    };
    let cluster = Cluster::start(1, &options);
    cluster.create_topic("batches", 1, &[]);
    let mut connection = open(&cluster);
    let good = Batch::of(&[b"one", b"two"]);
    assert_eq!(
        requests::produce(&mut connection, "batches", 0, &good.encode()).unwrap(),
        (0, 0)
    );
    let mut rows = Vec::new();
    for (name, bytes, mut allowed) in wrong_batches(&good) {
        if cluster.flavor() == Flavor::Kafka {
            // It takes a codec that it does not know for an error of its own.
            allowed.push(-1);
        }
        let answer = requests::produce(&mut connection, "batches", 0, &bytes);
        rows.push((
            name,
            match answer {
                Ok((error, _)) if allowed.contains(&error) => Ok(()),
                other => Err(format!("{other:?}, allowed {allowed:?}")),
            },
        ));
    }
    // Not one of them took an offset, and what was there is as it was.
    let (error, latest) = requests::list_offset(&mut connection, "batches", 0, -1).unwrap();
    rows.push((
        "latest offset",
        match (error, latest) {
            (0, 2) => Ok(()),
            other => Err(format!("{other:?} instead of 2")),
        },
    ));
    let stored = requests::fetch(&mut connection, "batches", 0, 0, 1 << 20)
        .unwrap()
        .2;
    let sent = good.encode();
    // Base offset and leader epoch are the broker's, all else is the client's.
    rows.push((
        "stored bytes",
        match stored.get(16..) == Some(&sent[16..]) {
            true => Ok(()),
            false => Err(format!(
                "{} bytes differ from the {} sent",
                stored.len(),
                sent.len()
            )),
        },
    ));
    judge(rows);
}

fn wrong_batches(good: &Batch) -> Vec<(&'static str, Vec<u8>, Vec<i16>)> {
    let with = |change: fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch.encode()
    };
    let corrupt = vec![code::CORRUPT_MESSAGE, code::INVALID_RECORD];
    let format = [&corrupt[..], &[43]].concat();
    let codec = [&corrupt[..], &[code::UNSUPPORTED_COMPRESSION_TYPE]].concat();
    let bytes = good.encode();
    let mut rows = vec![
        (
            "wrong crc",
            with(|batch| batch.crc_error = 1),
            vec![code::CORRUPT_MESSAGE],
        ),
        (
            "one bit flipped",
            flipped(&bytes, 70),
            vec![code::CORRUPT_MESSAGE],
        ),
        ("codec 5", with(|batch| batch.attributes = 5), codec.clone()),
        ("codec 7", with(|batch| batch.attributes = 7), codec.clone()),
        (
            "gzip that is none",
            with(|batch| batch.attributes = 1),
            codec,
        ),
        ("magic 1", with(|batch| batch.magic = 1), format.clone()),
        ("magic 3", with(|batch| batch.magic = 3), format),
        (
            "one record too many",
            with(|batch| batch.count_error = 1),
            corrupt.clone(),
        ),
        (
            "negative count",
            with(|batch| batch.count_error = -9),
            corrupt.clone(),
        ),
        (
            "2 billion records",
            with(|batch| batch.count_error = i32::MAX - 2),
            corrupt.clone(),
        ),
        (
            "last offset delta",
            with(|batch| batch.delta_error = 5),
            corrupt.clone(),
        ),
        (
            "longer than it is",
            with(|batch| batch.length_error = 100),
            corrupt.clone(),
        ),
        (
            "shorter than a header",
            with(|batch| batch.length_error = -80),
            corrupt.clone(),
        ),
        (
            "negative length",
            with(|batch| batch.length_error = i32::MIN),
            corrupt.clone(),
        ),
        (
            "half a batch",
            bytes[..bytes.len() / 2].to_vec(),
            corrupt.clone(),
        ),
        ("half a header", bytes[..20].to_vec(), corrupt.clone()),
        (
            "two batches",
            [&bytes[..], &bytes[..]].concat(),
            corrupt.clone(),
        ),
        (
            "too large",
            Batch::of(&[&[7; 2 << 20]]).encode(),
            vec![code::MESSAGE_TOO_LARGE],
        ),
    ];
    if Flavor::chosen() == Flavor::Walser {
        // Apache Kafka stores the batch and drops the rest.
        rows.push(("a batch and a byte", [&bytes[..], &[0]].concat(), corrupt));
    }
    rows
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

#[test]
fn topic_names_that_are_paths_are_refused() {
    let cluster = Cluster::start(1, &Options::default());
    let mut connection = open(&cluster);
    let long = "x".repeat(250);
    let names = [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "a b",
        "a\nb",
        "ü",
        "__\u{202e}",
        &long,
        "C:",
        "%2e%2e",
        "~",
    ];
    let mut rows = Vec::new();
    for name in names {
        let created = requests::create_topic(&mut connection, name, 1, 1, &[]);
        rows.push((
            name,
            match created {
                Ok(code::INVALID_TOPIC_EXCEPTION) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        ));
    }
    judge(rows);
    let allowed = ["a.b", "a_c", "a-b", "...", &"x".repeat(249)];
    for name in allowed {
        assert_eq!(
            requests::create_topic(&mut connection, name, 1, 1, &[]).unwrap(),
            0,
            "{name}"
        );
    }
}

#[test]
fn pieces_and_pipelines_are_answered_in_order() {
    let cluster = Cluster::start(1, &Options::default());
    cluster.create_topic("pieces", 1, &[]);
    let mut connection = open(&cluster);
    let frame = connection.frame(18, 0, &[]);
    for byte in &frame {
        connection.send(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(
        parse_api_versions(&connection.receive().unwrap())
            .unwrap()
            .0,
        0
    );
    // Twenty requests in one write, produce and metadata by turns; answers come in that order.
    let mut pipelined = Connection::open(&cluster.node(1).kafka(), WITHIN).unwrap();
    let records = Batch::of(&[b"pipelined"]).encode();
    let produce = requests::produce_body("pieces", 0, -1, Some(&records));
    let all: Vec<u8> = (1..=20)
        .flat_map(|at| match at % 2 {
            0 => numbered(at, 0, 7, &produce),
            _ => numbered(at, 3, 7, &[0, 0, 0, 0, 0]),
        })
        .collect();
    pipelined.send(&all).unwrap();
    for at in 1..=20 {
        let answer = pipelined.receive_any().unwrap();
        assert_eq!(answer.0, at, "answers out of order");
    }
    let (error, latest) = requests::list_offset(&mut connection, "pieces", 0, -1).unwrap();
    assert_eq!((error, latest), (0, 10));
}

fn numbered(correlation: i32, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Writer::default();
    frame
        .i16(api)
        .i16(version)
        .i32(correlation)
        .string(Some("pipelined"))
        .raw(body);
    framed(&frame.0)
}

/// Declared lengths cost nothing: memory follows the bytes received.
#[test]
fn declared_lengths_take_no_memory() {
    let cluster = Cluster::start(1, &Options::default());
    if cluster.flavor() == Flavor::Kafka {
        eprintln!("not asked of Apache Kafka: it allocates what is declared");
        return;
    }
    cluster.create_topic("bytes", 1, &[]);
    let before = resident(&cluster);
    let claim = |length: u32| [&length.to_be_bytes()[..], &[0, 0, 0, 7, 0, 0]].concat();
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut connection = open(&cluster);
        connection.send(&claim(99 << 20)).unwrap();
        held.push(connection);
    }
    works(&mut open(&cluster)).unwrap();
    let grown = resident(&cluster).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for 40 promises");
    // Cut off in the middle of a frame: closed, not waited for.
    let mut cut = held.pop().unwrap();
    cut.half_close().unwrap();
    assert_eq!(cut.is_closed_by_peer(), (true, 0));
}

/// Resident memory of the broker, in bytes.
fn resident(cluster: &Cluster) -> u64 {
    let pid = cluster.node(1).process.as_ref().unwrap().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}
