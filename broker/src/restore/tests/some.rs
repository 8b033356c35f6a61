//! Some topics of a cluster: the others are left, or one is copied.

use std::collections::BTreeSet;

use snapshot::collect;

use super::super::Copy;
use super::*;

fn only(names: &[&str]) -> Selection {
    Selection {
        topics: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Selection::default()
    }
}

/// What follows a snapshot without chunks: all before this offset is deleted, and a batch comes.
fn deleted_up_to(index: u64, offset: i64) -> [Entry; 2] {
    let deleted = command(index, &PartitionCommand::AdvanceLogStart(offset));
    [deleted, produced(index + 1, offset, (900, 0))]
}

fn names(topics: &[Topic]) -> Vec<&str> {
    topics.iter().map(|topic| topic.name.as_str()).collect()
}

/// What a collection of a life removes, long after everything.
async fn collect(bucket: &Bucket, life: u32, alive: &[&Topic]) -> BTreeSet<Key> {
    let policy = collect::Policy {
        incarnation: Incarnation(life),
        keep_manifests: 1,
        ..collect::Policy::default()
    };
    let alive: BTreeSet<Uuid> = alive.iter().map(|topic| topic.id).collect();
    let before: BTreeSet<Key> = bucket.memory.objects().into_keys().collect();
    let (store, now) = (&*bucket.store, i64::MAX);
    let done = collect::tails(store, "old", &alive, &policy, now).await;
    done.expect("collected");
    let done = collect::deleted_topics(store, "old", &alive, &policy, now).await;
    done.expect("collected");
    let done = collect::metadata(store, &policy, now).await;
    done.expect("collected");
    let after: BTreeSet<Key> = bucket.memory.objects().into_keys().collect();
    before.difference(&after).cloned().collect()
}

#[tokio::test]
async fn of_some_topics_only_the_others_are_left_and_not_collected() {
    let bucket = Bucket::new().await;
    let (a, b, groups) = (
        topic("a", 1, 1),
        topic("b", 2, 2),
        topic(OFFSETS_TOPIC, 3, 1),
    );
    let listed = [a.clone(), b.clone(), groups.clone()];
    bucket.metadata(6, 110, &listed).await;
    bucket.partition(&a, 0, (3, 10), 7).await;
    let of_b = bucket.partition(&b, 0, (3, 10), 5).await;
    let needed = tail(&bucket, &b, 600, &deleted_up_to(11, 5)).await;
    let free = tail(&bucket, &a, 601, &[produced(11, 7, (900, 0))]).await;
    let missing = Plan::read(&bucket.store, &only(&["a", "x"])).await;
    assert!(matches!(missing, Err(Error::NoTopic(name)) if name == "x"));

    let plan = Plan::read(&bucket.store, &only(&["a"])).await;
    let plan = plan.expect("sound");
    assert_eq!(ends(&plan), [(OFFSETS_TOPIC, vec![0]), ("a", vec![10])]);
    assert_eq!(names(&plan.left), ["b"]);
    assert!(plan.rebirth(0, 0).is_partial);
    let (store, left) = (&*bucket.store, plan.all_left());
    let begun = owner::begin(store, &plan.life, "new", 1, left).await;
    begun.expect("begun");
    let of_groups = plan.topics[0].topic.clone();
    let life = [&a, &of_groups];
    let metadata = bucket.of_life(2, &[a.clone(), groups.clone()]).await;
    assert_eq!(collect(&bucket, 2, &life).await, [free].into());

    // Restored later into the same cluster; until a leader has written of it, it may not have come that far.
    let mut again = only(&["b"]);
    again.into = Some("new".to_owned());
    let plan = Plan::read(&bucket.store, &again).await.expect("sound");
    assert_eq!(ends(&plan)[1], ("b", vec![8, 0]));
    let of = &plan.topics[1];
    for partition in &of.partitions {
        let reborn = Reborn::new(of, partition, Incarnation(2), &plan.rebirth(0, 9));
        reborn.expect("a state").put(store).await.expect("put");
    }
    assert_eq!(collect(&bucket, 2, &life).await, BTreeSet::new());

    // Of a cluster that lost itself before, nothing of it is lost to the next one.
    let plan = bucket.plan().await.expect("sound");
    assert_eq!((plan.life.incarnation, plan.deleted), (Incarnation(2), 0));
    assert_eq!(ends(&plan), [(OFFSETS_TOPIC, vec![0]), ("a", vec![7])]);
    assert_eq!(plan.all_left(), [b.id].into());
    let chosen = Plan::read(&bucket.store, &only(&["b"])).await;
    let chosen = chosen.expect("sound");
    assert_eq!(ends(&chosen)[1], ("b", vec![8, 0]));
    assert_eq!(names(&chosen.left), ["a"]);

    // Taken up, and then deleted, it goes like any other.
    let mut taken_up = of_b.clone();
    (taken_up.incarnation, taken_up.leader_epoch) = (Incarnation(2), i32::MAX);
    bucket.put(&taken_up).await;
    let gone = collect(&bucket, 2, &life).await;
    assert!(
        gone.contains(&of_b.key()) && gone.contains(&needed),
        "{gone:?}"
    );
    let left = bucket.memory.objects();
    assert!(left.contains_key(&metadata));
    let of_b = |key: &&Key| key.as_str().contains(&b.id.to_string());
    assert_eq!(left.keys().filter(of_b).count(), 0);
}

