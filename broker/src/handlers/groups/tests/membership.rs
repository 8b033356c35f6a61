//! Joining, syncing, staying, leaving.

use bytes::Bytes;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use super::*;
use crate::coordinator::reply::{Joined, JoinedMember};
use crate::coordinator::request::{Join, Leaver, MemberRef, Sync};

fn join_request(instance: Option<&str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: text("g"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: text("me"),
        group_instance_id: instance.map(text),
        protocol_type: text("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: text("range"),
            metadata: Bytes::from_static(b"sub"),
        }],
        reason: Some(text("because")),
    }
}

fn join_in_every_version(
    fake: &Fake,
    instance: Option<&str>,
    check: impl Fn(i16, protocol::messages::JoinGroupResponse),
) {
    let run = async |version, request| join_group::handle(fake.clone(), version, request).await;
    in_every_version(&join_request(instance), run, check);
}

#[test]
fn join_asks_what_each_version_says() {
    for instance in [None, Some("static")] {
        let fake = Fake::failing(ErrorCode::GroupMaxSizeReached);
        join_in_every_version(&fake, instance, |_, _| {});
        let asked = fake.asked();
        assert_eq!(asked.len(), 10);
        for (version, asked) in (0..).zip(asked) {
            let instance = instance.filter(|_| version >= 5).map(str::to_owned);
            let expected = Join {
                group: "g".to_owned(),
                client: fake.client(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: if version == 0 { 10_000 } else { 60_000 },
                protocol_type: "consumer".to_owned(),
                protocols: vec![("range".to_owned(), Bytes::from_static(b"sub"))],
                id_required: version >= 4 && instance.is_none(),
                may_skip_assignment: version >= 9,
                reason: if version >= 8 { "because" } else { "" }.to_owned(),
                member: MemberRef {
                    id: "me".to_owned(),
                    instance,
                },
            };
            assert_eq!(asked, GroupRequest::Join(expected), "version {version}");
        }
    }
}

#[test]
fn a_join_is_answered_with_what_each_version_has() {
    let joined = Joined {
        generation: 7,
        protocol_type: "consumer".to_owned(),
        protocol_name: "range".to_owned(),
        leader: "me".to_owned(),
        member: "me".to_owned(),
        skip_assignment: true,
        members: vec![JoinedMember {
            id: "me".to_owned(),
            instance: Some("static".to_owned()),
            subscription: Bytes::from_static(b"sub"),
        }],
    };
    let fake = Fake::replying(GroupReply::Joined(joined));
    join_in_every_version(&fake, None, |version, answer| {
        assert_eq!((answer.error_code, answer.generation_id), (0, 7));
        let protocol_type = (version >= 7).then(|| text("consumer"));
        assert_eq!(answer.protocol_type, protocol_type, "version {version}");
        assert_eq!(answer.protocol_name, Some(text("range")));
        assert_eq!(answer.skip_assignment, version >= 9);
        assert_eq!((&*answer.leader, &*answer.member_id), ("me", "me"));
        assert_eq!(answer.members.len(), 1);
        assert_eq!(answer.members[0].metadata, "sub");
        let instance = (version >= 5).then(|| text("static"));
        assert_eq!(answer.members[0].group_instance_id, instance);
    });
}

#[test]
fn a_refused_join_has_the_id_to_come_back_with() {
    let fake = Fake::replying(GroupReply::Failed {
        code: ErrorCode::MemberIdRequired,
        member: "given".to_owned(),
    });
    join_in_every_version(&fake, None, |version, answer| {
        assert_eq!((answer.error_code, &*answer.member_id), (79, "given"));
        assert_eq!(answer.generation_id, -1);
        assert!(answer.members.is_empty() && answer.leader.is_empty());
        let named = (version < 7).then(Str::new);
        assert_eq!(answer.protocol_name, named, "null stops old clients");
    });
    join_in_every_version(&Fake::elsewhere(), None, |_, answer| {
        assert_eq!((answer.error_code, &*answer.member_id), (16, ""));
    });
}

#[test]
fn a_join_without_a_name_or_with_negative_times() {
    let run = async |version, request| join_group::handle(Fake::silent(), version, request).await;
    let nameless = JoinGroupRequest {
        group_id: Str::new(),
        ..join_request(None)
    };
    in_every_version(&nameless, run, |_, answer| {
        assert_eq!((answer.error_code, &*answer.member_id), (24, "me"));
    });
    let fake = Fake::failing(ErrorCode::InvalidSessionTimeout);
    let run = async |version, request| join_group::handle(fake.clone(), version, request).await;
    let negative = JoinGroupRequest {
        session_timeout_ms: -5,
        rebalance_timeout_ms: -1,
        ..join_request(None)
    };
    in_every_version(&negative, run, |_, answer| {
        assert_eq!(answer.error_code, 26)
    });
    for asked in fake.asked() {
        let GroupRequest::Join(join) = asked else {
            panic!("{asked:?}");
        };
        let times = (join.session_timeout_ms, join.rebalance_timeout_ms);
        assert_eq!(times, (0, 0), "the coordinator refuses 0");
    }
}

fn sync_request() -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: text("g"),
        generation_id: 7,
        member_id: text("me"),
        group_instance_id: Some(text("static")),
        protocol_type: Some(text("consumer")),
        protocol_name: Some(text("range")),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: text("you"),
            assignment: Bytes::from_static(b"yours"),
        }],
    }
}

