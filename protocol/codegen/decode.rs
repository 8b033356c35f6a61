//! Writes the bodies of decoders.

use crate::layout::{condition, default, element, ident, least, method, nullable};
use crate::table::{Api, Field, Kind, Versions};
use std::fmt::Write;

/// Reads the fields in their order, then the tagged ones.
pub fn decode_body(fields: &[Field], api: &Api, around: Versions, top: bool) -> String {
    let mut out = String::new();
    if top {
        out.push_str("<Self as Message>::check(version)?;\n");
    }
    let tagged: Vec<&Field> = fields.iter().filter(|f| f.tag.is_some()).collect();
    for field in fields {
        let name = ident(field);
        let read = read(field, api.flexible);
        match (condition(field.versions, around), field.tag) {
            (_, Some(_)) => writeln!(out, "let mut {name} = {};", default(field)),
            (None, _) => writeln!(out, "let {name} = {read};"),
            (Some(present), _) => {
                writeln!(
                    out,
                    "let {name} = if {present} {{ {read} }} else {{ {} }};",
                    default(field)
                )
            }
        }
        .ok();
    }
    if tagged.is_empty() {
        out.push_str("if flexible { r.skip_tags()?; }\n");
    } else {
        out.push_str("if flexible {\nlet mut tags = r.tags()?;\n");
        out.push_str("while let Some(tag) = tags.next(r)? {\nmatch tag {\n");
        for field in tagged {
            let guard = condition(
                field.versions,
                Versions {
                    low: api.flexible,
                    ..around
                },
            )
            .map_or(String::new(), |present| format!(" if {present}"));
            let tag = field.tag.unwrap_or_default();
            writeln!(
                out,
                "{tag}{guard} => {} = {},",
                ident(field),
                read(field, api.flexible)
            )
            .ok();
        }
        out.push_str("_ => r.skip_rest(),\n}\ntags.leave(r)?;\n}\n}\n");
    }
    if top {
        out.push_str("r.finish()?;\n");
    }
    let names: Vec<&str> = fields.iter().map(ident).collect();
    writeln!(out, "Ok(Self {{ {} }})", names.join(", ")).ok();
    out
}

fn read(field: &Field, flexible: i16) -> String {
    let name = &field.name;
    if field.array {
        return read_array(field, flexible);
    }
    let null = field.nullable.map(|versions| nullable(field, versions));
    match (&field.kind, null) {
        (Kind::String, None) => format!("r.string(flexible, \"{name}\")?"),
        (Kind::String, Some(null)) => format!("r.opt_string(flexible, {null}, \"{name}\")?"),
        (Kind::Bytes, None) => format!("r.bytes(flexible, \"{name}\")?"),
        (Kind::Records, Some(null)) => format!("r.opt_bytes(flexible, {null}, \"{name}\")?"),
        (Kind::RecordSlices, Some(null)) => {
            format!("r.opt_bytes(flexible, {null}, \"{name}\")?.map(Slices::from)")
        }
        (Kind::Struct(of), None) => format!("{of}::decode(r, version)?"),
        (Kind::Struct(of), Some(_)) => {
            format!(
                "if r.present(\"{name}\")? {{ Some({of}::decode(r, version)?) }} else {{ None }}"
            )
        }
        (kind, None) => format!("r.{}()?", method(kind)),
        (kind, Some(_)) => panic!("{name}: {kind:?} cannot be null"),
    }
}

fn read_array(field: &Field, flexible: i16) -> String {
    let name = &field.name;
    let of = element(&field.kind);
    let one = match &field.kind {
        Kind::String => format!("r.string(flexible, \"{name}\")?"),
        Kind::Struct(of) => format!("{of}::decode(r, version)?"),
        kind => format!("r.{}()?", method(kind)),
    };
    let all = format!(
        "{{\nlet mut all = Vec::with_capacity(count.min(FIRST_CAPACITY));\n\
         for _ in 0..count {{ all.push({one}); }}\nall\n}}"
    );
    let bounds = format!(
        "Element {{ name: \"{name}\", least: {}, size: size_of::<{of}>() }}",
        least(field, flexible)
    );
    match field.nullable {
        None => format!("{{ let count = r.count(flexible, {bounds})?; {all} }}"),
        Some(versions) => format!(
            "match r.opt_count(flexible, {}, {bounds})? {{\n\
             None => None,\nSome(count) => Some({all}),\n}}",
            nullable(field, versions)
        ),
    }
}
