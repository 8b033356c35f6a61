//! Describing, listing, deleting groups.

use bytes::Bytes;
use protocol::messages::delete_groups::DeleteGroupsRequest;
use protocol::messages::describe_groups::DescribeGroupsRequest;
use protocol::messages::list_groups::ListGroupsRequest;

use super::*;
use crate::coordinator::reply::{Described, DescribedMember, GroupStateName};

fn described() -> Fake {
    Fake::answering(|group, request| {
        let named = GroupRequest::Describe {
            group: group.to_owned(),
        };
        assert_eq!(*request, named);
        let state = match group {
            "x" => return Err(ErrorCode::NotCoordinator),
            "loading" => return Err(ErrorCode::CoordinatorLoadInProgress),
            "g" => GroupStateName::Stable,
            _ => GroupStateName::Dead,
        };
        let member = DescribedMember {
            id: "me".to_owned(),
            instance: Some("static".to_owned()),
            client_id: "app".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"mine"),
        };
        let stable = state == GroupStateName::Stable;
        Ok(GroupReply::Described(Described {
            state,
            protocol_type: if stable { "consumer" } else { "" }.to_owned(),
            protocol_name: if stable { "range" } else { "" }.to_owned(),
            members: if stable { vec![member] } else { Vec::new() },
        }))
    })
}

#[test]
fn groups_are_described_one_by_one() {
    let request = DescribeGroupsRequest {
        groups: ["x", "g", "absent", "loading", ""].map(text).to_vec(),
        include_authorized_operations: true,
    };
    let run = async |version, request| describe_groups::handle(described(), version, request).await;
    in_every_version(&request, run, |version, answer| {
        let absent = if version >= 6 { 69 } else { 0 };
        let rows: Vec<_> = answer
            .groups
            .iter()
            .map(|group| (&*group.group_id, group.error_code, &*group.group_state))
            .collect();
        let expected = [
            ("x", 16, ""),
            ("g", 0, "Stable"),
            ("absent", absent, "Dead"),
            ("loading", 14, ""),
            ("", absent, "Dead"),
        ];
        assert_eq!(rows, expected, "version {version}");
        let message = answer.groups[2].error_message.as_deref();
        let expected = (version >= 6).then_some("Group absent not found.");
        assert_eq!(message, expected);
        let known = &answer.groups[1];
        assert_eq!(known.error_message, None);
        let protocol = (&*known.protocol_type, &*known.protocol_data);
        assert_eq!(protocol, ("consumer", "range"));
        let member = &known.members[0];
        let who = (&*member.member_id, &*member.client_id, &*member.client_host);
        assert_eq!(who, ("me", "app", "/10.0.0.1"));
        let instance = (version >= 4).then(|| text("static"));
        assert_eq!(member.group_instance_id, instance);
        assert_eq!(member.member_metadata, "sub");
        assert_eq!(member.member_assignment, "mine");
        let operations = if version >= 3 { 3400 } else { i32::MIN };
        assert_eq!(known.authorized_operations, operations);
        assert_eq!(answer.groups[0].authorized_operations, i32::MIN, "an error");
    });
    let unasked = DescribeGroupsRequest {
        groups: vec![text("g")],
        include_authorized_operations: false,
    };
    in_every_version(&unasked, run, |_, answer| {
        assert_eq!(answer.groups[0].authorized_operations, i32::MIN);
    });
}

fn listing(listed: Result<Vec<Listed>, ErrorCode>) -> Fake {
    let fake = Fake::silent();
    let mut inner = Rc::into_inner(fake.0).expect("nobody else has it");
    inner.listed = listed;
    Fake(Rc::new(inner))
}

fn listed() -> Fake {
    let group = |group: &str, state, group_type| Listed {
        group: group.to_owned(),
        protocol_type: "consumer".to_owned(),
        state,
        group_type,
    };
    listing(Ok(vec![
        group("a", GroupStateName::Stable, "classic"),
        group("b", GroupStateName::Empty, "classic"),
        group("c", GroupStateName::Stable, "consumer"),
    ]))
}

#[test]
fn groups_are_listed_with_what_each_version_has() {
    let run = async |_, request| list_groups::handle(listed(), request).await;
    in_every_version(&ListGroupsRequest::default(), run, |version, answer| {
        assert_eq!(answer.error_code, 0);
        let rows: Vec<_> = answer
            .groups
            .iter()
            .map(|g| {
                (
                    &*g.group_id,
                    &*g.protocol_type,
                    &*g.group_state,
                    &*g.group_type,
                )
            })
            .collect();
        let since = |first: i16, word| if version >= first { word } else { "" };
        let row = |group, state, kind| (group, "consumer", since(4, state), since(5, kind));
        let expected = [
            row("a", "Stable", "classic"),
            row("b", "Empty", "classic"),
            row("c", "Stable", "consumer"),
        ];
        assert_eq!(rows, expected, "version {version}");
    });
}

#[test]
fn lists_are_filtered_by_states_and_types() {
    for (states, types, with_states, with_both) in [
        (&["Stable"][..], &["consumer"][..], "ac", "c"),
        (&["sTABLE", "Empty"], &["CLASSIC"], "abc", "ab"),
        (&[], &["classic"], "abc", "ab"),
        (&["NoSuchState"], &[], "", ""),
        (&["Empty"], &["share"], "b", ""),
    ] {
        let words = |words: &[&str]| words.iter().copied().map(text).collect();
        let request = ListGroupsRequest {
            states_filter: words(states),
            types_filter: words(types),
        };
        let run = async |_, request| list_groups::handle(listed(), request).await;
        in_every_version(&request, run, |version, answer| {
            let expected = match version {
                0..=3 => "abc",
                4 => with_states,
                _ => with_both,
            };
            let found: String = answer.groups.iter().map(|g| &*g.group_id).collect();
            assert_eq!(found, expected, "version {version}: {states:?} {types:?}");
        });
    }
}

#[test]
fn a_part_of_the_groups_is_not_listed_as_all() {
    let fake = listing(Err(ErrorCode::CoordinatorLoadInProgress));
    let run = async |_, request| list_groups::handle(fake.clone(), request).await;
    in_every_version(&ListGroupsRequest::default(), run, |_, answer| {
        assert_eq!((answer.error_code, answer.groups.len()), (14, 0));
    });
}

#[test]
fn groups_are_deleted_one_by_one_each_once() {
    let fake = Fake::answering(|group, _| match group {
        "x" => Err(ErrorCode::NotCoordinator),
        "busy" => Ok(GroupReply::Failed {
            code: ErrorCode::NonEmptyGroup,
            member: String::new(),
        }),
        _ => Ok(GroupReply::Done),
    });
    let request = DeleteGroupsRequest {
        groups_names: ["x", "g", "busy", "g"].map(text).to_vec(),
    };
    let run = async |_, request| delete_groups::handle(fake.clone(), request).await;
    in_every_version(&request, run, |_, answer| {
        let rows: Vec<_> = answer
            .results
            .iter()
            .map(|row| (&*row.group_id, row.error_code))
            .collect();
        assert_eq!(rows, [("x", 16), ("g", 0), ("busy", 68)]);
    });
}
