//! Whole-system tests: brokers as processes, real clients, faults, and a judge of what happened.
//!
//! - [`checker`] judges a recorded history of sends and reads; pure, no I/O.
//!
//! The simulator (`sim/`) is a binary of its own; the clients of other languages are in
//! `clients/`.

pub mod checker;
