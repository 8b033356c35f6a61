//! What brokers say to each other.
//!
//! A frame is a length of four bytes ([`crate::frame`]), a version byte, a kind byte and the body;
//! numbers are big-endian. A connection begins with [`Hello`] in each direction, or ends with
//! [`Refused`]. After that each side sends [`Batch`]es: the Raft messages of all groups that the
//! flush has for that peer, what the sender leads, and the node heartbeat. [`PeerRequest`] and
//! [`PeerResponse`] carry questions between brokers, forwarded requests among them.
//!
//! - Entry payloads are slices of the frame after decoding and are linked, not copied, by encoding.
//! - Every count is bounded by the bytes that are there; an unknown kind is an error that names it.
//! - The greeting keeps its layout for ever, so that any two versions can tell each other why they
//!   do not talk: later fields go to its end, and what follows the known ones is passed over.

mod hello;
mod message;

pub use hello::{Endpoint, Hello, Reason, Refused, VersionRange};

use crate::wire::{DecodeError, Element, EncodeError, Encoder, FIRST_CAPACITY, Reader};
use bytes::Bytes;
use raft::message::Message;
use raft::types::{GroupId, NodeId, Term};

/// The versions of everything but the greeting that this build speaks.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 1 };

/// The version of greetings, for ever.
const HELLO_VERSION: u8 = 1;

/// What decoding may allocate: so many bytes for each byte of the frame. A heartbeat grows about
/// fourfold.
const BUDGET_RATIO: usize = 16;

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of the side that connected.
    Hello(Hello),
    /// The answer of the side that accepted.
    HelloReply(Hello),
    /// The answer of a side that does not want to talk; it closes after it.
    Refused(Refused),
    /// What the groups say.
    Batch(Batch),
    /// A question.
    Request(PeerRequest),
    /// Its answer.
    Response(PeerResponse),
    /// What seeds say to each other before there is a cluster; opaque here.
    Formation(Bytes),
}

/// What one broker tells another in one flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Raft messages, of as many groups as have some.
    pub messages: Vec<(GroupId, Message)>,
    /// What the sender leads: changes, and all of it after a reconnect.
    pub soft: Vec<LeaderInfo>,
    /// The sender's heartbeat number on this connection; 0 when this frame is none.
    pub heartbeat: u64,
    /// The highest heartbeat number heard from the receiver; 0 for none.
    pub heard: u64,
}

/// A leader's word about its group. Soft state: a higher term wins, nothing of it is kept over a
/// restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderInfo {
    /// The group.
    pub group: GroupId,
    /// The term in which it leads.
    pub term: Term,
    /// The leader's node.
    pub leader: NodeId,
    /// The voters within `replica.lag.max`, the leader among them.
    pub in_sync: Vec<NodeId>,
}

/// A question from broker to broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRequest {
    /// Chosen by the asker, not reused on the connection.
    pub id: u64,
    /// What is asked; the broker's to define.
    pub kind: u8,
    /// Opaque here.
    pub body: Bytes,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerResponse {
    /// Of the question.
    pub id: u64,
    /// 0, or a Kafka error code.
    pub status: i16,
    /// Opaque here.
    pub body: Bytes,
}

const HELLO: u8 = 1;
const HELLO_REPLY: u8 = 2;
const REFUSED: u8 = 3;
const BATCH: u8 = 4;
const REQUEST: u8 = 5;
const RESPONSE: u8 = 6;
const FORMATION: u8 = 7;

/// Least bytes of a message: group, from, to, term, kind.
const MESSAGE_LEAST: usize = 33;
/// Least bytes of a leader's word: group, term, node, count.
const LEADER_LEAST: usize = 24;

