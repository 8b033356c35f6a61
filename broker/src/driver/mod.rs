//! Executing what the shard decides, with real sockets, disks and clocks. Decides nothing itself.
//!
//! One loop ([`run_loop`]): wait for anything, let every socket that is ready be read, hand all of it to the shard, flush
//! once: one frame per peer, one append for the log thread, one write per connection that has answers.

pub mod boot;
pub mod clock;
pub mod control;
pub mod inbox;
pub mod log_thread;
pub mod observe;
pub mod orders;
pub mod progress;
pub mod run_loop;
pub mod tickets;

use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

pub use boot::{Error, Listeners};

use crate::config::Config;
use crate::server::Server;

/// Runs a broker on this thread until SIGTERM or SIGINT, or until `stop` resolves.
///
/// # Errors
/// See [`Error`]; its `exit_code` is the process's.
pub fn run_until(
    config: Config,
    stop: impl std::future::Future<Output = ()>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = stop => {}
            }
        };
        let attach: boot::Attach = Box::new(|broker, listeners| {
            let server = Server::start(broker.clone(), listeners.kafka, broker.config.clone());
            let http = crate::http::start(broker.clone(), server.clone(), listeners.admin);
            if let Err(why) = &http {
                tracing::error!(target: "broker", %why, "no admin listener");
            }
            let writer: Rc<Server> = server;
            Box::new(move || {
                let _kept = &http;
                writer.flush_dirty();
            })
        });
        boot::run(config, attach, asked).await
    });
    runtime.shutdown_background();
    result
}

/// The same, until a signal.
///
/// # Errors
/// As [`run_until`].
pub fn run(config: Config) -> Result<(), Error> {
    run_until(config, std::future::pending())
}
