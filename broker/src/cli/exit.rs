//! How commands end: what went wrong, what to do next, and the exit code.

use std::fmt;
use std::process::ExitCode;

use protocol::error_code::ErrorCode;

/// The exit codes. They are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Something failed.
    Failure = 1,
    /// The command line or the configuration makes no sense.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// Nobody answered in time.
    Unreachable = 4,
    /// The cluster is not healthy.
    Unhealthy = 10,
    /// Damage was found.
    Corruption = 11,
    /// Acknowledged records did not come back as they were.
    Inconsistent = 12,
    /// Only a part was done.
    Partial = 13,
    /// It destroys something and nobody said yes.
    NeedsYes = 14,
}

impl Exit {
    /// For the system.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, and to what.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Something failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self::with(Exit::Failure, message)
    }

    /// Something failed, with this exit code.
    pub fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next: None,
        }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::with(Exit::Usage, message)
    }

    /// And this is what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// What a broker answered about `what`.
    pub fn of_code(code: i16, message: Option<&str>, what: &str) -> Self {
        let known = ErrorCode::from_code(code);
        let text = match (message.filter(|text| !text.is_empty()), known) {
            (Some(text), _) => text.to_owned(),
            (None, Some(known)) => known.text().to_owned(),
            (None, None) => "an error that this program does not know".to_owned(),
        };
        let name = known.map_or("unknown", ErrorCode::name);
        let failure = Self::with(exit_of(known), format!("{what}: {text} ({name}, {code})"));
        match known {
            Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => {
                failure.next("`walser topic list` shows the topics")
            }
            Some(code) if code.retriable() => {
                failure.next("try again; `walser cluster status` shows who leads")
            }
            _ => failure,
        }
    }
}

fn exit_of(code: Option<ErrorCode>) -> Exit {
    match code {
        Some(
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::ResourceNotFound
            | ErrorCode::GroupIdNotFound
            | ErrorCode::BrokerIdNotRegistered,
        ) => Exit::NotFound,
        Some(ErrorCode::CorruptMessage | ErrorCode::KafkaStorageError) => Exit::Corruption,
        Some(code) if code.retriable() => Exit::Unreachable,
        _ => Exit::Failure,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next {
            Some(next) => write!(f, "\n  {next}"),
            None => Ok(()),
        }
    }
}
