//! Writes what only the crate's own tests need: random values of every message, and the calls into
//! the oracle.

use crate::emit::structures;
use crate::layout::{condition, default};
use crate::table::{Api, Field, Kind, Versions};
use std::fmt::Write;

/// `arbitrary` of every structure, and one list of all messages.
pub fn all(apis: &[Api]) -> String {
    let mut out =
        String::from("use super::random::Random;\nuse crate::wire::{Slices, Str, Uuid};\n");
    for api in apis {
        let mut found = Vec::new();
        for (side, fields) in [("Request", &api.request), ("Response", &api.response)] {
            arbitrary(
                &mut out,
                &api.module,
                &format!("{}{side}", api.name),
                fields,
                api.versions,
            );
            structures(fields, &mut found);
        }
        for (name, fields, versions) in found {
            arbitrary(&mut out, &api.module, name, fields, versions);
        }
    }
    out.push_str("/// Calls `$with!(name, request type, response type)` for every API.\n");
    out.push_str("macro_rules! every_api {\n($with:ident) => {\n");
    for Api { name, .. } in apis {
        writeln!(out, "$with!({name}, {name}Request, {name}Response);").ok();
    }
    out.push_str("};\n}\npub(super) use every_api;\n");
    out
}

fn arbitrary(out: &mut String, module: &str, name: &str, fields: &[Field], around: Versions) {
    writeln!(
        out,
        "impl crate::messages::{module}::{name} {{\n\
         pub(super) fn arbitrary(random: &mut Random, version: i16) -> Self {{\n\
         use crate::messages::{module}::*;\nlet _ = version;\nSelf {{"
    )
    .ok();
    for field in fields {
        let value = value(field);
        match condition(field.versions, around) {
            None => writeln!(out, "{}: {value},", field.name),
            Some(present) => writeln!(
                out,
                "{}: if {present} {{ {value} }} else {{ {} }},",
                field.name,
                default(field)
            ),
        }
        .ok();
    }
    writeln!(out, "}}\n}}\n}}").ok();
}

fn value(field: &Field) -> String {
    let one = match &field.kind {
        Kind::Bool => "random.bool()".to_owned(),
        Kind::Int8 => "random.next() as i8".to_owned(),
        Kind::Int16 => "random.next() as i16".to_owned(),
        Kind::Int32 => "random.next() as i32".to_owned(),
        Kind::Int64 => "random.next() as i64".to_owned(),
        Kind::Uuid => "Uuid(u128::from(random.next()))".to_owned(),
        Kind::String => "random.string()".to_owned(),
        Kind::Bytes | Kind::Records => "random.bytes()".to_owned(),
        Kind::RecordSlices => "Slices::from(random.bytes())".to_owned(),
        Kind::Struct(name) => format!("{name}::arbitrary(random, version)"),
    };
    let value = if field.array {
        format!("(0..random.below(4)).map(|_| {one}).collect()")
    } else {
        one
    };
    match field.nullable {
        None => value,
        Some(nullable) => {
            let null = condition(nullable, field.versions).unwrap_or("true".to_owned());
            format!("if {null} && random.bool() {{ None }} else {{ Some({value}) }}")
        }
    }
}
