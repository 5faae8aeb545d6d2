//! The tree of a file with the line of every key, and what was asked of it.
//!
//! A text that is no TOML yields its syntax errors and nothing else: what can be recovered of such a tree would make later
//! findings lie.

use super::problem::{Place, Problem, Severity, quoted};
use super::section::Section;
use super::{OptionDoc, PROBLEMS_MAX, TEXT_BYTES_MAX};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use toml::de::{DeTable, DeValue};

/// Collected problems are bounded too, since a hostile file may hold a million of them.
const COLLECTED_MAX: usize = 10 * PROBLEMS_MAX;

/// What stands for the value of a section in a description.
pub(super) const SECTION: &str = "section";
/// And of an array of them.
pub(super) const SECTIONS: &str = "sections";

/// A configuration file that is being read.
#[derive(Debug)]
pub struct Document {
    state: Rc<State>,
    root: Rc<Table>,
}

/// What all sections of a document share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) file: String,
    pub(super) describe: bool,
    broken: bool,
    problems: RefCell<Vec<Problem>>,
    options: RefCell<Vec<OptionDoc>>,
    option_keys: RefCell<BTreeSet<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) line: usize,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Keys that the reader asked for: the schema of this table.
    pub(super) asked: RefCell<BTreeSet<String>>,
    /// A section was made of it. What nobody looked into was reported at its key.
    pub(super) visited: Cell<bool>,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The key's line; an element's own in an array.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    /// As written, and its value if it fits.
    Integer(String, Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime,
    List(Vec<Entry>),
    Table(Rc<Table>),
}

impl Value {
    /// For "found …".
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Integer(text, _) => format!("the integer {}", text.chars().take(40).collect::<String>()),
            Self::Float(number) => format!("the number {number}"),
            Self::Boolean(word) => word.to_string(),
            Self::Datetime => "a date or time".into(),
            Self::List(_) => "an array".into(),
            Self::Table(_) => "a section".into(),
        }
    }
}

impl State {
    pub(super) fn push(&self, place: &Place, severity: Severity, found: String, expected: String) {
        let mut problems = self.problems.borrow_mut();
        if !self.broken && !self.describe && problems.len() < COLLECTED_MAX {
            let Place { file, line, key } = place.clone();
            problems.push(Problem { file, line, key, found, expected, severity });
        }
    }

    /// Notes an option in a description; the first mention of a key counts.
    pub(super) fn option(
        &self,
        key: String,
        kind: impl FnOnce() -> String,
        default: impl FnOnce() -> String,
        about: &'static str,
    ) {
        if self.describe && self.option_keys.borrow_mut().insert(key.clone()) {
            self.options.borrow_mut().push(OptionDoc { key, kind: kind(), default: default(), about });
        }
    }
}

