//! Metrics in Prometheus' text format (version 0.0.4), written in one pass when somebody asks.
//!
//! The counters themselves are atomics where they are counted. This module must never be on a path that serves a query or
//! a session. Names, helps and label names are the program's own; label values may come from a network and are escaped.

use std::fmt::Write as _;

/// The `Content-Type` of [`Exposition::finish`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for a restart.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulated buckets with a sum and a count.
    Histogram,
}

/// A family for the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, with its unit last and `_total` behind a counter's.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// The labels of each sample, in their order; `le` of a histogram's buckets is not among them.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// A value: both kinds of numbers are written without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A measure.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(word: bool) -> Self {
        Self::Whole(word.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// A text under construction: a family, its samples, the next family.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
    /// The samples of each family.
    samples: Vec<String>,
    /// The place of the family that samples go to.
    current: usize,
    scope: Option<(&'static str, String)>,
}

impl Kind {
    /// The word of the text format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Exposition {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives all samples from now on a label before their own: several parts of one program write the same families, and the
    /// label tells them apart. While it is set, a name may come again, and its samples join those that are there.
    pub fn scope(&mut self, label: &'static str, value: &str) -> &mut Self {
        debug_assert!(is_name(label), "{label}");
        self.scope = Some((label, value.to_owned()));
        self
    }

    /// Begins a family. All its samples must follow before the next family begins, and no name may come twice but in another
    /// [`Exposition::scope`].
    pub fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> &mut Self {
        debug_assert!(is_name(name) && labels.iter().all(|label| is_name(label)), "{name} {labels:?}");
        let known = self.families.iter().position(|f| f.name == name);
        debug_assert!(known.is_none() || self.scope.is_some(), "{name} twice");
        self.current = known.unwrap_or_else(|| {
            self.families.push(Family { name, kind, labels, help });
            self.samples.push(String::new());
            self.families.len() - 1
        });
        self
    }

    /// One sample of the family that was begun last, with the labels that it was begun with.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) -> &mut Self {
        self.line("", labels, None, value.into());
        self
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &'static str, value: impl Into<Number>) -> &mut Self {
        self.family(name, kind, &[], help).sample(&[], value)
    }

    /// One histogram of the family that was begun last. `buckets` holds the upper bound and the count of each bucket alone
    /// (not cumulated), in rising order; `above` what lay above the last bound; `sum` the sum of all observations.
    pub fn histogram(&mut self, labels: &[(&str, &str)], buckets: &[(f64, u64)], above: u64, sum: f64) -> &mut Self {
        let mut count = 0_u64;
        for (bound, n) in buckets {
            count = count.saturating_add(*n);
            self.line("_bucket", labels, Some(*bound), count.into());
        }
        count = count.saturating_add(above);
        self.line("_bucket", labels, Some(f64::INFINITY), count.into());
        self.line("_sum", labels, None, sum.into());
        self.line("_count", labels, None, count.into());
        self
    }

    /// The families so far.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The families as a Markdown table, in their order.
    pub fn table_markdown(&self) -> String {
        let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        for Family { name, kind, labels, help } in &self.families {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let (labels, help) = (labels.join(", "), help.replace('|', "\\|").replace('\n', " "));
            let _ = writeln!(table, "| `{name}` | {} | {labels} | {help} |", kind.word());
        }
        table
    }

    /// The text.
    pub fn finish(self) -> String {
        let mut text = String::with_capacity(self.samples.iter().map(|s| s.len() + 128).sum());
        for (Family { name, kind, help, .. }, samples) in self.families.iter().zip(&self.samples) {
            let _ = write!(text, "# HELP {name} ");
            escape(&mut text, help, false);
            let _ = writeln!(text, "\n# TYPE {name} {}", kind.word());
            text.push_str(samples);
        }
        text
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<f64>, value: Number) {
        let (Some(family), Some(text)) = (self.families.get(self.current), self.samples.get_mut(self.current)) else {
            return;
        };
        debug_assert!(labels.iter().map(|(name, _)| name).eq(family.labels), "{}: {labels:?}", family.name);
        text.push_str(family.name);
        text.push_str(suffix);
        let mut open = '{';
        let scope = self.scope.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in scope.chain(labels.iter().copied()) {
            let _ = write!(text, "{open}{name}=\"");
            escape(text, value, true);
            text.push('"');
            open = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(text, "{open}le=\"");
            real(text, bound);
            text.push('"');
            open = ',';
        }
        text.push_str(if open == ',' { "} " } else { " " });
        match value {
            Number::Whole(number) => {
                let _ = write!(text, "{number}");
            }
            Number::Real(number) => real(text, number),
        }
        text.push('\n');
    }
}

