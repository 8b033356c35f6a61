//! What a partition has in the store, as the names say.

use crate::key::{self, Key, Kind};
use crate::manifest::Age;
use crate::store::{self, Listed, Store};

const LIST_LIMIT: usize = 1000;

/// A manifest in a list.
pub(super) type Aged = (Age, Listed);

/// Of one partition.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) manifests: Vec<Aged>,
    pub(super) chunks: Vec<Listed>,
    /// Objects that this format does not name.
    pub(super) unknown: u64,
}

impl Objects {
    /// NB: chunks sort before manifests, so that a manifest which appears meanwhile is met, and its chunks, if they were
    /// listed, are known to be reached.
    pub(super) async fn list(store: &dyn Store, prefix: &str) -> Result<Self, store::Error> {
        let mut objects = Self::default();
        each(store, prefix, |listed| match key::object(&listed.key) {
            Some(object) => objects.add(object.kind, listed),
            None => objects.unknown += 1,
        })
        .await?;
        Ok(objects)
    }

    pub(super) fn add(&mut self, kind: Kind, listed: Listed) {
        match kind {
            Kind::Manifest(age) => self.manifests.push((age, listed)),
            Kind::Chunk => self.chunks.push(listed),
        }
    }
}

/// Everything whose name begins so.
pub(super) async fn each(
    store: &dyn Store,
    prefix: &str,
    mut visit: impl FnMut(Listed),
) -> Result<(), store::Error> {
    let mut after: Option<Key> = None;
    loop {
        let page = store.list(prefix, after.as_ref(), LIST_LIMIT).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.key.clone());
        page.into_iter().for_each(&mut visit);
    }
}
