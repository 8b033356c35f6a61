//! The fields of requests and answers, from the texts that the protocol's code is generated from.
//!
//! NB: a mistake in these texts would be shared by the broker and this client, but not by the Kafka that the answers
//! were recorded from.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

use super::value::Value;

/// An id has so many.
pub const UUID_BYTES: usize = 16;

/// One API.
#[derive(Debug)]
pub struct Api {
    /// As the texts write it: `JoinGroup`.
    pub name: String,
    /// Its number.
    pub key: i16,
    /// Those that are described.
    pub versions: RangeInclusive<i16>,
    /// The first with compact lengths and tags.
    pub flexible: i16,
    /// Fields.
    pub request: Vec<Field>,
    /// Fields.
    pub response: Vec<Field>,
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One byte, 0 or 1.
    Bool,
    /// So many bytes.
    Int(usize),
    /// UTF-8.
    String,
    /// Anything.
    Bytes,
    /// Sixteen bytes.
    Uuid,
    /// Of these.
    Array(Box<Kind>),
    /// One after the other.
    Struct(Vec<Field>),
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// In snake case.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Versions that have it.
    pub versions: RangeInclusive<i16>,
    /// It may be null since.
    pub nullable: i16,
    /// What it is when nothing is said.
    pub default: Value,
}

/// All of a folder, by name.
pub fn load(folder: &Path) -> HashMap<String, Api> {
    let files = std::fs::read_dir(folder).expect("the folder of messages");
    let files = files.map(|file| file.expect("the folder of messages").path());
    let mut all = HashMap::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text of messages");
        // Only some APIs have tagged fields; they take part in no sequence.
        if !text.contains(" tag ") && !text.contains("records") {
            let api = parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            all.insert(api.name.clone(), api);
        }
    }
    all
}

fn parse(text: &str) -> Result<Api, String> {
    let mut head = HashMap::new();
    let mut parts: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut part = None;
    for line in text.lines() {
        let line = line.split("  #").next().unwrap_or_default().trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match (line.strip_prefix("  "), line.split_once(' ')) {
            (Some(field), _) => parts
                .entry(part.ok_or("a field of nothing")?)
                .or_default()
                .push(field),
            (None, Some((key, value))) => drop(head.insert(key, value)),
            (None, None) => part = Some(line),
        }
    }
    let get = |key: &str| head.get(key).copied().ok_or_else(|| format!("no {key}"));
    let fields = |part: &str| {
        let lines = parts.get(part).cloned().unwrap_or_default();
        fields(&mut lines.as_slice(), 0)
    };
    Ok(Api {
        name: get("name")?.to_owned(),
        key: number(get("key")?)?,
        versions: range(get("versions")?)?,
        flexible: match get("flexible")? {
            "none" => i16::MAX,
            version => number(version)?,
        },
        request: fields("request")?,
        response: fields("response")?,
    })
}

fn number(text: &str) -> Result<i16, String> {
    text.parse().map_err(|_| format!("{text:?} is no version"))
}

/// `3+` or `0-7` or `5`.
fn range(text: &str) -> Result<RangeInclusive<i16>, String> {
    if let Some(first) = text.strip_suffix('+') {
        return Ok(number(first)?..=i16::MAX);
    }
    match text.split_once('-') {
        Some((first, last)) => Ok(number(first)?..=number(last)?),
        None => Ok(number(text)?..=number(text)?),
    }
}

/// Takes those of this depth from the front, with what is below them.
fn fields(lines: &mut &[&str], depth: usize) -> Result<Vec<Field>, String> {
    let mut found = Vec::new();
    while let Some((line, rest)) = lines.split_first() {
        let own = line.len() - line.trim_start().len();
        if own < depth {
            break;
        }
        *lines = rest;
        found.push(field(line.trim(), lines, depth)?);
    }
    Ok(found)
}

fn field(line: &str, below: &mut &[&str], depth: usize) -> Result<Field, String> {
    let (spec, default) = match line.split_once(" = ") {
        Some((spec, default)) => (spec, Some(default)),
        None => (line, None),
    };
    let (name, spec) = spec
        .split_once(':')
        .ok_or_else(|| format!("no type in {line:?}"))?;
    let mut words = spec.split_whitespace();
    let (kind, nullable) = match words.next().unwrap_or_default().split_once('?') {
        Some((kind, "")) => (kind, 0),
        Some((kind, since)) => (kind, *range(since)?.start()),
        None => (spec.split_whitespace().next().unwrap_or_default(), i16::MAX),
    };
    let versions = words.next().map_or(Ok(0..=i16::MAX), range)?;
    let kind = match kind.strip_prefix("[]") {
        Some(element) => Kind::Array(Box::new(plain(element, below, depth)?)),
        None => plain(kind, below, depth)?,
    };
    let default = match (default, &kind) {
        (Some(default), _) => Value::parse(default)?,
        (None, Kind::Bool) => Value::Bool(false),
        (None, Kind::Int(_)) => Value::Int(0),
        (None, Kind::String | Kind::Bytes) => Value::Text(Vec::new()),
        (None, Kind::Uuid) => Value::Text(vec![0; UUID_BYTES]),
        (None, Kind::Array(_)) => Value::List(Vec::new()),
        (None, Kind::Struct(_)) => Value::Struct(Vec::new()),
    };
    Ok(Field {
        name: name.to_owned(),
        kind,
        versions,
        nullable,
        default,
    })
}

fn plain(word: &str, below: &mut &[&str], depth: usize) -> Result<Kind, String> {
    Ok(match word {
        "bool" => Kind::Bool,
        "int8" => Kind::Int(1),
        "int16" => Kind::Int(2),
        "int32" => Kind::Int(4),
        "int64" => Kind::Int(8),
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "uuid" => Kind::Uuid,
        _ => Kind::Struct(fields(below, depth + 2)?),
    })
}
