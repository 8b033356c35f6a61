//! What a run says: rows as JSON, one object a line, and as a table for people.

mod figures;
mod plot;
mod row;
mod table;

pub use figures::{FloorFigures, Floors, Log, Millis};
pub(crate) use figures::{latencies, note};
pub use row::Row;
pub(crate) use row::{SUSTAINED, Seen};
pub(crate) use table::{Column, json_lines, number, table};

use std::fmt::Write as _;

/// All rows of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the cells.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every record that was acknowledged came back, in all rows that looked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.rows.iter().all(Row::is_sound)
    }

    /// Whether no row is void.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.void.is_empty())
    }

    /// Latency against load as an SVG, when the saturation was searched for.
    #[must_use]
    pub fn plot(&self) -> Option<String> {
        plot::plot(&self.rows)
    }

    /// One JSON object a row and line.
    #[must_use]
    pub fn json_lines(&self) -> String {
        json_lines(&self.rows)
    }

    /// The rows as an aligned table, then why rows are void; what was not measured is a dash.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = table(row::COLUMNS, &self.rows);
        for row in &self.rows {
            for reason in &row.void {
                let _ = writeln!(table, "VOID {}: {reason} {:?}", row.cell, row.errors);
            }
        }
        table
    }
}
