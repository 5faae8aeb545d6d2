//! A figure as SVG text.
//!
//! Long series are thinned to what a screen can show, so that a file stays small however long an experiment was.

use super::axis::{Axis, number, x_text};
use super::{Figure, Mark, Panel, Point, Scale, Series};
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 58.0;
/// A line of text with its distance to the next.
const LINE: f64 = 18.0;
/// Between two panels.
const GAP: f64 = 16.0;
/// Below the last panel: ticks and their label.
const FOOT: f64 = 42.0;
/// Widths of text are estimated by this; no font is at hand.
const CHARACTER: f64 = 6.7;
/// Points kept of a series: the extremes of each stretch.
const STRETCHES: usize = 600;
const TEXT_MAX: usize = 300;
const COLOURS: usize = 8;

const STYLE: &str = "<style>\
.fig{--bg:#fff;--ink:#1b2430;--dim:#667085;--grid:#e6e9ee;--c0:#2563c9;--c1:#c8501e;--c2:#1f8a5f;--c3:#8b44c2;--c4:#b98900;\
--c5:#c2255c;--c6:#0e8a9c;--c7:#667085;font:12px system-ui,-apple-system,'Segoe UI',sans-serif}\
@media(prefers-color-scheme:dark){.fig{--bg:#11151b;--ink:#e4e9f0;--dim:#93a0b2;--grid:#2a323e;--c0:#6aa3f2;--c1:#f0875a;\
--c2:#3fbf88;--c3:#b98af0;--c4:#e3b341;--c5:#f06f9b;--c6:#44c1d4;--c7:#93a0b2}}\
.fig .bg{fill:var(--bg)}.fig text{fill:var(--dim)}.fig .ink{fill:var(--ink)}.fig .title{fill:var(--ink);font-size:15px;font-weight:600}\
.fig .grid{stroke:var(--grid)}.fig .frame{stroke:var(--dim);fill:none}\
.fig .line{fill:none;stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}.fig .dashed{stroke-dasharray:5 4}\
.fig .area{stroke:none;opacity:.32}.fig .band{stroke:none;opacity:.24}";

pub(super) fn draw(figure: &Figure) -> String {
    let xs = figure.panels.iter().flat_map(|p| &p.series).flat_map(|s| &s.points).map(|p| p.x);
    let x_axis = Axis::x(xs, figure.x_unit, 8);
    let mut body = String::new();
    let mut y = 12.0;
    for (class, line) in [("title", &figure.title), ("dim", &figure.subtitle)] {
        if !line.is_empty() {
            y += LINE;
            text(&mut body, (LEFT, y - 4.0), "start", class, line);
        }
    }
    y += 6.0;
    for panel in &figure.panels {
        y = legend(&mut body, panel, y);
        draw_panel(&mut body, panel, &x_axis, y);
        y += panel.height.clamp(20.0, 2_000.0) + GAP;
    }
    let bottom = y - GAP;
    for tick in &x_axis.ticks {
        let at = x_at(&x_axis, *tick);
        text(&mut body, (at, bottom + 15.0), "middle", "dim", &x_text(*tick, &x_axis, figure.x_unit));
    }
    text(&mut body, ((LEFT + WIDTH - RIGHT) / 2.0, bottom + 33.0), "middle", "dim", &figure.x_label);
    let height = bottom + FOOT;
    let label = escaped(if figure.title.is_empty() { "Chart" } else { &figure.title });
    let mut style = String::from(STYLE);
    for n in 0..COLOURS {
        let _ = write!(style, ".fig .s{n}{{stroke:var(--c{n})}}.fig .f{n}{{fill:var(--c{n})}}");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"fig\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"{label}\">{style}</style>\
         <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\n{body}</svg>\n"
    )
}

/// The names of the series, in as many lines as they need. Where the panel begins.
fn legend(out: &mut String, panel: &Panel, top: f64) -> f64 {
    let mut at = (LEFT, top + LINE - 5.0);
    let mut named = false;
    for series in panel.series.iter().filter(|s| !s.name.is_empty()) {
        let side = if series.right { " →" } else { "" };
        let name: String = series.name.chars().take(TEXT_MAX).collect::<String>() + side;
        let width = 26.0 + CHARACTER * name.chars().count() as f64;
        if named && at.0 + width > WIDTH - RIGHT {
            at = (LEFT, at.1 + LINE);
        }
        let (x, y, colour) = (at.0, at.1, series.colour % COLOURS);
        let _ = match series.mark {
            Mark::Area | Mark::Band => write!(
                out,
                "<rect class=\"{} f{colour}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" height=\"9\"/>",
                if series.mark == Mark::Band { "band" } else { "area" },
                y - 8.5
            ),
            Mark::Dots => write!(out, "<circle class=\"f{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>", x + 7.0, y - 4.0),
            mark => write!(
                out,
                "<path class=\"line s{colour}{}\" d=\"M{x:.1} {y1:.1}h14\"/>",
                if mark == Mark::Dashed { " dashed" } else { "" },
                y1 = y - 4.0
            ),
        };
        text(out, (x + 19.0, y), "start", "ink", &name);
        at.0 += width + 8.0;
        named = true;
    }
    if named { at.1 + 7.0 } else { top + 4.0 }
}

