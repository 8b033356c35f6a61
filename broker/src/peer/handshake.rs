//! Who may talk to whom: the greeting of each side, and clear refusals.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::frame::{FrameError, next_frame};
use protocol::peer::{Batch, Frame, Hello, Reason, Refused, VERSIONS, VersionRange};
use raft::types::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::formation::ClusterId;

/// A greeting is far smaller; whoever claims more is none of ours.
const GREETING_MAX_BYTES: usize = 4096;

/// Why a conversation did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No common version of the peer protocol.
    #[error("it speaks the versions {} to {} of the peer protocol, node {} {} to {}: upgrade the older one",
        theirs.min, theirs.max, us, ours.min, ours.max)]
    Version {
        /// This node.
        us: NodeId,
        /// Its versions.
        ours: VersionRange,
        /// The other's.
        theirs: VersionRange,
    },
    /// It belongs to another cluster.
    #[error("it belongs to the cluster {}, node {us} to {}: check addresses and data directories",
        ClusterId(*theirs), ClusterId(*ours))]
    Cluster {
        /// This node.
        us: NodeId,
        /// Its cluster.
        ours: u128,
        /// The other's.
        theirs: u128,
    },
    /// segment.size or entry.max differ.
    #[error(
        "its segment.size or entry.max differ from those of node {us} (fingerprint {theirs:016x}, not {ours:016x}): \
        make them the same on all nodes"
    )]
    Fingerprint {
        /// This node.
        us: NodeId,
        /// Of its configuration.
        ours: u64,
        /// Of the other's.
        theirs: u64,
    },
    /// Another process or directory has this node's id.
    #[error(
        "it has the node id {us} too, with the data directory {directory}: give every node its own node.id"
    )]
    NodeIdTaken {
        /// This node.
        us: NodeId,
        /// The other's directory.
        directory: raft::types::DirectoryId,
    },
    /// The address leads back here.
    #[error("the address is that of node {us} itself: correct the address of the other node")]
    Itself {
        /// This node.
        us: NodeId,
    },
    /// Another node answers at the address.
    #[error("node {found} answers at the address of node {expected}: correct the address")]
    WrongNode {
        /// Who was dialled.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// There is a connection already, made at the same time.
    #[error("there is a connection already")]
    AlreadyConnected,
    /// It does not speak the peer protocol.
    #[error("it does not speak Walser's peer protocol: {0}")]
    Stranger(String),
    /// It says why it does not talk to this node.
    #[error("refused by the other side: {text}")]
    ByPeer {
        /// For the program.
        reason: Reason,
        /// Its words.
        text: String,
    },
    /// It did not greet in time.
    #[error("no greeting in time")]
    Silent,
    /// The connection failed before both had greeted.
    #[error("{0}")]
    Broken(io::ErrorKind),
}

impl Refusal {
    /// For metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Version { .. } => "version",
            Self::Cluster { .. } => "cluster",
            Self::Fingerprint { .. } => "fingerprint",
            Self::NodeIdTaken { .. } => "node_id_taken",
            Self::Itself { .. } => "itself",
            Self::WrongNode { .. } => "wrong_node",
            Self::AlreadyConnected => "already_connected",
            Self::Stranger(_) => "stranger",
            Self::ByPeer { .. } => "by_peer",
            Self::Silent => "silent",
            Self::Broken(_) => "broken",
        }
    }

    /// It may pass by itself and is no operator's business.
    pub(super) fn transient(&self) -> bool {
        match self {
            Self::AlreadyConnected | Self::Silent | Self::Broken(_) => true,
            Self::ByPeer { reason, .. } => *reason == Reason::NotReady,
            _ => false,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Version { .. } => Reason::Version,
            Self::Cluster { .. } => Reason::Cluster,
            Self::Fingerprint { .. } => Reason::Fingerprint,
            Self::NodeIdTaken { .. } => Reason::Identity,
            Self::AlreadyConnected => Reason::NotReady,
            Self::Itself { .. }
            | Self::WrongNode { .. }
            | Self::Stranger(_)
            | Self::ByPeer { .. }
            | Self::Silent
            | Self::Broken(_) => Reason::Other,
        }
    }
}

/// The version to speak with whoever says this.
pub(super) fn check(ours: &Hello, theirs: &Hello) -> Result<u8, Refusal> {
    let us = ours.node;
    let Some(version) = ours.versions.common(theirs.versions) else {
        return Err(Refusal::Version {
            us,
            ours: ours.versions,
            theirs: theirs.versions,
        });
    };
    if theirs.node == us && theirs.boot == ours.boot && theirs.directory == ours.directory {
        return Err(Refusal::Itself { us });
    }
    if theirs.node == us {
        return Err(Refusal::NodeIdTaken {
            us,
            directory: theirs.directory,
        });
    }
    if theirs.node.0 < 1 {
        return Err(Refusal::Stranger(format!("its node id is {}", theirs.node)));
    }
    if ours.cluster != 0 && theirs.cluster != 0 && ours.cluster != theirs.cluster {
        return Err(Refusal::Cluster {
            us,
            ours: ours.cluster,
            theirs: theirs.cluster,
        });
    }
    if ours.fingerprint != theirs.fingerprint {
        let (ours, theirs) = (ours.fingerprint, theirs.fingerprint);
        return Err(Refusal::Fingerprint { us, ours, theirs });
    }
    Ok(version)
}

