//! Where ticks stand and what is written at them.

use super::{Scale, XUnit};

/// From data to a share of the axis, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) scale: Scale,
    pub(super) ticks: Vec<f64>,
}

/// Beyond that, ticks are no help.
const TICKS_MAX: usize = 60;
/// Larger numbers are not drawn: their differences would leave the range of a float.
const VALUE_MAX: f64 = 1e100;
/// A logarithmic axis spans so many decades at most, the upper ones.
const DECADES_MAX: f64 = 9.0;

impl Axis {
    /// An axis for y that holds all values, with about `count` ticks at round numbers.
    pub(super) fn y(values: impl Iterator<Item = f64>, scale: Scale, top: Option<f64>, count: usize) -> Self {
        match scale {
            Scale::Linear => Self::linear(values, top, count),
            Scale::Log => Self::log(values, top),
        }
    }

    fn linear(values: impl Iterator<Item = f64>, top: Option<f64>, count: usize) -> Self {
        let (low, high) = values.filter(drawable).fold((0.0_f64, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        let high = top.filter(|t| drawable(t) && *t > low).unwrap_or(high);
        let high = if high - low > 0.0 { high } else { beyond(low) };
        let step = round_step((high - low) / count.max(1) as f64);
        let from = (low / step).floor() * step;
        let to = if top.is_some() { high } else { (high / step - 1e-9).ceil() * step };
        Self { from, to, scale: Scale::Linear, ticks: ticks(from, to, step) }
    }

    fn log(values: impl Iterator<Item = f64>, top: Option<f64>) -> Self {
        let positive = values.filter(|v| drawable(v) && *v > 0.0);
        let (low, high) = positive.fold((f64::MAX, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        let high = top.filter(|t| drawable(t) && *t > 0.0).unwrap_or(high);
        if high <= 0.0 {
            return Self { from: 0.1, to: 1.0, scale: Scale::Log, ticks: vec![0.1, 1.0] };
        }
        let to = high.log10().ceil();
        let from = low.min(high).log10().floor().max(to - DECADES_MAX).min(to - 1.0);
        let decades = (to - from) as i32;
        let ticks = (0..=decades).map(|d| 10_f64.powf(from + f64::from(d))).collect();
        Self { from: 10_f64.powf(from), to: 10_f64.powf(to), scale: Scale::Log, ticks }
    }

    /// The x axis: exactly from the first to the last value.
    pub(super) fn x(values: impl Iterator<Item = f64>, unit: XUnit, count: usize) -> Self {
        let (low, high) = values.filter(drawable).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let (from, to) = if low > high { (0.0, 1.0) } else { (low, if high > low { high } else { beyond(low) }) };
        let step = match unit {
            XUnit::Seconds => time_step((to - from) / count.max(1) as f64),
            XUnit::Plain => round_step((to - from) / count.max(1) as f64),
        };
        Self { from, to, scale: Scale::Linear, ticks: ticks(from, to, step) }
    }

    /// Where a value stands, 0 to 1; none if it cannot be drawn. What lies beyond an end is drawn at the end.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log if value <= 0.0 => return None,
            Scale::Log => (value / self.from).log10() / (self.to / self.from).log10(),
        };
        (drawable(&value) && share.is_finite()).then(|| share.clamp(0.0, 1.0))
    }
}

fn drawable(value: &f64) -> bool {
    value.abs() <= VALUE_MAX
}

/// A number above `low`, one more if that can be told apart.
fn beyond(low: f64) -> f64 {
    low + (low.abs() * 1e-6).max(1.0)
}

fn ticks(from: f64, to: f64, step: f64) -> Vec<f64> {
    let first = (from / step - 1e-9).ceil();
    (0..TICKS_MAX).map(|n| (first + n as f64) * step).take_while(|v| *v <= to + step * 1e-6).collect()
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-300).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= least * 0.999).unwrap_or(10.0 * power)
}

