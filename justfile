# Shorthands. The README's two commands need none of them.

# Everything that reads only: format, lints, docs, licences.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    cargo deny check --hide-inclusion-graph licenses bans sources

# Whatever can be put right by a machine.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

test:
    cargo test --workspace

# The whole cluster in one thread from one seed, twice, byte for byte the same.
sim SEED:
    cargo run --release -p sim -- {{SEED}}

# The short benchmark on a throwaway cluster, the floor beside it.
bench:
    cargo build --release -p broker
    target/release/walser bench --quick --dir target --plot target/latency.svg
