//! The admin listener: `/livez`, `/readyz`, `/status`, `/metrics`, `/v1/groups`.
//!
//! It has its own thread. What only the broker knows is asked for through a channel and answered between two ticks as
//! plain data; rendering happens here, so that a scrape never holds up a produce.

mod collect;
mod groups;
mod questions;
mod routes;
pub mod status;
#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::broker::Broker;
use crate::server::Server;
pub use groups::{GroupLine, GroupView, GroupsView, LastRebalance, OffsetView};
pub use questions::{Question, RestoreStep};
pub use status::Status;

/// Questions that wait for the broker; more are refused with 503.
const QUESTIONS_MAX: usize = 64;

/// The admin listener of a broker. Dropping it ends its thread.
pub struct Handle {
    _stop: oneshot::Sender<()>,
}

/// Serves this listener. Must be called within a `LocalSet`.
///
/// # Errors
/// The system gives no thread, or refuses to move the socket to it.
pub fn start(broker: Rc<Broker>, server: Rc<Server>, listener: TcpListener) -> io::Result<Handle> {
    let (ask, asked) = mpsc::channel(QUESTIONS_MAX);
    tokio::task::spawn_local(questions::answer(broker, server, asked));
    serve(listener, ask)
}

/// The thread, and its way to whoever answers.
fn serve(listener: TcpListener, ask: mpsc::Sender<Question>) -> io::Result<Handle> {
    let listener = listener.into_std()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let serve = async move {
        let listener = TcpListener::from_std(listener)?;
        let stopped = async {
            // Both a message and the sender's end mean the same.
            let _ = stopped.await;
        };
        tokio::select! {
            served = axum::serve(listener, routes::routes(ask)).into_future() => served,
            () = stopped => Ok(()),
        }
    };
    let thread = move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "the admin listener ended");
        }
    };
    std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(thread)?;
    Ok(Handle { _stop: stop })
}
