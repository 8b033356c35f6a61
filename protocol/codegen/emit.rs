//! Writes the types of all messages, their decoders and encoders.

use crate::decode::decode_body;
use crate::encode::encode_body;
use crate::layout::{default, ident, rust_type};
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
        "/// {name} (key {}), versions {} to {}.\npub mod {module} {{\n\
         use crate::messages::prelude::*;\n\
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
    "/// Reads it in this version's layout. A whole message takes all that is left and no less.",
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
        "impl Message for {title} {{\nconst KEY: ApiKey = ApiKey::{};\n\
         const VERSIONS: (i16, i16) = ({}, {});\n\
         const FLEXIBLE: i16 = FLEXIBLE;\n\
         fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{\n\
         Self::decode(r, version)\n}}\n\
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
        "}})\n}}\n/// Encodes the body.\n\
         pub fn encode(&self, e: &mut Encoder, version: i16) {{\nmatch self {{"
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
            "impl From<{name}{side}> for Any{side} {{\n\
             fn from(m: {name}{side}) -> Self {{ Self::{name}(m) }}\n}}"
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
