//! Small multiples as inline SVG: one question a picture, the same axis of time in all of them, numbers at the pointer.
//!
//! They hold numbers, and words of this program only, so there is nothing to escape.

use super::joined;
use crate::history::{Column, RANGES, Range, Ranges, Sample};
use crate::text::time_of_day;
use std::fmt::Write as _;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 36.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 20.0;
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
/// Points of a line: about one for each two pixels.
const BINS: u64 = 120;

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// On top of the areas before it.
    Area,
    Line,
    Dashed,
}

struct Series {
    name: &'static str,
    /// Its colour, by a class of the style sheet.
    class: &'static str,
    kind: Kind,
    value: fn(&Sample) -> f64,
}

struct Chart {
    title: &'static str,
    /// The axis reaches at least this far.
    least: f64,
    digits: usize,
    series: &'static [Series],
}

const fn area(name: &'static str, class: &'static str, value: fn(&Sample) -> f64) -> Series {
    Series { name, class, kind: Kind::Area, value }
}

const fn line(name: &'static str, class: &'static str, value: fn(&Sample) -> f64) -> Series {
    Series { name, class, kind: Kind::Line, value }
}

const fn dashed(name: &'static str, class: &'static str, value: fn(&Sample) -> f64) -> Series {
    Series { name, class, kind: Kind::Dashed, value }
}

const CHARTS: [Chart; 6] = [
    Chart {
        title: "Servers",
        least: 4.0,
        digits: 0,
        series: &[
            area("in service", "live", |s| s.get(Column::Live)),
            area("draining", "draining", |s| s.get(Column::Draining)),
            area("booting", "pending", |s| s.get(Column::Pending)),
            area("silent or down", "down", |s| s.get(Column::Down)),
            dashed("wanted", "ink", |s| s.get(Column::Desired)),
        ],
    },
    Chart {
        title: "Sessions and room for them",
        least: 8.0,
        digits: 0,
        series: &[
            area("sessions", "sess", |s| s.get(Column::Sessions)),
            line("room now", "live", |s| s.get(Column::Capacity)),
            dashed("with launches", "pending", |s| s.get(Column::CapacityPending)),
            dashed("at most", "ink", |s| s.get(Column::CapacityMax)),
        ],
    },
    Chart {
        title: "New sessions a second",
        least: 1.0,
        digits: 2,
        series: &[area("new", "sess", |s| s.rate(Column::New)), line("told to wait", "draining", |s| s.rate(Column::Waits))],
    },
    Chart {
        title: "Run queue of a server",
        least: 1.0,
        digits: 2,
        series: &[area("mean", "pending", |s| s.get(Column::Queue)), line("longest", "down", |s| s.get(Column::QueueMax))],
    },
    Chart {
        title: "Busy cores, percent",
        least: 100.0,
        digits: 0,
        series: &[area("of servers in service", "pending", |s| 100.0 * s.get(Column::Busy))],
    },
    Chart {
        title: "Answers a second",
        least: 1.0,
        digits: 2,
        series: &[
            area("302/307 new", "sess", |s| s.rate(Column::New)),
            area("returning", "live", |s| s.rate(Column::Returning)),
            area("503 wait", "draining", |s| s.rate(Column::Waits)),
            area("4xx refused", "down", |s| s.rate(Column::Rejects)),
        ],
    },
];

/// Stands with the waiting room, where there is one.
const WAITING: Chart = Chart {
    title: "Who wait for a place",
    least: 4.0,
    digits: 0,
    series: &[
        area("waiting", "draining", |s| s.get(Column::Waiting)),
        line("places free", "live", |s| s.get(Column::Places)),
    ],
};

/// Who waited over a range.
pub(super) fn waiting(ranges: &Ranges, n: usize) -> String {
    let Some(range) = RANGES.get(n) else { return String::new() };
    figure(&WAITING, &bins(ranges.until_now(n), *range), *range)
}

/// All charts of a range.
pub(super) fn charts(ranges: &Ranges, n: usize) -> String {
    let Some(range) = RANGES.get(n) else { return String::new() };
    let bins = bins(ranges.until_now(n), *range);
    CHARTS.iter().map(|chart| figure(chart, &bins, *range)).collect()
}