#[test]
fn sync_in_every_version() {
    let fake = Fake::replying(GroupReply::Synced {
        protocol_type: "consumer".to_owned(),
        protocol_name: "range".to_owned(),
        assignment: Bytes::from_static(b"mine"),
    });
    let run = async |version, request| sync_group::handle(fake.clone(), version, request).await;
    in_every_version(&sync_request(), run, |version, answer| {
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.assignment, "mine");
        let named = version >= 5;
        assert_eq!(answer.protocol_type, named.then(|| text("consumer")));
        assert_eq!(answer.protocol_name, named.then(|| text("range")));
    });
    for (version, asked) in versions::<SyncGroupRequest>().zip(fake.asked()) {
        let expected = Sync {
            group: "g".to_owned(),
            generation: 7,
            member: MemberRef {
                id: "me".to_owned(),
                instance: (version >= 3).then(|| "static".to_owned()),
            },
            protocol_type: (version >= 5).then(|| "consumer".to_owned()),
            protocol_name: (version >= 5).then(|| "range".to_owned()),
            assignments: vec![("you".to_owned(), Bytes::from_static(b"yours"))],
        };
        assert_eq!(asked, GroupRequest::Sync(expected), "version {version}");
    }
}

#[test]
fn a_refused_sync_has_no_assignment() {
    for (fake, code) in [
        (Fake::failing(ErrorCode::RebalanceInProgress), 27),
        (Fake::elsewhere(), 16),
    ] {
        let run = async |version, request| sync_group::handle(fake.clone(), version, request).await;
        in_every_version(&sync_request(), run, |_, answer| {
            assert_eq!(answer.error_code, code);
            assert!(answer.assignment.is_empty());
            assert_eq!((answer.protocol_type, answer.protocol_name), (None, None));
        });
    }
    let nameless = SyncGroupRequest {
        group_id: Str::new(),
        ..sync_request()
    };
    let run = async |version, request| sync_group::handle(Fake::silent(), version, request).await;
    in_every_version(&nameless, run, |_, answer| {
        assert_eq!(answer.error_code, 24)
    });
}

#[test]
fn from_version_5_on_a_sync_names_its_protocol() {
    for (protocol_type, protocol_name) in [
        (None, Some("range")),
        (Some("consumer"), None),
        (None, None),
    ] {
        let fake = Fake::failing(ErrorCode::UnknownMemberId);
        let request = SyncGroupRequest {
            protocol_type: protocol_type.map(text),
            protocol_name: protocol_name.map(text),
            ..sync_request()
        };
        let run = async |version, request| sync_group::handle(fake.clone(), version, request).await;
        in_every_version(&request, run, |version, answer| {
            let code = if version >= 5 { 23 } else { 25 };
            assert_eq!(answer.error_code, code, "version {version}");
        });
        assert_eq!(fake.asked().len(), 5);
    }
}

