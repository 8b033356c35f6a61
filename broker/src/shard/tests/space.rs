//! The log takes too much: what a snapshot holds goes, from whoever has most, whatever its topic asks to keep.

use super::snapshots::{POLICY, cut, fill_twelve, snapshotted, taken, wanted};
use super::*;
use crate::shard::{SnapshotPolicy, Trigger};

/// What the partition takes in each log.
const BYTES: u64 = 5000;

/// Frees logs down to so many bytes a partition, once on each broker.
fn free(cluster: &mut Cluster, most: u64) {
    let now = cluster.now;
    for node in cluster.nodes() {
        cluster
            .at(node)
            .shard
            .free_log(now, most, &[(GROUP, BYTES)]);
    }
    cluster.run(50);
}

#[test]
fn who_has_most_gives_up_what_the_store_holds() {
    let (mut cluster, _) = snapshotted(3, &[]);
    assert!(cut(&mut cluster, 7).is_empty(), "it is to be kept");
    free(&mut cluster, BYTES);
    assert!(cut(&mut cluster, 7).is_empty(), "it is not too much");
    free(&mut cluster, 1);
    assert_eq!(cut(&mut cluster, 7), [ONE, TWO, THREE]);
    for node in [ONE, TWO, THREE] {
        let status = cluster.status(node, GROUP).unwrap();
        assert_eq!((status.offsets, status.local_start), ((0, 12, 12), 6));
    }
}

#[test]
fn what_no_snapshot_holds_gets_one_now_and_then() {
    let policy = SnapshotPolicy {
        lag_max_ms: 1 << 40,
        ..POLICY
    };
    let mut cluster = Cluster::with(3, |config| config.snapshots = Some(policy), &[]);
    fill_twelve(&mut cluster);
    cluster.run(11_000);
    assert!(wanted(&mut cluster, ONE).is_empty(), "nothing is due");
    free(&mut cluster, 1);
    let first = wanted(&mut cluster, ONE).remove(0);
    assert_eq!((first.trigger, first.next_offset), (Trigger::Space, 12));
    assert!(wanted(&mut cluster, TWO).is_empty(), "it does not lead");
    taken(&mut cluster, ONE, &first);
    free(&mut cluster, 1);
    assert!(
        wanted(&mut cluster, ONE).is_empty(),
        "the store lacks nothing"
    );
    fill_twelve(&mut cluster);
    free(&mut cluster, BYTES - 1);
    let none = wanted(&mut cluster, ONE).is_empty();
    assert!(none, "it is enough to drop what the store holds");
    cluster.run(11_000);
    free(&mut cluster, BYTES - 1);
    let second = wanted(&mut cluster, ONE).remove(0);
    assert_eq!(second.next_offset, 24, "after a while it gets one");
    taken(&mut cluster, ONE, &second);
    fill_twelve(&mut cluster);
    free(&mut cluster, 1);
    assert_eq!(
        wanted(&mut cluster, ONE)[0].next_offset,
        36,
        "it lacks much"
    );
}
