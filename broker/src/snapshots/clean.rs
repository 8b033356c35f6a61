//! Removing from the store what nothing needs any more.

use std::rc::Rc;

use raft::types::GroupId;
use snapshot::collect::{self, Collected};

use super::{Snapshots, name_of};
use crate::broker::Broker;
use crate::partition::stored::Stored;

impl Snapshots {
    pub(super) fn note_collected(&self, what: &str, outcome: Result<Collected, collect::Error>) {
        match outcome {
            Ok(collected) => {
                let (deleted, figures) = (collected.deleted.len() as u64, &self.figures);
                figures.collected.set(figures.collected.get() + deleted);
                let bytes = figures.collected_bytes.get() + collected.bytes;
                figures.collected_bytes.set(bytes);
                if deleted > 0 {
                    tracing::debug!(target: "snapshot", what, deleted, bytes = collected.bytes, "removed");
                }
            }
            Err(why) => {
                tracing::warn!(target: "snapshot", what, %why, "nothing more is removed for now");
            }
        }
    }
}

impl Broker {
    /// Begins to clean up after a snapshot that was just committed here.
    pub(crate) fn collect_snapshots(self: &Rc<Self>, group: GroupId, stored: Stored) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            if let Some(snapshots) = &broker.snapshots {
                let source = snapshots.source(&broker.image(), group);
                // A topic that is deleted meanwhile is collected as a whole.
                if let (Some(source), Some(life)) = (source, snapshots.life()) {
                    let (store, now_ms) = (&**snapshots.archive().store(), broker.wall_ms());
                    let committed = name_of(&source, &stored);
                    let policy = &snapshots.collection(&life);
                    let outcome =
                        collect::partition(store, &source, &committed, policy, now_ms).await;
                    if let Err(
                        collect::Error::Unreadable { key, .. } | collect::Error::Missing(key),
                    ) = &outcome
                    {
                        snapshots.note_damage(group, key);
                    }
                    snapshots.note_collected("snapshots", outcome);
                }
            }
            broker.shard.borrow_mut().snapshots_collected(group);
            broker.work.notify_one();
        });
    }
}
