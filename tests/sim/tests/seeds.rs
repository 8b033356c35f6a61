//! The fast tier: seeds that must pass, and determinism. Batches with the check against vacuity: `sim --from N --seeds M`.

use std::process::Command;

use sim::{Plan, run};

/// Seeds that once failed, with what they showed.
const PINNED: [(u64, &str); 17] = [
    (1, "what a follower commits before its disk has it"),
    (2, "a read began behind its offset after a restart"),
    (4, "a commit that is trimmed at once"),
    (101, "a base without voters offered to a newcomer for ever"),
    (191, "what was never acknowledged, not asked for again"),
    (367, "a spare that could not be made tried for ever"),
    (
        404,
        "a restarted replica that had forgotten which snapshot its log begins with",
    ),
    (756, "a correct producer judged by a deposed leader"),
    (
        919,
        "a judge that forgot what was synced before a truncation",
    ),
    (1445, "a spare that could not be made, at another moment"),
    (20389, "a snapshot lag that nothing ended"),
    (
        20580,
        "a judge that did not hear a member say that it has yet to take what it was told",
    ),
    (
        1_795_600_069,
        "a leader with old metadata that made removed replicas voters again",
    ),
    (
        1_795_600_304,
        "a leadership given back to one that lacks what a lost snapshot is taken from",
    ),
    (
        1_796_002_459,
        "a manifest written again after the log was trimmed, and taken for somebody else's",
    ),
    (
        1_796_002_646,
        "a snapshot upon copies that the others had dropped for the committed ones",
    ),
    (
        1_796_100_047,
        "a snapshot that waited for ever for copies of what was deleted",
    ),
];

/// Seeds of every sort of plan.
const FIXED: [u64; 17] = [
    3, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23,
];

#[test]
fn pinned_seeds_pass() {
    for (seed, showed) in PINNED {
        let outcome = run(&Plan::of(seed));
        assert!(outcome.is_ok(), "once {showed}: {outcome:?}");
    }
}

#[test]
fn fixed_seeds_pass() {
    for seed in FIXED {
        let outcome = run(&Plan::of(seed));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in FIXED.into_iter().take(10) {
        let plan = Plan::of(seed);
        assert_eq!(run(&plan), run(&plan), "seed {seed}");
    }
}

/// The bugs that `mutants/run` plants are a patch: it must follow the sources, and hold each bug of the list.
#[test]
fn every_bug_can_be_planted() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/mutants");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).expect(name);
    let (list, patch) = (read("bugs.txt"), read("bugs.patch"));
    let names = list.lines().filter_map(|line| line.split(": ").next());
    for name in names.clone() {
        assert!(patch.contains(&format!("on(\"{name}\")")), "{name}");
    }
    assert_eq!(names.count(), list.lines().count());
    let check = Command::new("git")
        .args(["apply", "--check", "tests/sim/mutants/bugs.patch"])
        .current_dir(root)
        .output()
        .expect("git is there");
    let why = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{why}");
}
