//! Latency against load, as an SVG.

use super::Row;
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Room for the axes' words.
const MARGIN: f64 = 60.0;

/// A line of the plot: its name, its colour, its value in a row.
type Line = (&'static str, &'static str, fn(&Row) -> Option<f64>);

const LINES: [Line; 4] = [
    ("p50", "#2b7a3f", |row| Some(row.latency_ms.p50)),
    ("p99", "#1f5fa8", |row| Some(row.latency_ms.p99)),
    ("p99.9", "#b03030", |row| Some(row.latency_ms.p999)),
    ("floor p99", "#888888", |row| {
        row.floor
            .map(|floors| floors.mean(|floor| floor.latency_ms.p99))
    }),
];

/// The rows that say which share of the sustained rate they are of, as one plot; `None` when there are none.
pub(super) fn plot(rows: &[Row]) -> Option<String> {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| row.share_of_sustained.is_some())
        .collect();
    let rate = |row: &Row| row.offered_per_second.unwrap_or(0.0);
    let most = rows.iter().map(|row| rate(row)).fold(0.0, f64::max);
    let shown = LINES
        .iter()
        .flat_map(|(_, _, value)| rows.iter().filter_map(|row| value(row)));
    let positive: Vec<f64> = shown.filter(|ms| *ms > 0.0).collect();
    if most <= 0.0 || positive.is_empty() {
        return None;
    }
    let bottom = positive.iter().copied().fold(f64::INFINITY, f64::min);
    let bottom = bottom.log10().floor();
    let top = positive.iter().copied().fold(0.0, f64::max).log10().ceil();
    let decades = (top - bottom).max(1.0);
    let x = |rate: f64| MARGIN + rate / most * (WIDTH - 2.0 * MARGIN);
    let y = |ms: f64| HEIGHT - MARGIN - (ms.log10() - bottom) / decades * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"24\" text-anchor=\"middle\" font-size=\"15\">Latency against load</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">requests offered per second</text>\n\
         <text x=\"14\" y=\"{}\">ms</text>\n",
        WIDTH / 2.0,
        WIDTH / 2.0,
        HEIGHT - 14.0,
        MARGIN - 12.0,
    );
    let mut decade = bottom;
    while decade <= bottom + decades {
        let (at, ms) = (y(10_f64.powf(decade)), 10_f64.powf(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms}</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            at + 4.0,
        );
        decade += 1.0;
    }
    for row in &rows {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0} ({:.0} %){}</text>",
            x(rate(row)),
            HEIGHT - MARGIN + 18.0,
            rate(row),
            row.share_of_sustained.unwrap_or(0.0) * 100.0,
            if row.void.is_empty() { "" } else { " void" },
        );
    }
    for (number, (name, colour, value)) in LINES.iter().enumerate() {
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|row| Some((x(rate(row)), y(value(row).filter(|ms| *ms > 0.0)?))))
            .collect();
        if points.is_empty() {
            continue;
        }
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            path.join(" "),
            MARGIN + 10.0 + 80.0 * number as f64,
            MARGIN - 12.0,
        );
    }
    Some(svg + "</svg>\n")
}