fn draw_panel(out: &mut String, panel: &Panel, x_axis: &Axis, top: f64) {
    let height = panel.height.clamp(20.0, 2_000.0);
    let ticks = (height / 32.0).clamp(2.0, 8.0) as usize;
    let y_axis = |right: bool| {
        let side = panel.series.iter().filter(|s| s.right == right);
        let values = side.flat_map(|s| s.points.iter().flat_map(|p| values(s.mark, p)));
        let (scale, top) = if right { (Scale::Linear, None) } else { (panel.scale, panel.y_max) };
        Axis::y(values, scale, top, ticks)
    };
    let (left, right) = (y_axis(false), y_axis(true));
    let y_at = |axis: &Axis, value: f64| axis.share(value).map(|s| top + height * (1.0 - s));
    for tick in &left.ticks {
        if let Some(y) = y_at(&left, *tick) {
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT);
            text(out, (LEFT - 6.0, y + 4.0), "end", "dim", &number(*tick));
        }
    }
    for tick in &x_axis.ticks {
        let x = x_at(x_axis, *tick);
        let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} {top:.1}v{height:.1}\"/>");
    }
    if panel.series.iter().any(|s| s.right) {
        for tick in &right.ticks {
            if let Some(y) = y_at(&right, *tick) {
                text(out, (WIDTH - RIGHT + 6.0, y + 4.0), "start", "dim", &number(*tick));
            }
        }
        turned(out, (WIDTH - 8.0, top + height / 2.0), &panel.y_label_right);
    }
    turned(out, (15.0, top + height / 2.0), &panel.y_label);
    for series in &panel.series {
        let axis = if series.right { &right } else { &left };
        draw_series(out, series, |p| Some(x_at(x_axis, p.x)).filter(|x| x.is_finite()), |v| y_at(axis, v));
    }
    let _ = writeln!(
        out,
        "<path class=\"frame\" d=\"M{LEFT} {top:.1}v{height:.1}H{}{}\"/>",
        WIDTH - RIGHT,
        if panel.series.iter().any(|s| s.right) { format!("V{top:.1}") } else { String::new() }
    );
}

fn values(mark: Mark, point: &Point) -> impl Iterator<Item = f64> {
    [Some(point.y), matches!(mark, Mark::Area | Mark::Band).then_some(point.low)].into_iter().flatten()
}

fn x_at(axis: &Axis, value: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * axis.share(value).unwrap_or(f64::NAN)
}

fn draw_series(out: &mut String, series: &Series, x: impl Fn(&Point) -> Option<f64>, y: impl Fn(f64) -> Option<f64>) {
    let colour = series.colour % COLOURS;
    // Each run of points without a gap, in pixels: x, y, low.
    let mut runs: Vec<Vec<(f64, f64, f64)>> = vec![Vec::new()];
    for point in thinned(&series.points) {
        let filled = matches!(series.mark, Mark::Area | Mark::Band);
        let low = if filled { y(point.low).or_else(|| y(f64::MIN_POSITIVE)) } else { Some(0.0) };
        match (x(&point), y(point.y), low) {
            (Some(x), Some(y), Some(low)) => runs.last_mut().into_iter().for_each(|run| run.push((x, y, low))),
            _ => runs.push(Vec::new()),
        }
    }
    for run in runs.iter().filter(|r| !r.is_empty()) {
        let _ = match series.mark {
            Mark::Dots => run
                .iter()
                .try_for_each(|(x, y, _)| write!(out, "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>")),
            Mark::Line => write!(out, "<path class=\"line s{colour}\" d=\"{}\"/>", straight(run)),
            Mark::Dashed => write!(out, "<path class=\"line dashed s{colour}\" d=\"{}\"/>", straight(run)),
            Mark::Step => write!(out, "<path class=\"line s{colour}\" d=\"{}\"/>", steps(run)),
            Mark::Area | Mark::Band => {
                let lower: Vec<(f64, f64, f64)> = run.iter().map(|(x, _, low)| (*x, *low, 0.0)).collect();
                let area = series.mark == Mark::Area;
                let (class, upper, mut lower) = if area {
                    ("area", steps(run), corners(&lower))
                } else {
                    ("band", straight(run), lower.iter().map(|(x, y, _)| (*x, *y)).collect())
                };
                lower.reverse();
                let _ = write!(out, "<path class=\"{class} f{colour}\" d=\"{upper}");
                for (x, y) in &lower {
                    let _ = write!(out, "L{x:.1} {y:.1}");
                }
                write!(out, "Z\"/>")
            }
        };
    }
    out.push('\n');
}

fn straight(run: &[(f64, f64, f64)]) -> String {
    let mut path = String::new();
    for (n, (x, y, _)) in run.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" });
    }
    // A single point would be nothing.
    if run.len() == 1 { path + "h1" } else { path }
}

