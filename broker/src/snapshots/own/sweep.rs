//! What the own folder takes, and what of it is of partitions that are not here: removed with them.

use std::rc::Rc;
use std::time::Duration;

use snapshot::collect;
use snapshot::inventory;

use snapshot::store::Store;

use super::{Own, Place};
use crate::broker::Broker;
use crate::metadata::{Image, TopicId};
use crate::shard::Shard;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

impl Broker {
    /// Looks again and again.
    pub(crate) async fn keep_own_copies_swept(self: Rc<Self>) {
        loop {
            self.sweep_own_copies().await;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn sweep_own_copies(&self) {
        let snapshots = self.snapshots.clone();
        let Some((snapshots, own)) = snapshots.as_ref().and_then(|s| Some((s, s.own.as_ref()?)))
        else {
            return;
        };
        let store = &**snapshots.archive().store();
        let is_gone = |place| is_gone(&self.shard.borrow(), place);
        own.sweep(store, is_gone).await;
    }
}

impl Own {
    /// Removes what is of partitions that are gone, as of the moment when it is their turn.
    pub async fn sweep(&self, store: &dyn Store, is_gone: impl Fn(Place) -> bool) {
        let topics = match inventory::topics(store).await {
            Ok(topics) => topics,
            Err(why) => {
                tracing::warn!(target: "snapshot", %why, "the folder of own copies cannot be read");
                return;
            }
        };
        let mut kept_bytes = 0;
        for (place, objects) in topics {
            let manifests = objects.manifests.iter().map(|(_, listed)| listed);
            let bytes: u64 = manifests
                .chain(&objects.chunks)
                .map(|listed| listed.bytes)
                .sum();
            kept_bytes += bytes;
            let Some(_turn) = self.turn(place).filter(|_| is_gone(place)) else {
                continue;
            };
            match collect::all_of(store, place.0, place.1).await {
                Ok(freed) => {
                    kept_bytes -= freed.min(bytes);
                    tracing::info!(target: "snapshot", topic = %place.0, partition = place.1, freed, "own copies of a partition that is not here any more are removed");
                }
                Err(why) => {
                    tracing::warn!(target: "snapshot", topic = %place.0, partition = place.1, %why, "own copies are not removed yet");
                }
            }
        }
        self.bytes.set(kept_bytes);
    }
}

/// Whether the committed metadata, as new as this life of the broker, gives nothing of a partition to this disk. One
/// that it does not know (yet) is known later, and then nothing of it is here before.
#[must_use]
pub fn is_gone(shard: &Shard, place: Place) -> bool {
    if !shard.is_current() {
        return false;
    }
    let image: &Image = shard.image_or_empty();
    let topic = image.topic(TopicId(place.0.as_u128()));
    let at = usize::try_from(place.1).ok();
    let group = topic
        .zip(at)
        .and_then(|(topic, at)| topic.partitions.get(at).copied());
    let Some(partition) = group.and_then(|group| image.partition(group)) else {
        return true;
    };
    let (node, directory) = (shard.node(), shard.directory());
    let is_here = |m: &raft::types::Member| m.node == node && m.directory == directory;
    let is_given = partition.holders().iter().any(is_here);
    !is_given && shard.replica(partition.group).is_none()
}
