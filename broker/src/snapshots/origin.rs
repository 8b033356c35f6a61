//! What a replica of a restored partition begins with.

use std::rc::Rc;
use std::time::Duration;

use raft::types::{Base, GroupId, Index, Membership, ReplicaId, Term};
use snapshot::source::Incarnation;

use crate::broker::Broker;
use crate::partition::state::PartitionState;
use crate::partition::stored::Stored;

/// After a read that failed.
const PAUSE: Duration = Duration::from_secs(1);

impl Broker {
    /// Begins to read it, and tries until it is read or nobody waits for it any more. A replica that has not read it
    /// does not vote.
    pub(crate) fn read_origin(self: &Rc<Self>, group: GroupId, replica: ReplicaId, origin: Stored) {
        let broker = self.clone();
        tokio::task::spawn_local(async move {
            let is_wanted = || broker.shard.borrow().waits_for_origin(group, replica);
            let mut said = None;
            while is_wanted() {
                match broker.origin_base(group, origin).await {
                    Ok(base) => {
                        let now = broker.now();
                        let mut shard = broker.shard.borrow_mut();
                        shard.origin_read(now, group, replica, base);
                        drop(shard);
                        broker.work.notify_one();
                        return;
                    }
                    Err(why) => {
                        if said.as_ref() != Some(&why) {
                            tracing::warn!(target: "snapshot", group = group.0, why, "a restored replica is not open yet");
                        }
                        said = Some(why);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    async fn origin_base(&self, group: GroupId, origin: Stored) -> Result<Base, String> {
        let snapshots = self.snapshots.clone();
        let snapshots =
            snapshots.ok_or("snapshot.store is not set on this broker: set it as on the others")?;
        // What the life began with may be heard of before the life.
        let known = snapshots.await_life(Incarnation(origin.incarnation));
        let _ = tokio::time::timeout(PAUSE, known).await;
        let turn = snapshots.origin_reads.acquire().await;
        let _turn = turn.expect("it is never closed");
        let read = self.manifest(group, Some(origin)).await;
        let (_, manifest) = read.map_err(|why| why.message)?;
        let index = Index(manifest.index);
        let is_it = |state: &PartitionState| {
            state.stored() == Some(origin) && state.high_watermark() == origin.next_offset
        };
        let state = PartitionState::restore(index, &manifest.state);
        if !state.as_ref().is_some_and(is_it) {
            return Err(format!(
                "{} is not what a replica begins with",
                manifest.key()
            ));
        }
        Ok(Base {
            index,
            term: Term(manifest.term),
            membership: Membership::default(),
            state: manifest.state.clone(),
        })
    }
}
