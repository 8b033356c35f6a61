//! `walser serve`: one broker, until it is told to stop.

use std::future::Future;
use std::io::Read;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::config::refused;
use super::exit::{Exit, Failure, Result};
use crate::broker::Broker;
use crate::config::{Config, LogFormat, Sources};
use crate::driver::boot::{self, Listeners};
use crate::driver::panics::abort_on_panic;
use crate::driver::run_loop::Front;
use crate::http;
use crate::server::Server;

/// Run one broker.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file.
    #[arg(long, env = "WALSER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// End when standard input ends, as it does with the process that holds its other end.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    /// Any configuration key as a flag: --data-dir DIR, --node-id 1, ... (`walser config explain`).
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "--KEY VALUE"
    )]
    flags: Vec<String>,
}

impl Serve {
    /// Runs it, until a signal.
    pub fn run(self) -> Result<()> {
        let mut file = self.config;
        let mut flags = pairs(&self.flags)?;
        // Behind the first key clap takes everything for keys.
        flags.retain(|(name, value)| {
            let is_file = name == "--config";
            if is_file {
                file = Some(PathBuf::from(value));
            }
            !is_file
        });
        let watched = flags.iter().any(|(name, _)| name == "--exit-with-parent");
        flags.retain(|(name, _)| name != "--exit-with-parent");
        let mut config = Config::load(&Sources::of_process(file, flags)).map_err(refused)?;
        if let Some(bytes) = memory_bytes() {
            config.fit_memory(bytes);
        }
        start_log(&config)?;
        abort_on_panic();
        raise_open_files();
        if self.exit_with_parent || watched {
            end_with_stdin()?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        // NB: as a task: what wakes the future that a runtime blocks on goes a longer way.
        let serving = runtime.spawn_local(serve(config));
        runtime
            .block_on(serving)
            .expect("a panic aborts the process")
    }
}

/// A segment and a connection are an open file each; shells give a process 1,024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, limit = ?limit.current, "cannot raise the limit of open files");
    }
}

async fn serve(config: Config) -> Result<()> {
    let limit = Duration::from_millis(config.node.shutdown_max_ms) + CLOSE_MAX;
    let stop = stopped(limit)
        .map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
    boot::run(config, Box::new(attach), stop)
        .await
        .map_err(|error| {
            let exit = match error.exit_code() {
                4 => Exit::Unreachable,
                11 => Exit::Corruption,
                _ => Exit::Failure,
            };
            Failure::with(exit, error.to_string())
        })
}

/// The listeners for clients and for HTTP.
fn attach(broker: &Rc<Broker>, listeners: Listeners) -> Rc<dyn Front> {
    let server = Server::start(
        Rc::clone(broker),
        listeners.kafka,
        Rc::clone(&broker.config),
    );
    let http = http::start(Rc::clone(broker), Rc::clone(&server), listeners.admin);
    if let Err(error) = &http {
        tracing::error!(%error, "there is no admin listener");
    }
    Rc::new(Listening {
        server,
        _http: http.ok(),
    })
}

/// Both listeners. The admin listener lives as long as this.
struct Listening {
    server: Rc<Server>,
    _http: Option<http::Handle>,
}

impl Front for Listening {
    fn write_answers(&self) {
        self.server.flush_dirty();
    }

    fn stop_accepting(&self) {
        self.server.stop_accepting();
    }

    fn drain(&self, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(self.server.shutdown(grace))
    }
}

/// Resolves at the first signal that asks to stop. From then on the process ends after `limit` at the latest, whatever
/// hangs. NB: the handlers are in place before the broker starts.
fn stopped(limit: Duration) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let asked = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(asked, "stopping");
        let watch = move || {
            let end = Instant::now() + limit;
            while let Some(rest) = end.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(rest);
            }
            tracing::error!(
                "the stop takes too long: the process ends without it, and recovers at its next start"
            );
            std::process::exit(1);
        };
        let watching = std::thread::Builder::new().name("stop".to_owned());
        if let Err(error) = watching.spawn(watch) {
            tracing::warn!(%error, "nothing limits how long the stop takes");
        }
    })
}

/// What closing the log may take beyond `shutdown.max`.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Flags as names and values: `--key value`, `--key=value`, and a lone `--key` for true.
fn pairs(flags: &[String]) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = flags.iter().peekable();
    while let Some(flag) = rest.next() {
        if !flag.starts_with("--") {
            return Err(
                Failure::usage(format!("{flag:?} is no flag")).next("keys are written --KEY VALUE")
            );
        }
        let pair = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = rest.next_if(|next| !next.starts_with("--"));
                (
                    flag.clone(),
                    value.cloned().unwrap_or_else(|| "true".to_owned()),
                )
            }
        };
        pairs.push(pair);
    }
    Ok(pairs)
}

/// The machine's memory, where the system tells it.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn start_log(config: &Config) -> Result<()> {
    let level = &config.node.log_level;
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Failure::usage(format!("log.level = {level:?}: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.node.log_format {
        LogFormat::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| Failure::new(format!("cannot start the log: {error}")))
}

/// Asks this process to stop when standard input ends.
fn end_with_stdin() -> Result<()> {
    let watch = || {
        let mut bytes = [0; 64];
        while matches!(std::io::stdin().read(&mut bytes), Ok(1..)) {}
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!(%error, "the parent is gone and this process cannot be told");
        }
    };
    let thread = std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(watch);
    thread
        .map(|_| ())
        .map_err(|error| Failure::new(format!("cannot start: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_given_as_flags() {
        let given = [
            "--data-dir",
            "/x",
            "--node-id=3",
            "--insecure",
            "--log-level",
            "debug",
        ];
        let given: Vec<String> = given.map(str::to_owned).into();
        let pairs = pairs(&given).expect("flags");
        let expected = [
            ("--data-dir", "/x"),
            ("--node-id", "3"),
            ("--insecure", "true"),
            ("--log-level", "debug"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let wrong = super::pairs(&["stray".to_owned()]).expect_err("no flag");
        assert_eq!(wrong.exit, Exit::Usage);
    }
}
