//! Members of a consumer group under faults, and a judge of what they saw.
//!
//! [`member`] is a member written by hand: it knows its generation, which real clients do not show. [`history`] is
//! what members record, [`judge`] says what was wrong with it.

pub mod history;
pub mod judge;
pub mod member;
#[cfg(test)]
mod tests;
