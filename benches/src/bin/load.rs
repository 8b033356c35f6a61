//! The suite against any cluster that speaks Kafka, for comparisons; `walser bench` is the same
//! against Walser's own.
//!
//!     load BOOTSTRAP [--quick] [--json] [--label NAME] [--cell NAME]... [--floor DIR] [--no-fsync]
//!          [--broker ADMIN|-,PID|-]... [--replication N] [--acks N] [--warm N] [--seconds N] [--no-read-back]
//!          [--keep-topics] [--rate N]
//!
//!     load floor DIR
//!
//!     load suite PROGRAM DIR [--quick] [--json] [--plot FILE] [--cells NAME,NAME...]
//!
//! The last is the whole suite on throwaway clusters of another build of `walser`, in DIR: to compare builds.
//!
//! The table, or with `--json` one object a row, goes to stdout, progress to stderr.
//! Exit: 0 measured, 1 failed, 2 usage, 12 acknowledged records did not come back, 13 a void row.

use benches::{
    BrokerProbe, Offered, Options, StageOptions, SuiteOptions, SuiteReport, floor_suite,
    floor_table, run, run_suite, suite,
};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, dir] = &arguments[..]
        && verb == "floor"
    {
        return floor(dir.as_ref());
    }
    if let [verb, program, dir, rest @ ..] = &arguments[..]
        && verb == "suite"
    {
        return suite_of(program, dir, rest);
    }
    let (options, json) = match parse(arguments.into_iter()) {
        Ok(parsed) => parsed,
        Err(what) => {
            eprintln!("load: {what}");
            return ExitCode::from(2);
        }
    };
    let report = match run(&options) {
        Ok(report) => report,
        Err(e) => {
            eprintln!("load: {e}");
            return ExitCode::from(1);
        }
    };
    print!(
        "{}",
        if json {
            report.json_lines()
        } else {
            report.table()
        }
    );
    if !report.is_sound() {
        return ExitCode::from(12);
    }
    ExitCode::from(if report.rows.iter().all(|row| row.void.is_empty()) {
        0
    } else {
        13
    })
}

fn suite_of(program: &str, dir: &str, rest: &[String]) -> ExitCode {
    let (report, json, plot) = match run_suite_of(program, dir, rest) {
        Ok(ran) => ran,
        Err(what) => {
            eprintln!("load: {what}");
            return ExitCode::from(1);
        }
    };
    print!(
        "{}",
        if json {
            report.json_lines()
        } else {
            report.table()
        }
    );
    if let (Some(file), Some(svg)) = (plot, report.produce.plot())
        && let Err(e) = std::fs::write(&file, svg)
    {
        eprintln!("load: cannot write {file}: {e}");
        return ExitCode::from(1);
    }
    ExitCode::from(match (report.is_sound(), report.is_whole()) {
        (false, _) => 12,
        (true, false) => 13,
        (true, true) => 0,
    })
}

fn run_suite_of(
    program: &str,
    dir: &str,
    rest: &[String],
) -> Result<(SuiteReport, bool, Option<String>), String> {
    let (mut json, mut quick, mut plot, mut cells) = (false, false, None, Vec::new());
    let mut rest = rest.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--json" => json = true,
            "--quick" => quick = true,
            "--plot" => plot = Some(value()?.clone()),
            "--cells" => cells.extend(value()?.split(',').map(str::to_owned)),
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    let stage = StageOptions {
        program: Path::new(program)
            .canonicalize()
            .map_err(|e| format!("{program}: {e}"))?,
        folder: dir.into(),
        brokers: 3,
        config: Vec::new(),
    };
    let mut options = if quick {
        SuiteOptions::quick(stage)
    } else {
        SuiteOptions::full(stage)
    };
    if !cells.is_empty() {
        options.choose(&cells).map_err(|e| e.to_string())?;
    }
    let report = run_suite(&options).map_err(|e| e.to_string())?;
    Ok((report, json, plot))
}

fn floor(dir: &Path) -> ExitCode {
    match floor_suite(dir, 3, Duration::from_secs(3)) {
        Ok(rows) => {
            print!("{}", floor_table(&rows));
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("load: {e}");
            ExitCode::from(1)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<(Options, bool), String> {
    let bootstrap = args.next().filter(|arg| !arg.starts_with('-'));
    let mut options = Options::full(&bootstrap.ok_or("the first argument is HOST:PORT,...")?);
    let (mut json, mut cells, mut rate) = (false, Vec::new(), None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--quick" => {
                let quick = Options::quick(&options.bootstrap);
                options.warm = quick.warm;
                options.measured = quick.measured;
                options.floor_measured = quick.floor_measured;
            }
            "--json" => json = true,
            "--label" => options.label = value()?,
            "--cell" => cells.push(value()?),
            "--floor" => options.floor_dir = Some(value()?.into()),
            "--no-fsync" => options.fsync = false,
            "--keep-topics" => options.keep_topics = true,
            "--no-read-back" => options.read_back = false,
            "--broker" => options.brokers.push(broker(&value()?)?),
            "--replication" => options.replication = number(&value()?)?,
            "--acks" => options.acks = number(&value()?)?,
            "--warm" => options.warm = Duration::from_secs(number(&value()?)?),
            "--seconds" => options.measured = Duration::from_secs(number(&value()?)?),
            "--rate" => rate = Some(number(&value()?)?),
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    if !cells.is_empty() {
        options
            .cells
            .retain(|cell| cells.iter().any(|name| name == cell.name));
    }
    if options.cells.is_empty() {
        let names: Vec<&str> = suite().iter().map(|cell| cell.name).collect();
        return Err(format!("cells are: {}", names.join(" ")));
    }
    if let Some(rate) = rate {
        options
            .cells
            .iter_mut()
            .for_each(|cell| cell.offered = Offered::Open { rate });
    }
    Ok((options, json))
}

fn broker(text: &str) -> Result<BrokerProbe, String> {
    let (admin, pid) = text
        .split_once(',')
        .ok_or("--broker is ADMIN,PID; - for none")?;
    let known = |part: &str| (part != "-").then(|| part.to_string());
    Ok(BrokerProbe {
        admin: known(admin),
        pid: known(pid).map(|pid| number(&pid)).transpose()?,
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text} is not such a number"))
}
