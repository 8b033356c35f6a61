//! Damaged objects of the store are made anew by those who have copies: of a partition by its leader, of the whole cluster by
//! the controller. What an object was, crate `snapshot` knows ([`snapshot::mend`]); copies come from the logs here and elsewhere.
//!
//! Whoever meets damage at the leader leaves a note: a consumer's read, a snapshot that continues another one, a collection,
//! an operator. What nobody has a copy of is tried again, ever more slowly, while this broker leads the partition.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::GroupId;
use serde::{Deserialize, Serialize};
use snapshot::archive;
use snapshot::key::Key;
use snapshot::mend::{Fate, Fates, Mender};
use snapshot::{chunk, owner, sealed};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::logs::Logs;
use super::{NOT_OWN, Snapshots, name_of, no_such_partition};
use crate::broker::{Broker, Rejection};
use crate::controller::Failure;
use crate::driver::control::kind;
use crate::handlers::lookup;

/// What nobody has a copy of is tried again after so long; the wait doubles up to the second.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];
/// So many objects of one partition are noted; the others when these are done.
const NOTED_MAX: usize = 64;
/// How long an operator waits for the objects that he has named.
pub(crate) const HEAL_MAX: Duration = Duration::from_secs(600);

/// What is to be mended by this broker.
#[derive(Default)]
pub(super) struct Mending {
    /// By group; of the whole cluster under the metadata group.
    noted: RefCell<BTreeMap<GroupId, Noted>>,
    /// There is more.
    news: Notify,
    /// One at a time: it reads whole chunks.
    turn: Mutex<()>,
    /// Chunks that are to be made under another name, with the next snapshot.
    anew: RefCell<BTreeMap<GroupId, BTreeSet<Key>>>,
    /// To what the store's objects are bound, as of when it was known last.
    store_id: RefCell<Option<String>>,
    /// A sealed object that this broker has written: the newest metadata.
    written: RefCell<Option<(Key, Bytes)>>,
    healed: Cell<u64>,
    /// Objects without a copy, by group.
    left: RefCell<BTreeMap<GroupId, usize>>,
}

struct Noted {
    keys: BTreeSet<Key>,
    due: Instant,
    pause: Duration,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healed {
    /// Which.
    pub key: Key,
    /// Whether it is as it was.
    pub healed: bool,
    /// What else there is to say.
    pub what: String,
}

impl Mending {
    fn note(&self, group: GroupId, key: &Key) {
        let mut noted = self.noted.borrow_mut();
        let of = noted.entry(group).or_insert_with(|| Noted {
            keys: BTreeSet::new(),
            due: Instant::now(),
            pause: Duration::ZERO,
        });
        if of.keys.len() < NOTED_MAX {
            of.keys.insert(key.clone());
        }
        self.news.notify_one();
    }

    /// The one that is due first, and when.
    fn next(&self) -> Option<(Instant, GroupId)> {
        let noted = self.noted.borrow();
        let due = noted.iter().map(|(group, of)| (of.due, *group));
        due.min()
    }

    /// Objects that were mended, and those that nobody has a copy of, as far as this broker knows.
    pub(super) fn figures(&self) -> (u64, u64) {
        let left = self.left.borrow().values().map(|count| *count as u64).sum();
        (self.healed.get(), left)
    }

    pub(super) fn anew(&self, group: GroupId) -> BTreeSet<Key> {
        self.anew.borrow().get(&group).cloned().unwrap_or_default()
    }

    pub(super) fn note_life(&self, store_id: &str) {
        *self.store_id.borrow_mut() = Some(store_id.to_owned());
    }

    pub(super) fn note_written(&self, key: Key, body: Bytes) {
        *self.written.borrow_mut() = Some((key, body));
    }

    /// Counts and logs what became of objects; those that stay damaged.
    fn settle(&self, group: GroupId, fates: &Fates) -> BTreeSet<Key> {
        let mut left = BTreeSet::new();
        for (key, fate) in fates {
            match fate {
                Fate::Sound => {}
                Fate::Mended => {
                    self.healed.set(self.healed.get() + 1);
                    tracing::warn!(target: "snapshot", group = group.0, %key, "it was damaged or missing in the store, and is made anew");
                }
                Fate::OtherBytes => {
                    let mut anew = self.anew.borrow_mut();
                    anew.entry(group).or_default().insert(key.clone());
                    left.insert(key.clone());
                    tracing::warn!(target: "snapshot", group = group.0, %key, "it is damaged or missing in the store, and made anew under another name with a new snapshot");
                }
                Fate::Left(why) => {
                    left.insert(key.clone());
                    tracing::error!(target: "snapshot", group = group.0, %key, why, "it is damaged or missing in the store");
                }
            }
        }
        let mut counts = self.left.borrow_mut();
        match left.len() {
            0 => drop(counts.remove(&group)),
            count => drop(counts.insert(group, count)),
        }
        left
    }
}

impl Snapshots {
    /// An object of a partition, or of the whole cluster under the metadata group, is not what it has to be.
    pub(super) fn note_damage(&self, group: GroupId, key: &Key) {
        self.mending.note(group, key);
    }

