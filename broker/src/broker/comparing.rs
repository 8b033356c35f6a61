//! The leader of a partition compares its log with those of the other replicas, and with what the store says that it holds
//! ([`crate::compare`]). Bounded: one comparison at a time, some MiB in memory, one question at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::{Entry, GroupId, Index, NodeId, ReplicaId};
use snapshot::digest::Digest;
use tokio::time::Instant;
use wal::ReadError;

use super::Broker;
use crate::compare::{Answer, Asked, Compared, Difference, RANGE_BYTES, compare};
use crate::controller::Failure;
use crate::driver::control::kind;
use crate::handlers::lookup;
use crate::heal::AskedRecords;
use crate::snapshots::no_such_partition;

/// How long one replica may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long all of it may take.
pub(crate) const COMPARE_MAX: Duration = Duration::from_secs(1800);
/// What is known of the store, in differences.
const STORE: &str = "store";

/// What brokers answer each other, as JSON: what was compared, or why nothing was.
type Told = Result<Compared, String>;

impl Broker {
    /// Compares the replicas of a partition, at its leader, wherever that is.
    pub(crate) async fn compare_replicas(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Compared, Failure> {
        let group = lookup::group_named(&self.image(), topic, partition);
        let group = group.map_err(no_such_partition)?;
        let leader = self.leading_node(group)?;
        if leader == self.node {
            return self.compare_here(group).await;
        }
        let body = Bytes::copy_from_slice(&group.0.to_be_bytes());
        let answer = self
            .network
            .request(leader, kind::COMPARE, body, COMPARE_MAX);
        let refused = |why: String| {
            let message = format!("its leader, broker {leader}, does not do it: {why}");
            Failure::new(ErrorCode::NotLeaderOrFollower, message)
        };
        let body = answer.await.map_err(|why| refused(why.to_string()))?;
        let told: Told = serde_json::from_slice(&body).map_err(|why| refused(why.to_string()))?;
        told.map_err(refused)
    }

    /// Answers another broker, which was asked.
    pub(crate) async fn compare_for_peer(&self, body: &Bytes) -> Option<Bytes> {
        let group = u64::from_be_bytes(body.get(..8)?.try_into().ok()?);
        let told: Told = self
            .compare_here(GroupId(group))
            .await
            .map_err(|why| why.message);
        serde_json::to_vec(&told).ok().map(Bytes::from)
    }

    /// Answers the leader: a digest of committed entries of the replica here.
    pub(crate) async fn digest_for_peer(&self, body: &Bytes) -> Option<Bytes> {
        let asked = Asked::decode(body)?;
        let (replica, until) = self.shard.borrow().committed_of(asked.group)?;
        let reader = Arc::clone(&self.reader);
        let work = move || {
            let base = reader.bounds(asked.group, replica).map(|(base, _)| base);
            let holds = (base.unwrap_or_default().0 + 1, until.0);
            Ok(Answer::of_log(
                &reader,
                (asked.group, replica),
                holds,
                &asked.range,
            ))
        };
        let answer = self.disk_reads.run(2 * RANGE_BYTES, work).await.ok()?;
        Some(answer.encode())
    }

    async fn compare_here(&self, group: GroupId) -> Result<Compared, Failure> {
        let _turn = self.comparing.lock().await;
        let refused = |code, why: &str| Failure::new(code, why.to_owned());
        let (local_start, stored) = self.shard.borrow().store_of(group)?;
        let found = self.shard.borrow().committed_of(group);
        let (replica, until) = found.ok_or_else(|| {
            refused(
                ErrorCode::NotLeaderOrFollower,
                "the replica is not here any more",
            )
        })?;
        let first = self.first_index(group, replica);
        let mut compared = Compared {
            leader: self.node.0,
            indexes: (first.0, until.0),
            ..Compared::default()
        };
        let others = self.other_members(group);
        let deadline = Instant::now() + COMPARE_MAX;
        let mut next = first;
        while next <= until {
            if Instant::now() >= deadline {
                let why = format!("it takes too long: index {next} of {until} is reached");
                return Err(refused(ErrorCode::RequestTimedOut, &why));
            }
            match self.own_entries(group, replica, next, until).await {
                Ok(entries) => {
                    next = entries.last().map_or(until, |entry| entry.index).next();
                    for node in &others {
                        self.compare_with(*node, group, &entries, &mut compared)
                            .await;
                    }
                }
                // Trimmed meanwhile.
                Err(ReadError::NotFound { .. }) if self.first_index(group, replica) > next => {
                    next = self.first_index(group, replica);
                }
                Err(why) => {
                    let of = format!("broker {}", self.node);
                    let found = Difference {
                        of: of.clone(),
                        offsets: None,
                        indexes: Some((next.0, next.0)),
                        what: format!("it leads, and cannot read this from its disk: {why}"),
                    };
                    compared.note(&of, 0, vec![found]);
                    next = next.next();
                }
            }
        }
        if stored.is_some() {
            self.compare_store(group, local_start, &mut compared).await;
        }
        Ok(compared)
    }

    fn first_index(&self, group: GroupId, replica: ReplicaId) -> Index {
        let bounds = self.reader.bounds(group, replica);
        bounds.map_or(Index(1), |(base, _)| base.next())
    }

    async fn own_entries(
        &self,
        group: GroupId,
        replica: ReplicaId,
        first: Index,
        until: Index,
    ) -> Result<Vec<Entry>, ReadError> {
        let reader = Arc::clone(&self.reader);
        let work = move || reader.entries(group, replica, first, until, RANGE_BYTES);
        self.disk_reads.run(RANGE_BYTES, work).await
    }

    async fn compare_with(
        &self,
        node: NodeId,
        group: GroupId,
        entries: &[Entry],
        compared: &mut Compared,
    ) {
        let of = format!("broker {node}");
        if compared.is_full(&of) {
            return;
        }
        let ask = async |range| {
            let body = Asked { group, range }.encode();
            let answer = self.network.request(node, kind::DIGEST, body, ANSWER_WAIT);
            Answer::decode(&answer.await.ok()?)
        };
        let (count, found) = compare(&of, entries, ask).await;
        compared.note(&of, count, found);
    }

    /// The store says of each member of a chunk what its records are; those that the log has as well are compared.
    async fn compare_store(&self, group: GroupId, local_start: i64, compared: &mut Compared) {
        let problem = |what: String| Difference {
            of: STORE.to_owned(),
            offsets: None,
            indexes: None,
            what,
        };
        let members = match self.stored_members(group, local_start).await {
            Ok(members) => members,
            Err(why) => return compared.note(STORE, 0, vec![problem(why)]),
        };
        for ((first, below), wanted) in members {
            if compared.is_full(STORE) {
                return;
            }
            let difference = |what: &str| Difference {
                offsets: Some((first, below)),
                ..problem(what.to_owned())
            };
            match self.own_records(group, first, below).await {
                // Trimmed meanwhile, or not readable, which was said above.
                None => {}
                Some(own) if own == wanted => compared.note(STORE, 1, Vec::new()),
                Some(_) => {
                    let found = difference("it is not what the leader has");
                    compared.note(STORE, 1, vec![found]);
                }
            }
        }
    }

    /// Of the members of the committed snapshot those that begin in the log: their offsets and digests.
    async fn stored_members(
        &self,
        group: GroupId,
        local_start: i64,
    ) -> Result<BTreeMap<(i64, i64), Digest>, String> {
        let stored = self.shard.borrow().store_of(group);
        let (_, stored) = stored.map_err(|why| why.message)?;
        let (snapshots, manifest) = self
            .manifest(group, stored)
            .await
            .map_err(|why| why.message)?;
        let mut members = BTreeMap::new();
        for at in 0..manifest.chunks.len() {
            if manifest.chunks[at].chunk.next_offset <= local_start {
                continue;
            }
            let read = snapshots.archive().members_of(&manifest, at).await;
            for member in read.map_err(|why| why.to_string())? {
                if member.first_offset >= local_start.max(manifest.log_start) {
                    let offsets = (member.first_offset, member.next_offset);
                    members.insert(offsets, member.raw_sha256);
                }
            }
        }
        Ok(members)
    }

    /// The digest of the log's records from an offset to another one; None unless it has them all.
    async fn own_records(&self, group: GroupId, first: i64, below: i64) -> Option<Digest> {
        let mut raw: Vec<u8> = Vec::new();
        let mut next = first;
        while next < below {
            let asked = AskedRecords {
                group,
                first: next,
                below,
                max_bytes: RANGE_BYTES,
            };
            let entries = self.records_here(asked).await?;
            for entry in &entries {
                let header = protocol::record_batch::BatchHeader::parse(&entry.payload).ok()?;
                (header.base_offset == next).then_some(())?;
                next = header.last_offset() + 1;
                raw.extend_from_slice(&entry.payload);
            }
            (!entries.is_empty()).then_some(())?;
        }
        (next == below).then(|| Digest::of(&raw))
    }
}
