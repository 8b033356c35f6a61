//! Every mutant is caught by the test that is there for it.

use std::process::Command;

const CAUGHT_BY: [(u32, &str); 15] = [
    (1, "errors::e2_vote_survives"),
    (2, "catalogue::d16_a_round_of_another"),
    (3, "catalogue::x6_a_lost_stretch"),
    (4, "catalogue::d4_a_new_segment"),
    (5, "damage::w3_d1_d2"),
    (6, "errors::d7_failed_sync"),
    (7, "errors::d7_failed_sync"),
    (8, "catalogue::x6_a_lost_manifest"),
    (9, "catalogue::x2_a_truncation_reaches"),
    (10, "catalogue::x3_a_stale_copy"),
    (11, "catalogue::d3_names_are_durable"),
    (12, "catalogue::x1_base_outlives"),
    (13, "explorer::w1_last_round_torn"),
    (14, "catalogue::d5_the_old_tail"),
    (15, "cache::d5_what_only"),
];

fn passes(mutant: Option<u32>, test: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg(test)
        .env("RUST_BACKTRACE", "0")
        .env_remove("WALSER_MUTANT");
    if let Some(number) = mutant {
        command.env("WALSER_MUTANT", number.to_string());
    }
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("running 1 test"),
        "one test is meant by {test}: {shown}"
    );
    output.status.success()
}

#[test]
fn every_mutant_is_caught() {
    let mut survivors = Vec::new();
    for (mutant, test) in CAUGHT_BY {
        assert!(passes(None, test), "{test} passes without a mutant");
        if passes(Some(mutant), test) {
            survivors.push((mutant, test));
        }
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}