    /// To what the store's objects are bound, as far as this broker has ever known: what is damaged may be what says it.
    /// Sealed objects that it knows whole come with it.
    fn known_whole(&self) -> (String, BTreeMap<Key, Bytes>) {
        let mut objects = BTreeMap::new();
        let known = self.mending.store_id.borrow().clone();
        if let Some(cluster_id) = known.clone() {
            let owner = owner::Owner {
                format: owner::FORMAT,
                cluster_id,
            };
            objects.insert(snapshot::key::owner(), sealed::encode(&owner));
        }
        objects.extend(self.mending.written.borrow().clone());
        (known.unwrap_or_else(|| self.cluster_id.clone()), objects)
    }
}

impl Broker {
    /// Somebody has read the store and met this. Whoever leads the partition mends it.
    pub(crate) fn note_store_damage(&self, group: GroupId, why: &archive::Error) {
        let (archive::Error::Damaged { key, .. } | archive::Error::Missing { key }) = why else {
            return;
        };
        if let Some(snapshots) = &self.snapshots {
            snapshots.note_damage(group, key);
        }
    }

    /// Mends what was noted, for ever.
    pub(crate) async fn keep_mended(self: Rc<Self>, snapshots: Rc<Snapshots>) {
        let mending = &snapshots.mending;
        loop {
            match mending.next() {
                None => mending.news.notified().await,
                Some((due, group)) => {
                    let later = tokio::time::sleep_until(due);
                    tokio::select! {
                        () = later => self.mend_noted(&snapshots, group).await,
                        () = mending.news.notified() => {}
                    }
                }
            }
        }
    }

    async fn mend_noted(&self, snapshots: &Rc<Snapshots>, group: GroupId) {
        let mending = &snapshots.mending;
        let keys = mending.noted.borrow().get(&group).map(|of| of.keys.clone());
        let Some(keys) = keys else { return };
        let left = match self.mend_here(snapshots, group, &keys).await {
            Ok(fates) => {
                let not_whole = |(_, fate): &&(Key, Fate)| *fate != Fate::Mended;
                fates
                    .iter()
                    .filter(not_whole)
                    .map(|(key, _)| key.clone())
                    .collect()
            }
            // Somebody else leads it, or it is gone.
            Err(why) if !is_for_now(why.code) => {
                mending.forget(group);
                return;
            }
            Err(why) => {
                tracing::warn!(target: "snapshot", group = group.0, why = why.message, "the store is not mended for now");
                keys.clone()
            }
        };
        let mut noted = mending.noted.borrow_mut();
        let Some(of) = noted.get_mut(&group) else {
            return;
        };
        // What was noted meanwhile is looked at next.
        let is_more = of.keys.len() > keys.len();
        of.keys
            .retain(|key| left.contains(key) || !keys.contains(key));
        of.pause = (of.pause * 2).clamp(PAUSES[0], PAUSES[1]);
        of.due = Instant::now() + if is_more { PAUSES[0] } else { of.pause };
        if of.keys.is_empty() {
            noted.remove(&group);
        }
    }

    /// Mends these objects of a partition that is led here, or everything of the whole cluster as the controller.
    async fn mend_here(
        &self,
        snapshots: &Rc<Snapshots>,
        group: GroupId,
        keys: &BTreeSet<Key>,
    ) -> Result<Fates, Rejection> {
        let _turn = snapshots.mending.turn.lock().await;
        if group == GroupId::METADATA && self.controller_epoch().is_none() {
            return Err(failed(ErrorCode::NotLeaderOrFollower, String::new()));
        }
        let (store_id, objects) = snapshots.known_whole();
        let logs = Logs::new(self, objects);
        let mender = Mender {
            archive: snapshots.archive(),
            store_id: &store_id,
            donor: &logs,
            chunks: chunk::Config::default(),
        };
        let fates = match group {
            GroupId::METADATA => mender.cluster().await,
            group => {
                let (_, stored) = self.shard.borrow().store_of(group)?;
                let source = snapshots.source(&self.image(), group);
                let not_own = || failed(ErrorCode::KafkaStorageError, NOT_OWN.to_string());
                let source = source.ok_or_else(not_own)?;
                let known = stored.map(|stored| name_of(&source, &stored));
                let fates = mender.partition(&source, known.as_ref(), |key| keys.contains(key));
                let fates = fates.await;
                let lost = known.map(|known| known.key());
                if fates
                    .as_ref()
                    .is_ok_and(|fates| needs_snapshot(fates, lost.as_ref()))
                {
                    self.shard.borrow_mut().ask_to_heal(group);
                    self.work.notify_one();
                }
                fates
            }
        };
        let fates = fates.map_err(|why| failed(ErrorCode::KafkaStorageError, why.to_string()))?;
        snapshots.mending.settle(group, &fates);
        Ok(fates)
    }

