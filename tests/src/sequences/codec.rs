//! Values to bytes and back, as the fields of a version want it.

use super::schema::{Field, Kind, UUID_BYTES};
use super::value::Value;
use crate::wire::codec::Reader;

/// How a version is written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Which.
    pub version: i16,
    /// With compact lengths and tags.
    pub is_flexible: bool,
}

/// Writes a structure. A field that the version lacks must not be named; what is not named is as its default.
pub fn encode(
    form: Form,
    fields: &[Field],
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let Value::Struct(given) = value else {
        return Err(format!("{value:?} is no structure"));
    };
    let own = |field: &&Field| field.versions.contains(&form.version);
    for (name, _) in given {
        if !fields.iter().filter(own).any(|field| field.name == *name) {
            return Err(format!("version {} has no field {name}", form.version));
        }
    }
    for field in fields.iter().filter(own) {
        let value = value.get(&field.name).unwrap_or(&field.default);
        if is_marked(form, field) {
            out.push(if *value == Value::Null { 0xff } else { 1 });
            if *value == Value::Null {
                continue;
            }
        }
        encode_value(form, &field.kind, value, out)
            .map_err(|why| format!("{}: {why}", field.name))?;
    }
    if form.is_flexible {
        out.push(0);
    }
    Ok(())
}

/// A byte says whether the structure is there.
fn is_marked(form: Form, field: &Field) -> bool {
    matches!(field.kind, Kind::Struct(_)) && field.nullable <= form.version
}

fn encode_value(form: Form, kind: &Kind, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match (kind, value) {
        (Kind::Bool, Value::Bool(set)) => out.push(u8::from(*set)),
        (Kind::Int(bytes), Value::Int(number)) => {
            out.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
        }
        (Kind::String, Value::Null) => length(form, None, 2, out),
        (Kind::String, Value::Text(text)) => {
            length(form, Some(text.len()), 2, out);
            out.extend_from_slice(text);
        }
        (Kind::Uuid, Value::Text(id)) if id.len() == UUID_BYTES => out.extend_from_slice(id),
        (Kind::Bytes | Kind::Array(_), Value::Null) => length(form, None, 4, out),
        (Kind::Bytes, Value::Text(text)) => {
            length(form, Some(text.len()), 4, out);
            out.extend_from_slice(text);
        }
        (Kind::Array(element), Value::List(items)) => {
            length(form, Some(items.len()), 4, out);
            for item in items {
                encode_value(form, element, item, out)?;
            }
        }
        (Kind::Struct(fields), value) => encode(form, fields, value, out)?,
        (kind, value) => return Err(format!("{value:?} is no {kind:?}")),
    }
    Ok(())
}

fn length(form: Form, length: Option<usize>, plain: usize, out: &mut Vec<u8>) {
    if form.is_flexible {
        let mut rest = length.map_or(0, |length| length + 1);
        while rest > 0x7f {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    } else {
        let length = length.map_or(-1, |length| length as i64);
        out.extend_from_slice(&length.to_be_bytes()[8 - plain..]);
    }
}

/// Reads a whole body; what is too much is an error.
pub fn decode(form: Form, fields: &[Field], bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader(bytes);
    let value = decode_struct(form, fields, &mut reader).map_err(|error| error.to_string())?;
    match reader.0.len() {
        0 => Ok(value),
        more => Err(format!("{more} bytes after {value:?}")),
    }
}

fn decode_struct(form: Form, fields: &[Field], reader: &mut Reader<'_>) -> std::io::Result<Value> {
    let mut found = Vec::new();
    for field in fields
        .iter()
        .filter(|field| field.versions.contains(&form.version))
    {
        let may_be_null = field.nullable <= form.version;
        let value = if is_marked(form, field) && reader.i8()? < 0 {
            Value::Null
        } else {
            decode_value(form, &field.kind, reader)?
        };
        if value == Value::Null && !may_be_null {
            return Err(std::io::Error::other(format!("{} is null", field.name)));
        }
        found.push((field.name.clone(), value));
    }
    if form.is_flexible {
        for _ in 0..unsigned(reader)? {
            unsigned(reader)?;
            let bytes = unsigned(reader)?;
            reader.take(bytes)?;
        }
    }
    Ok(Value::Struct(found))
}

fn decode_value(form: Form, kind: &Kind, reader: &mut Reader<'_>) -> std::io::Result<Value> {
    Ok(match kind {
        Kind::Bool => Value::Bool(reader.i8()? != 0),
        Kind::Int(1) => Value::Int(reader.i8()?.into()),
        Kind::Int(2) => Value::Int(reader.i16()?.into()),
        Kind::Int(4) => Value::Int(reader.i32()?.into()),
        Kind::Int(_) => Value::Int(reader.i64()?),
        Kind::String | Kind::Bytes => {
            let plain = if *kind == Kind::String { 2 } else { 4 };
            match decode_length(form, plain, reader)? {
                Some(length) => Value::Text(reader.take(length)?.to_vec()),
                None => Value::Null,
            }
        }
        Kind::Uuid => Value::Text(reader.take(UUID_BYTES)?.to_vec()),
        Kind::Array(element) => match decode_length(form, 4, reader)? {
            Some(length) => {
                let items = (0..length).map(|_| decode_value(form, element, reader));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            None => Value::Null,
        },
        Kind::Struct(fields) => decode_struct(form, fields, reader)?,
    })
}

fn decode_length(
    form: Form,
    plain: usize,
    reader: &mut Reader<'_>,
) -> std::io::Result<Option<usize>> {
    if form.is_flexible {
        return Ok(unsigned(reader)?.checked_sub(1));
    }
    let length = if plain == 2 {
        reader.i16()?.into()
    } else {
        reader.i32()?
    };
    Ok(usize::try_from(length).ok())
}

fn unsigned(reader: &mut Reader<'_>) -> std::io::Result<usize> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = reader.i8()? as u8;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(std::io::Error::other("a varint without end"))
}
