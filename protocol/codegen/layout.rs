//! What a field is in Rust and on the wire.

use crate::table::{Field, Kind, Versions};

/// Its name in Rust.
pub fn ident(field: &Field) -> &str {
    &field.name
}

/// The type of the value, or of an array's element.
pub fn element(kind: &Kind) -> &str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Int32 => "i32",
        Kind::Int64 => "i64",
        Kind::Uuid => "Uuid",
        Kind::String => "Str",
        Kind::Bytes | Kind::Records => "Bytes",
        Kind::RecordSlices => "Slices",
        Kind::Struct(name) => name,
    }
}

/// The type of the field.
pub fn rust_type(field: &Field) -> String {
    let mut name = element(&field.kind).to_owned();
    if field.array {
        name = format!("Vec<{name}>");
    }
    if field.nullable.is_some() {
        name = format!("Option<{name}>");
    }
    name
}

/// The value of a field that the version does not have, and of a tagged one that is not sent.
pub fn default(field: &Field) -> String {
    let plain = match (&field.default, &field.kind) {
        (Some(null), _) if null == "null" => return "None".to_owned(),
        (Some(value), _) => value.clone(),
        (None, _) if field.array => "Vec::new()".to_owned(),
        (None, Kind::Bool) => "false".to_owned(),
        (None, Kind::Uuid) => "Uuid::ZERO".to_owned(),
        (None, Kind::String | Kind::Bytes | Kind::Records) => {
            format!("{}::new()", element(&field.kind))
        }
        (None, Kind::RecordSlices | Kind::Struct(_)) => {
            format!("{}::default()", element(&field.kind))
        }
        (None, _) => "0".to_owned(),
    };
    if field.nullable.is_some() {
        format!("Some({plain})")
    } else {
        plain
    }
}

/// The test that `version` has what `inner` says, or nothing when all of `around` has it.
pub fn condition(inner: Versions, around: Versions) -> Option<String> {
    let low = (inner.low > around.low).then(|| format!("version >= {}", inner.low));
    let high = (inner.high < around.high).then(|| format!("version <= {}", inner.high));
    match (low, high) {
        (Some(low), Some(high)) => Some(format!("{low} && {high}")),
        (low, high) => low.or(high),
    }
}

/// The test that `version` lets the field be null.
pub fn nullable(field: &Field, nullable: Versions) -> String {
    condition(nullable, field.versions).unwrap_or("true".to_owned())
}

/// The least bytes that one element takes in any version of the field.
pub fn least(field: &Field, flexible: i16) -> usize {
    let Versions { low, high } = field.versions;
    (low..=high)
        .map(|version| size(&field.kind, &field.fields, version, flexible))
        .min()
        .unwrap_or(1)
}

fn size(kind: &Kind, fields: &[Field], version: i16, flexible: i16) -> usize {
    let compact = version >= flexible;
    match kind {
        Kind::Bool | Kind::Int8 => 1,
        Kind::Int16 => 2,
        Kind::Int32 => 4,
        Kind::Int64 => 8,
        Kind::Uuid => 16,
        _ if !matches!(kind, Kind::Struct(_)) && compact => 1,
        Kind::String => 2,
        Kind::Bytes | Kind::Records | Kind::RecordSlices => 4,
        Kind::Struct(_) => {
            let present = |f: &&Field| {
                f.tag.is_none() && f.versions.low <= version && version <= f.versions.high
            };
            let sum: usize = fields
                .iter()
                .filter(present)
                .map(|f| least_of(f, version, flexible))
                .sum();
            sum + usize::from(compact)
        }
    }
}

fn least_of(field: &Field, version: i16, flexible: i16) -> usize {
    if field.array {
        if version >= flexible { 1 } else { 4 }
    } else if field.nullable.is_some() && matches!(field.kind, Kind::Struct(_)) {
        1
    } else {
        size(&field.kind, &field.fields, version, flexible)
    }
}

/// The reader's and the encoder's method for a plain value.
pub fn method(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "int8",
        Kind::Int16 => "int16",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uuid => "uuid",
        other => panic!("{other:?} is no plain value"),
    }
}
