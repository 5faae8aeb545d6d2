//! The farm over the last ten minutes as an inline SVG: servers by state as stacked areas, sessions as a line above them.
//!
//! It holds numbers only, so there is nothing to escape.

use crate::view::{SAMPLE_MS, SAMPLES_MAX, Sample};
use std::collections::VecDeque;
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// Where a band begins and how high it is, in servers.
type Layer = fn(&Sample) -> [u32; 2];

/// The chart; an empty frame without samples.
pub(super) fn svg(history: &VecDeque<Sample>) -> String {
    let end_ms = history.back().map_or(0, |s| s.wall_ms);
    let span_ms = SAMPLES_MAX as u64 * SAMPLE_MS;
    let shown: Vec<&Sample> = history.iter().filter(|s| end_ms.saturating_sub(s.wall_ms) <= span_ms).collect();
    let x = |s: &Sample| WIDTH - RIGHT - (WIDTH - LEFT - RIGHT) * end_ms.saturating_sub(s.wall_ms) as f64 / span_ms as f64;
    let servers = |s: &Sample| f64::from(s.live + s.draining + s.pending + s.down);
    let servers_max = ceiling(shown.iter().map(|s| servers(s)).fold(0.0, f64::max), 4.0);
    let sessions_max = ceiling(shown.iter().map(|s| f64::from(s.sessions)).fold(0.0, f64::max), 10.0);
    let y = |share: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Servers by state and sessions over the last ten minutes\">"
    );
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let at = y(share);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
<text class=\"tick sessions\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            short(servers_max * share),
            WIDTH - RIGHT + 6.0,
            at + 4.0,
            short(sessions_max * share),
        );
    }
    for minutes in [10, 8, 6, 4, 2, 0] {
        let at = WIDTH - RIGHT - (WIDTH - LEFT - RIGHT) * f64::from(minutes) / 10.0;
        let label = if minutes == 0 { "now".to_owned() } else { format!("−{minutes} min") };
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - 6.0
        );
    }
    let layers: [(&str, Layer); 4] = [
        ("live", |s| [0, s.live]),
        ("draining", |s| [s.live, s.draining]),
        ("pending", |s| [s.live + s.draining, s.pending]),
        ("down", |s| [s.live + s.draining + s.pending, s.down]),
    ];
    for (class, layer) in layers {
        if shown.iter().any(|s| layer(s)[1] > 0) {
            let _ = write!(svg, "<path class=\"area {class}\" d=\"{}\"/>", area(&shown, x, |n| y(n / servers_max), layer));
        }
    }
    let mut line = String::new();
    for sample in &shown {
        let _ = write!(line, "{:.1},{:.1} ", x(sample), y(f64::from(sample.sessions) / sessions_max));
    }
    let _ = write!(svg, "<polyline class=\"sessions\" points=\"{}\"/></svg>", line.trim_end());
    svg
}

/// A stepped band from `base` to `base + height`, since the number of servers does not change gradually.
fn area(shown: &[&Sample], x: impl Fn(&Sample) -> f64, y: impl Fn(f64) -> f64, layer: Layer) -> String {
    let mut top = String::new();
    let mut bottom = Vec::with_capacity(shown.len());
    let mut before: Option<[u32; 2]> = None;
    for (n, sample) in shown.iter().enumerate() {
        let [base, height] = layer(sample);
        let at = x(sample);
        // Only corners are drawn: a quiet farm makes a short path.
        let last = n + 1 == shown.len();
        if before == Some([base, height]) && !last {
            continue;
        }
        if let Some([base, height]) = before {
            let _ = write!(top, "L{at:.1} {:.1}", y(f64::from(base + height)));
            bottom.push(format!("L{at:.1} {:.1}", y(f64::from(base))));
        }
        let _ = write!(top, "{}{at:.1} {:.1}", if before.is_none() { "M" } else { "L" }, y(f64::from(base + height)));
        bottom.push(format!("L{at:.1} {:.1}", y(f64::from(base))));
        before = Some([base, height]);
    }
    bottom.reverse();
    format!("{top}{}Z", bottom.concat())
}

/// The next round number above, at least `least`, that four grid lines divide well.
fn ceiling(value: f64, least: f64) -> f64 {
    let value = value.max(least);
    let mut unit = 4.0_f64;
    loop {
        for step in STEPS {
            if unit * step >= value {
                return unit * step;
            }
        }
        unit *= 10.0;
    }
}

fn short(number: f64) -> String {
    if number >= 10_000.0 { format!("{:.0}k", number / 1_000.0) } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round() {
        for (value, least, expect) in
            [(0.0, 4.0, 4.0), (5.0, 4.0, 8.0), (9.0, 4.0, 20.0), (21.0, 4.0, 40.0), (390.0, 10.0, 400.0)]
        {
            assert_eq!(ceiling(value, least), expect, "{value}");
        }
    }

    #[test]
    fn any_history_makes_a_chart() {
        let mut history = VecDeque::new();
        assert!(svg(&history).ends_with("</svg>"));
        for n in 0..700 {
            let live = 3 + u32::from(n > 300);
            history.push_back(Sample { wall_ms: n * 1_000, live, sessions: n as u32, ..Sample::default() });
        }
        let svg = svg(&history);
        assert!(svg.contains("class=\"area live\"") && !svg.contains("class=\"area down\"") && !svg.contains("NaN"));
        assert!(svg.len() < 20_000, "{}", svg.len());
    }
}
