//! Groups that go from one protocol to the other while they have members.

use super::old::{Old, given, partitions};
use super::*;
use crate::coordinator::command::GroupCommand;
use crate::coordinator::consumer::state::Change;
use crate::coordinator::reply::GroupStateName;
use crate::coordinator::tests::harness::{
    self, DELAY, Log, SESSION, commit, config, instance_of, leave, member,
};

/// A stable classic group, whose leader has assigned the partitions of `t` to its members in order.
fn classic(h: &mut Harness, is_eager: bool, owned: &[&[i32]]) -> Vec<Old> {
    let mut members = Vec::new();
    let mut tickets = Vec::new();
    for _ in owned {
        let mut one = Old::new(is_eager);
        let reply = h.ask(GroupRequest::Join(one.request()));
        let GroupReply::Failed { member, .. } = reply else {
            panic!("{reply:?}");
        };
        one.id = member;
        tickets.push(h.send(GroupRequest::Join(one.request())));
        members.push(one);
    }
    h.advance(2 * DELAY);
    let joined = h.joined(tickets[0]);
    let sets = owned.iter().map(|owned| {
        let owned: Vec<_> = owned.iter().map(|partition| ("t", *partition)).collect();
        partitions(&owned)
    });
    let sets: Vec<_> = sets.collect();
    let assignments = members.iter().zip(&sets);
    let assignments = assignments.map(|(one, set)| (one.id.clone(), given(set)));
    let assignments: Vec<_> = assignments.collect();
    for one in &mut members {
        one.generation = joined.generation;
    }
    let leader = members.iter().position(|one| one.id == joined.leader);
    let mut sync = members[leader.unwrap()].sync();
    sync.assignments = assignments;
    h.ask(GroupRequest::Sync(sync));
    for one in &mut members {
        let reply = h.ask(GroupRequest::Sync(one.sync()));
        one.hears(harness::assignment(Some(&reply)));
    }
    members
}

fn calm(h: &mut Harness, olds: &mut [Old], consumers: &mut [Consumer]) {
    for _ in 0..50 {
        let mut changed = false;
        for old in &mut *olds {
            changed |= old.beats(h);
        }
        for consumer in &mut *consumers {
            changed |= consumer.beats(h);
        }
        if !changed {
            return;
        }
    }
    panic!("it never ends");
}

fn all_owned(h: &Harness, olds: &[Old], consumers: &[Consumer]) -> Vec<i32> {
    let mut all: Vec<i32> = olds.iter().flat_map(Old::owns).collect();
    for consumer in consumers {
        all.extend(consumer.owns(h).remove("t").unwrap_or_default());
    }
    all.sort_unstable();
    all
}

#[test]
fn members_roll_one_by_one_and_back() {
    for is_eager in [true, false] {
        let mut h = harness(6);
        let mut olds = classic(&mut h, is_eager, &[&[0, 1, 2], &[3, 4, 5]]);
        let mut news = vec![Consumer::join(&mut h, "one", &["t"])];
        assert_eq!(news[0].epoch, 2, "it goes on from the generation");
        assert_eq!(news[0].owned.len(), 0, "the others own everything");
        let described = describe(&mut h);
        let classics = described.members.iter().filter(|m| m.is_classic);
        assert_eq!((described.members.len(), classics.count()), (3, 2));
        calm(&mut h, &mut olds, &mut news);
        assert_eq!(all_owned(&h, &olds, &news), [0, 1, 2, 3, 4, 5]);
        assert!(olds.iter().all(|old| old.owned.len() == 2));
        for name in ["two", "three"] {
            let gone = olds.remove(0);
            h.ask(leave("g", vec![member(&gone.id)]));
            news.push(Consumer::join(&mut h, name, &["t"]));
            calm(&mut h, &mut olds, &mut news);
            assert_eq!(all_owned(&h, &olds, &news), [0, 1, 2, 3, 4, 5]);
        }
        // And back.
        for _ in 0..2 {
            news.remove(0).leaves(&mut h);
            let mut old = Old::new(is_eager);
            old.joins(&mut h);
            olds.push(old);
            calm(&mut h, &mut olds, &mut news);
            assert_eq!(all_owned(&h, &olds, &news), [0, 1, 2, 3, 4, 5]);
        }
        let generation = olds[0].generation;
        news.remove(0).leaves(&mut h);
        let described = h.describe("g");
        assert_eq!(described.state, GroupStateName::PreparingRebalance);
        assert_eq!(described.members.len(), 2);
        for old in &olds {
            h.assert_failed(old.beat(), ErrorCode::RebalanceInProgress);
            let last = commit("g", generation, &old.id, 7);
            let reply = h.ask(GroupRequest::Commit(last));
            assert_eq!(reply, GroupReply::Offsets(vec![ErrorCode::None]));
        }
        let tickets: Vec<Ticket> = olds
            .iter_mut()
            .map(|old| {
                old.before_join();
                h.send(GroupRequest::Join(old.request()))
            })
            .collect();
        let joined: Vec<_> = tickets.iter().map(|ticket| h.joined(*ticket)).collect();
        let leads = joined.iter().find(|joined| !joined.members.is_empty());
        let leads = leads.expect("somebody assigns");
        assert_eq!(leads.generation, generation + 1);
        assert_eq!(leads.members.len(), 2);
    }
}

