//! The repository against its own rules. Each rule names what to do instead, and is itself tested
//! on a text that breaks it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// All files of the repository that git does not ignore, relative to its root.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<String> = listed.lines().map(str::to_owned).collect();
    assert!(
        files.len() > 50,
        "only {} files found: the rules would be vacuous",
        files.len()
    );
    files
}

/// Applies a rule to every text file; panics with all findings.
fn enforce(rule: fn(&str, &str) -> Vec<String>) {
    let mut findings = Vec::new();
    for path in files() {
        // Files that are no text, or that were just deleted, have no lines to look at.
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            findings.extend(
                rule(&path, &text)
                    .into_iter()
                    .map(|what| format!("{path}: {what}")),
            );
        }
    }
    assert!(
        findings.is_empty(),
        "{} findings\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// Lines that hold one of these words, outside of comments where `code_only`.
fn lines_with(text: &str, words: &[String], code_only: bool) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = if code_only {
            line.split("//").next().unwrap_or_default()
        } else {
            line
        };
        for word in words.iter().filter(|word| line.contains(word.as_str())) {
            found.push((number + 1, word.clone()));
        }
    }
    found
}

fn no_unfinished_code(path: &str, text: &str) -> Vec<String> {
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    // Put together here, or this file would break its own rule.
    let words: Vec<String> = ["todo", "unimplemented", "dbg"]
        .map(|word| format!("{word}!("))
        .into();
    let found = lines_with(text, &words, true).into_iter();
    found
        .map(|(line, word)| format!("line {line}: {word} - finish it or return an error"))
        .collect()
}

fn no_machine_paths(path: &str, text: &str) -> Vec<String> {
    if path.ends_with(".lock") {
        return Vec::new();
    }
    let words: Vec<String> = ["work", "root", "home", "Users"]
        .map(|word| format!("/{word}/"))
        .into();
    let found = lines_with(text, &words, false).into_iter();
    // Part of a longer relative path, such as a URL's, is none of a machine's.
    let absolute = |line: usize, word: &str| {
        let line = text.lines().nth(line - 1).unwrap_or_default();
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|before| !before.is_alphanumeric() && !"._-}/$".contains(before))
        })
    };
    let found = found.filter(|(line, word)| absolute(*line, word));
    found
        .map(|(line, word)| format!("line {line}: {word}... - use a relative path"))
        .collect()
}

/// Lines that a source file may have; its tests may have more.
const SOURCE_LINES_MAX: usize = 600;

fn no_giant_sources(path: &str, text: &str) -> Vec<String> {
    let is_test = path.contains("/tests") || path.ends_with("tests.rs");
    if !path.ends_with(".rs")
        || !path.contains("/src/")
        || is_test && !path.starts_with("tests/src")
    {
        return Vec::new();
    }
    let lines = text.lines().count();
    if lines <= SOURCE_LINES_MAX {
        return Vec::new();
    }
    vec![format!(
        "{lines} lines, at most {SOURCE_LINES_MAX} - split it where there is a noun"
    )]
}

/// The bounded waits themselves, and servers of tests whose delays are the fault and no wait.
const MAY_SLEEP: [&str; 4] = [
    "tests/src/wait.rs",
    "tests/src/proxy.rs",
    "broker/src/peer/tests/wait.rs",
    "benches/src/generator/tests.rs",
];

/// Whether it is a test: of the room of tests, or a unit test beside what it tests.
fn is_test_code(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

fn no_sleeps_in_tests(path: &str, text: &str) -> Vec<String> {
    if !path.ends_with(".rs") || !is_test_code(path) || MAY_SLEEP.contains(&path) {
        return Vec::new();
    }
    // Imported or by its path.
    let found = lines_with(text, &[format!("{}(", "sleep")], true).into_iter();
    found
        .map(|(line, word)| format!("line {line}: {word} - use the wait of its room"))
        .collect()
}

fn no_ignored_tests(path: &str, text: &str) -> Vec<String> {
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    let words: Vec<String> = vec![format!("#[{}]", "ignore")];
    let found = lines_with(text, &words, true).into_iter();
    found
        .map(|(line, _)| format!("line {line}: an ignored test needs its reason"))
        .collect()
}

#[test]
fn nothing_unfinished() {
    assert_eq!(
        no_unfinished_code("a/src/b.rs", &format!("fn a() {{ {}!() }}", "todo")).len(),
        1
    );
    assert!(no_unfinished_code("a/src/b.rs", "// todo!() is forbidden").is_empty());
    enforce(no_unfinished_code);
}

#[test]
fn no_paths_of_one_machine() {
    let bad = format!("let path = \"/{}/me/x\";", "home");
    assert_eq!(no_machine_paths("a.rs", &bad).len(), 1);
    let url = format!("see https://example.org/{}/page", "home");
    assert!(no_machine_paths("a.md", &url).is_empty());
    enforce(no_machine_paths);
}

#[test]
fn no_giant_files() {
    assert_eq!(no_giant_sources("a/src/b.rs", &"x\n".repeat(601)).len(), 1);
    assert!(no_giant_sources("a/src/b.rs", &"x\n".repeat(600)).is_empty());
    assert!(no_giant_sources("a/src/b/tests.rs", &"x\n".repeat(601)).is_empty());
    enforce(no_giant_sources);
}

#[test]
fn tests_wait_for_conditions_in_one_place() {
    let bad = format!("std::thread::{}(second);", "sleep");
    for path in [
        "broker/src/a/tests.rs",
        "broker/src/a/tests/b.rs",
        "raft/tests/a.rs",
        "tests/tests/a.rs",
        "tests/src/a.rs",
    ] {
        assert_eq!(no_sleeps_in_tests(path, &bad).len(), 1, "{path}");
    }
    let imported = format!("{}(second).await;", "sleep");
    assert_eq!(no_sleeps_in_tests("tests/tests/a.rs", &imported).len(), 1);
    assert!(no_sleeps_in_tests("broker/src/a.rs", &bad).is_empty());
    for path in MAY_SLEEP {
        assert!(no_sleeps_in_tests(path, &bad).is_empty(), "{path}");
        assert!(root().join(path).exists(), "{path} is gone: take it off");
    }
    enforce(no_sleeps_in_tests);
}

#[test]
fn no_test_is_ignored_without_a_reason() {
    assert_eq!(
        no_ignored_tests("a.rs", &format!("#[{}]", "ignore")).len(),
        1
    );
    assert!(no_ignored_tests("a.rs", "#[ignore = \"needs a day\"]").is_empty());
    enforce(no_ignored_tests);
}

#[test]
fn top_level_is_as_decided() {
    let rooms = [
        "broker", "raft", "wal", "snapshot", "protocol", "benches", "tests", "ops",
    ];
    let mut found: Vec<String> = files()
        .iter()
        .filter_map(|path| path.split_once('/').map(|(folder, _)| folder.to_owned()))
        .filter(|folder| !folder.starts_with('.'))
        .collect();
    found.sort();
    found.dedup();
    let unexpected: Vec<&String> = found
        .iter()
        .filter(|folder| !rooms.contains(&folder.as_str()))
        .collect();
    assert!(
        unexpected.is_empty(),
        "{unexpected:?}: put it into one of {rooms:?}"
    );
    let crates = rooms.iter().filter(|room| **room != "ops");
    let missing: Vec<&&str> = crates
        .filter(|room| !root().join(room).join("Cargo.toml").exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?} have no Cargo.toml");
}
