//! Values as they stand in sequences: `{name: value}`, `[value]`, `"text\x00"`, numbers, `true`, `null`, `$variable`.

use std::fmt::Write;

/// Of a field. Bytes are texts too: what is not printable is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// All sizes.
    Int(i64),
    /// A string or bytes.
    Text(Vec<u8>),
    /// `$name`: what it stands for is known while playing.
    Variable(String),
    /// An array.
    List(Vec<Value>),
    /// Fields by name, in their order.
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The field of a structure.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => fields.iter().find(|(own, _)| own == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Reads a whole text.
    pub fn parse(text: &str) -> Result<Value, String> {
        let mut rest = text;
        let value = parse(&mut rest)?;
        match rest.trim() {
            "" => Ok(value),
            more => Err(format!("what is {more:?} after a value?")),
        }
    }
}

fn parse(rest: &mut &str) -> Result<Value, String> {
    *rest = rest.trim_start();
    if accept(rest, "{") {
        return parse_struct(rest);
    }
    if accept(rest, "[") {
        let mut items = Vec::new();
        while !accept(rest, "]") {
            items.push(parse(rest)?);
            if !accept(rest, ",") && !rest.trim_start().starts_with(']') {
                return Err(format!("no comma before {rest:?}"));
            }
        }
        return Ok(Value::List(items));
    }
    if accept(rest, "\"") {
        return parse_text(rest);
    }
    if accept(rest, "$") {
        return Ok(Value::Variable(take_word(rest)?));
    }
    match take_word(rest)?.as_str() {
        "null" => Ok(Value::Null),
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        word => match word.parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => Err(format!("{word:?} is no value")),
        },
    }
}

fn parse_struct(rest: &mut &str) -> Result<Value, String> {
    let mut fields = Vec::new();
    while !accept(rest, "}") {
        *rest = rest.trim_start();
        let name = take_word(rest)?;
        if !accept(rest, ":") {
            return Err(format!("no colon after {name}"));
        }
        fields.push((name, parse(rest)?));
        if !accept(rest, ",") && !rest.trim_start().starts_with('}') {
            return Err(format!("no comma before {rest:?}"));
        }
    }
    Ok(Value::Struct(fields))
}

fn parse_text(rest: &mut &str) -> Result<Value, String> {
    let mut text = Vec::new();
    loop {
        let (character, after) = take_char(rest)?;
        *rest = after;
        match character {
            '"' => return Ok(Value::Text(text)),
            '\\' => {
                let (escape, after) = take_char(rest)?;
                *rest = after;
                if escape == 'x' {
                    let digits = rest.get(..2).ok_or("\\x without two digits")?;
                    let byte = u8::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
                    text.push(byte);
                    *rest = &rest[2..];
                } else {
                    text.push(u8::try_from(escape).map_err(|e| e.to_string())?);
                }
            }
            other => text.extend(other.to_string().bytes()),
        }
    }
}

fn take_char<'a>(rest: &&'a str) -> Result<(char, &'a str), String> {
    let mut characters = rest.chars();
    let character = characters.next().ok_or("a text without its end")?;
    Ok((character, characters.as_str()))
}

fn accept(rest: &mut &str, word: &str) -> bool {
    let trimmed = rest.trim_start();
    let found = trimmed.strip_prefix(word);
    *rest = found.unwrap_or(trimmed);
    found.is_some()
}

fn take_word(rest: &mut &str) -> Result<String, String> {
    let is_part = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    if word.is_empty() {
        return Err(format!("no word at {rest:?}"));
    }
    *rest = after;
    Ok(word.to_owned())
}

/// A text with its quotes.
pub fn quoted(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in text {
        match byte {
            b'"' | b'\\' => write!(out, "\\{}", char::from(*byte)),
            0x20..0x7f => write!(out, "{}", char::from(*byte)),
            other => write!(out, "\\x{other:02x}"),
        }
        .expect("a string takes everything");
    }
    out + "\""
}
