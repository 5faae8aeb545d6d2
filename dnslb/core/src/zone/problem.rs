//! What is wrong with a zone file, said so that it can be mended: file, line, what was found, what was expected.

use super::PROBLEMS_MAX;
use std::fmt;

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

/// A place in one of the files of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of the file: see [`Problems::file`].
    pub(super) file: u32,
    pub(super) line: u32,
}

impl Place {
    /// The file as a whole.
    pub(super) fn whole(file: u32) -> Self {
        Self { file, line: 0 }
    }
}

/// A bounded list of problems: warnings never crowd out errors, nor errors warnings.
#[derive(Debug, Default)]
pub(super) struct Problems {
    files: Vec<String>,
    list: Vec<(Place, Problem)>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    /// The number by which places mean a file.
    pub(super) fn file(&mut self, path: &str) -> u32 {
        let known = self.files.iter().position(|file| file == path);
        known.unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        }) as u32
    }

    /// The path of a file.
    pub(super) fn path(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", String::as_str)
    }

    pub(super) fn error(&mut self, place: Place, found: impl Into<String>, expected: impl Into<String>) {
        self.errors += 1;
        if self.errors <= PROBLEMS_MAX {
            self.push(place, Severity::Error, found.into(), expected.into());
        }
    }

    pub(super) fn warning(&mut self, place: Place, found: impl Into<String>, expected: impl Into<String>) {
        self.warnings += 1;
        if self.warnings <= PROBLEMS_MAX {
            self.push(place, Severity::Warning, found.into(), expected.into());
        }
    }

    fn push(&mut self, place: Place, severity: Severity, found: String, expected: String) {
        let file = self.path(place.file).to_owned();
        self.list.push((place, Problem { file, line: place.line, severity, found, expected }));
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

    /// The problems in the order of files and lines.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|(place, _)| *place);
        self.list.into_iter().map(|(_, problem)| problem).collect()
    }
}
