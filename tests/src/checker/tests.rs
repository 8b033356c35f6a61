//! Histories made by hand, each refused for exactly its reasons, and large ones made by a seed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::text;
use super::*;

/// A case of a history file: its name, what it must be refused for, and the operations.
struct Case {
    name: String,
    expected: BTreeSet<String>,
    history: History,
}

/// `case NAME: anomaly, anomaly` or `case NAME: valid`, then operations up to the next case.
fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let whole = std::fs::read_to_string(&file).unwrap();
        for part in whole.split("\ncase ").skip(1) {
            let (head, body) = part.split_once('\n').unwrap();
            let (name, expected) = head.split_once(':').unwrap();
            let words = expected.split(',').map(|word| word.trim().to_owned());
            cases.push(Case {
                name: format!("{}/{name}", file.file_stem().unwrap().display()),
                expected: words.filter(|word| word != "valid").collect(),
                history: text::parse(body).unwrap_or_else(|bad| panic!("{name}: {bad:?}")),
            });
        }
    }
    cases
}

fn found(verdict: &Verdict) -> BTreeSet<String> {
    verdict
        .counts
        .keys()
        .map(|anomaly| anomaly.name().to_owned())
        .collect()
}

#[test]
fn hand_made_histories_are_judged_as_written() {
    let cases = cases();
    for case in &cases {
        let verdict = check(&case.history, Rules::default());
        assert_eq!(found(&verdict), case.expected, "{}\n{verdict}", case.name);
    }
    assert!(cases.iter().filter(|case| case.expected.is_empty()).count() >= Anomaly::ALL.len());
}

#[test]
fn every_anomaly_has_a_history_refused_for_it_alone() {
    let cases = cases();
    for anomaly in Anomaly::ALL {
        let only = |case: &&Case| case.expected.iter().eq([anomaly.name()]);
        assert!(
            cases.iter().any(|case| only(&case)),
            "no history for {}",
            anomaly.name()
        );
    }
}

#[test]
fn text_form_is_read_back_equal() {
    for case in cases() {
        let again = text::parse(&text::format(&case.history)).unwrap();
        let (mut one, mut two) = (case.history.ops, again.ops);
        one.sort_by_key(|op| op.invoked);
        two.sort_by_key(|op| op.invoked);
        assert_eq!(one, two, "{}", case.name);
    }
    assert!(text::parse("send p1 10-20 k0=7 perhaps").is_err());
    assert!(text::parse("pull p1 10-20 ok k0:").is_err());
}

#[test]
fn rules_relax_what_the_workload_did_not_ask_for() {
    let refused =
        text::parse("send p1 1-2 k0=1 ok@0\nsend p1 3-4 k0=2 ok@1\nread p2 9-10 ok k0:0=1,1=2,2=1");
    let refused = refused.unwrap();
    assert!(!check(&refused, Rules::default()).is_valid());
    let at_least_once = Rules {
        idempotent: false,
        ordered_producer: false,
        ..Rules::default()
    };
    assert!(check(&refused, at_least_once).is_valid());

    let lost = text::parse("send p1 1-2 k0=1 ok@0\nread p2 9-10 ok k0:").unwrap();
    assert!(!check(&lost, Rules::default()).is_valid());
    let acks_one = Rules {
        durable: false,
        ..Rules::default()
    };
    assert!(check(&lost, acks_one).is_valid());
}

#[test]
fn a_run_without_acknowledgements_or_reads_is_vacuous() {
    let only_sends = text::parse("send p1 1-2 k0=1 info").unwrap();
    assert!(check(&only_sends, Rules::default()).is_vacuous());
    let both = text::parse("send p1 1-2 k0=1 ok@0\nread p2 3-4 ok k0:0=1").unwrap();
    assert!(!check(&both, Rules::default()).is_vacuous());
}

/// A valid history as a correct log would give it: pipelined producers, some sends of unknown
/// end that may or may not be in the log, consumers that follow, full reads at the end.
fn honest(seed: u64, keys: u32, sends: u64) -> History {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ops = Vec::new();
    let mut logs: Vec<Vec<u64>> = vec![Vec::new(); keys as usize];
    let mut read: Vec<usize> = vec![0; keys as usize];
    let mut now = 0;
    for value in 0..sends {
        now += 10;
        let key = rng.random_range(0..keys);
        let log = &mut logs[key as usize];
        let unknown = rng.random_ratio(1, 50);
        let written = !unknown || rng.random_bool(0.5);
        let offset = (!unknown).then_some(log.len() as i64);
        if written {
            log.push(value);
        }
        let outcome = if unknown { Outcome::Info } else { Outcome::Ok };
        let returned = if unknown {
            Op::NEVER
        } else {
            now + rng.random_range(5..500)
        };
        let body = Body::Send {
            key: Key(key),
            value,
            offset,
        };
        ops.push(Op {
            process: key,
            invoked: now,
            returned,
            outcome,
            body,
        });
        if value % 16 == 0 {
            let at = rng.random_range(0..keys) as usize;
            let upto = rng.random_range(read[at]..=logs[at].len());
            let records = slice(&logs[at], read[at], upto);
            read[at] = upto;
            let body = Body::Poll {
                reads: vec![(Key(at as u32), records)],
            };
            let (invoked, returned) = (now + 1, now + 2);
            ops.push(Op {
                process: 1000,
                invoked,
                returned,
                outcome: Outcome::Ok,
                body,
            });
        }
    }
    for (key, log) in logs.iter().enumerate() {
        let body = Body::FullRead {
            key: Key(key as u32),
            records: slice(log, 0, log.len()),
        };
        let (invoked, returned) = (now + 10_000, now + 20_000);
        ops.push(Op {
            process: 2000,
            invoked,
            returned,
            outcome: Outcome::Ok,
            body,
        });
    }
    History { ops }
}

