//! The receiving half of one connection.
//!
//! A read takes what the socket has, up to a bound; the requests in it are dispatched before anything else runs, as
//! far as there is room for their answers.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use super::limits::Limits;
use super::memory::Partial;
use super::output::{Output, Slot};
use crate::metrics::requests::ApiReading;

/// What a socket is read with.
const READ_BYTES: usize = 128 << 10;
/// Room for the rest of a large request grows in steps of this, or doubles.
const GROW_BYTES: usize = 1 << 20;
/// After so many bytes others get their turn.
const TURN_BYTES: usize = 1 << 20;
const LENGTH_BYTES: usize = 4;

/// Who is at the other end, and what it said about itself.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Number of the connection in this process.
    pub connection: u64,
}

/// Takes requests off connections.
pub trait Service {
    /// Whether a first request that begins with these may be received at all.
    fn knows(&self, key: i16, version: i16) -> bool;

    /// What was counted of requests.
    fn requests(&self) -> Vec<ApiReading> {
        Vec::new()
    }

    /// Starts to answer a request (its frame, without the length), in the order of the connection's requests.
    fn call(&self, peer: &Rc<Peer>, frame: Bytes, slot: Slot);
}

/// What the sweeper sees of a connection.
pub struct Connection {
    /// Who it is.
    pub peer: Rc<Peer>,
    /// Its answers.
    pub output: Rc<Output>,
    opened: Instant,
    received: Cell<Instant>,
    reading: Cell<Reading>,
}

/// What a connection's reader is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing has come yet.
    Nothing,
    /// Between two requests.
    Between,
    /// In the middle of one.
    Within,
    /// Not reading, because memory or answers are at their limit.
    Paused,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(peer: Peer, output: Rc<Output>) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            peer: Rc::new(peer),
            output,
            opened: now,
            received: Cell::new(now),
            reading: Cell::new(Reading::Nothing),
        })
    }

    /// Why this connection has to go, if it has.
    pub fn overdue(&self, now: Instant, limits: &Limits) -> Option<&'static str> {
        let since = |then: Instant| now.saturating_duration_since(then);
        if let Some(stalled) = self.output.stalled_since()
            && since(stalled) > limits.stall_max
        {
            return Some("the client takes no answer");
        }
        let received = since(self.received.get());
        match self.reading.get() {
            Reading::Nothing if since(self.opened) > limits.first_frame_max => {
                Some("no request came")
            }
            Reading::Within if received > limits.stall_max => Some("a request does not end"),
            Reading::Between if received > limits.idle_max && self.output.is_idle() => Some("idle"),
            _ => None,
        }
    }
}

/// Receives until the connection ends; says why it did.
pub async fn receive(
    connection: &Connection,
    stream: &mut OwnedReadHalf,
    mut account: Partial,
    service: &dyn Service,
    limits: &Limits,
) -> &'static str {
    let output = &connection.output;
    let mut input = Input {
        buffer: BytesMut::new(),
        first: true,
        limits,
    };
    // Requests that were received and not taken, because there was no room for their answers.
    let mut more = false;
    let mut end = false;
    loop {
        if !(output.has_room(limits) && (more || account.may_read())) {
            let before = connection.reading.replace(Reading::Paused);
            output.until_room(limits).await;
            if !more {
                account.until_may_read().await;
            }
            connection.reading.set(before);
            connection.received.set(Instant::now());
        }
        let readable = tokio::select! {
            biased;
            () = output.until_ending() => {
                output.until_drained().await;
                return output.closed().unwrap_or("the broker stops");
            }
            readable = stream.readable(), if !more => readable,
            () = std::future::ready(()), if more => Ok(()),
        };
        if !more {
            if readable.is_err() {
                return "the connection broke";
            }
            let received = match input.read(stream).await {
                Ok(received) => received,
                Err(_) => return "the connection broke",
            };
            if received.bytes == 0 && !received.end {
                tokio::task::yield_now().await;
                continue;
            }
            connection.received.set(Instant::now());
            account.received(received.bytes);
            end = received.end;
        }
        more = match take(connection, &mut input, &mut account, service) {
            Ok(more) => more,
            Err(reason) => return reason,
        };
        if let Some(reason) = output.closed() {
            return reason;
        }
        if end && !more {
            let whole = input.buffer.is_empty();
            output.until_drained().await;
            return if whole {
                "the client closed"
            } else {
                "the client closed within a request"
            };
        }
        let between = more || input.buffer.is_empty();
        connection.reading.set(if between {
            Reading::Between
        } else {
            Reading::Within
        });
        tokio::task::yield_now().await;
    }
}

