//! Tests of the whole crate, the oracle included.

mod api;
mod codecs;
mod hostile;
mod messages;
mod oracle;
mod peer;
mod random;
mod record_batch;
mod wire;

#[allow(clippy::all, unused_imports)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages_tests.rs"));
}
