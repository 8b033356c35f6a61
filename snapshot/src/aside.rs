//! Work that takes its time, beside a runtime's own thread.

use tokio::runtime::Handle;

/// Does it on a thread for blocking work where there is a runtime, and here where there is none.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match Handle::try_current() {
        Ok(runtime) => match runtime.spawn_blocking(work).await {
            Ok(done) => done,
            Err(why) => std::panic::resume_unwind(match why.try_into_panic() {
                Ok(panic) => panic,
                // Who waits for it is dropped with the runtime.
                Err(ending) => Box::new(ending.to_string()),
            }),
        },
        Err(_) => work(),
    }
}
