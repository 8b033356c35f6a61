use super::*;

const GROUP: GroupId = GroupId(7);

fn lag(now_ms: i64, committed: i64, position: Option<Position>) -> (Option<i64>, Option<f64>) {
    let lag = Lag::new(now_ms, ("t".to_owned(), 0, committed), position);
    (lag.records, lag.seconds)
}

fn at(first: i64, end: i64, time: Time) -> Option<Position> {
    Some(Position { first, end, time })
}

#[test]
fn what_is_not_known_is_no_number() {
    assert_eq!(lag(9000, 5, None), (None, None));
    assert_eq!(lag(9000, 5, at(5, 8, Time::Unknown)), (Some(3), None));
    assert_eq!(lag(9000, 5, at(5, 8, Time::Never)), (Some(3), None));
    assert_eq!(lag(9000, 5, at(5, 8, Time::At(7500))), (Some(3), Some(1.5)));
    let known = Lag::new(9000, ("t".to_owned(), 0, 5), at(5, 8, Time::At(7500)));
    let unknown = Lag::new(9000, ("t".to_owned(), 1, 5), at(5, 8, Time::Unknown));
    assert_eq!(total(&[known.clone(), known.clone()]), (Some(6), Some(1.5)));
    assert_eq!(total(&[known, unknown]), (Some(6), None));
    assert_eq!(total(&[]), (Some(0), Some(0.0)));
}

#[test]
fn nobody_is_behind_less_than_nothing() {
    assert_eq!(lag(9000, 8, at(8, 8, Time::Unknown)), (Some(0), Some(0.0)));
    assert_eq!(lag(9000, 9, at(9, 8, Time::Unknown)), (Some(0), Some(0.0)));
    assert_eq!(lag(9000, 5, at(5, 8, Time::At(9999))), (Some(3), Some(0.0)));
}

#[test]
fn what_is_below_the_log_start_is_not_counted() {
    assert_eq!(lag(9000, 5, at(7, 8, Time::At(8000))), (Some(1), Some(1.0)));
}

#[test]
fn a_time_is_asked_for_once_and_forgotten_with_its_record() {
    let mut times = Times::default();
    let asked = |timed| Asked {
        group: GROUP,
        offset: 5,
        timed,
    };
    assert!(times.lacks(GROUP, 5));
    let first = at(5, 8, Time::At(100)).unwrap();
    assert_eq!(times.complete(&asked(true), first), first);
    assert!(!times.lacks(GROUP, 5));
    let again = times.complete(&asked(false), at(5, 9, Time::Unknown).unwrap());
    assert_eq!(again, at(5, 9, Time::At(100)).unwrap());
    let trimmed = times.complete(&asked(false), at(6, 9, Time::Unknown).unwrap());
    assert_eq!(trimmed.time, Time::Unknown, "the time of another record");
    assert!(times.lacks(GROUP, 5));
}

#[test]
fn the_time_of_a_record_that_is_not_there_yet_is_not_kept() {
    let mut times = Times::default();
    let asked = Asked {
        group: GROUP,
        offset: 8,
        timed: true,
    };
    let _ = times.complete(&asked, at(8, 8, Time::Never).unwrap());
    assert!(times.lacks(GROUP, 8));
}

#[test]
fn times_that_are_kept_are_bounded() {
    let mut times = Times::default();
    for offset in 0..=TIMES_MAX as i64 {
        let asked = Asked {
            group: GROUP,
            offset,
            timed: true,
        };
        let position = at(offset, i64::MAX, Time::At(1)).unwrap();
        let _ = times.complete(&asked, position);
    }
    assert_eq!(times.known.len(), 1);
}

#[test]
fn questions_and_answers_survive_the_wire_and_nothing_else_does() {
    let asked = vec![
        Asked {
            group: GROUP,
            offset: 5,
            timed: true,
        },
        Asked {
            group: GroupId(8),
            offset: -1,
            timed: false,
        },
    ];
    let bytes = encode_asked(&asked);
    assert_eq!(decode_asked(&bytes), Some(asked));
    assert_eq!(decode_asked(&bytes[1..]), None);
    let positions = vec![
        None,
        at(5, 8, Time::At(100)),
        at(5, 8, Time::Never),
        at(5, 8, Time::Unknown),
    ];
    let bytes = encode_positions(&positions);
    assert_eq!(decode_positions(&bytes), Some(positions));
    assert_eq!(decode_positions(&bytes[1..]), None);
}
