//! The shard's collaborators, each by itself.

use std::collections::BTreeMap;

use protocol::peer::LeaderInfo;
use raft::message::{Body, Message};
use raft::types::{DirectoryId, Index, NodeId, PersistSeq, ReplicaId, Term, Tick};
use wal::Record;

use super::{GROUP, ONE, THREE, TWO};
use crate::shard::leaders::Leaders;
use crate::shard::liveness::Liveness;
use crate::shard::memory::Memory;
use crate::shard::pipeline::{AppendId, Pipeline};
use crate::shard::timers::Timers;
use raft::types::GroupId;

const OTHER: GroupId = GroupId(2);

fn record(group: GroupId) -> Record {
    let replica = ReplicaId(1);
    Record::Remove { group, replica }
}

fn message() -> Message {
    Message {
        from: ReplicaId(1),
        to: ReplicaId(2),
        term: Term(1),
        body: Body::TimeoutNow,
    }
}

mod pipeline {
    use super::*;

    #[test]
    fn an_append_is_everything_between_two_takes() {
        let mut pipeline = Pipeline::default();
        assert_eq!(pipeline.current(), AppendId(1));
        assert!(pipeline.take().is_none());
        assert_eq!(pipeline.append(record(GROUP)), AppendId(1));
        assert_eq!(pipeline.append(record(OTHER)), AppendId(1));
        assert_eq!(pipeline.current(), AppendId(1));
        let (id, records) = pipeline.take().unwrap();
        assert_eq!((id, records.len()), (AppendId(1), 2));
        assert!(pipeline.take().is_none());
        assert_eq!(pipeline.current(), AppendId(2));
        assert_eq!(pipeline.append(record(GROUP)), AppendId(2));
    }

    #[test]
    fn what_waits_goes_free_in_order_and_once() {
        let mut pipeline = Pipeline::default();
        for seq in 1..=3 {
            let id = pipeline.persist(GROUP, PersistSeq(seq), vec![record(GROUP)]);
            assert_eq!(id, AppendId(seq));
            pipeline.take();
        }
        let kept = pipeline.send_after(AppendId(2), (TWO, GROUP, message()));
        assert_eq!(kept, None);
        let none = pipeline.finish(AppendId(0), &[]);
        assert!(none.persists.is_empty() && none.sends.is_empty());
        let first = pipeline.finish(AppendId(1), &[]);
        assert_eq!(first.persists, [(GROUP, PersistSeq(1))]);
        assert!(first.sends.is_empty(), "it rests on the second");
        assert!(pipeline.is_synced(AppendId(1)) && !pipeline.is_synced(AppendId(2)));
        let rest = pipeline.finish(AppendId(3), &[]);
        assert_eq!(
            rest.persists,
            [(GROUP, PersistSeq(2)), (GROUP, PersistSeq(3))]
        );
        assert_eq!(rest.sends.len(), 1);
        let again = pipeline.finish(AppendId(3), &[]);
        assert!(again.persists.is_empty() && again.sends.is_empty());
    }

    #[test]
    fn what_rests_on_a_synced_append_does_not_wait() {
        let mut pipeline = Pipeline::default();
        pipeline.append(record(GROUP));
        pipeline.take();
        pipeline.finish(AppendId(1), &[]);
        let send = (TWO, GROUP, message());
        assert_eq!(pipeline.send_after(AppendId(1), send.clone()), Some(send));
    }

    #[test]
    #[should_panic(expected = "only what was handed out can be synced")]
    fn what_was_not_handed_out_is_never_synced() {
        let mut pipeline = Pipeline::default();
        pipeline.append(record(GROUP));
        pipeline.finish(AppendId(1), &[]);
    }

    #[test]
    fn x9_what_a_full_disk_holds_waits_with_all_that_rests_on_it() {
        let mut pipeline = Pipeline::default();
        pipeline.persist(GROUP, PersistSeq(1), vec![record(GROUP)]);
        pipeline.persist(OTHER, PersistSeq(1), vec![record(OTHER)]);
        pipeline.take();
        let early = pipeline.send_after(AppendId(1), (TWO, GROUP, message()));
        assert_eq!(early, None);
        let synced = pipeline.finish(AppendId(1), &[GROUP]);
        assert_eq!(synced.persists, [(OTHER, PersistSeq(1))]);
        assert!(synced.sends.is_empty());
        let late = pipeline.send_after(AppendId(1), (TWO, GROUP, message()));
        assert_eq!(late, None, "its append is synced but for this group");
        let free = pipeline.finish(AppendId(1), &[]);
        assert_eq!(free.persists, [(GROUP, PersistSeq(1))]);
        assert_eq!(free.sends.len(), 2);
    }

    #[test]
    fn a_closed_groups_persists_are_forgotten() {
        let mut pipeline = Pipeline::default();
        pipeline.persist(GROUP, PersistSeq(1), vec![record(GROUP)]);
        pipeline.persist(OTHER, PersistSeq(1), vec![record(OTHER)]);
        pipeline.take();
        pipeline.persist(GROUP, PersistSeq(2), vec![record(GROUP)]);
        pipeline.take();
        pipeline.forget(GROUP);
        let finished = pipeline.finish(AppendId(2), &[]);
        assert_eq!(finished.persists, [(OTHER, PersistSeq(1))]);
    }

