//! Whose store it is: one cluster's, for ever.

use serde::{Deserialize, Serialize};

use crate::key;
use crate::sealed;
use crate::store::{self, Condition, Store};

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
const BYTES_MAX: usize = 64 << 10;

/// The object `owner.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster.
    pub cluster_id: String,
}

/// Why a store is not this cluster's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What says whose it is is damaged.
    #[error("owner.json, which says whose this store is: {0}")]
    Sealed(#[from] sealed::Error),
    /// Written by a version that this one does not know.
    #[error("owner.json has format {0}, which this version does not know")]
    Format(u32),
    /// It is somebody else's.
    #[error(
        "this store belongs to cluster {owner}, not to {cluster_id}: give this cluster a prefix or folder of its own"
    )]
    Other {
        /// Whose.
        owner: String,
        /// Who asked.
        cluster_id: String,
    },
}

/// Makes the store this cluster's, unless it is another one's. Of two clusters at once one succeeds.
///
/// # Errors
/// See [`Error`].
pub async fn claim(store: &dyn Store, cluster_id: &str) -> Result<(), Error> {
    let owner = Owner {
        format: FORMAT,
        cluster_id: cluster_id.to_owned(),
    };
    match store
        .put(&key::owner(), sealed::encode(&owner), Condition::Absent)
        .await
    {
        Ok(_) => return Ok(()),
        Err(store::Error::Conflict(_)) => {}
        Err(why) => return Err(why.into()),
    }
    let found = read(store).await?;
    if found.cluster_id == cluster_id {
        return Ok(());
    }
    Err(Error::Other {
        owner: found.cluster_id,
        cluster_id: cluster_id.to_owned(),
    })
}

/// Whose the store is.
///
/// # Errors
/// [`store::Error::NotFound`] for a store without an owner; else see [`Error`].
pub async fn read(store: &dyn Store) -> Result<Owner, Error> {
    let (bytes, _) = store.get(&key::owner(), BYTES_MAX).await?;
    let owner: Owner = sealed::decode(&bytes)?;
    if owner.format != FORMAT {
        return Err(Error::Format(owner.format));
    }
    Ok(owner)
}
