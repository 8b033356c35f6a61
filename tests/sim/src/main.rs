//! `sim SEED` runs one seed twice and compares; `sim [--from SEED] [--seeds N]` runs many, one on each processor, with
//! `--first` only up to the first that fails.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sim::{Plan, Totals, run};

const USAGE: &str = "usage: sim SEED | sim [--from SEED] [--seeds N] [--first]";
/// A run, or a batch, failed.
const FAILED: u8 = 12;

struct Arguments {
    one: Option<u64>,
    from: u64,
    seeds: u64,
    first: bool,
}

fn arguments() -> Result<Arguments, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut parsed = Arguments {
        one: None,
        from: now.map_or(1, |d| d.as_secs()),
        seeds: 100,
        first: false,
    };
    let mut words = std::env::args().skip(1);
    let number = |word: Option<String>| -> Result<u64, String> {
        let word = word.ok_or("a number is missing")?;
        word.parse().map_err(|_| format!("'{word}' is no number"))
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => parsed.seeds = number(words.next())?,
            "--first" => parsed.first = true,
            "--from" => parsed.from = number(words.next())?,
            seed => parsed.one = Some(number(Some(seed.to_owned()))?),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match arguments.one {
        Some(seed) => replay(seed),
        None => many(arguments.from, arguments.seeds, arguments.first),
    }
}

fn replay(seed: u64) -> ExitCode {
    let plan = Plan::of(seed);
    println!("{plan:#?}");
    let (first, second) = (run(&plan), run(&plan));
    if first != second {
        println!("NOT DETERMINISTIC\n{first:?}\n{second:?}");
        return ExitCode::FAILURE;
    }
    println!("{first:#?}");
    first.map_or(ExitCode::from(FAILED), |_| ExitCode::SUCCESS)
}

/// What seeds come to, each run by whichever thread is free.
fn run_all(from: u64, seeds: u64, first: bool) -> Totals {
    let (next, end) = (AtomicU64::new(from), from + seeds);
    let totals = Mutex::new(Totals::default());
    let run_some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let outcome = run(&Plan::of(seed));
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(report) => totals.add(&report),
                Err(failure) => {
                    totals.failed += 1;
                    println!("seed {seed} failed at {} ms: {}", failure.at, failure.what);
                    if first {
                        next.store(end, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run_some);
        }
    });
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn many(from: u64, seeds: u64, first: bool) -> ExitCode {
    println!("seeds {from}..{}", from + seeds);
    // A panic is reported with its seed, like any failure.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let totals = run_all(from, seeds, first);
    let (real, simulated) = (
        began.elapsed().as_secs_f64(),
        totals.virtual_ms as f64 / 1000.0,
    );
    for (kind, count) in totals.counts.each() {
        println!("{kind:>20} {count}");
    }
    println!("             answers {:?}", totals.answers);
    println!(
        "{} events, {simulated:.0} virtual s in {real:.1} s: {:.0} times real time",
        totals.events,
        simulated / real
    );
    let never = totals.never();
    if !never.is_empty() {
        println!(
            "never happened, so this proves nothing: {}",
            never.join(", ")
        );
    }
    println!("{} passed, {} failed", totals.passed, totals.failed);
    if totals.failed == 0 && never.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    }
}
