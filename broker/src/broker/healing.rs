//! Damage in the log here is healed: other replicas are asked for the entries, see [`crate::heal`].
//!
//! Whoever meets damage, a reader of whatever kind, the cleaner, or a start, has left a note with the log. The log says
//! which entries it lacks; each group's other members are asked, one after another, for those that are committed; the log
//! writes them elsewhere, and they are read again. Neither votes nor terms nor anything else that this replica has said
//! rests on it. What nobody has is asked for again and again, ever more slowly.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::types::{Entry, GroupId, Index, NodeId, ReplicaId};
use tokio::time::{Instant, MissedTickBehavior};
use wal::Lacking;

use super::Broker;
use crate::driver::control::kind;
use crate::heal::{self, Asked, AskedRecords};

/// How often it is looked whether damage was met. It costs a lock.
const LOOK: Duration = Duration::from_millis(250);
/// How long one member may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Payload of one answer.
const ANSWER_BYTES: u64 = 2 << 20;
/// Payload that is fetched before it is written.
const FETCHED_BYTES: u64 = 32 << 20;
/// How long the log may take to write it. NB: later it is only not waited for.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// What nobody has is asked for again after so long; the wait doubles up to the second. New damage waits for the first.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Copies for one replica here, by index.
type Fetched = BTreeMap<(GroupId, ReplicaId), BTreeMap<Index, Entry>>;

/// The first indexes of a range that there is no copy of yet.
fn gap(copies: &BTreeMap<Index, Entry>, first: Index, last: Index) -> Option<(Index, Index)> {
    let lacks = |index: &Index| !copies.contains_key(index);
    let first = (first.0..=last.0).map(Index).find(lacks)?;
    let stretch = (first.0..=last.0).map(Index).take_while(lacks);
    stretch.last().map(|last| (first, last))
}

impl Broker {
    /// Looks for damage and heals it, for ever.
    pub(crate) async fn heal_damage(self: Rc<Self>) {
        let mut interval = tokio::time::interval(LOOK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pause, mut ended) = (Duration::ZERO, Instant::now());
        loop {
            interval.tick().await;
            if !self.reader.any_damage() {
                self.note_damaged(&[]);
                pause = Duration::ZERO;
                continue;
            }
            let rests = match self.reader.any_new_damage() {
                true => pause.min(PAUSES[0]),
                false => pause,
            };
            if ended.elapsed() < rests {
                continue;
            }
            pause = match self.heal_once().await {
                true => Duration::ZERO,
                false => (pause * 2).clamp(PAUSES[0], PAUSES[1]),
            };
            ended = Instant::now();
        }
    }

    fn note_damaged(&self, lacking: &[Lacking]) {
        let mut shard = self.shard.borrow_mut();
        if lacking.is_empty() && !shard.any_unreadable() {
            return;
        }
        let damaged: BTreeSet<GroupId> = lacking.iter().map(|lacking| lacking.group).collect();
        shard.note_damaged(self.now(), &damaged);
        self.work.notify_one();
    }

    /// False when there was nothing to be done, or nothing could be. What is damaged then is a reason to lead no longer.
    async fn heal_once(&self) -> bool {
        let lacking = self.survey().await;
        let mut fetched = Fetched::new();
        let mut bytes = 0;
        for lacking in &lacking {
            if bytes < FETCHED_BYTES {
                let key = (lacking.group, lacking.replica);
                let copies = fetched.entry(key).or_default();
                bytes += self.fetch_copies(lacking, copies).await;
            }
        }
        fetched.retain(|_, copies| !copies.is_empty());
        if fetched.is_empty() {
            self.note_damaged(&lacking);
            return false;
        }
        let mut written = Vec::new();
        for ((group, replica), copies) in &fetched {
            let copies = copies.values().cloned().collect();
            written.push(self.log.donate(*group, *replica, copies));
        }
        for written in written {
            // It ends without a word, or is not waited for any longer.
            let _ = tokio::time::timeout(WRITE_WAIT, written).await;
        }
        let healed = self.read_again(fetched).await;
        self.note_damaged(&self.survey().await);
        healed > 0
    }

    async fn survey(&self) -> Vec<Lacking> {
        let reader = Arc::clone(&self.reader);
        let survey = self.disk_reads.run(0, move || Ok(reader.survey())).await;
        survey.unwrap_or_default()
    }

