//! Which tails nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Collected, Collector, Error, Policy};
use crate::inventory;
use crate::store::{self, Store};
use crate::tail::{self, Directory, Found, Name, Parts};

/// Collects tails, of all brokers that ever were. NB: the topics have to be as the metadata group knows them now, as in
/// [`super::deleted_topics`].
///
/// # Errors
/// [`Error::NothingAlive`] without any topic; else see [`Error`]. What was removed until then is removed.
pub async fn tails(
    store: &dyn Store,
    store_id: &str,
    alive: &BTreeSet<Uuid>,
    policy: &Policy,
    now_ms: i64,
) -> Result<Collected, Error> {
    let mut collector = Collector::among(store, alive, policy, now_ms).await?;
    let listed = tail::list(store).await?;
    // What of an earlier life is needed is in the manifests that this one began with.
    let (earlier, mut own): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .partition(|(name, _)| name.incarnation < policy.incarnation);
    own.retain(|(name, _)| name.incarnation == policy.incarnation);
    let mut needed = Needed {
        alive,
        newest: newest(store, policy).await?,
        parts: Parts::default(),
    };
    let mut there = Vec::new();
    for (name, listed) in own {
        match Directory::read(store, &name, store_id).await {
            Ok(directory) => {
                needed.parts.add(name, directory);
                there.push((name, listed));
            }
            Err(tail::Error::Store(store::Error::NotFound(_))) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let kept = needed.tails();
    there.retain(|(name, _)| !kept.contains(name));
    let dead = there.into_iter().chain(earlier);
    let dead = collector.old_ones(dead.map(|(_, listed)| listed).collect());
    collector.remove(&dead).await?;
    Ok(collector.collected)
}

/// What decides whether a part is needed.
struct Needed<'a> {
    alive: &'a BTreeSet<Uuid>,
    /// The index of each partition's newest manifest.
    newest: BTreeMap<(Uuid, i32), u64>,
    parts: Parts,
}

impl Needed<'_> {
    /// Those with a part that is needed.
    fn tails(&self) -> BTreeSet<Name> {
        let needed = self.parts.all().filter(|found| self.is_needed(found));
        needed.map(|found| found.name).collect()
    }

    fn is_needed(&self, found: &Found) -> bool {
        let part = &found.part;
        let place = (part.topic_id, part.partition);
        let is_in_manifest = self.newest.get(&place) >= Some(&part.last_index);
        let replaces = |other: &&Found| {
            let is_larger = other.part.holds(part) && !part.holds(&other.part);
            is_larger || other.part.holds(part) && other.name > found.name
        };
        let of = self.parts.of(place.0, place.1);
        self.alive.contains(&place.0) && !is_in_manifest && !of.iter().any(|f| replaces(&f))
    }
}

async fn newest(
    store: &dyn Store,
    policy: &Policy,
) -> Result<BTreeMap<(Uuid, i32), u64>, store::Error> {
    let of_life = |objects: inventory::Objects| {
        let ages = objects.manifests.into_iter().map(|(age, _)| age);
        let own = ages.filter(|age| age.incarnation == policy.incarnation);
        own.map(|age| age.index).max()
    };
    let topics = inventory::topics(store).await?;
    let newest = topics
        .into_iter()
        .filter_map(|(place, objects)| Some((place, of_life(objects)?)));
    Ok(newest.collect())
}
