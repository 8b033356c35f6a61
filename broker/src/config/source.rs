//! Where values come from: file, environment, flags, and who wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::suggest::nearest;
use super::{Key, keys};

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody: the default.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, by its name.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What the process was given.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// The environment, all of it: what does not begin with `WALSER_` is ignored.
    pub environment: Vec<(String, String)>,
    /// Flags as (name, value): the name as a key (`node.id`) or as a flag (`--node-id`).
    pub flags: Vec<(String, String)>,
}

/// Variables of the command line itself that are no keys.
const OTHER_VARIABLES: &[&str] = &["WALSER_CONFIG"];

type Found = (&'static str, String, Source);

impl Sources {
    /// This process's environment, with this file and these flags.
    ///
    /// A variable that is not Unicode is read with replacement characters, so that a key with it is refused by name.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            file,
            environment: environment.collect(),
            flags,
        }
    }

    /// Every value that is given, weakest source first.
    pub(super) fn collect(&self) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        if let Some(path) = &self.file {
            read_file(path, &mut found)?;
        }
        self.read_environment(&mut found)?;
        let mut seen = BTreeMap::new();
        for (name, value) in &self.flags {
            let dotted = name.trim_start_matches("--").replace('-', ".");
            let key =
                find(&dotted).ok_or_else(|| unknown(&dotted, "the command line".to_owned()))?;
            let source = Source::Flag(key.flag());
            if seen.insert(key.name, ()).is_some() {
                return Err(Error::Twice {
                    key: key.name,
                    place: source.to_string(),
                });
            }
            found.push((key.name, value.clone(), source));
        }
        Ok(found)
    }

    fn read_environment(&self, found: &mut Vec<Found>) -> Result<(), Error> {
        let mut ours: Vec<_> = self
            .environment
            .iter()
            .filter(|(name, _)| name.starts_with("WALSER_"))
            .collect();
        ours.sort();
        for (name, value) in ours {
            if OTHER_VARIABLES.contains(&name.as_str()) || of_service_link(name) {
                continue;
            }
            let key = keys()
                .find(|key| key.environment() == *name)
                .ok_or_else(|| {
                    let dotted = name["WALSER_".len()..]
                        .to_ascii_lowercase()
                        .replace('_', ".");
                    let near = nearest(&dotted, keys().map(|key| key.name));
                    let near = near.and_then(find).map(Key::environment);
                    Error::UnknownKey {
                        key: name.clone(),
                        place: "the environment".to_owned(),
                        nearest: near,
                    }
                })?;
            found.push((key.name, value.clone(), Source::Environment(name.clone())));
        }
        Ok(())
    }
}

/// Kubernetes gives every container such variables for each service; a service named `walser` makes them begin as
/// ours do (`WALSER_PORT_9092_TCP_ADDR`, `WALSER_SERVICE_HOST`).
fn of_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn read_file(path: &Path, found: &mut Vec<Found>) -> Result<(), Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|error| Error::Syntax {
        path: path.to_owned(),
        message: format!("{error}"),
    })?;
    let source = Source::File(path.to_owned());
    let mut leaves = Vec::new();
    flatten("", &table, &source, &mut leaves)?;
    let mut seen = BTreeMap::new();
    for (name, text) in leaves {
        let key = find(&name).ok_or_else(|| unknown(&name, source.to_string()))?;
        if seen.insert(key.name, ()).is_some() {
            return Err(Error::Twice {
                key: key.name,
                place: source.to_string(),
            });
        }
        found.push((key.name, text, source.clone()));
    }
    Ok(())
}

/// `[message] max.bytes = 5` and `"message.max.bytes" = 5` are the same key.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    source: &Source,
    out: &mut Vec<(String, String)>,
) -> Result<(), Error> {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        match value {
            toml::Value::Table(table) if find(&name).is_none() => {
                if table.is_empty() && !keys().any(|key| key.name.starts_with(&format!("{name}.")))
                {
                    return Err(unknown(&name, source.to_string()));
                }
                flatten(&format!("{name}."), table, source, out)?;
            }
            value => match scalar(value) {
                Some(text) => out.push((name, text)),
                None => {
                    let key = find(&name).ok_or_else(|| unknown(&name, source.to_string()))?;
                    let problem = format!("must be {}", key.kind.unit());
                    let value = value.to_string();
                    return Err(Error::Value {
                        key: key.name,
                        place: source.to_string(),
                        value,
                        problem,
                    });
                }
            },
        }
    }
    Ok(())
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect();
            texts.map(|texts| texts.join(", "))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// The error for a name that is no key.
pub(super) fn unknown(name: &str, place: String) -> Error {
    let nearest = nearest(name, keys().map(|key| key.name)).map(str::to_owned);
    Error::UnknownKey {
        key: name.to_owned(),
        place,
        nearest,
    }
}
