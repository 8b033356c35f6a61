//! The fast tier: seeds that must pass, and determinism. Batches with the check against vacuity: `sim --from N --seeds M`.

use sim::{Plan, run};

/// Seeds that once failed, with what they showed.
const PINNED: [(u64, &str); 3] = [
    (1, "what a follower commits before its disk has it"),
    (2, "a read began behind its offset after a restart"),
    (4, "a commit that is trimmed at once"),
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
