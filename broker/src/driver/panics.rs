//! What a panic does: it stops the broker. A panic is a bug, found in the middle of something; going on would send and
//! acknowledge on top of a state that nobody has thought of, and a thread that ended unseen would be waited for.

/// From now on a panic of any thread, or of any task, ends the process with SIGABRT after its message. What was
/// acknowledged is in the log: the next start finds it as after a power failure.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        eprintln!(
            "walser: this is a bug: the broker ends here, without an orderly stop. What it acknowledged is in its \
             log. Please report the lines above."
        );
        std::process::abort();
    }));
}

/// Runs the body of a thread. When it panics, `told` is called on the way out: for programs in which a panic does not
/// end the process.
pub(super) fn watched<T>(told: impl FnOnce(), body: impl FnOnce() -> T) -> T {
    struct Guard<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Guard<F> {
        fn drop(&mut self) {
            if std::thread::panicking()
                && let Some(told) = self.0.take()
            {
                told();
            }
        }
    }
    let _guard = Guard(Some(told));
    body()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Tells the process that this test starts what it is for.
    const CHILD: &str = "WALSER_TEST_PANIC";

    /// NB: a task's panic is caught by the runtime, so without the hook the child would end with success.
    #[test]
    fn a_panic_in_a_task_aborts_the_process() {
        if std::env::var_os(CHILD).is_some() {
            super::abort_on_panic();
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            let task = async {
                let task = tokio::task::spawn_local(async { panic!("found in the middle") });
                drop(task.await);
            };
            tokio::task::LocalSet::new().block_on(&runtime, task);
            std::process::exit(0);
        }
        let name = "driver::panics::tests::a_panic_in_a_task_aborts_the_process";
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the child ran");
        let said = String::from_utf8_lossy(&child.stderr);
        let abort = rustix::process::Signal::ABORT.as_raw();
        assert_eq!(child.status.signal(), Some(abort), "{said}");
        let at = |part: &str| said.find(part).expect(part);
        assert!(at("found in the middle") < at("walser: this is a bug"));
    }
}