#[test]
fn heartbeats() {
    let request = HeartbeatRequest {
        group_id: text("g"),
        generation_id: 7,
        member_id: text("me"),
        group_instance_id: Some(text("static")),
    };
    let done = Fake::replying(GroupReply::Done);
    for (fake, code) in [
        (done.clone(), 0),
        (Fake::failing(ErrorCode::IllegalGeneration), 22),
        (Fake::elsewhere(), 16),
    ] {
        let run = async |_, request| heartbeat::handle(fake.clone(), request).await;
        in_every_version(&request, run, |_, answer| {
            assert_eq!(answer.error_code, code)
        });
    }
    for (version, asked) in versions::<HeartbeatRequest>().zip(done.asked()) {
        let instance = (version >= 3).then(|| "static".to_owned());
        let id = "me".to_owned();
        let expected = GroupRequest::Heartbeat {
            group: "g".to_owned(),
            generation: 7,
            member: MemberRef { id, instance },
        };
        assert_eq!(asked, expected, "version {version}");
    }
    let run = async |_, request| heartbeat::handle(Fake::silent(), request).await;
    let nameless = HeartbeatRequest {
        group_id: Str::new(),
        ..request
    };
    in_every_version(&nameless, run, |_, answer| {
        assert_eq!(answer.error_code, 24)
    });
}

fn leave_request() -> LeaveGroupRequest {
    let member = |id: &str, instance: Option<&str>| MemberIdentity {
        member_id: text(id),
        group_instance_id: instance.map(text),
        reason: Some(text("because")),
    };
    LeaveGroupRequest {
        group_id: text("g"),
        members: vec![member("a", None), member("", Some("static"))],
        member_id: text("a"),
    }
}

#[test]
fn members_leave_one_by_one_or_in_batches() {
    let fake = Fake::answering(|_, request| {
        let GroupRequest::Leave { members, .. } = request else {
            panic!("{request:?}");
        };
        let mut codes = vec![ErrorCode::None; members.len()];
        if let Some(second) = codes.get_mut(1) {
            *second = ErrorCode::UnknownMemberId;
        }
        Ok(GroupReply::Left(codes))
    });
    let run = async |version, request| leave_group::handle(fake.clone(), version, request).await;
    in_every_version(&leave_request(), run, |version, answer| {
        assert_eq!(answer.error_code, 0);
        let rows: Vec<_> = answer
            .members
            .iter()
            .map(|m| (&*m.member_id, m.group_instance_id.as_deref(), m.error_code))
            .collect();
        if version < 3 {
            assert_eq!(rows, []);
        } else {
            assert_eq!(rows, [("a", None, 0), ("", Some("static"), 25)]);
        }
    });
    for (version, asked) in versions::<LeaveGroupRequest>().zip(fake.asked()) {
        let mut members = vec![MemberRef {
            id: "a".to_owned(),
            instance: None,
        }];
        if version >= 3 {
            members.push(MemberRef {
                id: String::new(),
                instance: Some("static".to_owned()),
            });
        }
        let reason = if version >= 5 { "because" } else { "" };
        let leaver = |member| Leaver {
            member,
            reason: reason.to_owned(),
        };
        let members = members.into_iter().map(leaver).collect();
        let group = "g".to_owned();
        assert_eq!(asked, GroupRequest::Leave { group, members });
    }
}

#[test]
fn before_version_3_the_member_s_error_is_the_answer_s() {
    let fake = Fake::answering(|_, request| match request {
        GroupRequest::Leave { members, .. } => {
            let codes = vec![ErrorCode::FencedInstanceId; members.len()];
            Ok(GroupReply::Left(codes))
        }
        other => panic!("{other:?}"),
    });
    let run = async |version, request| leave_group::handle(fake.clone(), version, request).await;
    in_every_version(&leave_request(), run, |version, answer| {
        assert_eq!(answer.error_code, if version < 3 { 82 } else { 0 });
    });
}

#[test]
fn nobody_leaves_a_group_that_is_elsewhere_or_not_there() {
    let elsewhere = Fake::elsewhere();
    let run =
        async |version, request| leave_group::handle(elsewhere.clone(), version, request).await;
    in_every_version(&leave_request(), run, |_, answer| {
        assert_eq!((answer.error_code, answer.members.len()), (16, 0));
    });
    let absent = Fake::failing(ErrorCode::UnknownMemberId);
    let run = async |version, request| leave_group::handle(absent.clone(), version, request).await;
    in_every_version(&leave_request(), run, |version, answer| {
        if version < 3 {
            assert_eq!(answer.error_code, 25);
        } else {
            assert_eq!(answer.error_code, 0);
            assert!(answer.members.iter().all(|member| member.error_code == 25));
            assert_eq!(answer.members.len(), 2);
        }
    });
    let nameless = LeaveGroupRequest {
        group_id: Str::new(),
        ..leave_request()
    };
    let run = async |version, request| leave_group::handle(Fake::silent(), version, request).await;
    in_every_version(&nameless, run, |_, answer| {
        assert_eq!((answer.error_code, answer.members.len()), (24, 0));
    });
}
