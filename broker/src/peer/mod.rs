//! The transport between brokers: one TCP connection per pair of nodes, and frames of [`protocol::peer`] on it.
//!
//! It carries and counts; what frames say, and whether a peer is alive, is decided above. Everything runs on one thread
//! (tasks of a `LocalSet`); [`Network::send`] writes at once and a task writes what the socket did not take.
//!
//! Invariants:
//! - At most one connection per pair delivers frames. A newer one replaces the older: its `Down` comes before the new
//!   `Up`, and nothing of it is delivered afterwards.
//! - Between an `Up` and its `Down`, frames come in the order in which they were sent, none missing, none twice.
//! - Events are called from this module's tasks only, never from within a call of a [`Network`] method: whoever handles
//!   an event may call any method.
//! - Memory: per peer the queue (`peer.queue.max`) and one frame as far as it has arrived (`peer.frame.max`).
//! - Who has no cluster id, or talks to one that has none, is heard with formation messages and requests only.
//!
//! What it does not do: TLS, liveness (heartbeats), resending. What was queued when a connection broke may or may not
//! have arrived.
//!
//! The node with the lower id dials at once, the other one only if that takes long (a node that joins knows the members
//! before they know it). Start reading at `network.rs`, then `link.rs`.

mod accept;
pub(crate) mod answer;
mod backoff;
mod dial;
mod handshake;
mod link;
mod network;
mod queue;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use protocol::peer::{Frame, Hello};
use raft::types::NodeId;

pub use handshake::Refusal;
pub use network::Network;

/// What the network tells the driver.
#[derive(Debug)]
pub enum PeerEvent {
    /// There is a connection.
    Up {
        /// With whom.
        node: NodeId,
        /// What it said of itself.
        hello: Hello,
        /// The version of the peer protocol to encode with.
        version: u8,
    },
    /// The connection is gone. Dialling goes on.
    Down {
        /// With whom it was.
        node: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// A frame came; never a greeting or a response.
    Frame {
        /// From whom.
        node: NodeId,
        /// What it says.
        frame: Frame,
    },
    /// All frames of one read of a socket were given.
    BatchEnd,
    /// A conversation did not come about. Repeated attempts with the same outcome are told once.
    Refused {
        /// With whom, if it said so.
        node: Option<NodeId>,
        /// The other end's address.
        address: String,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The operating system reports an error.
    #[error("{0}")]
    Failed(io::ErrorKind),
    /// More waited for its socket than allowed.
    #[error("more bytes waited for it than peer.queue.max")]
    QueueFull,
    /// It took no byte for too long.
    #[error("it took no byte for peer.write.stall")]
    Stalled,
    /// It sent what is no frame.
    #[error("it sent what is no frame: {0}")]
    Garbage(String),
    /// A newer connection with the same node took its place.
    #[error("replaced by a newer connection")]
    Replaced,
    /// This node has learned its cluster id and introduces itself again.
    #[error("to introduce this node with its cluster id")]
    Introduce,
    /// Nothing was heard of it for too long.
    #[error("not heard for too long")]
    Silent,
    /// The node was taken off the list, or this process stops.
    #[error("closed by this node")]
    Removed,
}

impl DownReason {
    /// For metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed(_) => "failed",
            Self::QueueFull => "queue_full",
            Self::Stalled => "stalled",
            Self::Garbage(_) => "garbage",
            Self::Replaced => "replaced",
            Self::Introduce => "introduce",
            Self::Silent => "silent",
            Self::Removed => "removed",
        }
    }
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no connection.
    #[error("not connected")]
    NotConnected,
    /// The queue was full: the connection is dropped, [`PeerEvent::Down`] follows.
    #[error("more bytes waited than peer.queue.max; the connection is dropped")]
    QueueFull,
    /// The frame does not fit into any frame that the peer would take.
    #[error("the frame is larger than peer.frame.max")]
    TooLarge,
}

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It was not sent: it has had no effect.
    #[error("not sent: {0}")]
    NotSent(SendError),
    /// No answer came in time: whether it had an effect is unknown.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke before the answer: whether it had an effect is unknown.
    #[error("the connection broke before the answer")]
    Disconnected,
    /// The answer is a refusal.
    #[error("answered with error {status}")]
    Answered {
        /// A Kafka error code, not 0.
        status: i16,
        /// What came with it.
        body: Bytes,
    },
}

/// What happened with one peer since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Connected now.
    pub up: bool,
    /// Connections so far.
    pub connects: u64,
    /// Bytes received after the greetings.
    pub received_bytes: u64,
    /// Bytes given to the socket after the greetings.
    pub sent_bytes: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Frames queued.
    pub sent_frames: u64,
    /// Bytes that wait for the socket now.
    pub queued_bytes: u64,
    /// Frames dropped because one side has no cluster id yet.
    pub unformed_frames: u64,
    /// Attempts to connect that its machine refused: nobody listens there.
    pub refused: u64,
    /// Why there is no connection, as far as known; for people.
    pub trouble: Option<String>,
}

/// What happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// By node.
    pub peers: BTreeMap<NodeId, PeerStats>,
    /// Connections that ended or did not come about, by kind.
    pub errors: BTreeMap<&'static str, u64>,
}