    #[test]
    fn a_closed_group_says_nothing_that_rests_on_its_writes() {
        let mut pipeline = Pipeline::default();
        for group in [GROUP, OTHER] {
            pipeline.persist(group, PersistSeq(1), vec![record(group)]);
            let waits = pipeline.send_after(AppendId(1), (TWO, group, message()));
            assert_eq!(waits, None);
        }
        pipeline.take();
        pipeline.forget(GROUP);
        let finished = pipeline.finish(AppendId(1), &[]);
        assert_eq!(finished.sends, [(TWO, OTHER, message())]);
    }

    /// The log drops what it held of a group when that is removed, and then holds nothing of it.
    #[test]
    fn x9_nothing_is_said_of_what_a_full_disk_never_wrote() {
        let mut pipeline = Pipeline::default();
        pipeline.persist(GROUP, PersistSeq(1), vec![record(GROUP)]);
        pipeline.take();
        let waits = pipeline.send_after(AppendId(1), (TWO, GROUP, message()));
        assert_eq!(waits, None);
        let held = pipeline.finish(AppendId(1), &[GROUP]);
        assert!(held.sends.is_empty() && held.persists.is_empty());
        pipeline.forget(GROUP);
        let removal = pipeline.append(record(GROUP));
        pipeline.take();
        let finished = pipeline.finish(removal, &[]);
        assert!(finished.sends.is_empty() && finished.persists.is_empty());
    }
}

mod timers {
    use super::*;

    #[test]
    fn the_earliest_wish_of_each_group_counts_once() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.schedule(GROUP, Tick(20));
        timers.schedule(GROUP, Tick(30));
        timers.schedule(OTHER, Tick(25));
        timers.schedule(OTHER, Tick(15));
        assert_eq!(timers.next(), Some(Tick(15)));
        assert_eq!(timers.due(Tick(14)), None);
        assert_eq!(timers.due(Tick(20)), Some(OTHER));
        assert_eq!(timers.due(Tick(20)), Some(GROUP));
        assert_eq!(timers.due(Tick(1000)), None, "the later wishes are gone");
        timers.schedule(GROUP, Tick(5));
        assert_eq!(timers.due(Tick(1000)), Some(GROUP));
    }
}

mod memory {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_only_over_the_budget() {
        let mut memory = Memory::new(1000);
        for index in 1..=3 {
            memory.add(GROUP, Index(index), 172);
        }
        assert_eq!(memory.bytes(), 900, "with the overhead of each");
        assert_eq!(memory.surplus(), None);
        memory.add(OTHER, Index(1), 172);
        assert_eq!(memory.surplus(), Some((GROUP, Index(1))));
        memory.defer_front();
        assert_eq!(memory.surplus(), Some((GROUP, Index(2))));
        memory.drop_front();
        assert_eq!((memory.bytes(), memory.surplus()), (900, None));
        memory.add(OTHER, Index(2), 172);
        assert_eq!(memory.surplus(), Some((GROUP, Index(3))));
        for _ in 0..4 {
            memory.drop_front();
        }
        memory.drop_front();
        assert_eq!((memory.bytes(), memory.entries()), (0, 0));
    }
}

fn info(group: GroupId, term: u64, leader: NodeId, in_sync: &[NodeId]) -> LeaderInfo {
    LeaderInfo {
        group,
        term: Term(term),
        leader,
        in_sync: in_sync.to_vec(),
    }
}

mod leaders {
    use super::*;

    fn known(leaders: &Leaders) -> Option<(NodeId, u64)> {
        leaders.get(GROUP).map(|view| (view.node, view.term.0))
    }

    #[test]
    fn an_older_term_never_replaces_a_newer_one() {
        let mut leaders = Leaders::default();
        assert_eq!(leaders.learn(info(GROUP, 5, TWO, &[TWO])), Some(GROUP));
        assert_eq!(leaders.learn(info(GROUP, 4, THREE, &[THREE])), None);
        leaders.follow(GROUP, Term(4), THREE);
        leaders.follow(GROUP, Term(5), THREE);
        assert_eq!(known(&leaders), Some((TWO, 5)));
        assert_eq!(leaders.learn(info(GROUP, 5, TWO, &[TWO])), None, "no news");
        let more = info(GROUP, 5, TWO, &[TWO, ONE]);
        assert_eq!(leaders.learn(more), Some(GROUP), "in sync again");
        leaders.follow(GROUP, Term(6), THREE);
        assert_eq!(known(&leaders), Some((THREE, 6)));
    }

    #[test]
    fn resigning_forgets_the_own_term_only() {
        let mut leaders = Leaders::default();
        leaders.lead(info(GROUP, 3, ONE, &[ONE]));
        assert_eq!((known(&leaders), leaders.own_count()), (Some((ONE, 3)), 1));
        leaders.resign(GROUP);
        assert_eq!((known(&leaders), leaders.own_count()), (None, 0));
        leaders.lead(info(GROUP, 5, ONE, &[ONE]));
        leaders.learn(info(GROUP, 6, TWO, &[TWO]));
        leaders.resign(GROUP);
        assert_eq!(known(&leaders), Some((TWO, 6)), "the successor stays");
    }

