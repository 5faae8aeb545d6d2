//! Reading configuration so that *every* problem is reported at once, with file, line and key, found and expected.
//!
//! serde stops at the first error, so this is a reader of our own over `toml`'s tree of spans. A reader asks a [`Section`]
//! for each option by name; what was asked for is the whole schema: keys that nobody asked for are unknown, and
//! [`Document::describe`] runs the same reader to list every option for the documentation. It must never open a file (the text
//! is an argument), and never let a wrong value pass as a default in silence.

mod document;
mod duration;
mod problem;
mod section;

pub use document::Document;
pub use duration::{format_duration_ms, parse_duration_ms};
pub use problem::{Place, Problem, Severity, has_errors};
pub use section::Section;

use std::fmt::Write as _;

/// The most problems that [`Document::finish`] returns.
pub const PROBLEMS_MAX: usize = 100;

/// The largest text that [`Document::parse`] reads, in octets.
pub const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One option as the documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionDoc {
    /// Dotted key; `[]` behind an array of tables, as in `pool[].k`.
    pub key: String,
    /// What a value looks like, with its range.
    pub kind: String,
    /// The default as it would stand in a file, `required`, or empty if there is none.
    pub default: String,
    /// What it does.
    pub about: &'static str,
}

impl OptionDoc {
    /// Whether it is a section rather than an option in one.
    pub fn is_section(&self) -> bool {
        self.kind == document::SECTION || self.kind == document::SECTIONS
    }
}

/// The options as a Markdown table, in the order in which the reader asked for them.
pub fn table_markdown(options: &[OptionDoc]) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut table = String::from("| option | value | default | what it does |\n|---|---|---|---|\n");
    for option in options {
        let default = match option.default.as_str() {
            "" => String::new(),
            "required" => "required".into(),
            default => format!("`{}`", cell(default)),
        };
        let _ = writeln!(table, "| `{}` | {} | {} | {} |", option.key, cell(&option.kind), default, cell(option.about));
    }
    table
}

#[cfg(test)]
mod tests;
