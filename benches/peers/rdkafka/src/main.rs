//! librdkafka as a load: one producer that is never idle, for a while; one line of JSON. `benches/peers/run` measures
//! with it.
//!
//! ```text
//! rdkafka-produce BOOTSTRAP TOPIC RECORD_BYTES WARM_SECONDS SECONDS [KEY=VALUE]...
//! ```
//!
//! Every KEY is librdkafka's; what is not named keeps its default. Latency counts from the record's way into the
//! producer's queue to the report of its delivery, which is mostly the queue: it is full.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

/// What is still queued at the end is waited for so long.
const FLUSH: Duration = Duration::from_secs(60);
/// So many records are queued before deliveries are asked for.
const BURST: usize = 64;

/// What the reports of delivery say.
#[derive(Debug)]
struct Reports {
    window: (Instant, Instant),
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    delivered: u64,
    in_window: u64,
    failed: u64,
    last_failure: String,
    latency_us: Vec<u64>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, report: &DeliveryResult<'_>, queued: Box<Instant>) {
        let now = Instant::now();
        let mut seen = self.seen.lock().expect("no report panics");
        if let Err((error, _)) = report {
            seen.failed += 1;
            seen.last_failure = error.to_string();
            return;
        }
        seen.delivered += 1;
        if (self.window.0..self.window.1).contains(&now) {
            seen.in_window += 1;
            let micros = now.saturating_duration_since(*queued).as_micros();
            seen.latency_us
                .push(u64::try_from(micros).unwrap_or(u64::MAX));
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, size, warm, measured, keys @ ..] = &arguments[..] else {
        panic!("rdkafka-produce BOOTSTRAP TOPIC RECORD_BYTES WARM_SECONDS SECONDS [KEY=VALUE]...");
    };
    let seconds = |text: &String| Duration::from_secs(text.parse().expect("whole seconds"));
    let (warm, measured) = (seconds(warm), seconds(measured));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for key in keys {
        let (key, value) = key.split_once('=').expect("KEY=VALUE");
        config.set(key, value);
    }
    let from = Instant::now() + warm;
    let reports = Reports {
        window: (from, from + measured),
        seen: Mutex::default(),
    };
    let producer: BaseProducer<Reports> = config
        .create_with_context(reports)
        .expect("librdkafka takes these keys");
    let queued = produce(&producer, topic, &noise(size.parse().expect("bytes")));
    producer.flush(FLUSH).expect("what was queued is delivered");
    let reports = producer.context();
    let seen = reports.seen.lock().expect("no report panics");
    println!("{}", row(&seen, queued, size, measured));
}

/// Keeps the queue full until the window ends: how many records went in.
fn produce(producer: &BaseProducer<Reports>, topic: &str, payload: &[u8]) -> u64 {
    let end = producer.context().window.1;
    let mut queued = 0;
    while Instant::now() < end {
        for _ in 0..BURST {
            let record = BaseRecord::<(), [u8], Box<Instant>>::with_opaque_to(
                topic,
                Box::new(Instant::now()),
            );
            match producer.send(record.payload(payload)) {
                Ok(()) => queued += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => panic!("not queued: {error}"),
            }
        }
        producer.poll(Duration::ZERO);
    }
    queued
}

fn row(seen: &Seen, queued: u64, size: &str, measured: Duration) -> serde_json::Value {
    let mut sorted = seen.latency_us.clone();
    sorted.sort_unstable();
    let at = |share: f64| {
        let place = (sorted.len() as f64 * share) as usize;
        let micros = sorted.get(place.min(sorted.len().saturating_sub(1)));
        micros.map_or(0.0, |micros| *micros as f64 / 1e3)
    };
    let rate = seen.in_window as f64 / measured.as_secs_f64();
    let size: f64 = size.parse().expect("bytes");
    let mut void = Vec::new();
    if seen.failed > 0 {
        void.push(format!(
            "{} not delivered: {}",
            seen.failed, seen.last_failure
        ));
    }
    if seen.delivered + seen.failed != queued || seen.in_window == 0 {
        void.push(format!("{} of {queued} delivered", seen.delivered));
    }
    serde_json::json!({
        "acked": seen.in_window,
        "acks_per_second": rate,
        "bytes_per_second": rate * size,
        "delivered": seen.delivered,
        "window_ms": u64::try_from(measured.as_millis()).unwrap_or(u64::MAX),
        "latency_ms": { "p50": at(0.5), "p99": at(0.99), "p999": at(0.999) },
        "void": void,
    })
}

/// Bytes that do not compress, the same in every run.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..size).map(|_| byte()).collect()
}
