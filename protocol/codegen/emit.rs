//! Writes the types of all messages, their decoders and encoders.

use crate::table::{Api, Field, Kind, Versions};
use std::fmt::Write;

/// All modules and the enums over them.
pub fn all(apis: &[Api]) -> String {
    let mut out = String::new();
    for api in apis {
        module(&mut out, api);
    }
    for side in ["Request", "Response"] {
        any(&mut out, apis, side);
    }
    out
}

/// Every structure below these fields, each name once.
pub fn structures<'a>(fields: &'a [Field], found: &mut Vec<(&'a str, &'a [Field], Versions)>) {
    for field in fields {
        if let Kind::Struct(name) = &field.kind {
            match found.iter().find(|(known, ..)| known == name) {
                Some((_, same, _)) if *same == field.fields => {}
                Some(_) => panic!("two different structures are called {name}"),
                None => found.push((name, &field.fields, field.versions)),
            }
            structures(&field.fields, found);
        }
    }
}

fn module(out: &mut String, api: &Api) {
    let Api {
        name,
        module,
        versions,
        flexible,
        ..
    } = api;
    writeln!(
        out,
        "/// {name} (key {}), versions {} to {}.\npub mod {module} {{\nuse crate::messages::prelude::*;\n\
         const FLEXIBLE: i16 = {flexible};",
        api.key, versions.low, versions.high
    )
    .ok();
    let mut found = Vec::new();
    for (side, fields) in [("request", &api.request), ("response", &api.response)] {
        let title = format!("{name}{}{}", side[..1].to_uppercase(), &side[1..]);
        structure(
            out,
            &title,
            &format!("The {side}."),
            fields,
            api,
            *versions,
            true,
        );
        structures(fields, &mut found);
    }
    for (title, fields, versions) in found {
        let doc = format!("A part of {name}.");
        structure(out, title, &doc, fields, api, versions, false);
    }
    writeln!(
        out,
        "impl Request for {name}Request {{ type Response = {name}Response; }}\n}}"
    )
    .ok();
    writeln!(out, "pub use {module}::{{{name}Request, {name}Response}};").ok();
}

fn structure(
    out: &mut String,
    title: &str,
    doc: &str,
    fields: &[Field],
    api: &Api,
    versions: Versions,
    top: bool,
) {
    writeln!(
        out,
        "/// {doc}\n#[derive(Clone, Debug, PartialEq)]\npub struct {title} {{"
    )
    .ok();
    for field in fields {
        writeln!(
            out,
            "{}\npub {}: {},",
            field_doc(field, versions),
            ident(field),
            rust_type(field)
        )
        .ok();
    }
    writeln!(
        out,
        "}}\nimpl Default for {title} {{\nfn default() -> Self {{\nSelf {{"
    )
    .ok();
    for field in fields {
        writeln!(out, "{}: {},", ident(field), default(field)).ok();
    }
    writeln!(out, "}}\n}}\n}}\nimpl {title} {{").ok();
    function(out, &decode_body(fields, api, versions, top), DECODE);
    function(out, &encode_body(fields, versions, top), ENCODE);
    writeln!(out, "}}").ok();
    if top {
        message(out, title, api);
    }
}

const DECODE: (&str, &str) = (
    "/// Reads it in this version's layout. A whole message takes all that is left, and refuses more.",
    "pub fn decode(r: &mut Reader, VERSION: i16) -> Result<Self, DecodeError>",
);
const ENCODE: (&str, &str) = (
    "/// Writes it in this version's layout; what the version does not have is left out.",
    "pub fn encode(&self, e: &mut Encoder, VERSION: i16)",
);

fn function(out: &mut String, body: &str, (doc, signature): (&str, &str)) {
    let flexible = body.contains("flexible");
    let version = if flexible || body.contains("version") {
        "version"
    } else {
        "_version"
    };
    let mut signature = signature.replace("VERSION", version);
    if body.trim().is_empty() {
        signature = signature.replace("e:", "_e:").replace("r:", "_r:");
    }
    let prepare = if flexible {
        "let flexible = version >= FLEXIBLE;\n"
    } else {
        ""
    };
    writeln!(out, "{doc}\n{signature} {{\n{prepare}{body}}}").ok();
}

fn message(out: &mut String, title: &str, api: &Api) {
    writeln!(
        out,
        "impl Message for {title} {{\nconst KEY: ApiKey = ApiKey::{};\nconst VERSIONS: (i16, i16) = ({}, {});\n\
         const FLEXIBLE: i16 = FLEXIBLE;\n\
         fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{ Self::decode(r, version) }}\n\
         fn encode(&self, e: &mut Encoder, version: i16) {{ self.encode(e, version) }}\n}}",
        api.name, api.versions.low, api.versions.high
    )
    .ok();
}