impl Frame {
    /// Decodes a frame without its length, as [`crate::frame::next_frame`] gives it.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let budget = frame.len().saturating_mul(BUDGET_RATIO);
        let r = &mut Reader::with_budget(frame, budget);
        let (version, kind) = (r.uint8()?, r.uint8()?);
        match kind {
            HELLO => return Hello::decode(r).map(Self::Hello),
            HELLO_REPLY => return Hello::decode(r).map(Self::HelloReply),
            REFUSED => return Refused::decode(r).map(Self::Refused),
            _ if version < VERSIONS.min || version > VERSIONS.max => {
                return Err(DecodeError::Unknown {
                    field: "peer version",
                    value: version.into(),
                });
            }
            _ => {}
        }
        let found = match kind {
            BATCH => Self::Batch(decode_batch(r)?),
            REQUEST => {
                let (id, kind) = (r.uint64()?, r.uint8()?);
                Self::Request(PeerRequest {
                    id,
                    kind,
                    body: r.sized()?,
                })
            }
            RESPONSE => {
                let (id, status) = (r.uint64()?, r.int16()?);
                Self::Response(PeerResponse {
                    id,
                    status,
                    body: r.sized()?,
                })
            }
            FORMATION => Self::Formation(r.sized()?),
            _ => {
                return Err(DecodeError::Unknown {
                    field: "peer frame",
                    value: kind.into(),
                });
            }
        };
        r.finish()?;
        Ok(found)
    }

    /// Encodes it with its length, in the version that the greeting agreed on.
    pub fn encode(&self, version: u8) -> Result<Vec<Bytes>, EncodeError> {
        let mut e = Encoder::framed();
        match self {
            Self::Hello(hello) => hello.encode(start(&mut e, HELLO_VERSION, HELLO)),
            Self::HelloReply(hello) => hello.encode(start(&mut e, HELLO_VERSION, HELLO_REPLY)),
            Self::Refused(refused) => refused.encode(start(&mut e, HELLO_VERSION, REFUSED)),
            Self::Batch(batch) => {
                let messages = batch
                    .messages
                    .iter()
                    .map(|(group, message)| (*group, message));
                return encode_batch(version, messages, &batch.soft, batch.heartbeat, batch.heard);
            }
            Self::Request(PeerRequest { id, kind, body }) => {
                let e = start(&mut e, version, REQUEST);
                e.uint64(*id);
                e.uint8(*kind);
                e.sized(body, "request body");
            }
            Self::Response(PeerResponse { id, status, body }) => {
                let e = start(&mut e, version, RESPONSE);
                e.uint64(*id);
                e.int16(*status);
                e.sized(body, "response body");
            }
            Self::Formation(body) => start(&mut e, version, FORMATION).sized(body, "formation"),
        }
        e.into_chain()
    }
}

fn start(e: &mut Encoder, version: u8, kind: u8) -> &mut Encoder {
    e.uint8(version);
    e.uint8(kind);
    e
}

/// Encodes a [`Frame::Batch`] from borrowed messages, with its length.
pub fn encode_batch<'a>(
    version: u8,
    messages: impl ExactSizeIterator<Item = (GroupId, &'a Message)>,
    soft: &[LeaderInfo],
    heartbeat: u64,
    heard: u64,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut e = Encoder::framed();
    start(&mut e, version, BATCH);
    e.uint64(heartbeat);
    e.uint64(heard);
    e.sized_count(messages.len(), "messages");
    for (group, message) in messages {
        e.uint64(group.0);
        message::encode(message, &mut e);
    }
    e.sized_count(soft.len(), "soft state");
    for LeaderInfo {
        group,
        term,
        leader,
        in_sync,
    } in soft
    {
        e.uint64(group.0);
        e.uint64(term.0);
        e.int32(leader.0);
        e.sized_count(in_sync.len(), "in-sync nodes");
        in_sync.iter().for_each(|node| e.int32(node.0));
    }
    e.into_chain()
}

fn decode_batch(r: &mut Reader) -> Result<Batch, DecodeError> {
    let (heartbeat, heard) = (r.uint64()?, r.uint64()?);
    let size = size_of::<(GroupId, Message)>();
    let count = r.sized_count(Element {
        name: "messages",
        least: MESSAGE_LEAST,
        size,
    })?;
    let mut messages = Vec::with_capacity(count.min(FIRST_CAPACITY));
    for _ in 0..count {
        messages.push((GroupId(r.uint64()?), message::decode(r)?));
    }
    let size = size_of::<LeaderInfo>();
    let count = r.sized_count(Element {
        name: "soft state",
        least: LEADER_LEAST,
        size,
    })?;
    let mut soft = Vec::with_capacity(count.min(FIRST_CAPACITY));
    for _ in 0..count {
        soft.push(decode_leader(r)?);
    }
    Ok(Batch {
        messages,
        soft,
        heartbeat,
        heard,
    })
}

fn decode_leader(r: &mut Reader) -> Result<LeaderInfo, DecodeError> {
    let (group, term) = (GroupId(r.uint64()?), Term(r.uint64()?));
    let leader = NodeId(r.int32()?);
    let count = r.sized_count(Element {
        name: "in-sync nodes",
        least: 4,
        size: 4,
    })?;
    let in_sync = (0..count)
        .map(|_| r.int32().map(NodeId))
        .collect::<Result<_, _>>()?;
    Ok(LeaderInfo {
        group,
        term,
        leader,
        in_sync,
    })
}
