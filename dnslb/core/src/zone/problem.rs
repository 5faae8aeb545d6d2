//! What is wrong with a zone file, said so that it can be mended: file, line, what was found, what was expected.

use std::fmt;
use std::rc::Rc;

use super::PROBLEMS_MAX;

/// Whether a problem keeps a zone from being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The zone is served, perhaps not as meant.
    Warning,
    /// The zone cannot be served.
    Error,
}

/// One problem of a zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was asked for.
    pub file: String,
    /// The line, from 1; 0 when it is about the file or the zone as a whole.
    pub line: u32,
    /// Whether the zone can be served nevertheless.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What was expected instead.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{}:{}: {severity}: found {}; expected {}", self.file, self.line, self.found, self.expected)
    }
}

/// A place in a zone file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: u32,
}

impl Place {
    /// The file as a whole.
    pub(super) fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 0 }
    }
}

/// A bounded list of problems: warnings never crowd out errors, nor errors warnings.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    pub(super) fn error(&mut self, place: &Place, found: impl Into<String>, expected: impl Into<String>) {
        self.errors += 1;
        if self.errors <= PROBLEMS_MAX {
            self.push(place, Severity::Error, found.into(), expected.into());
        }
    }

    pub(super) fn warning(&mut self, place: &Place, found: impl Into<String>, expected: impl Into<String>) {
        self.warnings += 1;
        if self.warnings <= PROBLEMS_MAX {
            self.push(place, Severity::Warning, found.into(), expected.into());
        }
    }

    fn push(&mut self, place: &Place, severity: Severity, found: String, expected: String) {
        self.list.push(Problem { file: place.file.to_string(), line: place.line, severity, found, expected });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Errors so far, those beyond the bound too.
    pub(super) fn error_count(&self) -> usize {
        self.errors
    }

    /// Whether reading on would report nothing new.
    pub(super) fn is_full(&self) -> bool {
        self.errors >= PROBLEMS_MAX
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list
    }
}
