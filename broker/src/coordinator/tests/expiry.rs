//! Offsets expire, and groups with them.

use protocol::error_code::ErrorCode;

use super::harness::{
    EXPIRY, Harness, Log, RETENTION, SESSION, commit, config, heartbeat, join, leave, member,
    offset_of, simple,
};
use crate::coordinator::command::GroupCommand;
use crate::coordinator::core::Config;
use crate::coordinator::reply::GroupReply;
use crate::coordinator::request::{Commit, GroupRequest};

/// Long enough for a pass after the retention.
const EXPIRED: u64 = RETENTION + EXPIRY;

#[test]
fn offsets_of_one_who_is_no_member_expire_by_the_time_of_their_commit() {
    let mut h = Harness::new();
    h.ask(simple("g", 5));
    h.advance(RETENTION / 2);
    let mut other = commit("g", -1, "", 6);
    other.offsets = vec![offset_of("t", 1, 6)];
    h.ask(GroupRequest::Commit(other));
    h.advance(RETENTION / 2 - 1);
    assert_eq!(h.offset("g", "t", 0), 5);
    h.advance(EXPIRY);
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "t", 1)), (-1, 6));
    h.advance(RETENTION / 2);
    assert!(h.groups.is_empty());
}

#[test]
fn offsets_of_a_group_expire_so_long_after_the_last_member_left() {
    let mut h = Harness::new();
    h.ask(simple("g", 5));
    let ids = h.stable("g", 1);
    for _ in 0..2 * RETENTION / (SESSION - 1) {
        assert_eq!(h.ask(heartbeat("g", 1, &ids[0])), GroupReply::Done);
        h.advance(SESSION - 1);
    }
    assert_eq!(h.offset("g", "t", 0), 5, "its topic is subscribed to");
    h.ask(leave("g", vec![member(&ids[0])]));
    h.advance(RETENTION - 1);
    assert_eq!(h.offset("g", "t", 0), 5);
    h.advance(EXPIRY);
    assert!(
        h.groups.is_empty(),
        "a group without offsets or members goes"
    );
}

#[test]
fn a_commit_to_an_empty_group_is_kept_its_own_time() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.ask(GroupRequest::Commit(commit("g", 1, &ids[0], 4)));
    h.ask(leave("g", vec![member(&ids[0])]));
    h.advance(RETENTION - 1_000);
    h.ask(simple("g", 5));
    h.advance(EXPIRED);
    assert_eq!(h.offset("g", "t", 0), -1);
    h.ask(simple("h", 5));
    h.advance(RETENTION - 1);
    assert_eq!(h.offset("h", "t", 0), 5);
}

#[test]
fn offsets_of_topics_that_no_member_of_a_stable_group_reads_expire() {
    let mut h = Harness::new();
    let mut both = commit("g", -1, "", 5);
    both.offsets.push(offset_of("u", 0, 6));
    h.ask(GroupRequest::Commit(both));
    let ids = h.stable("g", 1);
    let mut tickets = Vec::new();
    for _ in 0..=EXPIRED / 9_000 {
        tickets.push(h.send(heartbeat("g", 1, &ids[0])));
        h.advance(9_000);
    }
    for ticket in tickets {
        h.assert_code(ticket, ErrorCode::None);
    }
    assert_eq!((h.offset("g", "t", 0), h.offset("g", "u", 0)), (5, -1));
}

#[test]
fn nothing_expires_while_members_join() {
    let mut h = Harness::new();
    let mut other = commit("g", -1, "", 6);
    other.offsets = vec![offset_of("u", 0, 6)];
    h.ask(GroupRequest::Commit(other));
    let ids = h.stable("g", 1);
    let join = crate::coordinator::request::Join {
        rebalance_timeout_ms: 3 * RETENTION,
        ..join("g", "")
    };
    h.send(GroupRequest::Join(join));
    for _ in 0..=EXPIRED / 9_000 {
        h.assert_failed(heartbeat("g", 1, &ids[0]), ErrorCode::RebalanceInProgress);
        h.advance(9_000);
    }
    assert_eq!(h.offset("g", "u", 0), 6);
}

#[test]
fn an_empty_group_without_offsets_goes_with_the_next_pass() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.ask(leave("g", vec![member(&ids[0])]));
    assert!(!h.groups.is_empty());
    h.advance(EXPIRY);
    assert!(h.groups.is_empty());
}

