//! Reads a message table.
//!
//! A table begins with `name`, `key`, `versions LOW-HIGH` and `flexible VERSION` (or `none`) lines, then
//! has a `request` and a `response` section. A field is a line, the fields of a structure are indented
//! below it by two more spaces:
//!
//! ```text
//!   name: TYPE[?[NULLABLE]] [VERSIONS] [tag N] [= DEFAULT] [# documentation]
//! ```
//!
//! Left-out versions mean those of the structure around; `?` alone means nullable in all of the
//! field's versions.

/// One API: a request and its response.
pub struct Api {
    pub module: String,
    pub name: String,
    pub key: i16,
    pub versions: Versions,
    pub flexible: i16,
    pub request: Vec<Field>,
    pub response: Vec<Field>,
}

/// An inclusive range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Versions {
    pub low: i16,
    pub high: i16,
}

/// One field of a structure.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub array: bool,
    pub versions: Versions,
    pub nullable: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Option<String>,
    pub doc: String,
    pub fields: Vec<Field>,
}

/// What a field, or an array's element, is.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uuid,
    String,
    Bytes,
    Records,
    RecordSlices,
    Struct(String),
}

struct Line<'a> {
    depth: usize,
    text: &'a str,
}

/// Parses one table.
pub fn parse(module: &str, text: &str) -> Result<Api, String> {
    let lines: Vec<Line<'_>> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| Line {
            depth: line.len() - line.trim_start().len(),
            text: line.trim(),
        })
        .collect();
    let head = |word: &str| {
        let found = lines
            .iter()
            .find_map(|line| line.text.strip_prefix(word)?.strip_prefix(' '));
        found.map(str::trim).ok_or(format!("no `{word}` line"))
    };
    let number = |text: &str| text.parse::<i16>().map_err(|e| format!("`{text}`: {e}"));
    let (low, high) = head("versions")?
        .split_once('-')
        .ok_or("versions LOW-HIGH")?;
    let versions = Versions {
        low: number(low)?,
        high: number(high)?,
    };
    let section = |name: &str| {
        let at = lines
            .iter()
            .position(|line| line.depth == 0 && line.text == name);
        let mut next = at.ok_or(format!("no `{name}` section"))? + 1;
        fields(&lines, &mut next, 2, versions)
    };
    Ok(Api {
        module: module.to_owned(),
        name: head("name")?.to_owned(),
        key: number(head("key")?)?,
        versions,
        flexible: match head("flexible")? {
            "none" => i16::MAX,
            version => number(version)?,
        },
        request: section("request")?,
        response: section("response")?,
    })
}

fn fields(
    lines: &[Line<'_>],
    next: &mut usize,
    depth: usize,
    around: Versions,
) -> Result<Vec<Field>, String> {
    let mut found = Vec::new();
    while let Some(line) = lines.get(*next) {
        if line.depth < depth {
            break;
        }
        if line.depth > depth {
            return Err(format!("`{}` is indented too far", line.text));
        }
        *next += 1;
        let mut one = field(line.text, around).map_err(|e| format!("`{}`: {e}", line.text))?;
        one.fields = fields(lines, next, depth + 2, one.versions)?;
        if matches!(one.kind, Kind::Struct(_)) == one.fields.is_empty() {
            return Err(format!(
                "`{}`: a structure has fields, nothing else has",
                line.text
            ));
        }
        found.push(one);
    }
    Ok(found)
}

fn field(text: &str, around: Versions) -> Result<Field, String> {
    let (text, doc) = text
        .split_once('#')
        .map_or((text, ""), |(l, r)| (l, r.trim()));
    let (text, default) = text
        .split_once('=')
        .map_or((text, None), |(l, r)| (l, Some(r.trim())));
    let (name, rest) = text.split_once(':').ok_or("name: TYPE")?;
    let mut words = rest.split_whitespace();
    let kind = words.next().ok_or("no type")?;
    let (mut versions, mut tag) = (around, None);
    while let Some(word) = words.next() {
        if word == "tag" {
            let number = words.next().ok_or("tag N")?;
            tag = Some(number.parse().map_err(|e| format!("tag {number}: {e}"))?);
        } else {
            versions = range(word, around)?;
        }
    }
    let (kind, nullable) = match kind.split_once('?') {
        None => (kind, None),
        Some((kind, "")) => (kind, Some(versions)),
        Some((kind, low)) => (kind, Some(range(low, versions)?)),
    };
    let (kind, array) = kind
        .strip_prefix("[]")
        .map_or((kind, false), |kind| (kind, true));
    Ok(Field {
        name: name.trim().to_owned(),
        kind: self::kind(kind)?,
        array,
        versions,
        nullable,
        tag,
        default: default.map(str::to_owned),
        doc: doc.to_owned(),
        fields: Vec::new(),
    })
}

fn kind(name: &str) -> Result<Kind, String> {
    Ok(match name {
        "bool" => Kind::Bool,
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "uuid" => Kind::Uuid,
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "records" => Kind::Records,
        "record_slices" => Kind::RecordSlices,
        name if name.starts_with(char::is_uppercase) => Kind::Struct(name.to_owned()),
        name => return Err(format!("unknown type {name}")),
    })
}

fn range(text: &str, around: Versions) -> Result<Versions, String> {
    let number = |text: &str| {
        text.parse::<i16>()
            .map_err(|e| format!("versions {text}: {e}"))
    };
    let found = if let Some(low) = text.strip_suffix('+') {
        Versions {
            low: number(low)?,
            high: around.high,
        }
    } else if let Some((low, high)) = text.split_once('-') {
        Versions {
            low: number(low)?,
            high: number(high)?,
        }
    } else {
        Versions {
            low: number(text)?,
            high: number(text)?,
        }
    };
    if found.low < around.low || found.high > around.high || found.low > found.high {
        return Err(format!(
            "versions {text} are outside of {}-{}",
            around.low, around.high
        ));
    }
    Ok(found)
}
