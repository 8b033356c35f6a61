//! The batch with the highest timestamp.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::partition::max_timestamp::MaxTimestamp;

fn of(batches: &[(i64, i64)]) -> MaxTimestamp {
    let mut max = MaxTimestamp::default();
    for &(timestamp, offset) in batches {
        max.append(timestamp, offset);
    }
    max
}

#[test]
fn the_first_of_equals_wins() {
    assert_eq!(of(&[]).get(), None);
    assert_eq!(of(&[(5, 0), (9, 1), (7, 2), (9, 3)]).get(), Some((9, 1)));
}

#[test]
fn trimming_uncovers_the_next_highest() {
    let mut max = of(&[(5, 0), (9, 10), (7, 20), (6, 30)]);
    max.trim(10);
    assert_eq!(max.get(), Some((9, 10)), "the batch at 10 stays");
    max.trim(11);
    assert_eq!(max.get(), Some((7, 20)));
    max.trim(30);
    assert_eq!(max.get(), Some((6, 30)));
    max.trim(31);
    assert_eq!(max.get(), None);
}

proptest! {
    /// Up to 64 batches: as many as are remembered in the worst case.
    #[test]
    fn it_is_the_highest_of_what_is_left(
        timestamps in prop::collection::vec(0..20_i64, 0..64),
        cut in 0..70_i64,
        replayed in 0..64_usize,
    ) {
        let batches: Vec<(i64, i64)> = timestamps.iter().copied().zip(0..).collect();
        let mut max = of(&batches);
        let mut bytes = BytesMut::new();
        max.encode(&mut bytes);
        let mut back = MaxTimestamp::decode(&mut &bytes[..]).unwrap();
        prop_assert_eq!(&back, &max);
        for &(timestamp, offset) in batches.iter().skip(replayed) {
            back.append(timestamp, offset);
        }
        prop_assert_eq!(&back, &max, "a batch counts once");
        max.trim(cut);
        let left = batches.iter().filter(|b| b.1 >= cut);
        let highest = left.copied().max_by_key(|&(timestamp, offset)| (timestamp, -offset));
        prop_assert_eq!(max.get(), highest);
    }
}