#[tokio::test]
async fn a_copy_holds_the_same_records_at_the_same_offsets() {
    let bucket = Bucket::new().await;
    let a = topic("a", 1, 1);
    bucket.metadata(6, 110, std::slice::from_ref(&a)).await;
    bucket.partition(&a, 0, (4, 50), 7).await;
    tail(&bucket, &a, 600, &deleted_up_to(51, 7)).await;
    // A life on, so that there is a chunk, and more in a tail of that life.
    let plan = bucket.plan().await.expect("sound");
    let begun = owner::begin(&*bucket.store, &plan.life, "new", 1, [].into()).await;
    begun.expect("begun");
    reborn(&bucket, &plan).await;
    bucket.of_life(2, std::slice::from_ref(&a)).await;
    let mut writer = Writer::new("old".to_owned(), Incarnation(2), 1, 900);
    let mut more = produced(53, 10, (901, 0));
    more.term = 65_541;
    let mut payload = bytes::BytesMut::from(&more.payload[..]);
    patch(&mut payload, 10, 65_541);
    more.payload = payload.freeze();
    writer.push(a.id, 0, &[more]);
    let (key, object) = writer.finish();
    let put = bucket.store.put(&key, object, Condition::Absent);
    put.await.expect("put");

    let plan = bucket.plan().await.expect("sound");
    let sent = [produced(52, 7, (900, 0)), produced(53, 10, (901, 0))];
    let sent_bytes = sent[0].payload.len() as u64;
    assert_eq!(plan.topics[0].partitions[0].raw_bytes(), sent_bytes);
    let mut of = plan.topics[0].clone();
    (of.topic.id, of.topic.name) = (id(77), "copy".to_owned());
    let target = Memory::default();
    let life = owner::claim(&target, "target").await.expect("nobody's yet");
    let archive = Archive::new(bucket.store.clone(), archive::Config::default());
    let copy = Copy {
        from: &archive,
        to: &target,
        store_id: &life.store_id,
        incarnation: life.incarnation,
        now_ms: 3,
    };
    let mut copied = 0;
    let origin = copy.partition(&of, &of.partitions[0], |bytes| copied += bytes);
    let origin = origin.await.expect("copied");
    assert_eq!((copied, origin.next_offset), (sent_bytes, 13));

    let source = Source {
        cluster_id: "target".to_owned(),
        topic_id: id(77),
        partition: 0,
    };
    let name = crate::snapshots::name_of(&source, &origin);
    let copies = Archive::new(Arc::new(target.clone()), archive::Config::default());
    let manifest = copies.manifest(&name).await.expect("whole");
    assert_eq!((manifest.log_start, manifest.next_offset), (7, 13));
    assert_eq!((&*manifest.topic, manifest.chunks.len()), ("copy", 2));
    let mut found = Vec::new();
    for at in [7, 10] {
        found.extend(copies.batches(&manifest, at, 1).await.expect("there"));
    }
    let of_producer = |batch: &Bytes| batch.slice(16..);
    let found: Vec<Bytes> = found.iter().map(of_producer).collect();
    assert_eq!(found, sent.map(|entry| of_producer(&entry.payload)));
    let state = PartitionState::restore(Index(manifest.index), &manifest.state);
    let state = state.expect("a state");
    assert_eq!(state.last_batches().count(), 0, "producers are others here");
    assert_eq!((state.stored(), state.high_watermark()), (Some(origin), 13));
    let report = snapshot::verify::store(&target).await.expect("read");
    assert_eq!((report.chunks, &report.findings[..]), (2, &[][..]));
}
