//! Damaged objects are kept aside before they are made anew: for people, who may find in them what this could not use. Nothing
//! reads them, and they do not add up: of each object the last damage is kept, and the oldest ones go for new ones.

use crate::inventory;
use crate::key::{self, Key};
use crate::store::{Condition, Error, Listed, Store};

/// So many are kept.
pub const OBJECTS_MAX: usize = 32;
/// And so many bytes of all.
pub const BYTES_MAX: u64 = 1 << 30;
/// Bytes that are copied at once.
const PIECE_BYTES: u64 = 8 << 20;

/// Keeps a copy of an object. Does nothing with one that is gone, or larger than all may be.
pub(super) async fn keep_aside(store: &dyn Store, key: &Key) -> Result<(), Error> {
    let found = store.list(key.as_str(), None, 1).await?;
    let Some(found) = found.into_iter().find(|listed| listed.key == *key) else {
        return Ok(());
    };
    if found.bytes > BYTES_MAX {
        return Ok(());
    }
    let aside = key::quarantined(key);
    make_room(store, &aside, found.bytes).await?;
    match copy(store, &found, &aside).await {
        // It is another one since it was listed: somebody else has mended it, or removed it.
        Err(Error::NotFound(_) | Error::Length { .. }) => Ok(()),
        copied => copied,
    }
}

async fn copy(store: &dyn Store, found: &Listed, aside: &Key) -> Result<(), Error> {
    let mut upload = store.upload(aside).await?;
    let mut at = 0;
    while at < found.bytes {
        let length = PIECE_BYTES.min(found.bytes - at);
        let piece = usize::try_from(length).expect("a piece is small");
        upload
            .write(store.range(&found.key, at, piece).await?)
            .await?;
        at += length;
    }
    upload.finish(Condition::None).await.map(drop)
}

/// Removes the oldest ones until there is room for one more.
async fn make_room(store: &dyn Store, aside: &Key, bytes: u64) -> Result<(), Error> {
    let mut kept: Vec<Listed> = Vec::new();
    inventory::each(store, key::QUARANTINE_PREFIX, |listed| kept.push(listed)).await?;
    kept.retain(|listed| listed.key != *aside);
    kept.sort_by_key(|listed| std::cmp::Reverse(listed.modified_ms));
    let mut sum = bytes;
    let is_kept = |(at, listed): (usize, &Listed)| {
        sum = sum.saturating_add(listed.bytes);
        at + 1 < OBJECTS_MAX && sum <= BYTES_MAX
    };
    let room = kept.iter().enumerate().map(is_kept).position(|kept| !kept);
    for old in kept.split_off(room.unwrap_or(kept.len())) {
        store.delete(&old.key).await?;
    }
    Ok(())
}
