//! Which tails nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Collected, Collector, Error, Policy};
use crate::inventory;
use crate::left::left;
use crate::store::{self, Listed, Store};
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
    let topics = inventory::topics(store).await?;
    let left = left(store, policy.incarnation, &topics).await?;
    let mut needed = Needed {
        alive,
        newest: newest(topics, policy),
        parts: Parts::default(),
    };
    let mut there = Vec::new();
    for (name, listed, directory) in read(store, own, store_id).await? {
        needed.parts.add(name, directory);
        there.push((name, listed));
    }
    let kept = needed.tails();
    there.retain(|(name, _)| !kept.contains(name));
    let earlier = match left.is_empty() {
        true => earlier,
        false => without(&left, read(store, earlier, store_id).await?),
    };
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

type Read = (Name, Listed, Directory);

async fn read(
    store: &dyn Store,
    tails: Vec<(Name, Listed)>,
    store_id: &str,
) -> Result<Vec<Read>, Error> {
    let mut directories = Vec::new();
    for (name, listed) in tails {
        match Directory::read(store, &name, store_id).await {
            Ok(directory) => directories.push((name, listed, directory)),
            Err(tail::Error::Store(store::Error::NotFound(_))) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Ok(directories)
}

/// Those that hold nothing of these topics.
fn without(topics: &BTreeSet<Uuid>, tails: Vec<Read>) -> Vec<(Name, Listed)> {
    let holds = |directory: &Directory| {
        let mut parts = directory.parts.iter();
        parts.any(|part| topics.contains(&part.topic_id))
    };
    let tails = tails.into_iter();
    let tails = tails.filter(|(_, _, directory)| !holds(directory));
    tails.map(|(name, listed, _)| (name, listed)).collect()
}

fn newest(
    topics: BTreeMap<(Uuid, i32), inventory::Objects>,
    policy: &Policy,
) -> BTreeMap<(Uuid, i32), u64> {
    let of_life = |objects: inventory::Objects| {
        let ages = objects.manifests.into_iter().map(|(age, _)| age);
        let own = ages.filter(|age| age.incarnation == policy.incarnation);
        own.map(|age| age.index).max()
    };
    let newest = topics.into_iter();
    let newest = newest.filter_map(|(place, objects)| Some((place, of_life(objects)?)));
    newest.collect()
}