#[test]
fn where_it_is_not_allowed_it_is_not_done() {
    let mut config = config();
    config.upgrades = false;
    config.downgrades = false;
    let mut h = Harness::with(config);
    h.topics.put("t", 2);
    classic(&mut h, true, &[&[0, 1]]);
    let beat = |id| GroupRequest::ConsumerBeat(join(id, &["t"]));
    h.assert_failed(beat("one"), ErrorCode::GroupIdNotFound);
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    // A member of the classic protocol may come, but the group stays what it is.
    h.config.upgrades = true;
    h.fail_over();
    let one = Consumer::join(&mut h, "one", &["t"]);
    one.leaves(&mut h);
    let described = describe(&mut h);
    assert_eq!(described.members.len(), 1);
    assert!(described.members[0].is_classic);
}

#[test]
fn what_would_be_lost_or_cannot_be_read_is_not_converted() {
    let beat = || GroupRequest::ConsumerBeat(join("one", &["t"]));
    let mut h = harness(2);
    let ids = h.stable("g", 1);
    h.assert_failed(beat(), ErrorCode::GroupIdNotFound);
    assert_eq!(h.describe("g").members[0].id, ids[0]);
    // Two own one partition.
    let mut h = harness(2);
    classic(&mut h, true, &[&[0, 1], &[1]]);
    h.assert_failed(beat(), ErrorCode::GroupIdNotFound);
    // A member that may not come converts nothing.
    let mut h = harness(2);
    classic(&mut h, true, &[&[0, 1]]);
    let mut request = join("one", &[]);
    request.regex = Some("(".to_owned());
    let request = GroupRequest::ConsumerBeat(request);
    h.assert_failed(request, ErrorCode::InvalidRegularExpression);
    // Too many for the other protocol.
    h.config.consumer_members_max = 1;
    h.fail_over();
    h.assert_failed(beat(), ErrorCode::GroupMaxSizeReached);
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    assert!(h.groups.get("g").unwrap().consumer.is_none());
}

#[test]
fn while_a_classic_group_rebalances_a_consumer_waits() {
    let mut h = harness(2);
    let olds = classic(&mut h, false, &[&[0], &[1]]);
    let rejoins = h.send(GroupRequest::Join(Old::new(false).request()));
    assert!(h.reply(rejoins).is_some(), "an id is given");
    h.ask(leave("g", vec![member(&olds[0].id)]));
    let beat = GroupRequest::ConsumerBeat(join("one", &["t"]));
    h.assert_failed(beat, ErrorCode::CoordinatorLoadInProgress);
}

#[test]
fn a_refused_conversion_leaves_the_group_as_it_was() {
    let mut h = harness(2);
    let olds = classic(&mut h, true, &[&[0, 1]]);
    h.commits = Log::Waits;
    let ticket = h.send(GroupRequest::ConsumerBeat(join("one", &["t"])));
    let waits = h.send(olds[0].beat());
    assert!(h.settle_proposal(false));
    h.assert_code(ticket, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.reply(waits), Some(&GroupReply::Done));
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    h.release();
    assert_eq!(h.ask(olds[0].beat()), GroupReply::Done);
    h.advance(SESSION);
    assert_eq!(h.open(), 0);
    assert_eq!(h.describe("g").members.len(), 0, "its session goes on");
}

