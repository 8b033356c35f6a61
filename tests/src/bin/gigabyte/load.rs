//! The one producer, and what is known of every record it sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use sha2::{Digest, Sha256};
use tests::checker::{Body, Key, Outcome};
use tests::workload::recorder::Recorder;
use tests::workload::settings;

use crate::text::Text;
use crate::{Arguments, TOPIC};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What all parts of the run share.
pub struct Load {
    arguments: Arguments,
    /// Every send and read, for the checker. A value is the record's number in its partition.
    pub recorder: Arc<Recorder>,
    acked_bytes: AtomicU64,
    /// Per partition, when each record was acknowledged.
    acked_at: Mutex<Vec<Vec<u64>>>,
    /// Beyond this the sender slows down, so that the faults keep pace with it.
    full_speed_bytes: AtomicU64,
    gave_up: AtomicBool,
}

/// Pause after each text beyond the full speed: a trickle, so that acknowledgements never stop.
const TRICKLE: Duration = Duration::from_millis(5);

/// What is taken of each text then.
const TRICKLE_BYTES: usize = 512;

/// What was sent.
#[derive(Debug)]
pub struct Sent {
    /// Digest of everything sent under a key.
    pub hashes: HashMap<String, Hash>,
    /// Records per partition.
    pub records: Vec<u64>,
    /// Bytes of values.
    pub bytes: u64,
    /// Distinct files they came from.
    pub files: usize,
    /// From the first send to the last acknowledgement.
    pub took: Duration,
}

/// What is known when a send begins.
struct Begun {
    partition: u32,
    number: u64,
    bytes: u64,
    invoked: u64,
}

struct Context(Arc<Load>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, _reason: &str) {
        self.0
            .recorder
            .error(format!("client: {:?}", error.rdkafka_error_code()));
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Begun>;

    fn delivery(&self, result: &DeliveryResult<'_>, begun: Box<Begun>) {
        let load = &self.0;
        let (outcome, offset) = match result {
            // A retry of what was stored already is acknowledged without its offset.
            Ok(message) => (
                Outcome::Ok,
                Some(message.offset()).filter(|offset| *offset >= 0),
            ),
            Err((error, _)) => {
                load.recorder
                    .error(format!("send: {:?}", error.rdkafka_error_code()));
                (Outcome::Info, None)
            }
        };
        let body = Body::Send {
            key: Key(begun.partition),
            value: begun.number,
            offset,
        };
        load.recorder.record(0, begun.invoked, outcome, body);
        if outcome == Outcome::Ok {
            load.acked_bytes.fetch_add(begun.bytes, Ordering::Relaxed);
            load.times()[begun.partition as usize].push(load.recorder.now());
        }
    }
}

impl Load {
    /// Nothing sent yet.
    pub fn new(arguments: &Arguments) -> Load {
        Load {
            arguments: arguments.clone(),
            recorder: Arc::default(),
            acked_bytes: AtomicU64::new(0),
            acked_at: Mutex::new(vec![Vec::new(); arguments.partitions as usize]),
            full_speed_bytes: AtomicU64::new(0),
            gave_up: AtomicBool::new(false),
        }
    }

    fn times(&self) -> MutexGuard<'_, Vec<Vec<u64>>> {
        self.acked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the records of each partition were acknowledged, ascending.
    pub fn acked_at(&self) -> Vec<Vec<u64>> {
        self.times().clone()
    }

    /// Bytes acknowledged so far.
    pub fn acked_bytes(&self) -> u64 {
        self.acked_bytes.load(Ordering::Relaxed)
    }

    /// How far the sender may go at full speed.
    pub fn full_speed_until(&self, bytes: u64) {
        self.full_speed_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Ends the sending early.
    pub fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Sends all of it and waits for every acknowledgement.
    pub fn send_all(self: &Arc<Self>, bootstrap: &str) -> Sent {
        let mut config = settings::producer(bootstrap);
        config
            .set("message.timeout.ms", "600000")
            .set("linger.ms", "5")
            .set("batch.size", "524288")
            .set("queue.buffering.max.kbytes", "65536")
            .set("queue.buffering.max.messages", "100000");
        let producer: BaseProducer<Context> = config
            .create_with_context(Context(self.clone()))
            .expect("producer settings");
        let started = Instant::now();
        let mut text = Text::find();
        let mut sent = Sent {
            hashes: HashMap::new(),
            records: vec![0; self.arguments.partitions as usize],
            bytes: 0,
            files: text.files(),
            took: Duration::ZERO,
        };
        while sent.bytes < self.arguments.bytes && !self.gave_up.load(Ordering::Relaxed) {
            let (key, mut content) = text.next();
            let room = usize::try_from(self.arguments.bytes - sent.bytes).unwrap_or(usize::MAX);
            let slow = sent.bytes > self.full_speed_bytes.load(Ordering::Relaxed);
            content.truncate(if slow { room.min(TRICKLE_BYTES) } else { room });
            self.send_text(&producer, &key, &content, &mut sent);
            sent.bytes += content.len() as u64;
            if slow {
                let until = Instant::now() + TRICKLE;
                while let Some(left) = until.checked_duration_since(Instant::now()) {
                    producer.poll(left);
                }
            }
            sent.hashes.insert(key, Sha256::digest(&content).into());
        }
        let last = Duration::from_secs(if self.gave_up.load(Ordering::Relaxed) {
            1
        } else {
            600
        });
        // What does not come back is purged by the drop, and recorded as unknown.
        let _ = producer.flush(last);
        sent.took = started.elapsed();
        sent
    }

    /// One text: all of its pieces go to one partition, in order.
    fn send_text(
        &self,
        producer: &BaseProducer<Context>,
        key: &str,
        content: &[u8],
        sent: &mut Sent,
    ) {
        let partition = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, key.as_bytes())
            % u64::from(self.arguments.partitions);
        for piece in content.chunks(self.arguments.record_bytes) {
            let number = sent.records[partition as usize];
            sent.records[partition as usize] += 1;
            self.send_piece(producer, key, piece, partition as u32, number);
            producer.poll(Duration::ZERO);
        }
    }

    fn send_piece(
        &self,
        producer: &BaseProducer<Context>,
        key: &str,
        piece: &[u8],
        partition: u32,
        number: u64,
    ) {
        let text = number.to_string();
        while !self.gave_up.load(Ordering::Relaxed) {
            let bytes = piece.len() as u64;
            let begun = Begun {
                partition,
                number,
                bytes,
                invoked: self.recorder.now(),
            };
            let header = Header {
                key: "number",
                value: Some(&text),
            };
            let record = BaseRecord::with_opaque_to(TOPIC, Box::new(begun))
                .partition(partition as i32)
                .key(key)
                .payload(piece)
                .headers(OwnedHeaders::new().insert(header));
            match producer.send(record) {
                Ok(()) => return,
                Err((error, _)) => {
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        self.recorder
                            .error(format!("enqueue: {:?}", error.rdkafka_error_code()));
                    }
                    producer.poll(Duration::from_millis(20));
                }
            }
        }
    }
}
