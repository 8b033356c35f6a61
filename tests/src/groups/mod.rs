//! Members of a consumer group under faults.
//!
//! [`member`] is a member written by hand: it knows its generation, which real clients do not show. [`history`] is
//! where members record; the crate `judge` says what was wrong with it.

pub mod history;
pub mod member;