fn any(out: &mut String, apis: &[Api], side: &str) {
    let lower = side.to_lowercase();
    writeln!(
        out,
        "/// Any {lower} of the table.\n#[allow(clippy::large_enum_variant)]\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum Any{side} {{"
    )
    .ok();
    for Api { name, .. } in apis {
        writeln!(out, "/// {name}.\n{name}({name}{side}),").ok();
    }
    writeln!(
        out,
        "}}\nimpl Any{side} {{\n/// Decodes the body of a {lower}.\n\
         pub fn decode(key: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{\n\
         Ok(match key {{"
    )
    .ok();
    for Api { name, .. } in apis {
        writeln!(
            out,
            "ApiKey::{name} => Self::{name}({name}{side}::decode(r, version)?),"
        )
        .ok();
    }
    writeln!(
        out,
        "}})\n}}\n/// Encodes the body.\npub fn encode(&self, e: &mut Encoder, version: i16) {{\nmatch self {{"
    )
    .ok();
    for Api { name, .. } in apis {
        writeln!(out, "Self::{name}(m) => m.encode(e, version),").ok();
    }
    writeln!(
        out,
        "}}\n}}\n/// Whose it is.\npub fn key(&self) -> ApiKey {{\nmatch self {{"
    )
    .ok();
    for Api { name, .. } in apis {
        writeln!(out, "Self::{name}(_) => ApiKey::{name},").ok();
    }
    writeln!(out, "}}\n}}\n}}").ok();
    for Api { name, .. } in apis {
        writeln!(
            out,
            "impl From<{name}{side}> for Any{side} {{ fn from(m: {name}{side}) -> Self {{ Self::{name}(m) }} }}"
        )
        .ok();
    }
}

fn field_doc(field: &Field, around: Versions) -> String {
    let mut doc = if field.doc.is_empty() {
        format!("`{}` of the wire format.", field.name)
    } else {
        field.doc.clone()
    };
    let Versions { low, high } = field.versions;
    if field.versions != around {
        match (high == around.high, low == high) {
            (true, _) => write!(doc, " Since version {low}.").ok(),
            (false, true) => write!(doc, " Only in version {low}.").ok(),
            (false, false) => write!(doc, " Only in versions {low} to {high}.").ok(),
        };
    }
    if let Some(nullable) = field
        .nullable
        .filter(|nullable| *nullable != field.versions)
    {
        write!(doc, " `None` since version {}.", nullable.low).ok();
    }
    doc.split('\n')
        .map(|line| format!("/// {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn ident(field: &Field) -> &str {
    &field.name
}

fn element(kind: &Kind) -> &str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Int32 => "i32",
        Kind::Int64 => "i64",
        Kind::Uuid => "Uuid",
        Kind::String => "Str",
        Kind::Records => "Bytes",
        Kind::RecordSlices => "Slices",
        Kind::Struct(name) => name,
    }
}

fn rust_type(field: &Field) -> String {
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
        (None, Kind::String | Kind::Records) => format!("{}::new()", element(&field.kind)),
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

fn nullable(field: &Field, nullable: Versions) -> String {
    condition(nullable, field.versions).unwrap_or("true".to_owned())
}

/// The least bytes that one element takes in any version of the field.
fn least(field: &Field, flexible: i16) -> usize {
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
        Kind::Records | Kind::RecordSlices => 4,
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

fn decode_body(fields: &[Field], api: &Api, around: Versions, top: bool) -> String {
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
        out.push_str("if flexible {\nlet mut tags = r.tags()?;\nwhile let Some(tag) = tags.next(r)? {\nmatch tag {\n");
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
            "match r.opt_count(flexible, {}, {bounds})? {{ None => None, Some(count) => Some({all}) }}",
            nullable(field, versions)
        ),
    }
}

/// The reader's and the encoder's method for a plain value.
fn method(kind: &Kind) -> &'static str {
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

fn encode_body(fields: &[Field], around: Versions, top: bool) -> String {
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
                "e.count(self.{name}.len(), flexible, \"{name}\");\nfor one in &self.{name} {{ {one} }}"
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
        (Kind::Records, Some(null)) => format!(
            "e.opt_bytes(self.{name}.as_ref().map(std::slice::from_ref), flexible, {null}, \"{name}\");"
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
