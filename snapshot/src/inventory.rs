//! What is in a store, as the names say.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::key::{self, Key, Kind};
use crate::manifest::Age;
use crate::store::{self, Listed, Store};

const LIST_LIMIT: usize = 1000;

/// A manifest in a list.
pub type Aged = (Age, Listed);

/// Of one partition.
#[derive(Debug, Default)]
pub struct Objects {
    /// Its manifests.
    pub manifests: Vec<Aged>,
    /// Its chunks.
    pub chunks: Vec<Listed>,
    /// Objects that this format does not name.
    pub unknown: u64,
}

impl Objects {
    /// Those whose names begin so.
    ///
    /// NB: chunks sort before manifests, so that a manifest which appears meanwhile is met, and its chunks, if they were
    /// listed, are known to be reached.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn list(store: &dyn Store, prefix: &str) -> Result<Self, store::Error> {
        let mut objects = Self::default();
        each(store, prefix, |listed| match key::object(&listed.key) {
            Some(object) => objects.add(object.kind, listed),
            None => objects.unknown += 1,
        })
        .await?;
        Ok(objects)
    }

    pub(crate) fn add(&mut self, kind: Kind, listed: Listed) {
        match kind {
            Kind::Manifest(age) => self.manifests.push((age, listed)),
            Kind::Chunk => self.chunks.push(listed),
        }
    }
}

/// What all partitions have.
///
/// # Errors
/// When the store cannot be asked.
pub async fn topics(store: &dyn Store) -> Result<BTreeMap<(Uuid, i32), Objects>, store::Error> {
    let mut topics: BTreeMap<(Uuid, i32), Objects> = BTreeMap::new();
    each(store, key::TOPICS_PREFIX, |listed| {
        if let Some(object) = key::object(&listed.key) {
            let of = topics.entry((object.topic_id, object.partition));
            of.or_default().add(object.kind, listed);
        }
    })
    .await?;
    Ok(topics)
}

/// Everything whose name begins so.
pub(crate) async fn each(
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
