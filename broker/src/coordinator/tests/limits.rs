//! How much there may be, and what it costs.

use std::time::Instant;

use bytes::BytesMut;
use protocol::error_code::ErrorCode;

use super::harness::{Harness, commit, config, offset_of, simple};
use crate::coordinator::core::Config;
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::GroupRequest;

#[test]
fn a_group_with_as_many_offsets_as_it_may_have_commits_to_those_only() {
    let mut h = Harness::with(Config {
        offsets_max: 2,
        ..config()
    });
    let mut three = commit("g", -1, "", 0);
    three.offsets = (0..3)
        .map(|partition| offset_of("t", partition, 1))
        .collect();
    let told = [
        ErrorCode::None,
        ErrorCode::None,
        ErrorCode::InvalidCommitOffsetSize,
    ];
    let request = GroupRequest::Commit(three);
    assert_eq!(h.ask(request.clone()), GroupReply::Offsets(told.to_vec()));
    assert_eq!(h.ask(request), GroupReply::Offsets(told.to_vec()));
    assert_eq!((h.offset("g", "t", 1), h.offset("g", "t", 2)), (1, -1));
    let other = h.ask(simple("other", 1));
    assert_eq!(other, GroupReply::Offsets(vec![ErrorCode::None]), "its own");
}

/// Figures are printed; only a runaway fails.
#[test]
fn ten_thousand_small_groups_are_cheap() {
    const GROUPS: u32 = 10_000;
    let mut h = Harness::with(Config {
        groups_max: 20_000,
        ..config()
    });
    h.topics.put("t", 1);
    for group in 0..GROUPS {
        h.ask(simple(&format!("group-{group}"), 5));
    }
    h.advance(2_000);
    let mut bytes = BytesMut::new();
    let began = Instant::now();
    h.groups.encode(&mut bytes);
    let encoded = began.elapsed();
    assert!(bytes.len() < 130 * GROUPS as usize, "{} bytes", bytes.len());
    let coordinator = h.coordinator.as_mut().unwrap();
    assert!(coordinator.live.is_empty(), "no member, nothing live");
    let (now, mut out) = (
        super::harness::now(h.now_ms, &h.groups, &h.topics),
        Vec::new(),
    );
    let began = Instant::now();
    for _ in 0..1_000 {
        coordinator.tick(now, &mut out);
    }
    let ticks = began.elapsed() / 1_000;
    assert!(out.is_empty());
    let began = Instant::now();
    let names = coordinator.names(&h.groups);
    let figures = names
        .iter()
        .filter_map(|name| coordinator.figures(&h.groups, name));
    assert_eq!(figures.count(), GROUPS as usize);
    let shown = began.elapsed();
    println!(
        "{GROUPS} groups: {} bytes of state each, encoded in {encoded:?}; a tick with nothing due {ticks:?}; all \
         figures {shown:?}",
        bytes.len() / GROUPS as usize
    );
    assert!(ticks.as_micros() < 1_000, "a tick does not look at groups");
    assert!(encoded.as_secs() < 2 && shown.as_secs() < 2);
}