    /// Has objects of a partition mended by its leader, wherever that is; without a partition everything that is of the
    /// whole cluster, by the controller.
    pub(crate) async fn heal_store(
        &self,
        partition: Option<(&str, i32)>,
        keys: Vec<Key>,
    ) -> Result<Vec<Healed>, Failure> {
        let group = match partition {
            None => GroupId::METADATA,
            Some((topic, partition)) => {
                let group = lookup::group_named(&self.image(), topic, partition);
                group.map_err(no_such_partition)?
            }
        };
        let leader = self.leading_node(group)?;
        let asked = Asked {
            group: group.0,
            keys,
        };
        if leader == self.node {
            return self.heal_asked(asked).await;
        }
        let body = serde_json::to_vec(&asked).expect("it is plain JSON");
        let answer = self
            .network
            .request(leader, kind::HEAL, body.into(), HEAL_MAX);
        let body = answer.await.map_err(|why| {
            let message = format!("its leader, broker {leader}, does not do it: {why}");
            Failure::new(ErrorCode::NotLeaderOrFollower, message)
        })?;
        let strange = |why: serde_json::Error| {
            Failure::new(
                ErrorCode::UnknownServerError,
                format!("broker {leader}: {why}"),
            )
        };
        serde_json::from_slice(&body).map_err(strange)
    }

    /// Answers another broker.
    pub(crate) async fn heal_for_peer(&self, body: &Bytes) -> Option<Bytes> {
        let asked = serde_json::from_slice(body).ok()?;
        let healed = self.heal_asked(asked).await.ok()?;
        serde_json::to_vec(&healed).ok().map(Bytes::from)
    }

    async fn heal_asked(&self, asked: Asked) -> Result<Vec<Healed>, Failure> {
        let Some(snapshots) = self.snapshots.clone() else {
            let message = "there is no snapshot store: set snapshot.store on every broker";
            return Err(Failure::new(ErrorCode::InvalidConfig, message.to_owned()));
        };
        let keys = asked.keys.into_iter().collect();
        let fates = self
            .mend_here(&snapshots, GroupId(asked.group), &keys)
            .await?;
        Ok(fates
            .into_iter()
            .map(|(key, fate)| healed(key, fate))
            .collect())
    }
}

impl Mending {
    fn forget(&self, group: GroupId) {
        self.noted.borrow_mut().remove(&group);
        self.anew.borrow_mut().remove(&group);
        self.left.borrow_mut().remove(&group);
    }

    /// A snapshot of the partition is in the store.
    pub(super) fn taken(&self, group: GroupId) {
        self.anew.borrow_mut().remove(&group);
    }
}

/// Which objects are to be mended, between brokers and from operators.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    group: u64,
    keys: Vec<Key>,
}

/// Whether only a new snapshot helps.
fn needs_snapshot(fates: &Fates, committed: Option<&Key>) -> bool {
    fates.iter().any(|(key, fate)| match fate {
        Fate::OtherBytes => true,
        Fate::Left(_) => Some(key) == committed,
        Fate::Sound | Fate::Mended => false,
    })
}

/// Whether the same broker may succeed later.
fn is_for_now(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::KafkaStorageError | ErrorCode::OffsetNotAvailable
    )
}

fn healed(key: Key, fate: Fate) -> Healed {
    let (healed, what) = match fate {
        Fate::Sound => (true, "it is sound".to_owned()),
        Fate::Mended => (true, "it was made anew".to_owned()),
        Fate::OtherBytes => (
            false,
            "it is made under another name with a new snapshot".to_owned(),
        ),
        Fate::Left(why) => (false, why),
    };
    Healed { key, healed, what }
}

fn failed(code: ErrorCode, message: String) -> Rejection {
    Rejection {
        code,
        message,
        leader: None,
    }
}
