//! What every store has to do, run against each.

use bytes::Bytes;

use super::location::{Bucket, Location};
use super::memory::{Fault, Memory};
use super::{Condition, Error, Folder, Store};
use crate::key::Key;

fn key(text: &str) -> Key {
    Key::parse(text).expect("a name")
}

/// The contract, in one walk.
pub(super) async fn keeps_the_contract(store: &dyn Store) {
    let (a, b) = (key("topics/a/one.json"), key("topics/b/two.json"));
    assert!(matches!(store.get(&a, 10).await, Err(Error::NotFound(_))));
    let first = store
        .put(&a, "first".into(), Condition::Absent)
        .await
        .expect("absent");
    let again = store.put(&a, "again".into(), Condition::Absent).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    let (bytes, version) = store.get(&a, 5).await.expect("there");
    assert_eq!((&bytes[..], &version), (&b"first"[..], &first));
    assert!(matches!(store.get(&a, 4).await, Err(Error::Length { .. })));

    let unchanged = Condition::Unchanged(first.clone());
    store
        .put(&a, "second".into(), unchanged.clone())
        .await
        .expect("unchanged");
    let late = store.put(&a, "third".into(), unchanged.clone()).await;
    assert!(matches!(late, Err(Error::Conflict(_))), "{late:?}");
    let gone = store.put(&key("none"), "x".into(), unchanged).await;
    // Services differ in what they call it.
    let is_refused = matches!(gone, Err(Error::NotFound(_) | Error::Conflict(_)));
    assert!(is_refused, "{gone:?}");
    store
        .put(&a, "fourth".into(), Condition::None)
        .await
        .expect("whatever is there");

    assert_eq!(&store.range(&a, 1, 3).await.expect("within")[..], b"our");
    assert_eq!(&store.range(&a, 6, 0).await.expect("nothing")[..], b"");
    assert!(matches!(
        store.range(&a, 4, 3).await,
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        store.range(&a, u64::MAX, 3).await,
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        store.range(&b, 0, 1).await,
        Err(Error::NotFound(_))
    ));

    uploads_keep_the_contract(store, &b).await;

    let all = store.list("", None, 10).await.expect("a list");
    let names: Vec<&str> = all.iter().map(|listed| listed.key.as_str()).collect();
    assert_eq!(names, ["topics/a/one.json", "topics/b/two.json"]);
    assert_eq!((all[0].bytes, all[1].bytes), (6, 8));
    assert_eq!(
        store
            .list("topics/b", None, 10)
            .await
            .expect("a list")
            .len(),
        1
    );
    assert_eq!(store.list("topics/c/", None, 10).await.expect("a list"), []);
    let next = store.list("", Some(&a), 1).await.expect("a page");
    assert_eq!(next[0].key, b);
    assert_eq!(store.list("", None, 1).await.expect("a page").len(), 1);

    store.delete(&a).await.expect("it is there");
    store.delete(&a).await.expect("it is gone already");
    assert!(matches!(store.get(&a, 10).await, Err(Error::NotFound(_))));
}

async fn uploads_keep_the_contract(store: &dyn Store, key: &Key) {
    let mut given_up = store.upload(key).await.expect("begun");
    given_up.write("never seen".into()).await.expect("written");
    drop(given_up);
    let mut upload = store.upload(key).await.expect("begun");
    upload.write("in ".into()).await.expect("written");
    upload.write("parts".into()).await.expect("written");
    assert!(matches!(store.get(key, 10).await, Err(Error::NotFound(_))));
    let version = upload.finish(Condition::Absent).await.expect("absent");
    assert_eq!(
        store.get(key, 10).await.expect("there"),
        ("in parts".into(), version)
    );
    let mut second = store.upload(key).await.expect("begun");
    second.write("other".into()).await.expect("written");
    let done = second.finish(Condition::Absent).await;
    assert!(matches!(done, Err(Error::Conflict(_))), "{done:?}");
    assert_eq!(&store.get(key, 10).await.expect("there").0[..], b"in parts");
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_the_contract(&Memory::default()).await;
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Folder::open(&folder.path().join("store")).expect("opened");
    keeps_the_contract(&store).await;
    let left = std::fs::read_dir(folder.path().join("store/.writing")).expect("there");
    assert_eq!(left.count(), 0, "temporary files are removed");
    drop(store);
    Folder::open(&folder.path().join("store")).expect("opened again");
}

