//! Why a configuration was refused. Every case means exit code 2.

use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// There is no such key.
    #[error("unknown key '{key}' in {place}{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// What was written.
        key: String,
        /// Where.
        place: String,
        /// The known name that it is nearest to.
        nearest: Option<String>,
    },
    /// One source gives a key more than once.
    #[error("the key '{key}' is given twice in {place}: keep one of them")]
    Twice {
        /// The key.
        key: &'static str,
        /// Where.
        place: String,
    },
    /// A value is not of its key's kind, or out of range.
    #[error("{key} = '{value}' in {place}: the value {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// Where.
        place: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Values that are each well formed but cannot be used.
    #[error("the configuration cannot be used:{}", list(problems))]
    Invalid {
        /// All that is wrong, in the order of the keys.
        problems: Vec<Problem>,
    },
}

impl Error {
    /// The exit code of the process: usage.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        2
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key to change.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub text: String,
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!(": did you mean '{name}'?"),
        None => ": see 'walser config explain'".to_owned(),
    }
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {}: {}", problem.key, problem.text))
        .collect()
}
