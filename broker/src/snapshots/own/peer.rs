//! What replicas ask each other about their own copies: for pieces of objects, and whether one holds everything.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::types::{GroupId, Index, Member, NodeId, ReplicaId};
use snapshot::copy::{Donor, NoPiece, PIECE_BYTES, Piece};
use snapshot::key::{self, Key, Kind};
use snapshot::manifest;
use snapshot::source::Source;
use snapshot::store::{self, Store};

use crate::broker::Broker;
use crate::driver::control::kind;
use crate::peer::answer;
use crate::shard::Shard;

/// How long another replica may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Answers about an object.
const NOT_THERE: u8 = 0;
const PIECE: u8 = 1;

/// A part of an object of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of this group.
    pub group: GroupId,
    /// From this byte on.
    pub position: u64,
    /// So many bytes at most.
    pub length: usize,
    /// Which object.
    pub key: Key,
}

impl Asked {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(20 + self.key.as_str().len());
        out.put_u64(self.group.0);
        out.put_u64(self.position);
        out.put_u32(u32::try_from(self.length).unwrap_or(u32::MAX));
        out.put_slice(self.key.as_str().as_bytes());
        out.freeze()
    }

    /// What was sent; None when it is nothing that one may ask for.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut from = body;
        let group = GroupId(from.try_get_u64().ok()?);
        let position = from.try_get_u64().ok()?;
        let length = usize::try_from(from.try_get_u32().ok()?).ok()?;
        let key = Key::parse(std::str::from_utf8(from).ok()?)?;
        let asked = Self {
            group,
            position,
            length,
            key,
        };
        (length <= PIECE_BYTES).then_some(asked)
    }
}

/// The answer, with a checksum over all of it.
pub(in crate::snapshots) fn encode_piece(piece: Option<&Piece>) -> Bytes {
    let mut out = BytesMut::new();
    match piece {
        None => out.put_u8(NOT_THERE),
        Some(piece) => {
            out.put_u8(PIECE);
            out.put_u64(piece.total);
            out.put_slice(&piece.bytes);
        }
    }
    answer::seal(out)
}

/// The answer, unless it is not what was sent.
///
/// # Errors
/// When the object is not there, or this is no answer.
pub fn decode_piece(body: &Bytes) -> Result<Piece, NoPiece> {
    let mut from = answer::unseal(body).ok_or(NoPiece::NoAnswer)?;
    match from.try_get_u8() {
        Ok(NOT_THERE) => Err(NoPiece::NotThere),
        Ok(PIECE) => {
            let total = from.try_get_u64().map_err(|_| NoPiece::NoAnswer)?;
            Ok(Piece { total, bytes: from })
        }
        _ => Err(NoPiece::NoAnswer),
    }
}

/// Another replica.
pub(in crate::snapshots) struct Peer {
    pub(in crate::snapshots) broker: Rc<Broker>,
    pub(in crate::snapshots) node: NodeId,
    pub(in crate::snapshots) group: GroupId,
}

impl Donor for Peer {
    fn name(&self) -> String {
        format!("broker {}", self.node)
    }

    async fn piece(&self, key: &Key, position: u64, length: usize) -> Result<Piece, NoPiece> {
        let asked = Asked {
            group: self.group,
            position,
            length,
            key: key.clone(),
        };
        let network = &self.broker.network;
        let answer = network.request(self.node, kind::OBJECT, asked.encode(), ANSWER_WAIT);
        decode_piece(&answer.await.map_err(|_| NoPiece::NoAnswer)?)
    }
}

/// Whether a member has applied so much and holds everything. One that does not answer does not.
pub(in crate::snapshots) async fn is_whole(
    broker: &Broker,
    group: GroupId,
    member: &Member,
    index: Index,
) -> bool {
    let body = ask_whole(group, member.replica, index);
    let answer = broker
        .network
        .request(member.node, kind::WHOLE, body, ANSWER_WAIT);
    answer.await.is_ok_and(|answer| says_whole(&answer))
}

/// The question whether a replica has applied so much and holds everything.
#[must_use]
pub fn ask_whole(group: GroupId, replica: ReplicaId, index: Index) -> Bytes {
    let mut body = BytesMut::with_capacity(24);
    for number in [group.0, replica.0, index.0] {
        body.put_u64(number);
    }
    body.freeze()
}

/// The answer to it; None when it is no such question.
#[must_use]
pub fn tell_whole(shard: &Shard, body: &[u8]) -> Option<Bytes> {
    let mut from = body;
    let group = GroupId(from.try_get_u64().ok()?);
    let replica = ReplicaId(from.try_get_u64().ok()?);
    let index = Index(from.try_get_u64().ok()?);
    let is_whole = shard.is_whole(group, replica, index);
    Some(Bytes::copy_from_slice(&[u8::from(is_whole)]))
}

/// Whether that is a yes.
#[must_use]
pub fn says_whole(answer: &[u8]) -> bool {
    answer == [1]
}

/// A piece of what is in the own store, for another replica: of that partition only. None when it is not asked for rightly, or
/// cannot be read now.
pub async fn piece(store: &dyn Store, source: &Source, asked: &Asked) -> Option<Bytes> {
    let Asked {
        group,
        position,
        length,
        key,
    } = asked;
    let object = key::object(key)?;
    if (object.topic_id, object.partition) != (source.topic_id, source.partition) {
        return None;
    }
    let read = match object.kind {
        Kind::Manifest(_) => {
            let read = store.get(key, manifest::BYTES_MAX).await;
            read.map(|(all, _)| {
                let start = usize::try_from(*position)
                    .unwrap_or(usize::MAX)
                    .min(all.len());
                let end = start.saturating_add(*length).min(all.len());
                (all.len() as u64, all.slice(start..end))
            })
        }
        // Who asks knows from the manifest how long it is.
        Kind::Chunk => {
            let read = store.range(key, *position, *length).await;
            read.map(|bytes| (0, bytes))
        }
    };
    match read {
        Ok((total, bytes)) => Some(encode_piece(Some(&Piece { total, bytes }))),
        Err(store::Error::NotFound(_)) => Some(encode_piece(None)),
        Err(why) => {
            tracing::warn!(target: "snapshot", group = group.0, %why, "cannot read for another replica");
            None
        }
    }
}

impl Broker {
    /// Answers another replica with a piece of what is in the own folder.
    pub(crate) async fn piece_of_own(&self, body: &[u8]) -> Option<Bytes> {
        let asked = Asked::decode(body)?;
        let snapshots = self.snapshots.clone().filter(|s| s.own.is_some())?;
        let source = snapshots.source(&self.image(), asked.group)?;
        let _room = self.disk_reads.room(PIECE_BYTES as u64).await;
        piece(&**snapshots.archive.store(), &source, &asked).await
    }

    /// Answers a leader whether the replica here holds everything.
    pub(crate) fn whole_here(&self, body: &[u8]) -> Option<Bytes> {
        tell_whole(&self.shard.borrow(), body)
    }
}
