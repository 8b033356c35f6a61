//! Each rule is broken once by hand.

use super::*;
use bytes::Bytes;
use raft::types::{Base, EntryKind, HardState};

const GROUP: GroupId = GroupId(1);

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        index: Index(index),
        term: Term(term),
        kind: EntryKind::Records,
        payload: Bytes::from(vec![index as u8, term as u8]),
    }
}

fn disk(account: &mut Account, node: i32, entries: Vec<Entry>) {
    let replica = ReplicaId(node as u64);
    let base = Base::default();
    let mut records = vec![Record::Base {
        group: GROUP,
        replica,
        base,
    }];
    records.push(Record::Entries {
        group: GROUP,
        replica,
        entries,
    });
    account.written(NodeId(node), &records).unwrap();
}

fn status(node: i32, term: u64, commit: u64, last: u64) -> GroupStatus {
    let member = |n: i32| MemberStatus {
        replica: ReplicaId(n as u64),
        node: NodeId(n),
        voter: true,
        outgoing: false,
        matched: None,
        lag_ms: 0,
    };
    GroupStatus {
        differs: false,
        lacks_copies: false,
        group: GROUP,
        replica: ReplicaId(node as u64),
        role: Role::Leader,
        term: Term(term),
        leader: None,
        commit: Index(commit),
        applied: Index(commit),
        last_index: Index(last),
        base_index: Index(0),
        offsets: (0, 0, 0),
        local_start: 0,
        stored: None,
        changed: Index(0),
        unstored_ms: 0,
        in_sync: Vec::new(),
        members: (1..=3).map(member).collect(),
        quiesced: false,
        joint: false,
        acked_unsynced_bytes: 0,
        damaged: false,
        counts: Default::default(),
    }
}

fn observe(account: &mut Account, status: &GroupStatus, entries: &[Entry]) -> Broken {
    let node = NodeId(i32::try_from(status.replica.0).unwrap());
    account.observe(node, status, |from, until| {
        let wanted = entries
            .iter()
            .filter(|e| from <= e.index && e.index <= until);
        wanted.cloned().collect()
    })
}

#[test]
fn a_commit_on_a_quorum_is_good() {
    let mut account = Account::default();
    let entries = vec![entry(1, 1), entry(2, 1)];
    disk(&mut account, 1, entries.clone());
    disk(&mut account, 2, entries.clone());
    observe(&mut account, &status(1, 1, 2, 2), &entries).unwrap();
}

/// Its answer may have been under way when it was removed.
#[test]
fn what_a_removed_replica_held_counts() {
    let mut account = Account::default();
    let entries = vec![entry(1, 1)];
    disk(&mut account, 1, entries.clone());
    disk(&mut account, 2, entries.clone());
    let removed = Record::Remove {
        group: GROUP,
        replica: ReplicaId(2),
    };
    account.written(NodeId(2), &[removed]).unwrap();
    observe(&mut account, &status(1, 1, 1, 1), &entries).unwrap();
}

#[test]
fn a_commit_on_one_disk_is_found() {
    let mut account = Account::default();
    let entries = vec![entry(1, 1)];
    disk(&mut account, 1, entries.clone());
    disk(&mut account, 2, vec![entry(1, 2)]);
    let found = observe(&mut account, &status(1, 1, 1, 1), &entries);
    assert!(found.unwrap_err().contains("synced only on"));
}

#[test]
fn a_commit_without_the_outgoing_half_is_found() {
    let mut account = Account::default();
    let entries = vec![entry(1, 1)];
    disk(&mut account, 1, entries.clone());
    disk(&mut account, 2, entries.clone());
    let mut joint = status(1, 1, 1, 1);
    for (at, member) in joint.members.iter_mut().enumerate() {
        (member.voter, member.outgoing) = (at < 2, at >= 1);
    }
    assert!(observe(&mut account, &joint, &entries).is_err());
}

#[test]
fn a_commit_of_an_older_term_by_counting_is_found() {
    let entries = [entry(1, 1), entry(2, 1), entry(3, 2)];
    for (commit, good) in [(2, false), (3, true)] {
        let mut account = Account::default();
        (1..=3).for_each(|node| disk(&mut account, node, entries.to_vec()));
        observe(&mut account, &status(1, 2, 0, 3), &entries).unwrap();
        let observed = observe(&mut account, &status(1, 2, commit, 3), &entries);
        assert_eq!(observed.is_ok(), good, "{observed:?}");
    }
}

#[test]
fn two_leaders_in_a_term_are_found() {
    let mut account = Account::default();
    observe(&mut account, &status(1, 1, 0, 0), &[]).unwrap();
    let found = observe(&mut account, &status(2, 1, 0, 0), &[]);
    assert!(found.unwrap_err().contains("lead"));
}

#[test]
fn a_leader_without_a_committed_entry_is_found() {
    let mut account = Account::default();
    let entries = vec![entry(1, 1)];
    disk(&mut account, 1, entries.clone());
    disk(&mut account, 2, entries.clone());
    observe(&mut account, &status(1, 1, 1, 1), &entries).unwrap();
    let found = observe(&mut account, &status(3, 2, 0, 1), &[entry(1, 2)]);
    assert!(found.unwrap_err().contains("without i1"));
}

