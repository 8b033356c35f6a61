use super::*;

#[test]
fn who_began_a_rebalance_is_named_or_said_not_to_be_known() {
    let last = LastRebalance {
        at_ms: 1_000,
        reason: "left".to_owned(),
        member: "worker-7".to_owned(),
        client_id: "worker".to_owned(),
        client_host: "/10.0.0.7".to_owned(),
        words: "poll timeout\n".to_owned(),
        late_members: 2,
        ..LastRebalance::default()
    };
    let mut view = GroupView {
        coordinator: 3,
        coordinator_since_ms: 15_000,
        last_rebalance: Some(last),
        ..GroupView::default()
    };
    assert_eq!(
        rebalance_at(&view, 21_500).as_deref(),
        Some(
            "its last rebalance began 20 s ago because worker-7 left (client worker at /10.0.0.7), saying \
             \"poll timeout\\n\"; 2 members did not come back in time"
        )
    );
    view.last_rebalance = None;
    assert_eq!(rebalance_at(&view, 21_500), None, "it never had one");
    view.changed_ms = Some(11_000);
    let text = rebalance_at(&view, 21_500).expect("something is known");
    assert!(
        text.contains("ended 10 s ago; what began it is not known"),
        "{text}"
    );
    assert!(
        text.contains("node 3 coordinates the group only since 6 s ago"),
        "{text}"
    );
}

#[test]
fn names_of_groups_are_parts_of_paths() {
    assert_eq!(escaped("orders-v1.2_x~"), "orders-v1.2_x~");
    assert_eq!(escaped("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
}