fn slice(log: &[u64], from: usize, to: usize) -> Vec<Record> {
    (from..to)
        .map(|at| Record {
            offset: at as i64,
            value: log[at],
        })
        .collect()
}

#[test]
fn honest_logs_are_accepted() {
    for seed in 0..20 {
        let verdict = check(&honest(seed, 7, 5_000), Rules::default());
        assert!(
            verdict.is_valid() && !verdict.is_vacuous(),
            "seed {seed}: {verdict}"
        );
    }
}

/// Each spoils one thing in an otherwise honest history of thousands of operations.
#[test]
fn one_spoiled_operation_among_thousands_is_found() {
    for seed in 0..20 {
        let rng = &mut StdRng::seed_from_u64(seed);
        for anomaly in [
            Anomaly::InconsistentOffsets,
            Anomaly::Duplicate,
            Anomaly::Unseen,
            Anomaly::Phantom,
            Anomaly::AckOrder,
            Anomaly::AbortedRead,
        ] {
            let mut history = honest(seed, 5, 3_000);
            spoil(&mut history, anomaly, rng);
            let verdict = check(&history, Rules::default());
            let counted = verdict.counts.contains_key(&anomaly);
            assert!(counted, "seed {seed}: no {} in {verdict}", anomaly.name());
        }
    }
}

fn spoil(history: &mut History, anomaly: Anomaly, rng: &mut StdRng) {
    let full = history.ops.iter().rposition(|op| match &op.body {
        Body::FullRead { records, .. } => records.len() > 10,
        _ => false,
    });
    let full = full.unwrap();
    let Body::FullRead { key, records } = &mut history.ops[full].body else {
        unreachable!()
    };
    let (key, at) = (*key, rng.random_range(1..records.len() - 2));
    match anomaly {
        Anomaly::InconsistentOffsets => records[at].value = records[at + 1].value,
        Anomaly::Duplicate => {
            let again = Record {
                offset: records.len() as i64,
                value: records[at].value,
            };
            records.push(again);
        }
        Anomaly::Unseen => {
            let acked = |value: u64| {
                move |op: &Op| {
                    op.outcome == Outcome::Ok
                        && matches!(op.body, Body::Send { value: v, .. } if v == value)
                }
            };
            let records = records.clone();
            let last = records
                .iter()
                .rposition(|record| history.ops.iter().any(acked(record.value)));
            let Body::FullRead { records, .. } = &mut history.ops[full].body else {
                unreachable!()
            };
            records.truncate(last.unwrap());
        }
        Anomaly::Phantom => records[at].value = u64::MAX,
        Anomaly::AckOrder => {
            // The send at `at` now claims to have begun after everything had returned.
            let value = records[at].value;
            let op = sender(history, key, value);
            (op.invoked, op.returned, op.outcome) = (1 << 40, 1 << 41, Outcome::Ok);
            let Body::Send { offset, .. } = &mut op.body else {
                unreachable!()
            };
            *offset = Some(at as i64);
        }
        _ => {
            let value = records[at].value;
            sender(history, key, value).outcome = Outcome::Fail;
        }
    }
}

fn sender(history: &mut History, wanted: Key, wanted_value: u64) -> &mut Op {
    let of = |op: &&mut Op| matches!(op.body, Body::Send { key, value, .. } if key == wanted && value == wanted_value);
    history.ops.iter_mut().find(of).unwrap()
}

/// The bound is generous: a quadratic step would miss it by orders of magnitude.
#[test]
fn a_million_operations_are_judged_in_seconds() {
    let history = honest(1, 16, 1_000_000);
    let started = Instant::now();
    let verdict = check(&history, Rules::default());
    assert!(verdict.is_valid(), "{verdict}");
    let seconds = started.elapsed().as_secs();
    assert!(
        seconds < 60,
        "{} operations took {seconds} s",
        history.ops.len()
    );
}
