//! The log against crashes, damage and errors. Case ids refer to the catalogue of known bugs; W1 to W6 are its WAL
//! tests. `WALSER_SLOW_TESTS=1` runs the long enumerations in full.

#![allow(clippy::unwrap_used)] // Helpers outside of #[test] functions are tests, too.

mod ahead;
mod cache;
mod catalogue;
mod cleaner;
mod damage;
mod errors;
mod explorer;
mod heal;
mod lost;
mod model;
mod mutants;
mod points;
mod real;
mod reference;
mod sectors;
mod space;
mod verify;
