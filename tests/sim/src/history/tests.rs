//! Each rule is broken once by hand.

use super::*;
use broker::broker::Acks;

const GROUP: GroupId = GroupId(1);

fn operation(value: u64) -> Operation {
    Operation {
        value,
        count: 2,
        sequence: 0,
        deadline: 0,
        sent: true,
    }
}

fn history(kinds: &[Kind]) -> History {
    let mut history = History::default();
    for (client, kind) in kinds.iter().enumerate() {
        for batch in 1..=3 {
            let sent = Sent {
                begun_at: 0,
                group: GROUP,
                client,
                kind: *kind,
                count: 2,
            };
            history.sent.insert(10 * client as u64 + batch, sent);
        }
    }
    history
}

fn ack(history: &mut History, value: u64, base_offset: i64) -> Checked {
    let produced = Produced {
        base_offset,
        log_append_time_ms: -1,
        log_start_offset: 0,
    };
    history.produced(GROUP, &operation(value), &Ok(produced))
}

fn read(history: &mut History, value: u64, base: i64) -> Checked {
    history.read(GROUP, base, record_value(value, 0))?;
    history.read(GROUP, base + 1, record_value(value, 1))
}

#[test]
fn a_good_history_is_good() {
    let mut history = history(&[Kind::Idempotent(1), Kind::Once(Acks::None)]);
    ack(&mut history, 1, 0).unwrap();
    ack(&mut history, 1, 0).unwrap();
    ack(&mut history, 11, 2).unwrap();
    read(&mut history, 1, 0).unwrap();
    read(&mut history, 12, 2).unwrap();
    history.account_for(GROUP, 0, 4).unwrap();
    assert_eq!((history.acked_again, history.acked_weakly), (1, 1));
}

#[test]
fn a_retry_with_another_offset_is_found() {
    let mut history = history(&[Kind::Idempotent(1)]);
    ack(&mut history, 1, 0).unwrap();
    assert!(ack(&mut history, 1, 2).unwrap_err().contains("then at 2"));
}

#[test]
fn one_offset_for_two_batches_is_found() {
    let mut history = history(&[Kind::Plain]);
    ack(&mut history, 1, 0).unwrap();
    assert!(
        ack(&mut history, 2, 0)
            .unwrap_err()
            .contains("to 1 and to 2")
    );
}

#[test]
fn a_record_that_changes_is_found() {
    let mut history = history(&[Kind::Plain]);
    read(&mut history, 1, 0).unwrap();
    assert!(read(&mut history, 2, 0).unwrap_err().contains("then as"));
}

#[test]
fn a_batch_that_stands_twice_is_found() {
    let mut history = history(&[Kind::Idempotent(1)]);
    read(&mut history, 1, 0).unwrap();
    assert!(read(&mut history, 1, 2).unwrap_err().contains("again at 2"));
}

#[test]
fn a_weak_acknowledgement_with_a_wrong_offset_is_found() {
    let mut history = history(&[Kind::Once(Acks::Leader)]);
    ack(&mut history, 1, 4).unwrap();
    assert!(
        read(&mut history, 1, 0)
            .unwrap_err()
            .contains("was acknowledged at 4")
    );
}

#[test]
fn a_record_within_an_acknowledged_batch_is_found() {
    let mut history = history(&[Kind::Plain]);
    ack(&mut history, 1, 0).unwrap();
    let other = history.read(GROUP, 1, record_value(2, 0));
    assert!(other.unwrap_err().contains("was acknowledged to 1"));
}

#[test]
fn a_lost_batch_is_found() {
    let mut history = history(&[Kind::Plain]);
    ack(&mut history, 1, 0).unwrap();
    assert!(
        history
            .account_for(GROUP, 0, 2)
            .unwrap_err()
            .contains("is not there")
    );
    assert!(
        history
            .account_for(GROUP, 0, 0)
            .unwrap_err()
            .contains("above the end")
    );
    assert!(history.account_for(GROUP, 2, 2).is_ok(), "deleted");
}

#[test]
fn a_wrong_order_is_found() {
    let mut history = history(&[Kind::Once(Acks::None)]);
    read(&mut history, 2, 0).unwrap();
    read(&mut history, 1, 2).unwrap();
    assert!(
        history
            .account_for(GROUP, 0, 4)
            .unwrap_err()
            .contains("behind")
    );
}

#[test]
fn a_wrong_answer_is_found() {
    let mut history = history(&[Kind::Plain]);
    let why = Rejection {
        code: ErrorCode::OutOfOrderSequenceNumber,
        message: String::new(),
        leader: None,
    };
    assert!(history.produced(GROUP, &operation(1), &Err(why)).is_err());
    assert!(
        read(&mut history, 77, 0)
            .unwrap_err()
            .contains("nobody sent")
    );
}
