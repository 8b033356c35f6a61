//! Writes the bodies of encoders.

use crate::layout::{condition, default, ident, method, nullable};
use crate::table::{Field, Kind, Versions};
use std::fmt::Write;

/// Writes the fields in their order, then the tagged ones that are not at their default.
pub fn encode_body(fields: &[Field], around: Versions, top: bool) -> String {
    let mut out = String::new();
    if top {
        out.push_str(
            "if let Err(error) = <Self as Message>::check(version) { return e.refuse(error); }\n",
        );
    }
    for field in fields.iter().filter(|f| f.tag.is_none()) {
        let write = write(field);
        match condition(field.versions, around) {
            None => writeln!(out, "{write}").ok(),
            Some(present) => writeln!(out, "if {present} {{\n{write}\n}}").ok(),
        };
    }
    let mut tagged: Vec<&Field> = fields.iter().filter(|f| f.tag.is_some()).collect();
    tagged.sort_by_key(|f| f.tag);
    if tagged.is_empty() {
        out.push_str("if flexible { e.uvarint(0); }\n");
        return out;
    }
    out.push_str("if flexible {\n");
    for field in &tagged {
        let (name, default) = (ident(field), default(field));
        let present = condition(field.versions, around).unwrap_or("true".to_owned());
        writeln!(
            out,
            "let has_{name} = {present} && self.{name} != {default};"
        )
        .ok();
    }
    let counts: Vec<String> = tagged
        .iter()
        .map(|f| format!("u32::from(has_{})", ident(f)))
        .collect();
    writeln!(out, "e.uvarint({});", counts.join(" + ")).ok();
    for field in &tagged {
        let (name, tag, write) = (ident(field), field.tag.unwrap_or_default(), write(field));
        writeln!(
            out,
            "if has_{name} {{\nlet start = e.tag({tag});\n{write}\ne.end_tag(start);\n}}"
        )
        .ok();
    }
    out.push_str("}\n");
    out
}

fn write(field: &Field) -> String {
    let name = ident(field);
    let null = field.nullable.map(|versions| nullable(field, versions));
    if field.array {
        let one = match &field.kind {
            Kind::String => format!("e.string(one, flexible, \"{name}\");"),
            Kind::Struct(_) => "one.encode(e, version);".to_owned(),
            kind => format!("e.{}(*one);", method(kind)),
        };
        return match null {
            None => format!(
                "e.count(self.{name}.len(), flexible, \"{name}\");\n\
                 for one in &self.{name} {{ {one} }}"
            ),
            Some(null) => format!(
                "e.opt_count(self.{name}.as_ref().map(Vec::len), flexible, {null}, \"{name}\");\n\
                 for one in self.{name}.iter().flatten() {{ {one} }}"
            ),
        };
    }
    match (&field.kind, null) {
        (Kind::String, None) => format!("e.string(&self.{name}, flexible, \"{name}\");"),
        (Kind::String, Some(null)) => {
            format!("e.opt_string(self.{name}.as_deref(), flexible, {null}, \"{name}\");")
        }
        (Kind::Bytes, None) => format!("e.bytes(&self.{name}, flexible, \"{name}\");"),
        (Kind::Records, Some(null)) => format!(
            "let pieces = self.{name}.as_ref().map(std::slice::from_ref);\n\
             e.opt_bytes(pieces, flexible, {null}, \"{name}\");"
        ),
        (Kind::RecordSlices, Some(null)) => format!(
            "e.opt_bytes(self.{name}.as_ref().map(Slices::as_slice), flexible, {null}, \"{name}\");"
        ),
        (Kind::Struct(_), None) => format!("self.{name}.encode(e, version);"),
        (Kind::Struct(_), Some(_)) => format!(
            "e.int8(if self.{name}.is_some() {{ 1 }} else {{ -1 }});\n\
             if let Some(one) = &self.{name} {{ one.encode(e, version); }}"
        ),
        (kind, None) => format!("e.{}(self.{name});", method(kind)),
        (kind, Some(_)) => panic!("{name}: {kind:?} cannot be null"),
    }
}
