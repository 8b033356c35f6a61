//! Finding the coordinator.

use protocol::messages::FindCoordinatorResponse;
use protocol::messages::find_coordinator::FindCoordinatorRequest;

use super::*;
use crate::handlers::find_coordinator;

fn request(key_type: i8, keys: &[&str]) -> FindCoordinatorRequest {
    FindCoordinatorRequest {
        key: text(keys[0]),
        key_type,
        coordinator_keys: keys.iter().copied().map(text).collect(),
    }
}

fn finding(found: Where, after_creation: Where) -> Fake {
    let mut inner = Rc::into_inner(Fake::silent().0).expect("nobody else has it");
    inner.found = Cell::new(found);
    inner.after_creation = after_creation;
    Fake(Rc::new(inner))
}

/// Code, node, host, port of the first key, and whether there is a message, whatever the version calls it.
fn first(version: i16, answer: &FindCoordinatorResponse) -> (i16, i32, String, i32, bool) {
    if version < 4 {
        assert!(answer.coordinators.is_empty());
        let (code, host) = (answer.error_code, answer.host.to_string());
        // Version 0 has no message.
        let message = version == 0 && code != 0 || answer.error_message.is_some();
        return (code, answer.node_id, host, answer.port, message);
    }
    let one = &answer.coordinators[0];
    let message = one.error_message.is_some();
    (
        one.error_code,
        one.node_id,
        one.host.to_string(),
        one.port,
        message,
    )
}

fn expect(fake: &Fake, request: &FindCoordinatorRequest, expected: (i16, i32, &str, i32)) {
    let run =
        async |version, request| find_coordinator::handle(fake.clone(), version, request).await;
    in_every_version(request, run, |version, answer| {
        let (code, node, host, port, message) = first(version, &answer);
        assert_eq!((code, node, &*host, port), expected, "version {version}");
        assert_eq!(
            message,
            version > 0 || code != 0,
            "also that there is no error"
        );
    });
}

const NOBODY: (i32, &str, i32) = (-1, "", -1);

fn refused(code: i16) -> (i16, i32, &'static str, i32) {
    let (node, host, port) = NOBODY;
    (code, node, host, port)
}

#[test]
fn the_leader_of_the_group_s_partition_is_its_coordinator() {
    let fake = finding(Where::At(2), Where::NoTopic);
    expect(&fake, &request(0, &["g"]), (0, 2, "broker", 9092));
    assert_eq!(fake.0.created.get(), 0);
    expect(
        &finding(Where::NoLeader, Where::NoTopic),
        &request(0, &["g"]),
        refused(15),
    );
}

#[test]
fn the_topic_is_created_when_the_first_client_asks() {
    let fake = finding(Where::NoTopic, Where::At(1));
    expect(&fake, &request(0, &["g", "h"]), (0, 1, "broker", 9092));
    assert_eq!(
        fake.0.created.get(),
        1,
        "once, for all keys and then for all requests"
    );
    // It cannot be created, or nobody leads it yet.
    for after in [Where::NoTopic, Where::NoLeader] {
        expect(
            &finding(Where::NoTopic, after),
            &request(0, &["g"]),
            refused(15),
        );
    }
}

#[test]
fn other_keys_have_no_coordinators_and_create_nothing() {
    for (key_type, key, code) in [
        (1, "t", 15),
        (2, "g:AAAAAAAAAAAAAAAAAAAAAA:0", 42),
        (3, "g", 42),
        (-1, "g", 42),
    ] {
        let fake = finding(Where::NoTopic, Where::At(1));
        let request = request(key_type, &[key]);
        let run =
            async |version, request| find_coordinator::handle(fake.clone(), version, request).await;
        in_every_version(&request, run, |version, answer| {
            // Version 0 knows groups only.
            if version > 0 {
                let (found, node, host, port, message) = first(version, &answer);
                assert_eq!((found, node, &*host, port), refused(code));
                assert!(message);
            }
        });
        let created = fake.0.created.get();
        assert_eq!(created, 1, "by version 0 alone, not by key type {key_type}");
    }
}

#[test]
fn a_batch_is_answered_key_by_key() {
    let fake = finding(Where::At(3), Where::NoTopic);
    let run =
        async |version, request| find_coordinator::handle(fake.clone(), version, request).await;
    in_every_version(&request(0, &["g", "", "h"]), run, |version, answer| {
        if version >= 4 {
            let rows: Vec<_> = answer
                .coordinators
                .iter()
                .map(|one| (&*one.key, one.error_code, one.node_id))
                .collect();
            assert_eq!(rows, [("g", 0, 3), ("", 0, 3), ("h", 0, 3)]);
        }
    });
    let none = FindCoordinatorRequest::default();
    in_every_version(&none, run, |_, answer| {
        assert!(answer.coordinators.is_empty())
    });
}