/// The same as one table, a row for each time of the axis that has something to say.
pub(super) fn table(ranges: &Ranges, n: usize) -> String {
    let Some(range) = RANGES.get(n) else { return String::new() };
    let mut head = "<th scope=\"col\">Until</th>".to_owned();
    for chart in CHARTS.iter().chain([&WAITING]) {
        for series in chart.series {
            let _ = write!(head, "<th scope=\"col\" class=\"num\"><small>{}</small> {}</th>", chart.title, series.name);
        }
    }
    let mut rows = String::new();
    for sample in bins(ranges.until_now(n), *range).into_iter().flatten().rev() {
        let _ = write!(rows, "<tr><th scope=\"row\">{}</th>", time_of_day(sample.wall_ms));
        for chart in CHARTS.iter().chain([&WAITING]) {
            for series in chart.series {
                let _ = write!(rows, "<td class=\"num\">{:.*}</td>", chart.digits, (series.value)(&sample));
            }
        }
        rows.push_str("</tr>");
    }
    format!("<table class=\"plain\"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
}

/// The range in equal spans that stand still on the clock: a line must not tremble because a second has passed.
fn bins<'a>(samples: impl IntoIterator<Item = &'a Sample> + Clone, range: Range) -> Vec<Option<Sample>> {
    let bin_ms = range.span_ms() / BINS;
    let last = samples.clone().into_iter().map(|s| s.wall_ms / bin_ms).max().unwrap_or_default();
    let mut bins: Vec<Option<Sample>> = vec![None; BINS as usize];
    for sample in samples {
        let back = last - sample.wall_ms / bin_ms;
        let at = (BINS - 1).checked_sub(back).and_then(|at| bins.get_mut(at as usize));
        match at {
            Some(Some(bin)) => bin.merge(sample),
            Some(empty) => *empty = Some(*sample),
            None => {}
        }
    }
    bins
}

fn figure(chart: &Chart, bins: &[Option<Sample>], range: Range) -> String {
    let stacked = |sample: &Sample| -> Vec<(f64, f64)> {
        let mut base = 0.0;
        let bounds = |series: &Series| {
            let value = (series.value)(sample);
            let from = if series.kind == Kind::Area { base } else { 0.0 };
            base += if series.kind == Kind::Area { value } else { 0.0 };
            (from, from + value)
        };
        chart.series.iter().map(bounds).collect()
    };
    let layers: Vec<Option<Vec<(f64, f64)>>> = bins.iter().map(|bin| bin.as_ref().map(stacked)).collect();
    let most = layers.iter().flatten().flatten().map(|(_, top)| *top).fold(0.0, f64::max);
    let max = ceiling(most, chart.least);
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / max).clamp(0.0, 1.0);
    let step = (WIDTH - LEFT - RIGHT) / BINS as f64;
    let now = bins.iter().rev().flatten().next();
    let words = |sample: &Sample| -> String {
        let word = |s: &Series| format!("{} {:.*}", s.name, chart.digits, (s.value)(sample));
        chart.series.iter().map(word).collect::<Vec<_>>().join(", ")
    };
    let said = now.map_or_else(|| "nothing yet".to_owned(), words);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}, the last {}. Now: {said}\">",
        chart.title, range.label
    );
    for part in 0..=2 {
        let value = max * f64::from(part) / 2.0;
        let at = y(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 5.0,
            at + 4.0,
            short(value)
        );
    }
    for (share, label) in axis(range) {
        let anchor = if share >= 1.0 { "end" } else { "middle" };
        let at = LEFT + (WIDTH - LEFT - RIGHT) * share;
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
            HEIGHT - 5.0
        );
    }
    for (n, series) in chart.series.iter().enumerate() {
        let points: Vec<Option<(f64, f64)>> =
            layers.iter().map(|l| l.as_ref().and_then(|l| l.get(n)).map(|(from, to)| (y(*from), y(*to)))).collect();
        let is_drawn = points.iter().flatten().any(|(from, to)| from > to) || series.kind == Kind::Line;
        if is_drawn {
            svg.push_str(&path(series, &points, step));
        }
    }
    for (n, bin) in bins.iter().enumerate() {
        let Some(sample) = bin else { continue };
        let _ = write!(
            svg,
            "<rect class=\"at\" x=\"{:.1}\" y=\"{TOP}\" width=\"{step:.2}\" height=\"{:.1}\"><title>{}: {}</title></rect>",
            LEFT + step * n as f64,
            HEIGHT - TOP - BOTTOM,
            time_of_day(sample.wall_ms),
            words(sample)
        );
    }
    let legend = joined(chart.series, |s| {
        let shape = if s.kind == Kind::Area { "" } else { " thin" };
        let value = now.map(|now| format!(" <b>{:.*}</b>", chart.digits, (s.value)(now))).unwrap_or_default();
        format!("<span class=\"key k-{}{shape}\">{}{value}</span>", s.class, s.name)
    });
    format!(
        "<figure><figcaption>{}</figcaption>{svg}</svg><div class=\"legend\" aria-hidden=\"true\">{legend}</div></figure>",
        chart.title
    )
}

