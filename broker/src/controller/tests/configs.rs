//! Configs: set, deleted, appended, replaced, refused.

use super::*;
use crate::metadata::ConfigScope;

fn alter(target: ConfigTarget, changes: &[(&str, ConfigOperation)]) -> ControllerRequest {
    let changes = changes
        .iter()
        .map(|(name, op)| ((*name).to_owned(), op.clone()))
        .collect();
    let resources = vec![AlterConfigs {
        target,
        changes,
        replace: false,
    }];
    ControllerRequest::AlterConfigs {
        resources,
        validate_only: false,
    }
}

fn orders() -> ConfigTarget {
    ConfigTarget::Topic("orders".to_owned())
}

fn set(value: &str) -> ConfigOperation {
    ConfigOperation::Set(Some(value.to_owned()))
}

fn world() -> World {
    let mut world = World::new(2);
    world.create(topic("orders", 1, 1)).unwrap();
    world
}

fn config(world: &World, name: &str) -> Option<String> {
    world
        .image()
        .topic_named("orders")
        .unwrap()
        .configs
        .get(name)
        .cloned()
}

#[test]
fn set_and_delete() {
    let mut world = world();
    let changes = [("retention.ms", set("5")), ("durability", set("relaxed"))];
    world.one(alter(orders(), &changes)).unwrap();
    assert_eq!(config(&world, "retention.ms").as_deref(), Some("5"));
    world
        .one(alter(
            orders(),
            &[("retention.ms", ConfigOperation::Delete)],
        ))
        .unwrap();
    assert_eq!(config(&world, "retention.ms"), None);
    assert_eq!(config(&world, "durability").as_deref(), Some("relaxed"));
    // Again, and of what was never set: a success without an entry.
    let again = alter(orders(), &[("retention.ms", ConfigOperation::Delete)]);
    assert_eq!(world.plan(&again)[0].action, None);
    world.one(again).unwrap();
}

#[test]
fn lists_grow_and_shrink_from_what_is_in_force() {
    let mut world = world();
    let key = "leader.replication.throttled.replicas";
    let append = |v: &str| ConfigOperation::Append(Some(v.to_owned()));
    let subtract = |v: &str| ConfigOperation::Subtract(Some(v.to_owned()));
    world
        .one(alter(orders(), &[(key, append("0:1,1:2"))]))
        .unwrap();
    world
        .one(alter(orders(), &[(key, append("1:2,2:3"))]))
        .unwrap();
    assert_eq!(config(&world, key).as_deref(), Some("0:1,1:2,2:3"));
    world
        .one(alter(orders(), &[(key, subtract("1:2,9:9"))]))
        .unwrap();
    assert_eq!(config(&world, key).as_deref(), Some("0:1,2:3"));
    // The default of cleanup.policy is delete: appending compact is refused for what it would become.
    let refused = [
        alter(orders(), &[("cleanup.policy", append("compact"))]),
        alter(orders(), &[("cleanup.policy", subtract("delete"))]),
        alter(orders(), &[(key, append("nonsense"))]),
        alter(orders(), &[("retention.ms", append("5"))]),
        alter(orders(), &[("retention.ms", subtract("5"))]),
    ];
    for request in refused {
        assert_eq!(world.code(request), ErrorCode::InvalidConfig);
    }
}

