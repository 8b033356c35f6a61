//! The broker that tests start: what `walser` is.

fn main() -> std::process::ExitCode {
    broker::cli::run()
}
