//! Histories as text, one operation a line, so that a bad one can be kept, read and replayed.
//!
//! ```text
//! send   p1 10-20 k0=7 ok@3        (or: fail, info; 10-? never returned)
//! poll   p2 30-40 ok k0:0=5,1=6 k1:
//! read   p3 50-60 ok k0:0=5,1=6
//! assign p2 25-26 ok k0 k1
//! seek   p2 45-46 ok k0
//! latest p4 70-71 ok k0:2
//! ```

use std::fmt::Write as _;

use super::history::{Body, History, Key, Op, Outcome, Record};

/// A line that is not an operation.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The line, as it stands.
    pub line: String,
}

/// Writes a history, by invocation.
pub fn format(history: &History) -> String {
    let mut ops: Vec<&Op> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.invoked);
    let mut out = String::new();
    for op in ops {
        format_op(op, &mut out);
        out.push('\n');
    }
    out
}

fn format_op(op: &Op, out: &mut String) {
    let returned = match op.returned {
        Op::NEVER => "?".to_owned(),
        returned => returned.to_string(),
    };
    let outcome = match op.outcome {
        Outcome::Ok => "ok",
        Outcome::Fail => "fail",
        Outcome::Info => "info",
    };
    let head = |verb: &str| format!("{verb} p{} {}-{returned} ", op.process, op.invoked);
    let list = |records: &[Record]| {
        let each = records
            .iter()
            .map(|record| format!("{}={}", record.offset, record.value));
        each.collect::<Vec<_>>().join(",")
    };
    match &op.body {
        Body::Send { key, value, offset } => {
            let _ = write!(out, "{}k{}={value} {outcome}", head("send"), key.0);
            if let Some(offset) = offset {
                let _ = write!(out, "@{offset}");
            }
        }
        Body::Poll { reads } => {
            let _ = write!(out, "{}{outcome}", head("poll"));
            for (key, records) in reads {
                let _ = write!(out, " k{}:{}", key.0, list(records));
            }
        }
        Body::FullRead { key, records } => {
            let _ = write!(
                out,
                "{}{outcome} k{}:{}",
                head("read"),
                key.0,
                list(records)
            );
        }
        Body::Assign { keys } => {
            let _ = write!(out, "{}{outcome}", head("assign"));
            for key in keys {
                let _ = write!(out, " k{}", key.0);
            }
        }
        Body::Seek { key } => {
            let _ = write!(out, "{}{outcome} k{}", head("seek"), key.0);
        }
        Body::Latest { key, offset } => {
            let _ = write!(out, "{}{outcome} k{}:{offset}", head("latest"), key.0);
        }
    }
}

/// Reads a history; blank lines and what follows `#` are skipped.
pub fn parse(text: &str) -> Result<History, BadLine> {
    let mut history = History::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let op = parse_op(line).ok_or_else(|| BadLine {
            line: line.to_owned(),
        })?;
        history.ops.push(op);
    }
    Ok(history)
}

fn parse_op(line: &str) -> Option<Op> {
    let mut words = line.split_whitespace();
    let verb = words.next()?;
    let process = words.next()?.strip_prefix('p')?.parse().ok()?;
    let (invoked, returned) = words.next()?.split_once('-')?;
    let invoked = invoked.parse().ok()?;
    let returned = if returned == "?" {
        Op::NEVER
    } else {
        returned.parse().ok()?
    };
    let (outcome, body) = if verb == "send" {
        let (key, value) = words.next()?.split_once('=')?;
        let (outcome, offset) = match words.next()?.split_once('@') {
            Some((outcome, offset)) => (parse_outcome(outcome)?, Some(offset.parse().ok()?)),
            None => (parse_outcome(line.rsplit(' ').next()?)?, None),
        };
        (
            outcome,
            Body::Send {
                key: parse_key(key)?,
                value: value.parse().ok()?,
                offset,
            },
        )
    } else {
        let outcome = parse_outcome(words.next()?)?;
        let rest: Vec<&str> = words.collect();
        (outcome, parse_body(verb, &rest)?)
    };
    Some(Op {
        process,
        invoked,
        returned,
        outcome,
        body,
    })
}

fn parse_body(verb: &str, rest: &[&str]) -> Option<Body> {
    match (verb, rest) {
        ("poll", _) => {
            let reads = rest
                .iter()
                .map(|word| parse_reads(word))
                .collect::<Option<_>>()?;
            Some(Body::Poll { reads })
        }
        ("read", [word]) => {
            let (key, records) = parse_reads(word)?;
            Some(Body::FullRead { key, records })
        }
        ("assign", _) => {
            let keys = rest
                .iter()
                .map(|word| parse_key(word))
                .collect::<Option<_>>()?;
            Some(Body::Assign { keys })
        }
        ("seek", [word]) => Some(Body::Seek {
            key: parse_key(word)?,
        }),
        ("latest", [word]) => {
            let (key, offset) = word.split_once(':')?;
            Some(Body::Latest {
                key: parse_key(key)?,
                offset: offset.parse().ok()?,
            })
        }
        _ => None,
    }
}

fn parse_reads(word: &str) -> Option<(Key, Vec<Record>)> {
    let (key, list) = word.split_once(':')?;
    let record = |item: &str| {
        let (offset, value) = item.split_once('=')?;
        Some(Record {
            offset: offset.parse().ok()?,
            value: value.parse().ok()?,
        })
    };
    let items = list.split(',').filter(|item| !item.is_empty());
    Some((parse_key(key)?, items.map(record).collect::<Option<_>>()?))
}

fn parse_key(word: &str) -> Option<Key> {
    Some(Key(word.strip_prefix('k')?.parse().ok()?))
}

fn parse_outcome(word: &str) -> Option<Outcome> {
    match word {
        "ok" => Some(Outcome::Ok),
        "fail" => Some(Outcome::Fail),
        "info" => Some(Outcome::Info),
        _ => None,
    }
}