/// Of many who create one object exactly one does, and of many who change it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conditions_are_atomic_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = key("contended.json");
    let mut version = None;
    for round in 0..20 {
        let condition = version
            .clone()
            .map_or(Condition::Absent, Condition::Unchanged);
        let attempts = (0..8).map(|who| {
            // Each with its own handle, as another process would have.
            let store = Folder::open(folder.path()).expect("opened");
            let (name, condition) = (name.clone(), condition.clone());
            let body = Bytes::from(format!("{who} in round {round}"));
            tokio::spawn(async move { store.put(&name, body, condition).await })
        });
        let attempts: Vec<_> = attempts.collect();
        let mut won = Vec::new();
        for attempt in attempts {
            match attempt.await.expect("no panic") {
                Ok(version) => won.push(version),
                Err(Error::Conflict(_)) => {}
                Err(why) => panic!("{why}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        version = won.pop();
    }
}

#[tokio::test]
async fn a_full_or_forbidden_folder_is_told_from_a_missing_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Folder::open(folder.path()).expect("opened");
    // A file where a folder should be: nothing that waiting mends, but nothing is missing either.
    std::fs::write(folder.path().join("topics"), b"in the way").expect("written");
    let done = store
        .put(&key("topics/a"), "x".into(), Condition::None)
        .await;
    assert!(matches!(&done, Err(Error::Unavailable { .. })), "{done:?}");
}

#[test]
fn names_do_not_lead_out_of_the_store() {
    for bad in [
        "", "/etc", "a//b", "../a", "a/../b", ".lock", "a/.b", "a b", "ä", "a/",
    ] {
        assert_eq!(Key::parse(bad), None, "{bad}");
    }
    assert!(Key::parse("topics/0-1/a.json").is_some());
}

#[tokio::test]
async fn faults_happen() {
    let store = Memory::default();
    let name = key("a");
    store.fail(0, Fault::Refused);
    assert!(
        store
            .put(&name, "x".into(), Condition::Absent)
            .await
            .is_err()
    );
    assert!(store.objects().is_empty());
    store.fail(0, Fault::AnswerLost);
    assert!(
        store
            .put(&name, "x".into(), Condition::Absent)
            .await
            .is_err()
    );
    assert_eq!(store.objects().len(), 1);
    store.fail(1, Fault::Dead);
    store
        .put(&name, "y".into(), Condition::None)
        .await
        .expect("the first");
    assert!(store.delete(&name).await.is_err());
    assert!(store.delete(&name).await.is_err());
    store.heal();
    store.delete(&name).await.expect("healed");
}

#[test]
fn locations_are_read_as_people_write_them() {
    let bucket = |text: &str| match text.parse() {
        Ok(Location::S3(bucket)) => bucket,
        other => panic!("{text}: {other:?}"),
    };
    let whole = bucket(
        "s3://logs/walser/prod/?region=eu-central-1&endpoint=http://127.0.0.1:9000&path-style=true&sse=aws:kms&kms-key=k",
    );
    assert_eq!(
        (&whole.bucket[..], &whole.prefix[..]),
        ("logs", "walser/prod/")
    );
    assert_eq!(whole.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    assert!(whole.path_style && whole.kms_key.is_some());
    assert_eq!(
        bucket("s3://logs"),
        Bucket {
            bucket: "logs".to_owned(),
            ..Bucket::default()
        }
    );
    assert_eq!("file:///a/b".parse(), Ok(Location::Folder("/a/b".into())));
    assert_eq!("/a/b".parse(), Ok(Location::Folder("/a/b".into())));
    for bad in [
        "s3://",
        "s3:///x",
        "a/b",
        "http://x",
        "s3://b?colour=red",
        "s3://b?sse=rot13",
        "s3://b?path-style=1",
    ] {
        let why = bad.parse::<Location>().expect_err(bad).to_string();
        assert!(
            why.contains(bad) && why.contains("s3://bucket/prefix"),
            "{why}"
        );
    }
}
