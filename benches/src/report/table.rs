//! Rows as an aligned table for people.

use std::fmt::Write as _;

/// A heading, and what stands under it.
pub(crate) type Column<R> = (&'static str, fn(&R) -> String);

/// What was not measured is a dash.
pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.decimals$}"))
}

pub(crate) fn table<R>(columns: &[Column<R>], rows: &[R]) -> String {
    let heads = columns
        .iter()
        .map(|(head, _)| (*head).to_string())
        .collect();
    let cells = |row| columns.iter().map(|(_, show)| show(row)).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads)
        .chain(rows.iter().map(cells))
        .collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut table = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(table, "{cell:>width$}  ");
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}

/// One JSON object a row and line.
pub(crate) fn json_lines<R: serde::Serialize>(rows: &[R]) -> String {
    let line = |row| serde_json::to_string(row).expect("a row has string keys only") + "\n";
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns: &[Column<f64>] = &[
            ("n", |n| format!("{n:.0}")),
            ("half", |n| number(Some(n / 2.0), 1)),
        ];
        assert_eq!(
            table(columns, &[7.0, 1000.0]),
            "   n   half\n   7    3.5\n1000  500.0\n"
        );
        assert_eq!(number(None, 3), "-");
    }
}
