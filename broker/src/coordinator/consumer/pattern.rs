//! Patterns of topic names. They are matched in time linear in the name; their size is bounded, as written and as
//! compiled.

use regex::{Regex, RegexBuilder};

/// As written.
const PATTERN_BYTES_MAX: usize = 4096;
/// As compiled.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A pattern fits a name as a whole.
pub(super) fn compile(pattern: &str) -> Result<Regex, ()> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(());
    }
    // NB: on its own first: `a)(b` must not become right by what is put around it.
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

fn build(pattern: &str) -> Result<Regex, ()> {
    RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|_| ())
}