/// One series as a path: stepped, since what is counted does not change gradually; where nothing was recorded it is broken.
fn path(series: &Series, points: &[Option<(f64, f64)>], step: f64) -> String {
    let (mut paths, mut top, mut bottom) = (String::new(), String::new(), Vec::new());
    let mut before: Option<(f64, f64)> = None;
    let is_area = series.kind == Kind::Area;
    for n in 0..=points.len() {
        let x = LEFT + step * n as f64;
        let point = points.get(n).copied().flatten();
        let same = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 0.05 && (a.1 - b.1).abs() < 0.05;
        // Only corners are drawn: a quiet farm makes a short path.
        if let (Some(a), Some(b)) = (before, point)
            && same(a, b)
        {
            continue;
        }
        if before.is_some() {
            let _ = write!(top, "H{x:.1}");
            if let Some((from, _)) = before.filter(|_| is_area) {
                bottom.push(format!("L{x:.1} {from:.1}"));
            }
        }
        if let Some((from, to)) = point {
            let _ = if before.is_some() { write!(top, "V{to:.1}") } else { write!(top, "M{x:.1} {to:.1}") };
            if is_area {
                bottom.push(format!("L{x:.1} {from:.1}"));
            }
        } else if before.is_some() {
            bottom.reverse();
            paths.push_str(&top);
            if is_area {
                let _ = write!(paths, "{}Z", bottom.concat());
            }
            (top, bottom) = (String::new(), Vec::new());
        }
        before = point;
    }
    let kind = match series.kind {
        Kind::Area => "area",
        Kind::Line => "line",
        Kind::Dashed => "line dashed",
    };
    format!("<path class=\"{kind} c-{}\" d=\"{paths}\"/>", series.class)
}

/// Where on the axis of time a label stands, and what it says.
fn axis(range: Range) -> [(f64, String); 3] {
    let span = |share: u64| {
        let ms = range.span_ms() / 2 * share;
        if ms >= 7_200_000 || ms == 3_600_000 {
            format!("−{} h", ms / 3_600_000)
        } else {
            format!("−{} min", ms / 60_000)
        }
    };
    [(0.02, span(2)), (0.5, span(1)), (1.0, "now".to_owned())]
}

/// The next round number above, at least `least`.
fn ceiling(value: f64, least: f64) -> f64 {
    if value <= least {
        return least;
    }
    let mut unit = 0.1_f64;
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
    match number {
        n if n >= 9_999_500.0 => format!("{:.0}M", n / 1e6),
        n if n >= 10_000.0 => format!("{:.0}k", n / 1e3),
        n if n.fract() < 0.01 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(n: u64) -> Vec<Sample> {
        let sample = |n| {
            let mut sample = Sample { wall_ms: n * 1_000, span_ms: 1_000, ..Sample::default() };
            sample.set(Column::Live, 3.0 + f64::from(u8::from(n > 300)));
            sample.set(Column::New, (n % 7) as f64);
            sample
        };
        (1..=n).map(sample).collect()
    }

    #[test]
    fn axes_are_round() {
        for (value, least, expect) in
            [(0.0, 4.0, 4.0), (5.0, 4.0, 5.0), (9.0, 4.0, 10.0), (21.0, 4.0, 50.0), (390.0, 10.0, 500.0), (1.3, 1.0, 2.0)]
        {
            let got = ceiling(value, least);
            assert!((got - expect).abs() < 1e-9, "{value}: {got}");
        }
        for (number, expect) in [(0.0, "0"), (0.5, "0.5"), (2_500.0, "2500"), (50_000.0, "50k"), (5e7, "50M")] {
            assert_eq!(short(number), expect);
        }
    }

    #[test]
    fn any_history_makes_charts() {
        for count in [0, 1, 2, 599, 600] {
            let html = charts(&Ranges::of(0, samples(count)), 0);
            assert_eq!(html.matches("</svg>").count(), CHARTS.len());
            assert!(!html.contains("NaN") && !html.contains("inf"));
            assert!(html.len() < 120_000, "{}", html.len());
        }
        let html = charts(&Ranges::of(0, samples(600)), 0);
        assert!(html.contains("area c-live") && !html.contains("area c-draining"));
        assert!(html.contains("<title>00:10:00Z: in service 4, draining 0, booting 0, silent or down 0, wanted 0</title>"));
    }

    #[test]
    fn bins_stand_still() {
        let all = samples(700);
        let (now, later) = (bins(&all[..595], RANGES[0]), bins(&all[..603], RANGES[0]));
        // Times that both know in full are told in the same words.
        let ends = |bins: &[Option<Sample>]| -> Vec<u64> { bins.iter().flatten().map(|s| s.wall_ms).collect() };
        assert_eq!(ends(&now)[10..100], ends(&later)[9..99]);
    }

    #[test]
    fn a_pause_breaks_the_line() {
        let gap = samples(600).into_iter().filter(|s| !(200_000..400_000).contains(&s.wall_ms));
        let html = charts(&Ranges::of(0, gap), 0);
        let live = html.split("area c-live\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(live.map(|d| d.matches('M').count()), Some(2));
    }

    #[test]
    fn the_table_says_what_the_charts_say() {
        let table = table(&Ranges::of(0, samples(600)), 0);
        assert!(table.contains("<th scope=\"row\">00:10:00Z</th><td class=\"num\">4</td>"), "{table}");
        assert!(table.matches("<tr>").count() <= BINS as usize + 1);
    }
}