#[test]
fn a_coordinator_that_follows_goes_on_where_the_migration_was() {
    for committed in [0, 1] {
        let mut h = harness(4);
        let mut olds = classic(&mut h, false, &[&[0, 1], &[2, 3]]);
        h.commits = Log::Waits;
        h.send(GroupRequest::ConsumerBeat(join("one", &["t"])));
        h.resign(committed);
        h.begin();
        h.release();
        if committed == 0 {
            assert_eq!(h.ask(olds[0].beat()), GroupReply::Done);
            continue;
        }
        let mut news = vec![Consumer::join(&mut h, "two", &["t"])];
        calm(&mut h, &mut olds, &mut news);
        assert!(
            all_owned(&h, &olds, &news).len() < 4,
            "the first one has some"
        );
        h.fail_over();
        calm(&mut h, &mut olds, &mut news);
        // Who has not been heard since is gone, and the others have everything.
        for _ in 0..4 {
            h.advance(SESSION / 3);
            calm(&mut h, &mut olds, &mut news);
        }
        assert_eq!(all_owned(&h, &olds, &news), [0, 1, 2, 3]);
        // The downgrade is committed, and the next coordinator begins with it: its members have to assign.
        h.commits = Log::Waits;
        h.send(GroupRequest::ConsumerBeat(beat("g", "two", -1)));
        h.fail_over();
        h.release();
        assert_eq!(h.describe("g").state, GroupStateName::PreparingRebalance);
        h.assert_failed(olds[0].beat(), ErrorCode::RebalanceInProgress);
    }
}

#[test]
fn who_does_not_come_back_in_time_is_gone() {
    let mut h = harness(2);
    let olds = classic(&mut h, true, &[&[0, 1]]);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    for _ in 0..10 {
        h.assert_failed(olds[0].beat(), ErrorCode::RebalanceInProgress);
        one.beats(&mut h);
        h.advance(harness::REBALANCE / 10);
    }
    h.assert_failed(olds[0].beat(), ErrorCode::UnknownMemberId);
    one.beats(&mut h);
    assert_eq!(one.owns(&h), owned(&[("t", &[0, 1])]));
}

#[test]
fn a_static_member_goes_from_one_protocol_to_the_other() {
    let mut h = harness(2);
    let mut one = Consumer::join(&mut h, "one", &["t"]);
    let mut request = Old::new(true).request();
    request.member = instance_of("", "i");
    let GroupReply::Joined(joined) = h.ask(GroupRequest::Join(request)) else {
        panic!("it joins at once");
    };
    settle(&mut h, std::slice::from_mut(&mut one));
    let mut request = join("static", &["t"]);
    request.member = instance_of("static", "i");
    let _static = beaten(&h.ask(GroupRequest::ConsumerBeat(request)));
    let described = describe(&mut h);
    assert!(described.members.iter().all(|member| !member.is_classic));
    let old = harness::heartbeat("g", joined.generation, &joined.member);
    h.assert_failed(old, ErrorCode::UnknownMemberId);
    // An operator sends it away.
    let reply = h.ask(leave("g", vec![instance_of("", "i")]));
    assert_eq!(reply, GroupReply::Left(vec![ErrorCode::None]));
    assert_eq!(describe(&mut h).members.len(), 1);
    let reply = h.ask(leave("g", vec![instance_of("", "i")]));
    assert_eq!(reply, GroupReply::Left(vec![ErrorCode::UnknownMemberId]));
}

#[test]
fn a_commit_says_what_it_rests_on() {
    let mut h = harness(2);
    let olds = classic(&mut h, true, &[&[0, 1]]);
    Consumer::join(&mut h, "one", &["t"]);
    let with = |id: &str, epoch, knows_epochs| {
        let mut request = commit("g", epoch, id, 7);
        request.knows_epochs = knows_epochs;
        GroupRequest::Commit(request)
    };
    let done = GroupReply::Offsets(vec![ErrorCode::None]);
    let old = &olds[0].id;
    assert_eq!(h.ask(with(old, 1, false)), done);
    h.assert_failed(with(old, 0, false), ErrorCode::IllegalGeneration);
    assert_eq!(h.ask(with("one", 2, true)), done);
    h.assert_failed(with("one", 2, false), ErrorCode::UnsupportedVersion);
}

#[test]
fn a_conversion_is_whole_in_its_first_command() {
    let mut config = config();
    config.command_bytes_max = 1_200;
    let mut h = Harness::with(config);
    h.topics.put("t", 40);
    let first: Vec<i32> = (0..40).collect();
    classic(&mut h, true, &[&first, &[]]);
    let before = h.history.len();
    Consumer::join(&mut h, "one", &["t"]);
    let commands = &h.history[before..];
    assert!(commands.len() > 1, "it did not fit");
    let GroupCommand::ChangeConsumers { changes, .. } = &commands[0] else {
        panic!("{:?}", commands[0]);
    };
    let members = changes.iter();
    let members = members.filter(|change| matches!(change, Change::PutMember { .. }));
    assert!(members.count() >= 2);
}

