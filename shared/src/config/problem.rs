//! What is wrong with a configuration, and where. Text from the file is shown escaped and shortened, never raw.

use std::fmt;

/// Whether a problem forbids the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is worth a look.
    Warning,
}

/// One problem. Displayed as `FILE:LINE: KEY: found X, expected Y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Dotted; elements of arrays are counted from 0, as in `pool[2].k`. Empty for the file as a whole.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
    /// Whether it forbids the configuration.
    pub severity: Severity,
}

/// Where a key stands: for checks that come after the file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// As in [`Problem::key`].
    pub key: String,
}

impl Place {
    /// An error at this place.
    pub fn problem(&self, found: impl Into<String>, expected: impl Into<String>) -> Problem {
        self.with(Severity::Error, found.into(), expected.into())
    }

    /// A warning at this place.
    pub fn warning(&self, found: impl Into<String>, expected: impl Into<String>) -> Problem {
        self.with(Severity::Warning, found.into(), expected.into())
    }

    fn with(&self, severity: Severity, found: String, expected: String) -> Problem {
        Problem { file: self.file.clone(), line: self.line, key: self.key.clone(), found, expected, severity }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

/// Whether any of them forbids the configuration.
pub fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.severity == Severity::Error)
}

/// A text of the file in quotes, escaped, at most 60 characters of it.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