/// Go's spelling of the special values, which the format demands.
fn real(text: &mut String, number: f64) {
    let _ = match number {
        n if n.is_nan() => write!(text, "NaN"),
        n if n.is_infinite() => write!(text, "{}Inf", if n > 0.0 { '+' } else { '-' }),
        n => write!(text, "{n}"),
    };
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_format() {
        let mut e = Exposition::new();
        e.family("answers_total", Kind::Counter, &["rcode", "via"], "Answers \\ by\ncode.");
        e.sample(&[("rcode", "NOERROR"), ("via", "udp")], u64::MAX).sample(&[("rcode", "a\"b\\c\nd"), ("via", "")], 0_u64);
        e.single("load", Kind::Gauge, "Load.", f64::NAN);
        e.family("wait_seconds", Kind::Histogram, &["pool"], "Wait.");
        e.histogram(&[("pool", "www")], &[(0.5, 2), (1.0, 3)], 1, 4.25);
        assert_eq!(e.families().len(), 3);
        let rows = "| `answers_total` | counter | `rcode`, `via` | Answers \\ by code. |\n| `load` | gauge |  | Load. |\n";
        assert!(e.table_markdown().contains(rows), "{}", e.table_markdown());
        let expect = r#"# HELP answers_total Answers \\ by\ncode.
# TYPE answers_total counter
answers_total{rcode="NOERROR",via="udp"} 18446744073709551615
answers_total{rcode="a\"b\\c\nd",via=""} 0
# HELP load Load.
# TYPE load gauge
load NaN
# HELP wait_seconds Wait.
# TYPE wait_seconds histogram
wait_seconds_bucket{pool="www",le="0.5"} 2
wait_seconds_bucket{pool="www",le="1"} 5
wait_seconds_bucket{pool="www",le="+Inf"} 6
wait_seconds_sum{pool="www"} 4.25
wait_seconds_count{pool="www"} 6
"#;
        assert_eq!(e.finish(), expect);
    }

    #[test]
    fn scopes_share_families() {
        let mut e = Exposition::new();
        e.single("up", Kind::Gauge, "Up.", true);
        for farm in ["mail", "video"] {
            e.scope("farm", farm).family("servers", Kind::Gauge, &["state"], "Servers.").sample(&[("state", "live")], 2_u64);
            e.single("doors", Kind::Gauge, "Doors.", 1_u64);
        }
        assert_eq!(e.families().len(), 3);
        let expect = r#"# HELP up Up.
# TYPE up gauge
up 1
# HELP servers Servers.
# TYPE servers gauge
servers{farm="mail",state="live"} 2
servers{farm="video",state="live"} 2
# HELP doors Doors.
# TYPE doors gauge
doors{farm="mail"} 1
doors{farm="video"} 1
"#;
        assert_eq!(e.finish(), expect);
    }

    proptest! {
        #[test]
        fn a_label_value_stays_on_its_line(value in any::<String>(), number in any::<f64>()) {
            let mut e = Exposition::new();
            e.family("x", Kind::Gauge, &["l"], "X.").sample(&[("l", &value)], number);
            prop_assert_eq!(e.finish().split('\n').count(), 4);
        }
    }
}
