//! What a group is moved to, and which partitions: as they are written, and what they mean.

use super::super::position::{Position, Selection};

#[test]
fn positions_are_read_as_they_are_written() {
    for (text, position) in [
        ("start", Position::Start),
        ("end", Position::End),
        ("0", Position::At(0)),
        ("17", Position::At(17)),
        ("+5", Position::Shift(5)),
        ("-5", Position::Shift(-5)),
        ("@1700000000000", Position::Time(1_700_000_000_000)),
        ("@2023-11-14T22:13:20Z", Position::Time(1_700_000_000_000)),
        (
            "@2024-02-29T00:00:00.25Z",
            Position::Time(1_709_164_800_250),
        ),
        ("@1970-01-01T00:00:00Z", Position::Time(0)),
    ] {
        assert_eq!(text.parse(), Ok(position), "{text}");
    }
    for wrong in [
        "",
        "middle",
        "+",
        "--5",
        "+-5",
        "1.5",
        "@",
        "@yesterday",
        "@2023-02-29T00:00:00Z",
        "@2023-11-14T24:00:00Z",
        "@2023-11-14T22:13:20",
        "@2023-11-+4T22:13:20Z",
        "99999999999999999999",
    ] {
        assert!(wrong.parse::<Position>().is_err(), "{wrong}");
    }
}

#[test]
fn positions_stay_within_what_is_there() {
    let range = (100, 200);
    for (position, committed, of_time, offset) in [
        (Position::Start, Some(150), None, 100),
        (Position::End, Some(150), None, 200),
        (Position::At(120), None, None, 120),
        (Position::At(5), None, None, 100),
        (Position::At(500), None, None, 200),
        (Position::Shift(7), Some(150), None, 157),
        (Position::Shift(-7), Some(150), None, 143),
        (Position::Shift(-70), Some(150), None, 100),
        (Position::Shift(i64::MAX), Some(150), None, 200),
        (Position::Shift(7), None, None, 107),
        (Position::Time(1), Some(150), Some(160), 160),
        (Position::Time(1), Some(150), None, 200),
    ] {
        assert_eq!(
            position.resolve(committed, range, of_time),
            offset,
            "{position:?}"
        );
    }
}

#[test]
fn selections_are_topics_or_their_partitions() {
    let selection = |topic: &str, partition| Selection {
        topic: topic.to_owned(),
        partition,
    };
    assert_eq!("orders".parse(), Ok(selection("orders", None)));
    assert_eq!("orders/7".parse(), Ok(selection("orders", Some(7))));
    for wrong in ["", "/7", "orders/", "orders/-1", "orders/x"] {
        assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
    }
}
