//! The bytes of Raft messages.

use crate::wire::{DecodeError, Element, EncodeError, Encoder, FIRST_CAPACITY, Reader};
use raft::message::{Append, AppendResponse, AppendResult, Body, Campaign, Message};
use raft::types::{
    Base, DirectoryId, Entry, EntryKind, Index, Member, Membership, NodeId, ReplicaId, Term,
};

const PRE_VOTE: u8 = 1;
const PRE_VOTE_RESPONSE: u8 = 2;
const VOTE: u8 = 3;
const VOTE_RESPONSE: u8 = 4;
const APPEND: u8 = 5;
const APPEND_RESPONSE: u8 = 6;
const HEARTBEAT: u8 = 7;
const HEARTBEAT_RESPONSE: u8 = 8;
const INSTALL: u8 = 9;
const INSTALL_RESPONSE: u8 = 10;
const TIMEOUT_NOW: u8 = 11;

const MATCHED: u8 = 1;
const CONFLICT: u8 = 2;
const FULL: u8 = 3;

/// Least bytes of an entry: term, kind, length. Its index follows from its place.
const ENTRY_LEAST: usize = 13;
const MEMBER_BYTES: usize = 28;

pub(super) fn encode(message: &Message, e: &mut Encoder) {
    let Message {
        from,
        to,
        term,
        body,
    } = message;
    e.uint64(from.0);
    e.uint64(to.0);
    e.uint64(term.0);
    match body {
        Body::PreVote(campaign) => encode_campaign(PRE_VOTE, campaign, e),
        Body::PreVoteResponse { granted } => {
            e.uint8(PRE_VOTE_RESPONSE);
            e.bool(*granted);
        }
        Body::Vote(campaign) => encode_campaign(VOTE, campaign, e),
        Body::VoteResponse { granted } => {
            e.uint8(VOTE_RESPONSE);
            e.bool(*granted);
        }
        Body::Append(append) => encode_append(append, e),
        Body::AppendResponse(response) => encode_append_response(response, e),
        Body::Heartbeat {
            commit,
            read_round,
            quiesce,
        } => {
            e.uint8(HEARTBEAT);
            e.uint64(commit.0);
            e.uint64(*read_round);
            e.bool(*quiesce);
        }
        Body::HeartbeatResponse {
            read_round,
            last_index,
        } => {
            e.uint8(HEARTBEAT_RESPONSE);
            e.uint64(*read_round);
            e.uint64(last_index.0);
        }
        Body::Install { base, session } => {
            e.uint8(INSTALL);
            e.uint64(*session);
            encode_base(base, e);
        }
        Body::InstallResponse { index, session } => {
            e.uint8(INSTALL_RESPONSE);
            e.uint64(index.0);
            e.uint64(*session);
        }
        Body::TimeoutNow => e.uint8(TIMEOUT_NOW),
    }
}

fn encode_campaign(kind: u8, campaign: &Campaign, e: &mut Encoder) {
    e.uint8(kind);
    e.uint64(campaign.last_index.0);
    e.uint64(campaign.last_term.0);
    e.bool(campaign.forced);
}

fn encode_append(append: &Append, e: &mut Encoder) {
    e.uint8(APPEND);
    e.uint64(append.prev_index.0);
    e.uint64(append.prev_term.0);
    e.uint64(append.commit.0);
    e.uint64(append.session);
    e.uint64(append.read_round);
    e.sized_count(append.entries.len(), "entries");
    let mut index = append.prev_index;
    for entry in &append.entries {
        index = index.next();
        if entry.index != index {
            e.fail(EncodeError::Contradiction {
                what: "the entries of an append have a gap",
            });
        }
        e.uint64(entry.term.0);
        e.uint8(entry.kind as u8);
        e.sized(&entry.payload, "payload");
    }
}

fn encode_append_response(response: &AppendResponse, e: &mut Encoder) {
    e.uint8(APPEND_RESPONSE);
    e.uint64(response.session);
    e.uint64(response.read_round);
    match response.result {
        AppendResult::Matched(index) => {
            e.uint8(MATCHED);
            e.uint64(index.0);
        }
        AppendResult::Conflict {
            rejected,
            hint_index,
            hint_term,
        } => {
            e.uint8(CONFLICT);
            e.uint64(rejected.0);
            e.uint64(hint_index.0);
            e.uint64(hint_term.0);
        }
        AppendResult::Full => e.uint8(FULL),
    }
}

fn encode_base(base: &Base, e: &mut Encoder) {
    e.uint64(base.index.0);
    e.uint64(base.term.0);
    let Membership {
        voters,
        outgoing,
        learners,
    } = &base.membership;
    for members in [voters, outgoing, learners] {
        e.sized_count(members.len(), "members");
        for Member {
            replica,
            node,
            directory,
        } in members
        {
            e.uint64(replica.0);
            e.int32(node.0);
            e.raw(&directory.0.to_be_bytes());
        }
    }
    e.sized(&base.state, "state");
}