/// Starts the requests that were received, as far as there is room for their answers. Returns whether some may be
/// left.
fn take(
    connection: &Connection,
    input: &mut Input<'_>,
    account: &mut Partial,
    service: &dyn Service,
) -> Result<bool, &'static str> {
    let output = &connection.output;
    while output.has_room(input.limits) {
        let Some(frame) = input.next_frame(service)? else {
            return Ok(false);
        };
        let permit = account.request(frame.len() + LENGTH_BYTES);
        service.call(&connection.peer, frame, output.slot(permit));
    }
    Ok(true)
}

struct Received {
    bytes: usize,
    end: bool,
}

struct Input<'a> {
    buffer: BytesMut,
    first: bool,
    limits: &'a Limits,
}

impl Input<'_> {
    /// Reads what is there, at most a turn's worth.
    async fn read(&mut self, stream: &mut OwnedReadHalf) -> io::Result<Received> {
        let mut received = Received {
            bytes: 0,
            end: false,
        };
        while received.bytes < TURN_BYTES {
            self.reserve();
            let room = self.buffer.capacity() - self.buffer.len();
            match read_now(stream, &mut self.buffer).await? {
                None => {
                    self.release();
                    break;
                }
                Some(0) => {
                    received.end = true;
                    break;
                }
                Some(bytes) => {
                    received.bytes += bytes;
                    if bytes < room {
                        break;
                    }
                }
            }
        }
        Ok(received)
    }

    /// Makes room: for a begun request in proportion to what of it has come, not to what it announces.
    fn reserve(&mut self) {
        let have = self.buffer.len();
        let wanted = self.announced().map_or(READ_BYTES, |length| {
            let rest = (length + LENGTH_BYTES).saturating_sub(have);
            rest.min(have.max(GROW_BYTES)).max(READ_BYTES / 2)
        });
        if self.buffer.capacity() - have < wanted.min(READ_BYTES / 4) {
            self.buffer.reserve(wanted);
        }
    }

    /// An idle connection holds no buffer.
    fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    fn announced(&self) -> Option<usize> {
        let bytes = self.buffer.first_chunk::<LENGTH_BYTES>()?;
        usize::try_from(i32::from_be_bytes(*bytes)).ok()
    }

    fn next_frame(&mut self, service: &dyn Service) -> Result<Option<Bytes>, &'static str> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            self.release();
            return Ok(None);
        };
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            return Err("a request of negative length");
        };
        if length > self.limits.request_bytes_max {
            return Err(guess(&self.buffer));
        }
        if self.first && !self.check_first(length, service)? {
            return Ok(None);
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.first = false;
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// A first request must be small, or begin with a key and version that we serve. False: more bytes are needed.
    fn check_first(&self, length: usize, service: &dyn Service) -> Result<bool, &'static str> {
        if length <= self.limits.first_frame_bytes_max {
            return Ok(true);
        }
        let Some(head) = self.buffer.get(LENGTH_BYTES..LENGTH_BYTES + 4) else {
            return Ok(false);
        };
        let key = i16::from_be_bytes([head[0], head[1]]);
        let version = i16::from_be_bytes([head[2], head[3]]);
        if service.knows(key, version) {
            Ok(true)
        } else {
            Err("a large first request of no known kind")
        }
    }
}

/// Reads what is there; none: nothing is. NB: not `try_read`, which leaves a socket that it emptied marked readable, so
/// that each wait would begin with a read that finds nothing.
async fn read_now(stream: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
    let mut read = pin!(stream.read_buf(buffer));
    poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Ready(read) => Poll::Ready(read.map(Some)),
        Poll::Pending => Poll::Ready(Ok(None)),
    })
    .await
}

/// What those who announce giant requests mostly are.
fn guess(buffer: &[u8]) -> &'static str {
    match buffer {
        [0x16, 0x03, ..] => "a TLS hello on a plaintext listener",
        [b'G', b'E', b'T', b' ', ..]
        | [b'P', b'O', b'S', b'T', ..]
        | [b'H', b'E', b'A', b'D', ..] => "an HTTP request on the Kafka listener",
        _ => "a request above the size limit",
    }
}
