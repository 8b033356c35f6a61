//! Placeholder: the gigabyte run.

fn main() {}