#[test]
fn what_a_broker_does_not_know_yet_is_given_to_nobody() {
    let mut h = harness(1);
    let older = h.topics.clone();
    h.topics.put("t", 2);
    let newest = h.topics.clone();
    let mut olds = classic(&mut h, true, &[&[0], &[1]]);
    // The next coordinator has not heard that the topic has grown.
    h.topics = older;
    h.fail_over();
    let beat = || GroupRequest::ConsumerBeat(join("one", &["t"]));
    h.assert_failed(beat(), ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(h.describe("g").state, GroupStateName::Stable);
    h.topics = newest;
    let mut news = vec![Consumer::join(&mut h, "one", &["t"])];
    assert_eq!(news[0].owned.len(), 0, "the others own everything");
    calm(&mut h, &mut olds, &mut news);
    assert_eq!(all_owned(&h, &olds, &news), [0, 1]);
}

#[test]
fn what_a_cooperative_member_has_still_to_give_up_is_its_own() {
    let mut h = harness(3);
    let mut olds = classic(&mut h, false, &[&[0, 1, 2]]);
    // In the next generation it is to give up 2, and has not heard so when a consumer comes.
    let ticket = h.send(GroupRequest::Join(olds[0].request()));
    olds[0].generation = h.joined(ticket).generation;
    let mut sync = olds[0].sync();
    let kept = given(&partitions(&[("t", 0), ("t", 1)]));
    sync.assignments = vec![(olds[0].id.clone(), kept)];
    h.send(GroupRequest::Sync(sync));
    let mut news = vec![Consumer::join(&mut h, "one", &["t"])];
    assert_eq!(news[0].owned.len(), 0, "the other one reads all of them");
    assert_eq!(all_owned(&h, &olds, &news), [0, 1, 2]);
    calm(&mut h, &mut olds, &mut news);
    assert_eq!(all_owned(&h, &olds, &news), [0, 1, 2]);
    assert_eq!(news[0].owned.len(), 1);
}

#[test]
fn operators_see_who_turned_the_group() {
    let mut h = harness(2);
    let olds = classic(&mut h, true, &[&[0, 1]]);
    let last = |h: &Harness| {
        let coordinator = h.coordinator.as_ref().unwrap();
        let figures = coordinator.figures(&h.groups, "g").unwrap();
        let (_, cause) = figures.rebalanced.last.unwrap();
        (cause.reason.name(), cause.member)
    };
    let one = Consumer::join(&mut h, "one", &["t"]);
    assert_eq!(last(&h), ("upgraded", "one".to_owned()));
    Consumer::join(&mut h, "two", &["t"]).leaves(&mut h);
    assert_eq!(last(&h), ("left", "two".to_owned()));
    one.leaves(&mut h);
    assert_eq!(last(&h), ("downgraded", olds[0].id.clone()));
}

#[test]
fn a_group_that_does_not_turn_back_sees_that_topics_have_grown() {
    let mut config = config();
    config.downgrades = false;
    let mut h = Harness::with(config);
    h.topics.put("t", 1);
    let mut olds = classic(&mut h, true, &[&[0]]);
    let mut news = vec![Consumer::join(&mut h, "one", &["t"])];
    calm(&mut h, &mut olds, &mut news);
    news.remove(0).leaves(&mut h);
    calm(&mut h, &mut olds, &mut []);
    h.topics.put("t", 2);
    calm(&mut h, &mut olds, &mut []);
    assert_eq!(all_owned(&h, &olds, &[]), [0, 1]);
}

#[test]
fn who_joins_while_the_last_one_goes_tries_again() {
    let mut h = harness(2);
    Consumer::join(&mut h, "one", &["t"]);
    h.commits = Log::Waits;
    let leaves = h.send(GroupRequest::ConsumerBeat(beat("g", "one", -1)));
    let joins = h.send(GroupRequest::Join(Old::new(true).request()));
    let mut request = Old::new(true).request();
    request.session_timeout_ms = 1;
    let hurries = h.send(GroupRequest::Join(request));
    h.release();
    h.assert_code(joins, ErrorCode::CoordinatorLoadInProgress);
    h.assert_code(hurries, ErrorCode::InvalidSessionTimeout);
    assert_eq!(beaten(h.reply(leaves).unwrap()).epoch, -1);
    let joins = h.ask(GroupRequest::Join(Old::new(true).request()));
    assert_eq!(harness::failure(&joins), ErrorCode::MemberIdRequired);
    assert_eq!(h.describe("g").state, GroupStateName::Empty);
}