    #[test]
    fn what_a_node_led_is_forgotten_with_it() {
        let mut leaders = Leaders::default();
        leaders.learn(info(GROUP, 3, TWO, &[TWO]));
        leaders.learn(info(OTHER, 3, THREE, &[THREE]));
        assert_eq!(leaders.forget_node(TWO), [GROUP]);
        assert_eq!(known(&leaders), None);
        assert!(leaders.get(OTHER).is_some());
    }

    #[test]
    fn changes_go_to_everybody_and_all_of_it_to_newcomers() {
        let (mut leaders, mut liveness) = (Leaders::default(), Liveness::new(10, 100));
        liveness.up(Tick(0), TWO, DirectoryId(2));
        leaders.lead(info(GROUP, 1, ONE, &[ONE]));
        leaders.drain_into(&mut liveness);
        let mut outbox = BTreeMap::new();
        let frames = liveness.frames(Tick(1), &mut outbox);
        assert_eq!(frames[0].1.soft, [info(GROUP, 1, ONE, &[ONE])]);

        liveness.up(Tick(2), THREE, DirectoryId(3));
        leaders.announce_all_to(THREE);
        leaders.lead(info(OTHER, 1, ONE, &[ONE]));
        leaders.lead(info(GROUP, 1, ONE, &[ONE]));
        leaders.drain_into(&mut liveness);
        let frames: BTreeMap<NodeId, _> = liveness
            .frames(Tick(2), &mut outbox)
            .into_iter()
            .map(|(node, frame)| (node, frame.soft))
            .collect();
        let other = info(OTHER, 1, ONE, &[ONE]);
        assert_eq!(frames[&TWO], [other], "only the news");
        let groups: std::collections::BTreeSet<GroupId> =
            frames[&THREE].iter().map(|i| i.group).collect();
        assert_eq!(groups, [GROUP, OTHER].into());
        leaders.drain_into(&mut liveness);
        assert!(
            liveness.frames(Tick(3), &mut outbox).is_empty(),
            "told once"
        );
    }
}

mod liveness {
    use super::*;

    fn up() -> Liveness {
        let mut liveness = Liveness::new(10, 100);
        liveness.up(Tick(1000), TWO, DirectoryId(2));
        liveness
    }

    #[test]
    fn silence_ends_a_peer_and_a_frame_keeps_it() {
        let mut liveness = up();
        liveness.heard(Tick(1050), TWO);
        assert!(liveness.expired(Tick(1150)).is_empty());
        assert_eq!(liveness.expired(Tick(1151)), [TWO]);
        assert!(!liveness.is_up(TWO));
        assert!(liveness.expired(Tick(9999)).is_empty(), "told once");
        liveness.heard(Tick(1160), TWO);
        assert!(!liveness.is_up(TWO), "only a new connection brings it back");
        liveness.up(Tick(1170), TWO, DirectoryId(2));
        assert!(liveness.is_up(TWO));
        assert!(liveness.down(TWO) && !liveness.down(TWO));
    }

    #[test]
    fn a_frame_leaves_when_there_is_something_to_say_or_the_time_has_come() {
        let mut liveness = up();
        let mut outbox = BTreeMap::new();
        assert_eq!(liveness.frames(Tick(1000), &mut outbox).len(), 1);
        assert!(liveness.frames(Tick(1009), &mut outbox).is_empty());
        assert_eq!(liveness.frames(Tick(1010), &mut outbox).len(), 1);
        outbox.insert(TWO, vec![(GROUP, message()), (OTHER, message())]);
        outbox.insert(THREE, vec![(GROUP, message())]);
        let frames = liveness.frames(Tick(1011), &mut outbox);
        assert_eq!(frames.len(), 1, "nobody is at three");
        assert_eq!(frames[0].1.messages.len(), 2, "one frame for all groups");
        assert!(outbox.is_empty(), "what is for nobody is lost");
        assert!(liveness.frames(Tick(1020), &mut outbox).is_empty());
        assert_eq!(liveness.frames(Tick(1021), &mut outbox).len(), 1);
    }

    #[test]
    fn a_disk_is_remembered_for_a_while_under_its_node() {
        let mut liveness = up();
        assert!(liveness.is_up_with(TWO, DirectoryId(2)));
        assert!(
            !liveness.is_up_with(TWO, DirectoryId(3)),
            "another disk speaks for itself only"
        );
        liveness.down(TWO);
        liveness.frames(Tick(3000), &mut BTreeMap::new());
        assert!(liveness.heard_lately(TWO, DirectoryId(2)));
        assert!(!liveness.heard_lately(TWO, DirectoryId(3)));
        assert!(!liveness.heard_lately(THREE, DirectoryId(2)));
        liveness.frames(Tick(4000), &mut BTreeMap::new());
        assert!(!liveness.heard_lately(TWO, DirectoryId(2)));
    }
}
