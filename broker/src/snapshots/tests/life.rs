//! Whose the store is: asked again and again, and at once where somebody waits for the answer.

use std::collections::BTreeSet;

use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;
use crate::config::Config;

const NEW_CLUSTER: u128 = 2;

async fn opened(folder: &std::path::Path) -> Rc<Snapshots> {
    let mut config = Config::default();
    let address = folder.display().to_string().parse();
    config.node.snapshot_store = Some(address.expect("a folder"));
    let opened = Snapshots::open(&config, NEW_CLUSTER).await;
    opened.expect("a folder").expect("a store is set")
}

/// Who knows the store to be its own asks it every half a minute, if nobody waits for anything newer.
#[tokio::test]
async fn a_life_that_was_begun_is_found_when_somebody_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let snapshots = opened(folder.path()).await;
    let store = snapshots.archive().store().clone();
    let waits = async {
        tokio::task::spawn_local(snapshots.clone().keep_claimed());
        snapshots.await_life(Incarnation::FIRST).await;
        let own = snapshots.life().expect("it was waited for");
        let begin = |after, cluster| owner::begin(&*store, after, cluster, 0, BTreeSet::new());
        let other = begin(&own, "another").await.expect("the store is sound");
        let again = begin(&other, &snapshots.cluster_id).await;
        let again = again.expect("the store is sound").incarnation;
        snapshots.await_life(again).await;
        let life = snapshots.life().expect("it was waited for");
        assert_eq!(life.incarnation, again);
    };
    let all = LocalSet::new();
    let ended = all.run_until(timeout(Duration::from_secs(20), waits)).await;
    ended.expect("the pause is not waited out");
}
