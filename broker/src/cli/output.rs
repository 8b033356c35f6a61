//! Tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::exit::{Exit, Failure, Result};

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An aligned table.
    Text,
    /// The same with more columns.
    Wide,
    /// One object with a `schema` field.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// An object as data, where data is wanted; None for people. A line of JSON, or a YAML document.
    pub fn data(self, object: &Value) -> Option<String> {
        match self {
            Self::Text | Self::Wide => None,
            Self::Json => Some(format!("{object}\n")),
            Self::Yaml => {
                let mut text = "---\n".to_owned();
                yaml(object, 0, &mut text);
                Some(text)
            }
        }
    }
}

/// A value in YAML's block style. Texts are quoted as in JSON, which YAML reads too.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let nested = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                *out += &format!("{pad}{name}:");
                if nested(field) {
                    out.push('\n');
                    yaml(field, indent + 2, out);
                } else {
                    *out += &format!(" {field}\n");
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                if nested(item) {
                    // The first line stands behind the dash, the others below it.
                    let at = out.len();
                    yaml(item, indent + 2, out);
                    out.replace_range(at + indent..at + indent + 1, "-");
                } else {
                    *out += &format!("{pad}- {item}\n");
                }
            }
        }
        plain => *out += &format!("{pad}{plain}\n"),
    }
}

/// A column: its name in JSON; shown in upper case. Wide ones are left out of the plain table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    wide: bool,
}

/// A column that is always shown.
pub const fn column(name: &'static str) -> Column {
    Column { name, wide: false }
}

/// A column of the wide table and of JSON.
pub const fn wide(name: &'static str) -> Column {
    Column { name, wide: true }
}

/// Rows of values under columns.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// Without rows.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, a value for each column.
    pub fn row(&mut self, values: Vec<Value>) {
        assert_eq!(
            values.len(),
            self.columns.len(),
            "a row has a value for each column"
        );
        self.rows.push(values);
    }

    /// The table in this format; `name` is what its rows are in JSON.
    pub fn render(&self, format: Format, name: &str) -> String {
        match format {
            Format::Text => self.text(|column| !column.wide),
            Format::Wide => self.text(|_| true),
            Format::Json | Format::Yaml => format
                .data(&json!({ "schema": 1, name: self.objects() }))
                .expect("both are data"),
        }
    }

    /// The rows as JSON objects, for an answer of several parts.
    pub fn values(&self) -> Value {
        Value::Array(self.objects())
    }

    /// Prints it.
    pub fn print(&self, format: Format, name: &str) -> Result<()> {
        print(&self.render(format, name))
    }

    /// Its rows as objects.
    pub fn objects(&self) -> Vec<Value> {
        let object = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row);
            let pairs: Map<_, _> = pairs.map(|(c, v)| (c.name.to_owned(), v.clone())).collect();
            Value::Object(pairs)
        };
        self.rows.iter().map(object).collect()
    }

    fn text(&self, shown: impl Fn(&Column) -> bool) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| shown(&self.columns[*at]))
            .collect();
        let head = shown
            .iter()
            .map(|at| self.columns[*at].name.to_uppercase().replace('_', "-"));
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        lines.extend(
            self.rows
                .iter()
                .map(|row| shown.iter().map(|at| cell(&row[*at])).collect()),
        );
        let widths: Vec<usize> = (0..shown.len())
            .map(|at| {
                lines
                    .iter()
                    .map(|line| line[at].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in lines {
            let cells = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

/// A value as a person reads it: `-` for none, lists with commas.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Prints data. A reader that has seen enough is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write the answer: {error}")))
        }
        Err(_) => {
            READER_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Nobody reads standard output any more.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Shows something once, or again and again.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Show it again after so many seconds (2), until interrupted.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    watch: Option<u64>,
}

impl Watch {
    /// Runs what shows it. While watching, an error is told and is not the end.
    pub async fn run(&self, mut show: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let Some(seconds) = self.watch else {
            return show().await;
        };
        loop {
            if io::stdout().is_terminal() {
                print(CLEAR)?;
            }
            if let Err(failure) = show().await {
                eprintln!("walser: {failure}");
            }
            if READER_GONE.load(Ordering::Relaxed) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}

/// Empties a terminal, and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Asks before something is destroyed. Off a terminal only `--yes` is an answer.
pub fn confirm(yes: bool, what: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    let refused = |why: &str| {
        Failure::with(Exit::NeedsYes, format!("{what}: {why}")).next("say it with --yes")
    };
    if !io::stdin().is_terminal() {
        return Err(refused("this destroys data"));
    }
    eprint!("{what}. Type yes to go on: ");
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(refused("not confirmed")),
    }
}
