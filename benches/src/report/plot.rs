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

/// What lies where.
struct Scale {
    /// Requests per second at the right end.
    most: f64,
    /// Decimal logarithm of the milliseconds at the bottom, whole.
    bottom: f64,
    /// Powers of ten from there to the top, at least 1.
    decades: f64,
}

impl Scale {
    /// `None` when there is nothing to show.
    fn of(rows: &[&Row]) -> Option<Self> {
        let most = rows.iter().map(|row| rate(row)).fold(0.0, f64::max);
        let values = |(_, _, value): &Line| rows.iter().filter_map(|row| value(row)).collect();
        let shown = LINES.iter().flat_map::<Vec<f64>, _>(values);
        let positive: Vec<f64> = shown.filter(|ms| *ms > 0.0).collect();
        if most <= 0.0 || positive.is_empty() {
            return None;
        }
        let least = positive.iter().copied().fold(f64::INFINITY, f64::min);
        let bottom = least.log10().floor();
        let top = positive.iter().copied().fold(0.0, f64::max).log10().ceil();
        Some(Self {
            most,
            bottom,
            decades: (top - bottom).max(1.0),
        })
    }

    fn x(&self, rate: f64) -> f64 {
        MARGIN + rate / self.most * (WIDTH - 2.0 * MARGIN)
    }

    fn y(&self, ms: f64) -> f64 {
        HEIGHT - MARGIN - (ms.log10() - self.bottom) / self.decades * (HEIGHT - 2.0 * MARGIN)
    }
}

fn rate(row: &Row) -> f64 {
    row.offered_per_second.unwrap_or(0.0)
}

/// The rows that say which share of the sustained rate they are of, as one plot; `None` when there are none.
pub(super) fn plot(rows: &[Row]) -> Option<String> {
    let is_of_load = |row: &&Row| row.share_of_sustained.is_some();
    let rows: Vec<&Row> = rows.iter().filter(is_of_load).collect();
    let scale = Scale::of(&rows)?;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{middle}\" y=\"24\" text-anchor=\"middle\" font-size=\"15\">Latency against load</text>\n\
         <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">requests offered per second</text>\n\
         <text x=\"14\" y=\"{}\">ms</text>\n",
        HEIGHT - 14.0,
        MARGIN - 12.0,
        middle = WIDTH / 2.0,
    );
    grid(&mut svg, &scale, &rows);
    for (number, line) in LINES.iter().enumerate() {
        curve(&mut svg, &scale, &rows, line, number);
    }
    Some(svg + "</svg>\n")
}

fn grid(svg: &mut String, scale: &Scale, rows: &[&Row]) {
    for step in 0..=scale.decades as i32 {
        let ms = 10_f64.powf(scale.bottom + f64::from(step));
        let at = scale.y(ms);
        let (right, words, below) = (WIDTH - MARGIN, MARGIN - 6.0, at + 4.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{words}\" y=\"{below:.1}\" text-anchor=\"end\">{ms}</text>",
        );
    }
    for row in rows {
        let (at, below, rate) = (scale.x(rate(row)), HEIGHT - MARGIN + 18.0, rate(row));
        let share = row.share_of_sustained.unwrap_or(0.0) * 100.0;
        let void = if row.void.is_empty() { "" } else { " void" };
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{rate:.0} ({share:.0} %){void}</text>",
        );
    }
}

fn curve(svg: &mut String, scale: &Scale, rows: &[&Row], line: &Line, number: usize) {
    let (name, colour, value) = line;
    let point = |row: &&Row| {
        let ms = value(row).filter(|ms| *ms > 0.0)?;
        Some(format!("{:.1},{:.1}", scale.x(rate(row)), scale.y(ms)))
    };
    let points: Vec<String> = rows.iter().filter_map(point).collect();
    if points.is_empty() {
        return;
    }
    let (points, x, y) = (
        points.join(" "),
        MARGIN + 80.0 * number as f64,
        MARGIN - 12.0,
    );
    let _ = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
         <text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{name}</text>",
    );
}