fn steps(run: &[(f64, f64, f64)]) -> String {
    let mut path = String::new();
    for (n, (x, y)) in corners(run).into_iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" });
    }
    if run.len() == 1 { path + "h1" } else { path }
}

/// A value holds until the next one; only corners are kept.
fn corners(run: &[(f64, f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for (n, (x, y, _)) in run.iter().enumerate() {
        match corners.last().copied() {
            Some((_, before)) if (before - y).abs() < 0.05 && n + 1 < run.len() => {}
            Some((_, before)) => corners.extend([(*x, before), (*x, *y)]),
            None => corners.push((*x, *y)),
        }
    }
    corners
}

/// Of each stretch of a long series, its first point and those of the least and the greatest value, in their order.
fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= 3 * STRETCHES {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(3 * STRETCHES);
    for stretch in points.chunks(points.len().div_ceil(STRETCHES)) {
        let order = |a: &&(usize, &Point), b: &&(usize, &Point)| a.1.y.total_cmp(&b.1.y);
        let indexed: Vec<(usize, &Point)> = stretch.iter().enumerate().collect();
        let mut keep = vec![0];
        keep.extend(indexed.iter().min_by(order).map(|(n, _)| *n));
        keep.extend(indexed.iter().max_by(order).map(|(n, _)| *n));
        keep.sort_unstable();
        keep.dedup();
        kept.extend(keep.into_iter().filter_map(|n| stretch.get(n).copied()));
    }
    kept.extend(points.last().copied());
    kept
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, words: &str) {
    if !words.is_empty() {
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(words)
        );
    }
}

fn turned(out: &mut String, (x, y): (f64, f64), words: &str) {
    if !words.is_empty() {
        let _ = writeln!(
            out,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(words)
        );
    }
}

/// Names come from files: what XML would read otherwise is written as an entity, and control characters are left out.
fn escaped(words: &str) -> String {
    let mut text = String::new();
    for c in words.chars().take(TEXT_MAX).filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')) {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::XUnit;
    use super::*;
    use proptest::prelude::*;

    fn figure(series: Vec<Series>) -> Figure {
        Figure {
            title: "A < B & \"C\"".into(),
            subtitle: String::new(),
            x_label: "time".into(),
            x_unit: XUnit::Seconds,
            panels: vec![Panel::new("servers", series)],
        }
    }

    #[test]
    fn every_mark_is_drawn() {
        let points = || [(0.0, 1.0, 2.0), (10.0, 2.0, 4.0), (20.0, 0.0, 1.0)];
        for (mark, expect) in [
            (Mark::Line, "class=\"line s2\" d=\"M66.0"),
            (Mark::Dashed, "class=\"line dashed s2\""),
            (Mark::Step, "class=\"line s2\""),
            (Mark::Area, "class=\"area f2\""),
            (Mark::Band, "class=\"band f2\""),
            (Mark::Dots, "<circle class=\"f2\""),
        ] {
            let svg = figure(vec![Series::new("x", 2, mark, points())]).svg();
            assert!(svg.contains(expect), "{mark:?}: {svg}");
            assert!(svg.contains("A &lt; B &amp; &quot;C&quot;") && svg.contains("prefers-color-scheme:dark"));
            let right = figure(vec![Series::new("x", 2, mark, points()).on_the_right()]).svg();
            assert!(right.contains("x →") && right.contains(expect), "{right}");
        }
    }

    #[test]
    fn gaps_and_long_series() {
        let gap = figure(vec![Series::new("", 0, Mark::Line, [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 2.0)])]).svg();
        assert_eq!(gap.matches("class=\"line s0\"").count(), 2, "{gap}");
        let long = (0..200_000).map(|n| (f64::from(n), if n == 77_777 { 9.0 } else { 1.0 }));
        let long = figure(vec![Series::new("", 0, Mark::Line, long)]).svg();
        assert!(long.len() < 60_000, "{}", long.len());
        let straight = figure(vec![Series::new("", 0, Mark::Line, (0..200_000).map(|n| (f64::from(n), 1.0)))]).svg();
        assert_ne!(long, straight, "the peak is kept");
    }

    proptest! {
        #[test]
        fn no_number_spoils_the_text(
            points in proptest::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 0..40),
            mark in 0_usize..6,
            log in any::<bool>(),
            name in "\\PC{0,40}",
        ) {
            let mark = [Mark::Line, Mark::Dashed, Mark::Step, Mark::Area, Mark::Band, Mark::Dots][mark];
            let mut figure = figure(vec![Series::new(&name, 99, mark, points)]);
            figure.panels[0].scale = if log { Scale::Log } else { Scale::Linear };
            let svg = figure.svg();
            prop_assert!(!svg.contains("NaN") || name.contains("NaN"), "{}", svg);
            prop_assert!(!svg.contains(" inf") || name.contains("inf"), "{}", svg);
            prop_assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        }
    }
}
