//! Reads of what only the snapshot store holds.

use std::sync::Arc;

use bytes::Bytes;
use protocol::error_code::ErrorCode;
use raft::types::GroupId;
use snapshot::archive;
use snapshot::manifest::Manifest;

use super::reads::{RecordPlace, find_record, promise};
use super::{Broker, FetchAt, Rejection};
use crate::partition::stored::Stored;
use crate::snapshots::{Snapshots, name_of};

/// So many members of chunks that promise a time and do not have it are opened; then the next one's word is taken.
const OPENED_MAX: usize = 16;

impl Broker {
    /// Batches from an offset on that this broker's log does not hold.
    pub(super) async fn stored_batches(
        &self,
        at: &FetchAt,
        stored: Option<Stored>,
    ) -> Result<Vec<Bytes>, Rejection> {
        let (snapshots, manifest) = self.manifest(at.group, stored).await?;
        let _room = self.disk_reads.room(at.max_bytes).await;
        let batches = snapshots
            .archive()
            .batches(&manifest, at.offset, at.max_bytes);
        batches.await.map_err(|why| self.refused(at.group, &why))
    }

    /// The first record at or after a time, from an offset on and below another one, in a snapshot.
    pub(super) async fn stored_at_time(
        &self,
        group: GroupId,
        stored: Option<Stored>,
        timestamp_ms: i64,
        (from, below): (i64, i64),
    ) -> Result<Option<RecordPlace>, Rejection> {
        let (snapshots, manifest) = self.manifest(group, stored).await?;
        let mut next = from;
        for opened in 0.. {
            let found = snapshots.archive().at_time(&manifest, timestamp_ms, next);
            let found = found.await.map_err(|why| self.refused(group, &why))?;
            let Some((batches, beyond)) = found.filter(|_| next < below) else {
                return Ok(None);
            };
            let mut places = batches.iter().filter_map(|batch| match opened {
                OPENED_MAX.. => promise(batch, timestamp_ms, from),
                _ => find_record(batch, timestamp_ms, from),
            });
            if let Some(place) = places.next() {
                return Ok((place.offset < below).then_some(place));
            }
            next = beyond;
        }
        Ok(None)
    }

    /// The manifest of a partition's newest snapshot.
    pub(crate) async fn manifest(
        &self,
        group: GroupId,
        stored: Option<Stored>,
    ) -> Result<(std::rc::Rc<Snapshots>, Arc<Manifest>), Rejection> {
        let snapshots = self.snapshots.clone();
        let snapshots = snapshots.ok_or_else(|| {
            unreadable("snapshot.store is not set on this broker: set it as on the others")
        })?;
        let stored = match stored {
            None if snapshots.is_own() => self.looked_at(&snapshots, group).await?,
            stored => stored,
        };
        let stored = stored.ok_or_else(|| match snapshots.is_own() {
            true => unreadable(
                "this replica does not hold these records yet: it fetches them from the others",
            ),
            false => unreadable("the log has neither these records nor a snapshot"),
        })?;
        if self.image().partition(group).is_none() {
            return Err(self.shard.borrow().unknown(group));
        }
        snapshots.await_claim().await;
        let source = snapshots.source(&self.image(), group);
        let source = source.ok_or_else(|| unreadable("it is not known yet whose the store is"))?;
        let manifest = snapshots
            .archive()
            .manifest(&name_of(&source, &stored))
            .await;
        let manifest = manifest.map_err(|why| self.refused(group, &why))?;
        Ok((snapshots, manifest))
    }

    /// What own copies hold. Just after the start nobody has looked yet: waits a little until somebody has.
    async fn looked_at(
        &self,
        snapshots: &Snapshots,
        group: GroupId,
    ) -> Result<Option<Stored>, Rejection> {
        loop {
            let (_, stored) = self.shard.borrow().store_of(group)?;
            if stored.is_some() || !snapshots.await_look().await {
                return Ok(stored);
            }
        }
    }

    /// What cannot be read now is never out of range: clients try again, and what is damaged is mended.
    fn refused(&self, group: GroupId, why: &archive::Error) -> Rejection {
        tracing::error!(target: "snapshot", group = group.0, %why, "cannot read the store");
        if !self.snapshots.as_ref().is_some_and(|s| s.is_own()) {
            self.note_store_damage(group, why);
        } else if let archive::Error::Missing { key } | archive::Error::Damaged { key, .. } = why {
            self.suspect_copy(group, key);
        }
        unreadable(&format!("the snapshot store cannot be read: {why}"))
    }
}

fn unreadable(message: &str) -> Rejection {
    Rejection {
        code: ErrorCode::KafkaStorageError,
        message: message.to_owned(),
        leader: None,
    }
}
