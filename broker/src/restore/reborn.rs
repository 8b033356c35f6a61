//! What a partition is in the new life of its cluster.

use std::sync::Arc;

use raft::types::Index;
use snapshot::manifest::{self, Manifest};
use snapshot::source::Incarnation;
use snapshot::store::{self, Store};

use super::added::Added;
use super::plan::{Error, PartitionPlan, Plan, TopicPlan};
use crate::coordinator::OFFSETS_TOPIC;
use crate::coordinator::rebirth::{Lost, Rebirth};
use crate::metadata::TopicId;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;

/// A partition's first manifest of the new life, which its replicas begin with.
#[derive(Clone, Debug)]
pub struct Reborn {
    /// It, but for the chunk of what tails add.
    pub manifest: Manifest,
    /// What tails add to it: [`Reborn::put`] makes a chunk of it.
    added: Option<Arc<Added>>,
    /// What the metadata says of it.
    pub origin: Stored,
    /// Committed offsets that were taken back, or dropped.
    pub lost: Lost,
}

impl Plan {
    /// What the groups find: the ends of all partitions.
    #[must_use]
    pub fn rebirth(&self, known_at: u64, now_ms: i64) -> Rebirth {
        let mut rebirth = Rebirth {
            known_at,
            now_ms,
            is_partial: !self.left.is_empty(),
            ..Rebirth::default()
        };
        for TopicPlan { topic, partitions } in &self.topics {
            let id = TopicId(topic.id.as_u128());
            for partition in partitions {
                let place = (topic.name.clone(), partition.source.partition);
                rebirth.ends.insert(place, (id, partition.next_offset()));
            }
        }
        rebirth
    }

    /// All topics but that of the groups, and then that one.
    pub fn in_order(&self) -> impl Iterator<Item = &TopicPlan> {
        let others = self.topics.iter().filter(|topic| !topic.is_of_groups());
        others.chain(self.topics.iter().filter(|topic| topic.is_of_groups()))
    }
}

impl TopicPlan {
    /// Whether it is the topic of the groups.
    #[must_use]
    pub fn is_of_groups(&self) -> bool {
        self.topic.name == OFFSETS_TOPIC
    }
}

impl Reborn {
    /// A partition as it is in this life.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn new(
        of: &TopicPlan,
        partition: &PartitionPlan,
        incarnation: Incarnation,
        rebirth: &Rebirth,
    ) -> Result<Self, Error> {
        let before = partition.manifest.as_deref();
        let added = partition.added.as_deref();
        let index = before.map_or(0, |manifest| manifest.index);
        let index = added.map_or(index, |added| added.state.applied().0);
        // Nothing was written: it begins with the first index all the same, as every other one does.
        let index = index.max(1);
        let origin = Stored {
            incarnation: incarnation.0,
            leader_epoch: partition.epoch,
            index,
            next_offset: partition.next_offset(),
            identity: None,
        };
        let bytes = before.map_or(&[][..], |manifest| &manifest.state);
        let state = match added {
            Some(added) => Some(added.state.clone()),
            None => PartitionState::restore(Index(index), bytes),
        };
        let state = state
            .ok_or_else(|| Error::State(before.map_or_else(snapshot::key::owner, Manifest::key)))?;
        let stored = || before.map_or_else(Vec::new, |manifest| manifest.leader_epochs.clone());
        let leader_epochs = added.map_or_else(stored, Added::leader_epochs);
        let mut lost = Lost::default();
        let state = state.reborn(origin, |groups| lost = groups.be_reborn(rebirth));
        let manifest = Manifest {
            format: manifest::FORMAT,
            source: partition.source.clone(),
            topic: of.topic.name.clone(),
            incarnation,
            leader_epoch: partition.epoch,
            index,
            term: u64::from(partition.epoch.unsigned_abs()),
            created_ms: rebirth.now_ms,
            log_start: partition.log_start(),
            next_offset: partition.next_offset(),
            leader_epochs,
            configs: of.topic.configs.clone(),
            voters: Vec::new(),
            state,
            aborted_transactions: before
                .map_or_else(Vec::new, |manifest| manifest.aborted_transactions.clone()),
            chunks: before.map_or_else(Vec::new, |manifest| manifest.chunks.clone()),
        };
        Ok(Self {
            added: partition.added.clone(),
            manifest,
            origin,
            lost,
        })
    }

    /// Puts it into the store. One that is there is of an earlier try of the same restore, and stays.
    ///
    /// # Errors
    /// When the store cannot do it, or what is there is something else.
    pub async fn put(&self, store: &dyn Store) -> Result<(), Error> {
        self.put_from(store, store).await
    }

    /// The same where the tails are in another store.
    ///
    /// # Errors
    /// As above.
    pub async fn put_from(&self, tails: &dyn Store, store: &dyn Store) -> Result<(), Error> {
        let mut manifest = self.manifest.clone();
        if let Some(added) = &self.added {
            let life = (manifest.incarnation, manifest.leader_epoch);
            let chunk = added
                .put_chunk(tails, store, &manifest.source, life)
                .await?;
            manifest.chunks.extend(chunk);
        }
        let key = manifest.key();
        let put = store::put_once(store, &key, manifest.encode(), manifest::BYTES_MAX);
        let Some(there) = put.await? else {
            return Ok(());
        };
        let is_same = |there: &Manifest| {
            there.chunks == manifest.chunks && there.log_start == manifest.log_start
        };
        match Manifest::decode(&there, &key, &manifest.source) {
            Ok(there) if is_same(&there) => Ok(()),
            Ok(_) | Err(_) => Err(Error::Taken(key)),
        }
    }
}