/// The next step at which clocks are read, in seconds.
fn time_step(least: f64) -> f64 {
    const STEPS: [f64; 19] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 10_800.0, 21_600.0,
        43_200.0, 86_400.0, 172_800.0,
    ];
    if least < 0.5 {
        return round_step(least);
    }
    STEPS.into_iter().find(|s| *s >= least * 0.999).unwrap_or_else(|| round_step(least / 86_400.0) * 86_400.0)
}

/// A number as short as its neighbours allow.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let (scaled, suffix) = match size {
        s if s >= 9_999_500.0 => (value / 1e6, "M"),
        s if s >= 9_999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        s if s == 0.0 || s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s => (2 - s.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

/// Seconds with the largest unit that fits the span.
pub(super) fn x_text(value: f64, axis: &Axis, unit: XUnit) -> String {
    let span = axis.to - axis.from;
    match unit {
        XUnit::Plain => number(value),
        XUnit::Seconds if span >= 3.0 * 86_400.0 => format!("{} d", number(value / 86_400.0)),
        XUnit::Seconds if span >= 3.0 * 3_600.0 => format!("{} h", number(value / 3_600.0)),
        XUnit::Seconds if span >= 180.0 => format!("{} min", number(value / 60.0)),
        XUnit::Seconds => format!("{} s", number(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        for (values, count, expect) in [
            (vec![0.0, 7.3], 4, vec![0.0, 2.0, 4.0, 6.0, 8.0]),
            (vec![3.0], 3, vec![0.0, 1.0, 2.0, 3.0]),
            (vec![-1.0, 1.0], 2, vec![-1.0, 0.0, 1.0]),
            (vec![], 2, vec![0.0, 0.5, 1.0]),
            (vec![f64::NAN, f64::INFINITY, 40.0], 4, vec![0.0, 10.0, 20.0, 30.0, 40.0]),
        ] {
            assert_eq!(Axis::y(values.clone().into_iter(), Scale::Linear, None, count).ticks, expect, "{values:?}");
        }
        let log = Axis::y([0.0, 0.02, 30.0].into_iter(), Scale::Log, None, 4);
        assert_eq!(log.ticks.len(), 5);
        assert!((log.from - 0.01).abs() < 1e-12 && (log.to - 100.0).abs() < 1e-9, "{log:?}");
        assert_eq!(Axis::x([0.0, 3_600.0].into_iter(), XUnit::Seconds, 6).ticks.len(), 7);
        assert_eq!(Axis::x([0.0, 1e9].into_iter(), XUnit::Seconds, 6).ticks.len(), 6);
    }

    #[test]
    fn shares() {
        let linear = Axis::y([0.0, 10.0].into_iter(), Scale::Linear, None, 5);
        assert_eq!([0.0, 5.0, 10.0, 99.0].map(|v| linear.share(v)), [Some(0.0), Some(0.5), Some(1.0), Some(1.0)]);
        assert_eq!(linear.share(f64::NAN), None);
        let log = Axis::y([1.0, 100.0].into_iter(), Scale::Log, None, 5);
        assert_eq!([1.0, 10.0, 0.0].map(|v| log.share(v)), [Some(0.0), Some(0.5), None]);
    }

    #[test]
    fn texts() {
        for (value, expect) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.005, "0.005"),
            (2.0, "2"),
            (12.5, "12.5"),
            (250.0, "250"),
            (20_000.0, "20k"),
            (3e7, "30M"),
            (-5.0, "-5"),
        ] {
            assert_eq!(number(value), expect);
        }
        let axis = |to: f64| Axis::x([0.0, to].into_iter(), XUnit::Seconds, 6);
        assert_eq!(x_text(60.0, &axis(100.0), XUnit::Seconds), "60 s");
        assert_eq!(x_text(60.0, &axis(600.0), XUnit::Seconds), "1 min");
        assert_eq!(x_text(7_200.0, &axis(86_400.0), XUnit::Seconds), "2 h");
        assert_eq!(x_text(86_400.0, &axis(604_800.0), XUnit::Seconds), "1 d");
    }
}
