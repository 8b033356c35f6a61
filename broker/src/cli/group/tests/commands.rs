//! The commands against a broker of a few lines.

use clap::Parser;

use super::super::*;
use super::stand_in::broker;
use crate::cli::{Cli, execute};

fn run(address: &str, arguments: &[&str]) -> Result<()> {
    let target = ["-b", address, "--timeout", "5"];
    let all = [&["walser", "group"], arguments, &target].concat();
    execute(
        Cli::try_parse_from(all)
            .expect("arguments that parse")
            .command,
    )
}

#[test]
fn groups_are_listed_and_described() {
    let (address, world) = broker("Stable", &[(0, 150)]);
    assert_eq!(run(&address, &["list"]), Ok(()));
    world.lock().expect("nobody panicked").moving = 2;
    for format in ["text", "wide", "json"] {
        assert_eq!(
            run(&address, &["describe", "g", "--format", format]),
            Ok(())
        );
    }
    assert_eq!(
        world.lock().expect("nobody panicked").moving,
        0,
        "asked again"
    );
    assert_eq!(run(&address, &["why", "g"]), Ok(()));
    let absent = run(&address, &["describe", "other"]).expect_err("no such group");
    assert_eq!(absent.exit, Exit::NotFound, "{absent}");
}

#[test]
fn a_group_is_moved() {
    let (address, world) = broker("Empty", &[(0, 150), (1, 160)]);
    let committed = || {
        let world = world.lock().expect("nobody panicked");
        (world.commits, world.committed[&0], world.committed[&1])
    };
    let dry = ["seek", "g", "--to", "start", "--dry-run"];
    assert_eq!(run(&address, &dry), Ok(()));
    assert_eq!(committed(), (0, 150, 160), "nothing is changed");
    for (to, topics, after) in [
        ("start", &[][..], (1, 100, 100)),
        ("+5", &[], (2, 105, 105)),
        ("-5", &["orders/1"], (3, 105, 100)),
        ("@5000", &["orders"], (4, 150, 150)),
        ("@9000", &[], (5, 200, 200)),
        ("170", &["orders/0", "orders/1"], (6, 170, 170)),
    ] {
        let mut arguments = vec!["seek", "g", "--to", to, "--yes"];
        arguments.extend(topics.iter().flat_map(|topic| ["--topic", topic]));
        assert_eq!(run(&address, &arguments), Ok(()), "{to}");
        assert_eq!(committed(), after, "{to}");
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let unsaid = run(&address, &["seek", "g", "--to", "end"]).expect_err("not said");
        assert_eq!(unsaid.exit, Exit::NeedsYes);
        assert_eq!(committed(), (6, 170, 170));
    }
    let absent = ["seek", "other", "--to", "end", "--yes"];
    let absent = run(&address, &absent).expect_err("no such group");
    assert_eq!(absent.exit, Exit::NotFound);
    let nowhere = ["seek", "g", "--to", "end", "--yes", "--topic", "orders/9"];
    let nowhere = run(&address, &nowhere).expect_err("no such partition");
    assert_eq!(nowhere.exit, Exit::NotFound);
    // A commit that is refused is not told as done.
    world.lock().expect("nobody panicked").refuses = 25;
    let refused = ["seek", "g", "--to", "end", "--yes"];
    let refused = run(&address, &refused).expect_err("somebody joined meanwhile");
    assert_eq!(refused.exit, Exit::Failure, "{refused}");
}

#[test]
fn a_group_that_reads_is_left_alone() {
    let (address, world) = broker("Stable", &[(0, 150)]);
    for arguments in [
        &["seek", "g", "--to", "start", "--yes"][..],
        &["delete", "g", "--yes"],
    ] {
        let refused = run(&address, arguments).expect_err("it has members");
        assert_eq!(refused.exit, Exit::Failure);
        assert!(
            refused.message.contains("has 1 members and is Stable"),
            "{refused}"
        );
    }
    let world = world.lock().expect("nobody panicked");
    assert_eq!((world.commits, world.deleted.len()), (0, 0));
}

#[test]
fn groups_are_deleted() {
    let (address, world) = broker("Empty", &[(0, 150)]);
    assert_eq!(run(&address, &["delete", "g", "--dry-run"]), Ok(()));
    let deleted = || world.lock().expect("nobody panicked").deleted.clone();
    assert_eq!(deleted(), Vec::<String>::new());
    let absent = run(&address, &["delete", "g", "other", "--yes"]).expect_err("no such group");
    assert_eq!(absent.exit, Exit::NotFound);
    assert_eq!(deleted(), Vec::<String>::new(), "all or none are there");
    assert_eq!(run(&address, &["delete", "g", "--yes"]), Ok(()));
    assert_eq!(deleted(), ["g"]);
}
