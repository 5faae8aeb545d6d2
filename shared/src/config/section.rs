//! The readers of single options. Each returns a usable value whatever stands in the file, and notes what is wrong with it.
//!
//! A reader must ask for all its options before it decides anything, or the unread ones count as unknown and miss in the
//! documentation. Keys and texts about them are the program's own; defaults are shown, not checked.

use super::document::{Entry, SECTION, SECTIONS, State, Table, Value, join};
use super::duration::{format_duration_ms, parse_duration_ms};
use super::problem::{Place, Severity, quoted};
use crate::id::{BadId, Id};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::str::FromStr;

/// One table of a file, or an absent one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Section {
    state: Rc<State>,
    table: Option<Rc<Table>>,
    path: String,
    line: usize,
}

impl FromStr for Id {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::new(text)
    }
}

impl Section {
    pub(super) fn new(state: &Rc<State>, table: Option<&Rc<Table>>, path: String, line: usize) -> Self {
        if let Some(table) = table {
            table.visited.set(true);
        }
        let line = table.map_or(line, |t| t.line);
        Self { state: Rc::clone(state), table: table.cloned(), path, line }
    }

    /// A subsection; an absent one is empty, and its options have their defaults.
    pub fn table(&self, key: &str, about: &'static str) -> Self {
        self.document(key, "", || SECTION.into(), String::new, about);
        let table = match self.entry(key).map(|e| &e.value) {
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.problem(key, other.shown(), format!("a section [{}]", self.key(key)));
                None
            }
            None => None,
        };
        Self::new(&self.state, table, self.key(key), self.place(key).line)
    }

    /// Whether a key stands in the file. True in a description, so that readers visit all they know.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some() || self.state.describe
    }

    /// Whether the section itself stands in the file. True in a description.
    pub fn is_present(&self) -> bool {
        self.table.is_some() || self.state.describe
    }

    /// The keys that stand in the file, by name: for sections whose keys are names that the user chooses. None in a description.
    pub fn keys(&self) -> Vec<String> {
        self.table.iter().flat_map(|t| t.entries.keys().cloned()).collect()
    }

    /// An array of tables (`[[key]]`); one empty element in a description.
    pub fn tables(&self, key: &str, about: &'static str) -> Vec<Self> {
        self.document(key, "[]", || SECTIONS.into(), String::new, about);
        if self.state.describe {
            return vec![Self::new(&self.state, None, format!("{}[]", self.key(key)), 1)];
        }
        let expected = || format!("sections [[{}]]", self.key(key));
        let items = match self.entry(key).map(|e| &e.value) {
            Some(Value::List(items)) => items,
            Some(other) => {
                self.problem(key, other.shown(), expected());
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut sections = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{}[{i}]", self.key(key));
            if let Value::Table(table) = &item.value {
                sections.push(Self::new(&self.state, Some(table), path, item.line));
            } else {
                let place = Place { file: self.state.file.clone(), line: item.line, key: path };
                self.state.push(&place, Severity::Error, item.value.shown(), expected());
            }
        }
        sections
    }

    /// A text.
    pub fn string(&self, key: &str, default: &str, about: &'static str) -> String {
        self.document(key, "", || "string".into(), || format!("{default:?}"), about);
        self.text(key, "a string").map_or_else(|| default.into(), Into::into)
    }

    /// A text that may be absent.
    pub fn optional_string(&self, key: &str, about: &'static str) -> Option<String> {
        self.document(key, "", || "string".into(), String::new, about);
        self.text(key, "a string").map(Into::into)
    }

    /// A text that must stand there; empty, and a problem, if it does not.
    pub fn required_string(&self, key: &str, about: &'static str) -> String {
        self.document(key, "", || "string".into(), || "required".into(), about);
        self.require(key, "a string");
        self.text(key, "a string").unwrap_or_default().into()
    }

    /// A whole number.
    pub fn integer(&self, key: &str, default: i64, range: RangeInclusive<i64>, about: &'static str) -> i64 {
        let kind = || format!("integer, {} to {}", range.start(), range.end());
        self.document(key, "", kind, || default.to_string(), about);
        let number = |value: &Value| match value {
            Value::Integer(_, Some(number)) if range.contains(number) => Some(*number),
            _ => None,
        };
        self.value(key, number, || format!("an integer from {} to {}", range.start(), range.end())).unwrap_or(default)
    }

    /// A whole number that may be absent.
    pub fn optional_integer(&self, key: &str, range: RangeInclusive<i64>, about: &'static str) -> Option<i64> {
        let kind = || format!("integer, {} to {}", range.start(), range.end());
        self.document(key, "", kind, String::new, about);
        self.entry(key).is_some().then(|| self.integer(key, *range.start(), range, about))
    }

    /// A number that may be absent.
    pub fn optional_float(&self, key: &str, range: RangeInclusive<f64>, about: &'static str) -> Option<f64> {
        let kind = || format!("number, {} to {}", range.start(), range.end());
        self.document(key, "", kind, String::new, about);
        self.entry(key).is_some().then(|| self.float(key, *range.start(), range, about))
    }

    /// `true` or `false`, or nothing.
    pub fn optional_boolean(&self, key: &str, about: &'static str) -> Option<bool> {
        self.document(key, "", || "true or false".into(), String::new, about);
        self.entry(key).is_some().then(|| self.boolean(key, false, about))
    }

    /// A number; a whole one may stand for it.
    pub fn float(&self, key: &str, default: f64, range: RangeInclusive<f64>, about: &'static str) -> f64 {
        let kind = || format!("number, {} to {}", range.start(), range.end());
        self.document(key, "", kind, || default.to_string(), about);
        let number = |value: &Value| match value {
            Value::Integer(_, Some(number)) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        let inside = |value: &Value| number(value).filter(|n| range.contains(n));
        self.value(key, inside, || format!("a number from {} to {}", range.start(), range.end())).unwrap_or(default)
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str, default: bool, about: &'static str) -> bool {
        self.document(key, "", || "true or false".into(), || default.to_string(), about);
        let word = |value: &Value| if let Value::Boolean(word) = value { Some(*word) } else { None };
        self.value(key, word, || "true or false".into()).unwrap_or(default)
    }

    /// A duration in milliseconds, written with its unit: `"250ms"`, `"3s"`, `"1m30s"`, `"2h"`, `"1d"`.
    pub fn duration_ms(&self, key: &str, default_ms: u64, range_ms: RangeInclusive<u64>, about: &'static str) -> u64 {
        let (from, to) = (format_duration_ms(*range_ms.start()), format_duration_ms(*range_ms.end()));
        let kind = || format!("duration, {from} to {to}");
        self.document(key, "", kind, || format!("{:?}", format_duration_ms(default_ms)), about);
        let duration = |value: &Value| match value {
            Value::Text(text) => parse_duration_ms(text).filter(|ms| range_ms.contains(ms)),
            _ => None,
        };
        let expected = || format!("a duration from {from} to {to} in quotes, like \"250ms\", \"3s\" or \"1m30s\"");
        self.value(key, duration, expected).unwrap_or(default_ms)
    }

    /// A duration of whole seconds, in seconds.
    pub fn duration_s(&self, key: &str, default_s: u64, range_s: RangeInclusive<u64>, about: &'static str) -> u64 {
        let ms = self.duration_ms(key, default_s * 1_000, range_s.start() * 1_000..=range_s.end() * 1_000, about);
        if !ms.is_multiple_of(1_000) {
            self.problem(key, format!("{ms} ms"), "whole seconds");
        }
        ms / 1_000
    }

    /// One of a few words.
    pub fn choice(&self, key: &str, default: &'static str, allowed: &[&'static str], about: &'static str) -> &'static str {
        let names = || allowed.iter().map(|a| format!("`\"{a}\"`")).collect::<Vec<_>>().join(", ");
        self.document(key, "", || format!("one of {}", names()), || format!("{default:?}"), about);
        let word = |value: &Value| match value {
            Value::Text(text) => allowed.iter().copied().find(|a| a == text),
            _ => None,
        };
        let words = || allowed.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(", ");
        self.value(key, word, || format!("one of {}", words())).unwrap_or(default)
    }

    /// A text that is parsed. Without a default it must stand there. `None` only with a problem noted, or in a description.
    pub fn parsed<T: FromStr>(&self, key: &str, default: Option<&str>, expected: &str, about: &'static str) -> Option<T> {
        let shown = || default.map_or_else(|| "required".into(), |d| format!("{d:?}"));
        self.document(key, "", || expected.into(), shown, about);
        if default.is_none() {
            self.require(key, expected);
        }
        if self.entry(key).is_some() { self.parse_text(key, expected) } else { default.and_then(|d| d.parse().ok()) }
    }

    /// A text that is parsed and may be absent.
    pub fn optional_parsed<T: FromStr>(&self, key: &str, expected: &str, about: &'static str) -> Option<T> {
        self.document(key, "", || expected.into(), String::new, about);
        self.parse_text(key, expected)
    }

    /// An array of texts that are parsed. Elements that do not parse are problems and left out.
    pub fn list<T: FromStr>(&self, key: &str, default: &[&str], expected: &str, about: &'static str) -> Vec<T> {
        self.document(key, "", || format!("array: {expected}"), || format!("{default:?}"), about);
        let items = match self.entry(key).map(|e| &e.value) {
            Some(Value::List(items)) => items,
            Some(other) => {
                self.problem(key, other.shown(), format!("an array of strings, each {expected}"));
                return Vec::new();
            }
            None => return default.iter().filter_map(|d| d.parse().ok()).collect(),
        };
        let parse = |(i, item): (usize, &Entry)| {
            let value = if let Value::Text(text) = &item.value { text.parse().ok() } else { None };
            if value.is_none() {
                let key = format!("{}[{i}]", self.key(key));
                let place = Place { file: self.state.file.clone(), line: item.line, key };
                self.state.push(&place, Severity::Error, item.value.shown(), expected.into());
            }
            value
        };
        items.iter().enumerate().filter_map(parse).collect()
    }

    /// Whether an array without elements stands at a key, as against one whose elements are all wrong.
    pub fn is_empty_list(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|e| matches!(&e.value, Value::List(items) if items.is_empty()))
    }

    /// Notes an error at a key, or at the section's own line if the key is absent or empty.
    pub fn problem(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.state.push(&self.place(key), Severity::Error, found.into(), expected.into());
    }

    /// Notes a warning, in the same way.
    pub fn warning(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.state.push(&self.place(key), Severity::Warning, found.into(), expected.into());
    }

    /// Where a key stands, or the section if the key is absent or empty: for problems that are found later.
    pub fn place(&self, key: &str) -> Place {
        let line = self.table.as_ref().and_then(|t| t.entries.get(key)).map_or(self.line, |e| e.line);
        Place { file: self.state.file.clone(), line, key: self.key(key) }
    }

    fn key(&self, key: &str) -> String {
        if key.is_empty() { self.path.clone() } else { join(&self.path, key) }
    }

    fn document(
        &self,
        key: &str,
        suffix: &str,
        kind: impl FnOnce() -> String,
        default: impl FnOnce() -> String,
        about: &'static str,
    ) {
        if self.state.describe {
            self.state.option(format!("{}{suffix}", self.key(key)), kind, default, about);
        }
    }

    /// Looks a key up, and notes that it belongs to the schema.
    fn entry(&self, key: &str) -> Option<&Entry> {
        let table = self.table.as_ref()?;
        if !table.asked.borrow().contains(key) {
            table.asked.borrow_mut().insert(key.into());
        }
        table.entries.get(key)
    }

    /// The value of a key if `read` takes it; a problem if it does not.
    fn value<T>(&self, key: &str, read: impl Fn(&Value) -> Option<T>, expected: impl Fn() -> String) -> Option<T> {
        let entry = self.entry(key)?;
        let value = read(&entry.value);
        if value.is_none() {
            self.problem(key, entry.value.shown(), expected());
        }
        value
    }

    fn text(&self, key: &str, expected: &str) -> Option<&str> {
        match &self.entry(key)?.value {
            Value::Text(text) => Some(text),
            other => {
                self.problem(key, other.shown(), expected);
                None
            }
        }
    }

    fn parse_text<T: FromStr>(&self, key: &str, expected: impl Display) -> Option<T> {
        let expected = expected.to_string();
        let text = self.text(key, &expected)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.problem(key, quoted(text), expected);
        }
        value
    }

    fn require(&self, key: &str, expected: impl Display) {
        if self.entry(key).is_none() {
            self.problem(key, "nothing", expected.to_string());
        }
    }
}