pub(super) fn decode(r: &mut Reader) -> Result<Message, DecodeError> {
    let (from, to) = (ReplicaId(r.uint64()?), ReplicaId(r.uint64()?));
    let term = Term(r.uint64()?);
    let body = match r.uint8()? {
        PRE_VOTE => Body::PreVote(decode_campaign(r)?),
        PRE_VOTE_RESPONSE => Body::PreVoteResponse { granted: flag(r)? },
        VOTE => Body::Vote(decode_campaign(r)?),
        VOTE_RESPONSE => Body::VoteResponse { granted: flag(r)? },
        APPEND => Body::Append(decode_append(r)?),
        APPEND_RESPONSE => Body::AppendResponse(decode_append_response(r)?),
        HEARTBEAT => Body::Heartbeat {
            commit: Index(r.uint64()?),
            read_round: r.uint64()?,
            quiesce: flag(r)?,
        },
        HEARTBEAT_RESPONSE => Body::HeartbeatResponse {
            read_round: r.uint64()?,
            last_index: Index(r.uint64()?),
        },
        INSTALL => {
            let session = r.uint64()?;
            Body::Install {
                base: decode_base(r)?,
                session,
            }
        }
        INSTALL_RESPONSE => Body::InstallResponse {
            index: Index(r.uint64()?),
            session: r.uint64()?,
        },
        TIMEOUT_NOW => Body::TimeoutNow,
        value => return unknown("raft message", value),
    };
    Ok(Message {
        from,
        to,
        term,
        body,
    })
}

fn unknown<T>(field: &'static str, value: u8) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown {
        field,
        value: value.into(),
    })
}

fn flag(r: &mut Reader) -> Result<bool, DecodeError> {
    match r.uint8()? {
        0 => Ok(false),
        1 => Ok(true),
        value => unknown("flag", value),
    }
}

fn decode_campaign(r: &mut Reader) -> Result<Campaign, DecodeError> {
    let (last_index, last_term) = (Index(r.uint64()?), Term(r.uint64()?));
    Ok(Campaign {
        last_index,
        last_term,
        forced: flag(r)?,
    })
}

fn decode_append(r: &mut Reader) -> Result<Append, DecodeError> {
    let (prev_index, prev_term) = (Index(r.uint64()?), Term(r.uint64()?));
    let commit = Index(r.uint64()?);
    let (session, read_round) = (r.uint64()?, r.uint64()?);
    let size = size_of::<Entry>();
    let count = r.sized_count(Element {
        name: "entries",
        least: ENTRY_LEAST,
        size,
    })?;
    if prev_index.0.checked_add(count as u64).is_none() {
        return Err(DecodeError::Unknown {
            field: "index",
            value: prev_index.0,
        });
    }
    let mut entries = Vec::with_capacity(count.min(FIRST_CAPACITY));
    let mut index = prev_index;
    for _ in 0..count {
        index = index.next();
        let term = Term(r.uint64()?);
        let kind = r.uint8()?;
        let Some(kind) = EntryKind::from_u8(kind) else {
            return unknown("entry kind", kind);
        };
        entries.push(Entry {
            index,
            term,
            kind,
            payload: r.sized()?,
        });
    }
    Ok(Append {
        prev_index,
        prev_term,
        commit,
        entries,
        session,
        read_round,
    })
}

fn decode_append_response(r: &mut Reader) -> Result<AppendResponse, DecodeError> {
    let (session, read_round) = (r.uint64()?, r.uint64()?);
    let result = match r.uint8()? {
        MATCHED => AppendResult::Matched(Index(r.uint64()?)),
        CONFLICT => AppendResult::Conflict {
            rejected: Index(r.uint64()?),
            hint_index: Index(r.uint64()?),
            hint_term: Term(r.uint64()?),
        },
        FULL => AppendResult::Full,
        value => return unknown("append result", value),
    };
    Ok(AppendResponse {
        result,
        session,
        read_round,
    })
}

fn decode_base(r: &mut Reader) -> Result<Base, DecodeError> {
    let (index, term) = (Index(r.uint64()?), Term(r.uint64()?));
    let membership = Membership {
        voters: decode_members(r)?,
        outgoing: decode_members(r)?,
        learners: decode_members(r)?,
    };
    Ok(Base {
        index,
        term,
        membership,
        state: r.sized()?,
    })
}

fn decode_members(r: &mut Reader) -> Result<Vec<Member>, DecodeError> {
    let size = size_of::<Member>();
    let count = r.sized_count(Element {
        name: "members",
        least: MEMBER_BYTES,
        size,
    })?;
    let member = |_| {
        let (replica, node) = (ReplicaId(r.uint64()?), NodeId(r.int32()?));
        Ok(Member {
            replica,
            node,
            directory: DirectoryId(r.uuid()?.0),
        })
    };
    (0..count).map(member).collect()
}
