use super::*;
use std::time::Duration;

fn run(replicas: usize, size_bytes: usize, inflight: usize, rate: Option<f64>) -> FloorRun {
    let dir = tempfile::tempdir().unwrap();
    let mut floor = Floor::open(dir.path(), replicas, 8 << 20).unwrap();
    let measured = Duration::from_millis(100);
    let load = Load {
        inflight,
        rate,
        requests: None,
        warm: Duration::from_millis(10),
        measured,
    };
    floor
        .run(&FloorCell {
            size_bytes,
            load,
            fsync: true,
        })
        .unwrap()
}

#[test]
fn one_request_on_the_way_takes_a_round_each() {
    let floor = run(3, 1024, 1, None);
    assert!(floor.outcome.acks > 0);
    assert_eq!(floor.outcome.errors_total(), 0);
    assert!(
        floor.rounds >= floor.outcome.acks,
        "an acknowledgement without its own sync"
    );
}

#[test]
fn every_size_rate_and_number_of_replicas_is_served() {
    for (replicas, size_bytes, inflight, rate) in [
        (1, 8, 1, None),
        (2, 4096, 3, None),
        (5, 64 << 10, 16, None),
        (3, 100, 1, Some(500.0)),
    ] {
        let floor = run(replicas, size_bytes, inflight, rate);
        assert!(
            floor.outcome.acks > 0,
            "{replicas} replicas of {size_bytes} bytes"
        );
        assert_eq!(floor.outcome.errors_total(), 0);
    }
}

/// A follower that is gone leaves a majority of three; two gone leave none.
#[test]
fn a_majority_decides() {
    let (client, served) = socket_pair().unwrap();
    let leader = Leader::new(&served, 3);
    client.set_nonblocking(true).unwrap();
    let heard = || {
        let mut ack = [0; ACK];
        (&client)
            .read_exact(&mut ack)
            .ok()
            .map(|()| u64::from_le_bytes(ack))
    };
    leader.count_synced(0, 5).unwrap();
    assert_eq!(heard(), None, "the leader alone is no majority");
    leader.count_synced(2, 3).unwrap();
    assert_eq!(heard(), Some(3));
    leader.count_synced(1, 9).unwrap();
    assert_eq!(heard(), Some(5));
}
