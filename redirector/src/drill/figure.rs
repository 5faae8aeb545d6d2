//! A drill as a picture: servers above, users below, hits marked. Numbers only; nothing here is asked of the farm.

use farm_shared::plot::{Figure, Mark, Panel, Series, XUnit};
use redirector_core::drill::{Report, Sample};

/// The SVG text.
pub(super) fn svg(report: &Report) -> String {
    let x = |sample: &Sample| sample.at_ms as f64 / 1e3;
    let row = |name: &str, colour: usize, value: fn(&Sample) -> u32| {
        Series::new(name, colour, Mark::Step, report.samples.iter().map(|s| (x(s), f64::from(value(s)))))
    };
    let at = |hits: &mut dyn Iterator<Item = u64>, name: &str, colour: usize| {
        Series::new(name, colour, Mark::Dots, hits.map(|ms| (ms as f64 / 1e3, 0.0)).collect::<Vec<_>>())
    };
    let mut hit = report.hits.iter().map(|h| h.at_ms);
    let mut noticed = report.hits.iter().filter_map(|h| Some(h.at_ms + h.status.noticed_ms?));
    let mut restored = report.hits.iter().filter_map(|h| Some(h.at_ms + h.status.restored_ms?));
    let servers = vec![
        row("healthy", 0, |s| s.healthy),
        row("down", 1, |s| s.down),
        row("booting", 2, |s| s.pending),
        at(&mut hit, "hit", 3),
        at(&mut noticed, "noticed", 4),
        at(&mut restored, "capacity back", 5),
    ];
    let pairs = || report.samples.iter().zip(report.samples.iter().skip(1));
    let per_s = |value: fn(&Sample) -> u64| {
        let rate = move |(a, b): (&Sample, &Sample)| {
            let span_s = (b.at_ms.saturating_sub(a.at_ms) as f64 / 1e3).max(1e-3);
            (x(b), value(b).saturating_sub(value(a)) as f64 / span_s)
        };
        pairs().map(rate).collect::<Vec<_>>()
    };
    let users = vec![
        Series::new("requests", 0, Mark::Line, per_s(|s| s.requests)),
        Series::new("failed at the first attempt", 1, Mark::Step, per_s(|s| s.errors)),
    ];
    Figure {
        title: format!("Failure drill {} ({})", report.drill, report.model),
        subtitle: format!("{}; {}", report.order, report.ended),
        x_label: "time".into(),
        x_unit: XUnit::Seconds,
        panels: vec![Panel::new("servers", servers), Panel::new("requests a second", users)],
    }
    .svg()
}