/// The commit would be acknowledged, and gone: a pass knows only what is applied.
#[test]
fn a_pass_leaves_a_group_with_a_commit_under_way_alone() {
    let mut h = Harness::new();
    h.ask(simple("g", 5));
    h.advance(RETENTION - EXPIRY);
    h.commits = Log::Waits;
    let ticket = h.send(simple("g", 6));
    h.advance(2 * EXPIRY);
    h.release();
    assert_eq!(
        h.reply(ticket),
        Some(&GroupReply::Offsets(vec![ErrorCode::None]))
    );
    assert_eq!(h.offset("g", "t", 0), 6);
}

#[test]
fn a_group_that_the_log_does_not_know_to_be_empty_keeps_its_offsets() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.ask(GroupRequest::Commit(commit("g", 1, &ids[0], 5)));
    for _ in 0..=RETENTION / 9_000 {
        h.ask(heartbeat("g", 1, &ids[0]));
        h.advance(9_000);
    }
    // A pass comes in half a second, the next try half a second after it.
    let pass_ms = 1_000;
    h.advance((pass_ms + EXPIRY - 500 - h.now_ms % EXPIRY) % EXPIRY);
    h.commits = Log::Refuses;
    h.send(leave("g", vec![member(&ids[0])]));
    h.commits = Log::AtOnce;
    h.advance(900);
    let generation = |h: &Harness| {
        h.groups
            .get("g")
            .unwrap()
            .membership
            .as_ref()
            .unwrap()
            .generation
    };
    assert_eq!((h.offset("g", "t", 0), generation(&h)), (5, 1));
    h.advance(EXPIRY);
    assert_eq!((h.offset("g", "t", 0), generation(&h)), (5, 2));
}

#[test]
fn many_groups_expire_in_passes_and_large_ones_in_pieces() {
    let mut h = Harness::with(Config {
        groups_max: 3_000,
        command_bytes_max: 1 << 20,
        ..config()
    });
    for group in 0..1_500 {
        h.ask(simple(&group.to_string(), 5));
    }
    let mut large = commit("large", -1, "", 5);
    large.offsets = (0..2_500)
        .map(|partition| offset_of("t", partition, 1))
        .collect();
    large.offsets.push(offset_of("u", 0, 1));
    h.ask(GroupRequest::Commit(large));
    h.advance(RETENTION - 1_000);
    let mut kept = commit("large", -1, "", 5);
    kept.offsets = vec![offset_of("u", 0, 2)];
    h.ask(GroupRequest::Commit(kept));
    let before = h.history.len();
    h.advance(EXPIRY);
    let sizes = h.history[before..]
        .iter()
        .filter_map(|command| match command {
            GroupCommand::DeleteOffsets { partitions, .. } => Some(partitions.len()),
            _ => None,
        });
    assert_eq!(sizes.collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert_eq!(h.groups.len(), 1);
    assert_eq!(h.offset("large", "u", 0), 2);
}

fn kept_for(group: &str, generation: i32, id: &str, retention_ms: i64) -> GroupRequest {
    GroupRequest::Commit(Commit {
        retention_ms: Some(retention_ms),
        ..commit(group, generation, id, 5)
    })
}

/// Versions 2 to 4 of the request.
#[test]
fn a_commit_with_its_own_retention_is_kept_so_long() {
    let mut h = Harness::new();
    h.ask(kept_for("short", -1, "", 20_000));
    h.ask(kept_for("long", -1, "", 2 * RETENTION.cast_signed()));
    h.advance(19_999);
    assert_eq!(h.offset("short", "t", 0), 5);
    h.advance(EXPIRY);
    assert_eq!(h.offset("short", "t", 0), -1);
    h.advance(RETENTION);
    assert_eq!(h.offset("long", "t", 0), 5, "longer than the broker's");
    h.fail_over();
    assert_eq!(h.offset("long", "t", 0), 5);
    h.advance(RETENTION);
    assert_eq!(h.offset("long", "t", 0), -1);
}

#[test]
fn a_later_commit_without_its_own_retention_takes_it_back() {
    let mut h = Harness::new();
    h.ask(kept_for("g", -1, "", 20_000));
    h.ask(simple("g", 6));
    h.advance(RETENTION - 1);
    assert_eq!(h.offset("g", "t", 0), 6);
}

#[test]
fn its_own_retention_ends_nothing_that_a_member_reads() {
    let mut h = Harness::new();
    let ids = h.stable("g", 1);
    h.ask(kept_for("g", 1, &ids[0], 1_000));
    for _ in 0..3 {
        h.advance(9_000);
        h.ask(heartbeat("g", 1, &ids[0]));
    }
    assert_eq!(h.offset("g", "t", 0), 5);
    h.ask(leave("g", vec![member(&ids[0])]));
    h.advance(EXPIRY);
    assert_eq!(h.offset("g", "t", 0), -1, "not the broker's retention");
}
