//! What is said of a group, and the commands; by noun.

mod commands;
mod position;
mod stand_in;

use bytes::Bytes;
use protocol::messages::describe_groups::DescribedGroup;
use protocol::wire::Str;

use self::stand_in::assigned;
use super::describe::{Look, Row, View, total_lag};
use super::offsets::Committed;
use super::seek::{Move, summary};
use super::*;

#[test]
fn assignments_are_read_and_garbage_is_not() {
    let two = assigned(&[("orders", &[1, 0]), ("clicks", &[3])]);
    let place = |topic: &str, partition| (topic.to_owned(), partition);
    let expected = vec![place("clicks", 3), place("orders", 0), place("orders", 1)];
    assert_eq!(assignment::decode(&two), Some(expected));
    assert_eq!(assignment::decode(&Bytes::new()), Some(Vec::new()));
    for length in 1..two.len() - 4 {
        assert_eq!(
            assignment::decode(&two.slice(..length)),
            None,
            "{length} bytes"
        );
    }
    let huge = Bytes::from_static(&[0, 1, 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(assignment::decode(&huge), None);
}

fn row(partition: i32, committed: Option<i64>, end: Option<i64>) -> Row {
    Row {
        place: ("orders".to_owned(), partition),
        committed: committed.map(|offset| Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }),
        end,
        member: None,
        client: None,
    }
}

#[test]
fn a_lag_that_is_not_known_is_not_zero() {
    assert_eq!(
        total_lag(&[row(0, Some(5), Some(7)), row(1, Some(5), Some(5))]),
        Some(2)
    );
    assert_eq!(
        total_lag(&[row(0, Some(5), None), row(1, Some(5), Some(7))]),
        None
    );
    assert_eq!(
        total_lag(&[row(0, None, Some(7))]),
        Some(0),
        "nothing is committed"
    );
    assert_eq!(row(0, Some(9), Some(7)).lag(), Some(0));
}

#[test]
fn causes_are_named() {
    let reason = |state: &str, rows: Vec<Row>| {
        why::reason(&View {
            look: Look {
                name: "g".to_owned(),
                coordinator: 2,
                described: DescribedGroup {
                    group_state: Str::from(state),
                    ..Default::default()
                },
            },
            rows,
            told: None,
        })
    };
    for (state, rows, expected) in [
        (
            "Empty",
            vec![row(0, Some(5), Some(7))],
            "nobody reads: it has no members, lag 2, most of it in orders/0",
        ),
        (
            "Stable",
            vec![row(0, Some(7), Some(7))],
            "stable with 0 members, it has read everything",
        ),
        (
            "Stable",
            vec![row(0, Some(7), None)],
            "the leader of orders/0 cannot be asked",
        ),
        (
            "PreparingRebalance",
            Vec::new(),
            "node 2 waits for its 0 members",
        ),
        ("CompletingRebalance", Vec::new(), "has not assigned yet"),
    ] {
        let reason = reason(state, rows);
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn what_a_move_means_is_said_before() {
    let to = |partition, before, after| Move {
        place: ("orders".to_owned(), partition),
        before,
        after,
        range: (0, 100),
    };
    let moves = [
        to(0, Some(50), 20),
        to(1, Some(50), 60),
        to(2, Some(9), 9),
        to(3, None, 5),
    ];
    assert_eq!(
        summary("g", &moves),
        "group g: 3 offsets move, 30 records will be read again, 10 skipped"
    );
}