#[test]
fn refusals() {
    let mut world = world();
    let cases = [
        (
            alter(orders(), &[("no.such", set("1"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(orders(), &[("no.such", ConfigOperation::Delete)]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(orders(), &[("retention.ms", set("x"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(orders(), &[("compression.type", set("gzip"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(orders(), &[("max.message.bytes", set("2000000000"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(orders(), &[("retention.ms", ConfigOperation::Set(None))]),
            ErrorCode::InvalidRequest,
        ),
        (
            alter(
                orders(),
                &[("retention.ms", set("1")), ("retention.ms", set("2"))],
            ),
            ErrorCode::InvalidRequest,
        ),
        (
            alter(
                ConfigTarget::Topic("none".to_owned()),
                &[("retention.ms", set("1"))],
            ),
            ErrorCode::UnknownTopicOrPartition,
        ),
    ];
    for (request, code) in cases {
        assert_eq!(world.code(request.clone()), code, "{request:?}");
    }
    assert_eq!(
        world.image().topic_named("orders").unwrap().configs.len(),
        0
    );
}

#[test]
fn one_wrong_key_spoils_its_resource_only() {
    let mut world = world();
    world.create(topic("clicks", 1, 1)).unwrap();
    let wrong = vec![
        ("retention.ms".to_owned(), set("5")),
        ("retention.bytes".to_owned(), set("x")),
    ];
    let right = vec![("retention.ms".to_owned(), set("5"))];
    let clicks = ConfigTarget::Topic("clicks".to_owned());
    let resources = vec![
        AlterConfigs {
            target: orders(),
            changes: wrong,
            replace: false,
        },
        AlterConfigs {
            target: clicks,
            changes: right,
            replace: false,
        },
    ];
    let items = world.run(ControllerRequest::AlterConfigs {
        resources,
        validate_only: false,
    });
    assert!(items[0].is_err() && items[1].is_ok());
    assert_eq!(config(&world, "retention.ms"), None);
}

#[test]
fn repeated_resources_are_refused() {
    let mut world = world();
    let changes = vec![("retention.ms".to_owned(), set("5"))];
    let resource = AlterConfigs {
        target: orders(),
        changes,
        replace: false,
    };
    let resources = vec![resource.clone(), resource];
    let items = world.run(ControllerRequest::AlterConfigs {
        resources,
        validate_only: false,
    });
    assert!(
        items
            .iter()
            .all(|i| i.as_ref().unwrap_err().code == ErrorCode::InvalidRequest)
    );
}

#[test]
fn the_older_alter_replaces_everything() {
    let mut world = world();
    world
        .one(alter(
            orders(),
            &[("retention.ms", set("5")), ("segment.ms", set("6"))],
        ))
        .unwrap();
    let changes = vec![("retention.bytes".to_owned(), set("7"))];
    let resources = vec![AlterConfigs {
        target: orders(),
        changes,
        replace: true,
    }];
    world
        .one(ControllerRequest::AlterConfigs {
            resources,
            validate_only: false,
        })
        .unwrap();
    let configs = &world.image().topic_named("orders").unwrap().configs;
    assert_eq!(
        configs.iter().collect::<Vec<_>>(),
        [(&"retention.bytes".to_owned(), &"7".to_owned())]
    );
}

#[test]
fn validate_only() {
    let mut world = world();
    let changes = vec![("retention.ms".to_owned(), set("5"))];
    let resources = vec![AlterConfigs {
        target: orders(),
        changes,
        replace: false,
    }];
    let request = ControllerRequest::AlterConfigs {
        resources,
        validate_only: true,
    };
    world.one(request).unwrap();
    assert_eq!(config(&world, "retention.ms"), None);
}

#[test]
fn broker_configs() {
    let mut world = world();
    let one = |node| ConfigTarget::Broker(ConfigScope::Node(NodeId(node)));
    let all = ConfigTarget::Broker(ConfigScope::Cluster);
    let rate = "leader.replication.throttled.rate";
    world.one(alter(one(1), &[(rate, set("1000"))])).unwrap();
    world
        .one(alter(all.clone(), &[("log.retention.ms", set("5"))]))
        .unwrap();
    let cluster = world.image().broker_configs(ConfigScope::Cluster);
    assert_eq!(cluster["log.retention.ms"], "5");
    // As kafka-reassign-partitions --verify does.
    world
        .one(alter(one(1), &[(rate, ConfigOperation::Delete)]))
        .unwrap();
    assert!(
        world
            .image()
            .broker_configs(ConfigScope::Node(NodeId(1)))
            .is_empty()
    );
    let cases = [
        (
            alter(one(9), &[(rate, set("1"))]),
            ErrorCode::BrokerIdNotRegistered,
        ),
        (
            alter(one(1), &[("node.id", set("2"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(one(1), &[("log.retention.ms", set("2"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(all.clone(), &[("log.retention.ms", set("x"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(all.clone(), &[("message.max.bytes", set("2000000000"))]),
            ErrorCode::InvalidConfig,
        ),
        (
            alter(all, &[("no.such", set("2"))]),
            ErrorCode::InvalidConfig,
        ),
    ];
    for (request, code) in cases {
        assert_eq!(world.code(request.clone()), code, "{request:?}");
    }
}
