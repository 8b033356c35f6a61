//! `sim [SEED] [--seeds N] [--from SEED]`: runs one seed twice and compares, or many.

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sim::{Plan, run};

struct Arguments {
    one: Option<u64>,
    from: u64,
    seeds: u64,
}

fn arguments() -> Result<Arguments, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |d| d.as_secs());
    let mut parsed = Arguments {
        one: None,
        from: now,
        seeds: 100,
    };
    let mut words = std::env::args().skip(1);
    let number = |word: Option<String>| -> Result<u64, String> {
        let word = word.ok_or("a number is missing")?;
        word.parse().map_err(|_| format!("'{word}' is no number"))
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => parsed.seeds = number(words.next())?,
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
            eprintln!("{why}\nusage: sim [SEED] [--seeds N] [--from SEED]");
            return ExitCode::from(2);
        }
    };
    match arguments.one {
        Some(seed) => replay(seed),
        None => many(arguments.from, arguments.seeds),
    }
}

fn replay(seed: u64) -> ExitCode {
    let plan = Plan::of(seed);
    println!("{plan:#?}");
    let (first, second) = (run(&plan), run(&plan));
    if first != second {
        println!("NOT DETERMINISTIC\n{first:?}\n{second:?}");
        return ExitCode::from(1);
    }
    println!("{first:#?}");
    if first.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(12)
    }
}

fn many(from: u64, seeds: u64) -> ExitCode {
    println!("seeds {from}..{}", from + seeds);
    let began = Instant::now();
    let (mut failures, mut acked, mut elections, mut crashes, mut virtual_ms) = (0, 0, 0, 0, 0);
    for seed in from..from + seeds {
        match run(&Plan::of(seed)) {
            Ok(report) => {
                acked += report.acked;
                elections += report.elections;
                crashes += report.crashes;
                virtual_ms += report.virtual_ms;
            }
            Err(failure) => {
                failures += 1;
                println!("seed {seed} failed at {} ms: {}", failure.at, failure.what);
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds, {failures} failed; {acked} records acknowledged, {elections} elections, {crashes} crashes, \
         {:.0} virtual s in {seconds:.1} s",
        virtual_ms as f64 / 1000.0
    );
    println!("{} passed, {failures} failed", seeds - failures);
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(12)
    }
}