#[test]
fn a_commit_that_goes_back_or_changes_is_found() {
    let mut account = Account::default();
    let entries = vec![entry(1, 1)];
    disk(&mut account, 1, entries.clone());
    disk(&mut account, 2, entries.clone());
    observe(&mut account, &status(1, 1, 1, 1), &entries).unwrap();
    let back = observe(&mut account, &status(1, 1, 0, 1), &entries);
    assert!(back.unwrap_err().contains("went back"));
    let mut follower = status(2, 1, 1, 1);
    follower.role = Role::Follower;
    let other = observe(&mut account, &follower, &[entry(1, 7)]);
    assert!(other.unwrap_err().contains("differently"));
}

fn says(account: &mut Account, from: u64, to: u64, term: u64, body: Body) -> Broken {
    let message = Message {
        from: ReplicaId(from),
        to: ReplicaId(to),
        term: Term(term),
        body,
    };
    let batch = PeerBatch {
        messages: vec![(GROUP, message)],
        soft: Vec::new(),
    };
    account.sending(NodeId(from as i32), &batch)
}

fn vote(account: &mut Account, term: u64, vote: u64) {
    let state = HardState {
        term: Term(term),
        vote: Some(ReplicaId(vote)),
        commit: Index(0),
    };
    let replica = ReplicaId(1);
    let record = Record::HardState {
        group: GROUP,
        replica,
        state,
    };
    account.written(NodeId(1), &[record]).unwrap();
}

#[test]
fn a_vote_that_is_not_synced_is_found() {
    let mut account = Account::default();
    let granted = Body::VoteResponse { granted: true };
    disk(&mut account, 1, Vec::new());
    assert!(says(&mut account, 1, 2, 1, granted.clone()).is_err());
    vote(&mut account, 1, 2);
    says(&mut account, 1, 2, 1, granted.clone()).unwrap();
    assert!(says(&mut account, 1, 3, 1, granted).is_err());
}

#[test]
fn a_second_vote_is_found() {
    let mut account = Account::default();
    let granted = Body::VoteResponse { granted: true };
    vote(&mut account, 1, 2);
    says(&mut account, 1, 2, 1, granted.clone()).unwrap();
    vote(&mut account, 1, 3);
    let found = says(&mut account, 1, 3, 1, granted);
    assert!(found.unwrap_err().contains("second vote"));
}

#[test]
fn a_vote_for_a_longer_but_older_log_is_found() {
    for (last_term, last_index, good) in [(2, 2, true), (1, 9, false), (2, 1, false)] {
        let mut account = Account::default();
        disk(&mut account, 1, vec![entry(1, 1), entry(2, 2)]);
        vote(&mut account, 3, 2);
        let claim = (Term(last_term), Index(last_index));
        let candidate = (GROUP, Term(3), ReplicaId(2));
        account.claims.insert(candidate, claim);
        let said = says(&mut account, 1, 2, 3, Body::VoteResponse { granted: true });
        assert_eq!(said.is_ok(), good, "{said:?}");
    }
}

#[test]
fn an_answer_about_entries_that_are_not_synced_is_found() {
    let mut account = Account::default();
    disk(&mut account, 1, vec![entry(1, 1)]);
    vote(&mut account, 1, 2);
    let matched = |index| {
        Body::AppendResponse(raft::message::AppendResponse {
            result: AppendResult::Matched(Index(index)),
            session: 1,
            read_round: 0,
        })
    };
    says(&mut account, 1, 2, 1, matched(1)).unwrap();
    assert!(says(&mut account, 1, 2, 1, matched(2)).is_err());
}

fn recovered(last: u64, state: HardState) -> RecoveredGroup {
    RecoveredGroup {
        group: GROUP,
        replica: ReplicaId(1),
        base: Base::default(),
        hard_state: state,
        last_index: Index(last),
        terms: vec![(Term(1), Index(1))],
        membership_entries: Vec::new(),
        derived: None,
        faulty: None,
    }
}

#[test]
fn a_recovery_that_forgets_is_found() {
    let entries = vec![entry(1, 1), entry(2, 1)];
    let prepare = || {
        let mut account = Account::default();
        disk(&mut account, 1, entries.clone());
        vote(&mut account, 1, 2);
        account
    };
    let voted = HardState {
        term: Term(1),
        vote: Some(ReplicaId(2)),
        commit: Index(0),
    };
    let read = |group: &RecoveredGroup| entries[..group.last_index.0 as usize].to_vec();
    let check = |group| prepare().recovered(NodeId(1), &[group], read);
    check(recovered(2, voted)).unwrap();
    assert!(check(recovered(1, voted)).is_err(), "an entry less");
    assert!(
        check(recovered(2, HardState::default())).is_err(),
        "an older term"
    );
    let other = HardState {
        vote: None,
        ..voted
    };
    assert!(check(recovered(2, other)).is_err(), "a forgotten vote");
    let other = |_: &RecoveredGroup| vec![entry(1, 1), entry(2, 2)];
    let found = prepare().recovered(NodeId(1), &[recovered(2, voted)], other);
    assert!(found.unwrap_err().contains("differently"));
    assert!(
        prepare().recovered(NodeId(1), &[], read).is_err(),
        "a replica less"
    );
}

#[test]
fn a_high_watermark_that_goes_back_is_found() {
    let mut account = Account::default();
    account.shows(GROUP, Term(2), 10, 0).unwrap();
    account.shows(GROUP, Term(1), 5, 0).unwrap();
    assert!(account.shows(GROUP, Term(2), 9, 0).is_err());
    assert!(account.shows(GROUP, Term(3), 10, -1).is_err());
}
