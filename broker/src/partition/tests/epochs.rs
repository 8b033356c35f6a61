//! Which leader epoch began where: Kafka's answers to `OffsetForLeaderEpoch`.

use bytes::BytesMut;

use crate::partition::epochs::Epochs;

const UNKNOWN: (i32, i64) = (-1, -1);
const END: i64 = 100;
/// The leader's own epoch. It has no record yet.
const NOW: i32 = 9;

/// Epoch 2 from 0, 4 from 10, 7 from 30.
fn three() -> Epochs {
    let mut epochs = Epochs::default();
    for (epoch, offset) in [(2, 0), (2, 5), (4, 10), (4, 20), (7, 30), (7, 99)] {
        epochs.append(epoch, offset);
    }
    epochs
}

fn bytes_below(epochs: &Epochs, offset: i64) -> BytesMut {
    let mut out = BytesMut::new();
    epochs.encode_below(offset, &mut out);
    out
}

#[test]
fn an_epoch_ends_where_the_next_one_with_records_begins() {
    let epochs = three();
    assert_eq!(epochs.end_offset(2, NOW, END), (2, 10));
    assert_eq!(epochs.end_offset(4, NOW, END), (4, 30));
}

#[test]
fn an_epoch_without_records_answers_the_one_below_it() {
    let epochs = three();
    assert_eq!(epochs.end_offset(3, NOW, END), (2, 10));
    assert_eq!(epochs.end_offset(5, NOW, END), (4, 30));
    assert_eq!(epochs.end_offset(6, NOW, END), (4, 30));
}

#[test]
fn an_epoch_older_than_the_log_ends_where_the_log_begins() {
    assert_eq!(three().end_offset(0, NOW, END), (0, 0));
    assert_eq!(three().end_offset(1, NOW, END), (1, 0));
}

#[test]
fn the_leaders_own_epoch_ends_with_the_log() {
    let epochs = three();
    assert_eq!(epochs.end_offset(7, 7, END), (7, END), "with records");
    assert_eq!(
        epochs.end_offset(NOW, NOW, END),
        (NOW, END),
        "and before it has one: a leader begins its epoch where the log ends"
    );
}

#[test]
fn the_newest_epoch_with_records_ends_where_a_leader_without_records_began() {
    let epochs = three();
    assert_eq!(epochs.end_offset(7, NOW, END), (7, END));
    assert_eq!(epochs.end_offset(8, NOW, END), (7, END));
}

#[test]
fn what_no_leader_had_yet_is_unknown() {
    assert_eq!(three().end_offset(NOW + 1, NOW, END), UNKNOWN);
    assert_eq!(three().end_offset(-1, NOW, END), UNKNOWN);
}

#[test]
fn a_log_without_records_knows_its_leaders_epoch_only() {
    let epochs = Epochs::default();
    assert_eq!(epochs.end_offset(NOW, NOW, END), (NOW, END));
    assert_eq!(
        epochs.end_offset(3, NOW, END),
        (3, END),
        "all older ones ended before"
    );
    assert_eq!(epochs.end_offset(NOW + 1, NOW, END), UNKNOWN);
}

#[test]
fn x2_a_truncated_epoch_is_forgotten_and_may_begin_again_elsewhere() {
    let mut epochs = three();
    epochs.truncate(30);
    assert_eq!(epochs.end_offset(7, NOW, 30), (4, 30));
    epochs.append(8, 30);
    assert_eq!(epochs.end_offset(7, NOW, 40), (4, 30));
    assert_eq!(epochs.end_offset(8, 8, 40), (8, 40));
}

#[test]
fn truncation_within_an_epoch_keeps_it() {
    let mut epochs = three();
    epochs.truncate(31);
    assert_eq!(epochs, three());
    epochs.truncate(15);
    assert_eq!(epochs.end_offset(4, 4, 15), (4, 15));
    assert_eq!(epochs.end_offset(2, 4, 15), (2, 10));
}

#[test]
fn trimming_moves_the_first_epoch_and_drops_those_before() {
    let mut epochs = three();
    epochs.trim(5);
    assert_eq!(epochs.end_offset(1, NOW, END), (1, 5));
    assert_eq!(epochs.end_offset(2, NOW, END), (2, 10));
    epochs.trim(10);
    assert_eq!(
        epochs.end_offset(2, NOW, END),
        (2, 10),
        "2 has no record left: it ended where the log begins"
    );
    epochs.trim(END);
    assert_eq!(epochs.end_offset(7, 7, END), (7, END));
    assert_eq!(epochs.end_offset(4, 7, END), (4, END));
}

#[test]
fn only_epochs_below_the_end_of_a_record_are_part_of_it() {
    let epochs = three();
    let mut cut = three();
    cut.truncate(30);
    let bytes = bytes_below(&epochs, 30);
    assert_eq!(Epochs::decode(&mut &bytes[..]).unwrap(), cut);
    let bytes = bytes_below(&epochs, 31);
    assert_eq!(Epochs::decode(&mut &bytes[..]).unwrap(), epochs);
}

#[test]
fn appending_again_what_is_known_changes_nothing() {
    let mut epochs = three();
    for (epoch, offset) in [(2, 0), (4, 10), (7, 30)] {
        epochs.append(epoch, offset);
    }
    assert_eq!(epochs, three());
}