impl Document {
    /// Reads a text; `file` is its name in problems. Syntax errors are problems, never a panic.
    pub fn parse(file: &str, text: &str) -> Self {
        let problem = |line, found: String, expected: &str| Problem {
            file: file.into(),
            line,
            key: String::new(),
            found,
            expected: expected.into(),
            severity: Severity::Error,
        };
        if text.len() > TEXT_BYTES_MAX {
            let found = format!("{} octets", text.len());
            return Self::new(file, false, vec![problem(1, found, "at most 16 MiB")], Rc::default());
        }
        let lines = Lines::of(text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        let problems: Vec<_> = errors
            .iter()
            .take(COLLECTED_MAX)
            .map(|e| problem(lines.line(e.span().map_or(0, |s| s.start)), syntax_found(text, e), "valid TOML"))
            .collect();
        let root = if problems.is_empty() { table(&lines, 1, tree.into_inner()) } else { Rc::default() };
        Self::new(file, false, problems, root)
    }

    /// An empty document in which every section is present and every array of tables has one element. Reading it yields the
    /// description of every option in [`Self::options`], and no problem.
    pub fn describe() -> Self {
        Self::new("", true, Vec::new(), Rc::default())
    }

    fn new(file: &str, describe: bool, problems: Vec<Problem>, root: Rc<Table>) -> Self {
        let state = State {
            file: file.into(),
            describe,
            broken: !problems.is_empty(),
            problems: RefCell::new(problems),
            options: RefCell::default(),
            option_keys: RefCell::default(),
        };
        Self { state: Rc::new(state), root }
    }

    /// The whole file as a section.
    pub fn root(&self) -> Section {
        Section::new(&self.state, Some(&self.root), String::new(), 1)
    }

    /// Everything that is wrong: what the reader met, and the keys it never asked for. By line, at most [`PROBLEMS_MAX`].
    pub fn finish(self) -> Vec<Problem> {
        if !self.state.broken {
            unknown(&self.state, &self.root, "");
        }
        let mut problems = self.state.problems.take();
        problems.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        problems.truncate(PROBLEMS_MAX);
        problems
    }

    /// The options that a reader asked a [`Self::describe`] document for: each section before its options, nothing between
    /// them; sections and the options of one in the reader's order, whatever stands in no section first.
    pub fn options(&self) -> Vec<OptionDoc> {
        let mut options = self.state.options.borrow().clone();
        let mut first = BTreeMap::new();
        for (i, option) in options.iter().enumerate() {
            first.entry(option.key.clone()).or_insert(i);
        }
        let section = |option: &OptionDoc| {
            if option.is_section() {
                option.key.clone()
            } else {
                option.key.rsplit_once('.').map_or("", |(s, _)| s).to_owned()
            }
        };
        // A section by where it and those around it were first asked for: one within another follows that one's options.
        options.sort_by_cached_key(|option| {
            let section = section(option);
            let ends = section.match_indices('.').map(|(at, _)| at).chain((!section.is_empty()).then_some(section.len()));
            ends.filter_map(|end| first.get(section.get(..end)?).copied()).collect::<Vec<_>>()
        });
        options
    }
}

fn syntax_found(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    let at = if at.is_empty() { String::new() } else { format!(" at {}", quoted(at)) };
    format!("a syntax error{at} ({})", error.message().trim_end())
}

/// Where lines begin, so that an offset finds its line by bisection.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}

fn table(lines: &Lines, line: usize, tree: DeTable<'_>) -> Rc<Table> {
    let entries = tree.into_iter().map(|(key, value)| {
        let line = lines.line(key.span().start);
        (key.into_inner().into_owned(), Entry { line, value: convert(lines, line, value.into_inner()) })
    });
    Rc::new(Table { line, entries: entries.collect(), ..Table::default() })
}

/// Recursion is bounded by the parser's own limit on nesting.
fn convert(lines: &Lines, line: usize, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            Value::Integer(number.to_string(), i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(word) => Value::Boolean(word),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Table(tree) => Value::Table(table(lines, line, tree)),
        DeValue::Array(items) => {
            let entry = |item: toml::Spanned<DeValue<'_>>| {
                let line = lines.line(item.span().start);
                Entry { line, value: convert(lines, line, item.into_inner()) }
            };
            Value::List(items.into_iter().map(entry).collect())
        }
    }
}

fn unknown(state: &State, table: &Table, path: &str) {
    let asked = table.asked.borrow();
    for (key, entry) in &table.entries {
        let path = join(path, key);
        if !asked.contains(key) {
            if state.problems.borrow().len() >= COLLECTED_MAX {
                return;
            }
            let found = if matches!(entry.value, Value::Table(_)) { "an unknown section" } else { "an unknown key" };
            let place = Place { file: state.file.clone(), line: entry.line, key: path };
            state.push(&place, Severity::Error, found.into(), expected_key(key, &asked));
            continue;
        }
        match &entry.value {
            Value::Table(inner) if inner.visited.get() => unknown(state, inner, &path),
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    if let Value::Table(inner) = &item.value
                        && inner.visited.get()
                    {
                        unknown(state, inner, &format!("{path}[{i}]"));
                    }
                }
            }
            _ => {}
        }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if plain { key.into() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn expected_key(key: &str, known: &BTreeSet<String>) -> String {
    let nearest = known.iter().map(|k| (distance(key, k), k)).min();
    match nearest {
        Some((d, near)) if d <= 1 + near.len() / 4 => format!("`{near}` (did you mean that?)"),
        _ if known.is_empty() => "nothing here".into(),
        _ => {
            let names: Vec<_> = known.iter().take(40).map(|k| format!("`{k}`")).collect();
            format!("one of {}", names.join(", "))
        }
    }
}

/// Levenshtein's edit distance of the first 64 octets.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let (a, b) = (&a[..a.len().min(64)], &b[..b.len().min(64)]);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, next);
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}
