//! Tables for people, JSON for programs.

use std::io::{self, Write};

use clap::ValueEnum;
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
            Format::Json => format!("{}\n", json!({ "schema": 1, name: self.objects() })),
        }
    }

    /// Prints it.
    pub fn print(&self, format: Format, name: &str) -> Result<()> {
        print(&self.render(format, name))
    }

    fn objects(&self) -> Vec<Value> {
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
        _ => Ok(()),
    }
}

/// Asks before something is destroyed. Off a terminal only `--yes` is an answer.
pub fn confirm(yes: bool, what: &str) -> Result<()> {
    use std::io::IsTerminal;
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
