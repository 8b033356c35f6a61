//! The one binary.

/// Why not the system's: see ARCHITECTURE.md, "Decisions about libraries".
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    broker::cli::run()
}