    /// Asks the other members, one after another, for what is lacking. Bytes of payload that they had.
    async fn fetch_copies(&self, lacking: &Lacking, copies: &mut BTreeMap<Index, Entry>) -> u64 {
        let (group, replica) = (lacking.group, lacking.replica);
        let Some(donors) = self.shard.borrow().donors(group, replica) else {
            return 0;
        };
        let mut bytes = 0;
        for node in donors.nodes {
            let mut next = lacking.first;
            let last = lacking.last.min(donors.until);
            while let Some((first, last)) = gap(copies, next, last) {
                let asked = Asked {
                    group,
                    first,
                    last,
                    max_bytes: ANSWER_BYTES,
                };
                let entries = self.ask_for_entries(node, asked).await;
                let Some(end) = entries.last().map(|entry| entry.index) else {
                    break;
                };
                tracing::info!(
                    target: "wal",
                    file = lacking.file,
                    group = group.0,
                    first = first.0,
                    last = end.0,
                    entries = entries.len(),
                    from = node.0,
                    "fetched damaged entries from another replica"
                );
                for entry in entries {
                    bytes += entry.payload.len() as u64;
                    copies.insert(entry.index, entry);
                }
                if bytes >= FETCHED_BYTES {
                    return bytes;
                }
                next = end.next();
            }
        }
        bytes
    }

    /// What one member has of it: nothing, if it does not answer or the answer is not whole.
    async fn ask_for_entries(&self, node: NodeId, asked: Asked) -> Vec<Entry> {
        let body = asked.encode();
        let answer = self.network.request(node, kind::ENTRIES, body, ANSWER_WAIT);
        match answer.await {
            Ok(body) => {
                let mut entries = heal::decode_entries(&body).unwrap_or_default();
                entries.retain(|entry| asked.accepts(entry));
                entries
            }
            Err(why) => {
                let group = asked.group.0;
                tracing::debug!(target: "wal", node = node.0, group, %why, "no copies from there");
                Vec::new()
            }
        }
    }

    /// Reads what was written. How many entries are what was fetched now.
    async fn read_again(&self, fetched: Fetched) -> usize {
        let mut healed = 0;
        for ((group, replica), copies) in fetched {
            let reader = Arc::clone(&self.reader);
            let count = copies.len();
            let work = move || {
                let is_back = |(index, copy): &(&Index, &Entry)| {
                    let read = reader.entries(group, replica, **index, **index, 1);
                    read.is_ok_and(|entries| entries.first() == Some(*copy))
                };
                Ok(copies.iter().filter(is_back).count())
            };
            let back = self.disk_reads.run(0, work).await.unwrap_or_default();
            tracing::info!(
                target: "wal",
                group = group.0,
                fetched = count,
                healed = back,
                "damaged entries were written again and read"
            );
            healed += back;
        }
        healed
    }

    /// The other members of a group that has a replica here, the leader first.
    pub(crate) fn other_members(&self, group: GroupId) -> Vec<NodeId> {
        let shard = self.shard.borrow();
        let replica = shard.replica(group);
        let donors = replica.and_then(|replica| shard.donors(group, replica));
        donors.map_or_else(Vec::new, |donors| donors.nodes)
    }

    /// Of a replica here what is known to be committed and whole.
    pub(crate) async fn entries_here(
        &self,
        group: GroupId,
        (first, last): (Index, Index),
        max_bytes: u64,
    ) -> Vec<Entry> {
        let Some((replica, until)) = self.shard.borrow().committed_of(group) else {
            return Vec::new();
        };
        let reader = Arc::clone(&self.reader);
        let range = (first, last.min(until));
        let work = move || Ok(reader.whole_entries(group, replica, range, max_bytes));
        let entries = self.disk_reads.run(max_bytes, work).await;
        entries.unwrap_or_default()
    }

    /// The same of another member.
    pub(crate) async fn ask_for_committed(
        &self,
        node: NodeId,
        group: GroupId,
        (first, last): (Index, Index),
        max_bytes: u64,
    ) -> Vec<Entry> {
        let asked = Asked {
            group,
            first,
            last,
            max_bytes,
        };
        self.ask_for_entries(node, asked).await
    }

    /// Committed batches of another member, which are what they say.
    pub(crate) async fn ask_for_records(&self, node: NodeId, asked: AskedRecords) -> Vec<Entry> {
        let body = asked.encode();
        let answer = self.network.request(node, kind::RECORDS, body, ANSWER_WAIT);
        match answer.await {
            Ok(body) => heal::decode_entries(&body).unwrap_or_default(),
            Err(why) => {
                let group = asked.group.0;
                tracing::debug!(target: "wal", node = node.0, group, %why, "no copies from there");
                Vec::new()
            }
        }
    }

    /// Answers another replica.
    pub(crate) async fn records_for_peer(&self, body: &Bytes) -> Option<Bytes> {
        let asked = AskedRecords::decode(body)?;
        let entries = self.records_here(asked).await?;
        Some(heal::encode_entries(&entries))
    }

    /// Answers another replica: of what it asks for, what is known to be committed here and whole.
    pub(crate) async fn committed_entries(&self, body: &Bytes) -> Option<Bytes> {
        let asked = Asked::decode(body)?;
        self.shard.borrow().committed_of(asked.group)?;
        let (range, max_bytes) = ((asked.first, asked.last), asked.max_bytes.min(ANSWER_BYTES));
        let entries = self.entries_here(asked.group, range, max_bytes).await;
        Some(heal::encode_entries(&entries))
    }
}