/// The side that dialled: greets, and is answered. What it likes it then confirms ([`confirm`]).
pub(super) async fn introduce(
    stream: &mut TcpStream,
    ours: &Hello,
    expected: NodeId,
    rest: &mut BytesMut,
) -> Result<(Hello, u8), Refusal> {
    write(stream, &Frame::Hello(ours.clone())).await?;
    let theirs = match read(stream, None, rest).await? {
        Frame::HelloReply(hello) => hello,
        Frame::Refused(Refused { reason, text }) => return Err(Refusal::ByPeer { reason, text }),
        other => {
            return Err(Refusal::Stranger(format!(
                "it begins with {}",
                name(&other)
            )));
        }
    };
    let version = check(ours, &theirs)?;
    if theirs.node != expected {
        return Err(Refusal::WrongNode {
            expected,
            found: theirs.node,
        });
    }
    Ok((theirs, version))
}

/// The side that was dialled: hears the greeting. It is yet to be answered.
pub(super) async fn hear(
    stream: &mut TcpStream,
    ours: &Hello,
    rest: &mut BytesMut,
) -> Result<Hello, Refusal> {
    let shape = encode(&Frame::Hello(ours.clone()))?;
    match read(stream, Some(&shape), rest).await? {
        Frame::Hello(hello) => Ok(hello),
        other => Err(Refusal::Stranger(format!(
            "it begins with {}",
            name(&other)
        ))),
    }
}

/// The answer to a good greeting.
pub(super) async fn welcome(stream: &mut TcpStream, ours: &Hello) -> Result<(), Refusal> {
    write(stream, &Frame::HelloReply(ours.clone())).await
}

/// The confirmation, by the side that dialled: an empty batch.
///
/// It lets the other side replace an older connection by this one only when this one is wanted: whoever finds another
/// node at the address, or has a connection already, closes without it.
pub(super) async fn confirm(stream: &mut TcpStream, version: u8) -> Result<(), Refusal> {
    let chain = Frame::Batch(Batch::default()).encode(version);
    let chain = chain.map_err(|error| Refusal::Stranger(format!("no confirmation: {error}")))?;
    let sent = stream.write_all(&chain.concat()).await;
    sent.map_err(|error| Refusal::Broken(error.kind()))
}

/// The confirmation, at the other side.
pub(super) async fn confirmed(stream: &mut TcpStream, rest: &mut BytesMut) -> Result<(), Refusal> {
    match read(stream, None, rest).await? {
        Frame::Batch(batch) if batch == Batch::default() => Ok(()),
        other => Err(Refusal::Stranger(format!(
            "it goes on with {}",
            name(&other)
        ))),
    }
}

/// Tells the other side why not. It may be gone, or no peer at all: nothing depends on it.
pub(super) async fn refuse(stream: &mut TcpStream, refusal: &Refusal) {
    let text = refusal.to_string();
    let told = write(
        stream,
        &Frame::Refused(Refused {
            reason: refusal.reason(),
            text,
        }),
    )
    .await;
    if told.is_ok() {
        let _ = stream.shutdown().await;
    }
}

fn encode(frame: &Frame) -> Result<Bytes, Refusal> {
    let chain = frame.encode(VERSIONS.max);
    let chain = chain.map_err(|error| Refusal::Stranger(format!("no greeting: {error}")))?;
    Ok(Bytes::from(chain.concat()))
}

async fn write(stream: &mut TcpStream, frame: &Frame) -> Result<(), Refusal> {
    let bytes = encode(frame)?;
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| Refusal::Broken(error.kind()))
}

/// One greeting. With `shape`, whoever begins otherwise is recognised before the length that it claims has come.
async fn read(
    stream: &mut TcpStream,
    shape: Option<&Bytes>,
    rest: &mut BytesMut,
) -> Result<Frame, Refusal> {
    const MARK: std::ops::Range<usize> = 4..10;
    loop {
        match next_frame(rest, GREETING_MAX_BYTES) {
            Ok(Some(frame)) => {
                return Frame::decode(frame)
                    .map_err(|error| Refusal::Stranger(format!("unreadable greeting: {error}")));
            }
            Ok(None) => {}
            Err(FrameError::Tls) => return Err(Refusal::Stranger("it speaks TLS".to_owned())),
            Err(FrameError::Http) => return Err(Refusal::Stranger("it speaks HTTP".to_owned())),
            Err(error) => return Err(Refusal::Stranger(error.to_string())),
        }
        if let (Some(shape), Some(found)) = (shape, rest.get(MARK))
            && shape.get(MARK) != Some(found)
        {
            return Err(Refusal::Stranger(
                "it does not begin with a greeting".to_owned(),
            ));
        }
        match stream.read_buf(rest).await {
            Ok(0) => return Err(Refusal::Broken(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(error) => return Err(Refusal::Broken(error.kind())),
        }
    }
}

/// What a frame is called.
pub(super) fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "a greeting",
        Frame::HelloReply(_) => "the answer to a greeting",
        Frame::Refused(_) => "a refusal",
        Frame::Batch(_) => "a batch",
        Frame::Request(_) => "a request",
        Frame::Response(_) => "a response",
        Frame::Formation(_) => "a formation message",
    }
}
