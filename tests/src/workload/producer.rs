//! A producer thread: unique values to all partitions in turn, at a steady rate, every delivery
//! report recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::recorder::Recorder;
use super::{Plan, settings};
use crate::checker::{Body, Key, Outcome, Value};

/// What is known when a send begins.
#[derive(Debug)]
struct Begun {
    process: u32,
    invoked: u64,
    key: Key,
    value: Value,
}

struct Context {
    recorder: Arc<Recorder>,
    /// Goes on to a new number when a send ended in doubt.
    process: Arc<AtomicU32>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, _reason: &str) {
        self.recorder.error(match error.rdkafka_error_code() {
            Some(code) => format!("client: {code:?}"),
            None => format!("client: {error}"),
        });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Begun>;

    fn delivery(&self, result: &DeliveryResult<'_>, begun: Box<Begun>) {
        let (outcome, offset) = match result {
            Ok(message) => (
                Outcome::Ok,
                Some(message.offset()).filter(|offset| *offset >= 0),
            ),
            Err((error, _)) => {
                let code = error.rdkafka_error_code();
                self.recorder.error(format!("send: {code:?}"));
                (outcome_of(code), None)
            }
        };
        if outcome == Outcome::Info {
            self.process
                .store(self.recorder.process(), Ordering::Relaxed);
        }
        let body = Body::Send {
            key: begun.key,
            value: begun.value,
            offset,
        };
        self.recorder
            .record(begun.process, begun.invoked, outcome, body);
    }
}

/// Only what certainly never left this machine, or was refused as a whole, is a failure.
fn outcome_of(code: Option<RDKafkaErrorCode>) -> Outcome {
    match code {
        Some(
            RDKafkaErrorCode::PurgeQueue
            | RDKafkaErrorCode::QueueFull
            | RDKafkaErrorCode::MessageSizeTooLarge,
        ) => Outcome::Fail,
        _ => Outcome::Info,
    }
}

/// Sends until it is told to stop, then waits for what is under way.
pub fn run(bootstrap: &str, plan: &Plan, number: u64, recorder: &Arc<Recorder>) {
    let process = Arc::new(AtomicU32::new(recorder.process()));
    let context = Context {
        recorder: recorder.clone(),
        process: process.clone(),
    };
    let mut config = settings::producer(bootstrap);
    for (key, value) in &plan.producer_settings {
        config.set(key, value);
    }
    let producer: BaseProducer<Context> = config
        .create_with_context(context)
        .expect("harness: producer settings");
    let started = Instant::now();
    let mut sent = 0u64;
    while !recorder.is_stopping(true) {
        let due = (started.elapsed().as_secs_f64() * plan.rate as f64) as u64;
        if sent >= due {
            producer.poll(Duration::from_millis(1));
            continue;
        }
        let key = Key((sent % u64::from(plan.partitions)) as u32);
        let value = number << 40 | sent;
        let begun = Begun {
            process: process.load(Ordering::Relaxed),
            invoked: recorder.now(),
            key,
            value,
        };
        if send(&producer, plan, begun, recorder) {
            sent += 1;
        }
        producer.poll(Duration::ZERO);
    }
    // What does not come back by then is purged by the drop, as unknown.
    let _ = producer.flush(Duration::from_secs(60));
}

/// Whether the value was taken into the client's queue.
fn send(producer: &BaseProducer<Context>, plan: &Plan, begun: Begun, recorder: &Recorder) -> bool {
    let payload = super::payload(begun.value, plan.payload_bytes);
    let record = BaseRecord::<[u8], [u8], Box<Begun>>::with_opaque_to(&plan.topic, Box::new(begun));
    let key = record.delivery_opaque.key.0 as i32;
    match producer.send(record.partition(key).payload(&payload)) {
        Ok(()) => true,
        Err((error, _)) => {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                recorder.error(format!("enqueue: {:?}", error.rdkafka_error_code()));
            }
            producer.poll(Duration::from_millis(10));
            false
        }
    }
}
