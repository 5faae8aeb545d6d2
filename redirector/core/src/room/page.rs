//! The page that people see who wait: a template, texts in several languages, and the few numbers that differ.
//!
//! Everything but the numbers is put together when the configuration is read, so that a page is a handful of copies. It must never hold
//! anything from a request.

use super::forecast::Estimate;
use super::gate::{Wait, Whence};
use farm_shared::config::{Document, Problem, Section, has_errors};
use farm_shared::time::Wall;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const TEMPLATE: &str = include_str!("page.html");
const TEXTS: &str = include_str!("texts.toml");
/// A template and its texts together make no page longer than this.
const PAGE_BYTES_MAX: usize = 64 * 1024;
const LANGUAGES_MAX: usize = 64;
/// Languages of one `Accept-Language` that are looked at.
const RANGES_MAX: usize = 16;
const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3_600;

/// What a text is for, and its name in the file of texts.
const NAMES: [&str; 15] = [
    "title",
    "lead",
    "next",
    "before_one",
    "before_many",
    "minute",
    "minutes",
    "hours",
    "unknown",
    "refresh",
    "again",
    "lapsed",
    "full",
    "plain",
    "repeat",
];

/// The texts of one language, as they stand in HTML.
type Texts = BTreeMap<&'static str, String>;

/// A piece of a page.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Refresh,
    Lead,
    Place,
    Estimate,
    Progress,
    Note,
}

/// One language.
#[derive(Clone, Debug, PartialEq)]
struct Language {
    tag: String,
    texts: Texts,
    pieces: Vec<Piece>,
}

/// The page in all its languages; the first one is for those who want none of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pages {
    languages: Vec<Language>,
}

/// How a page is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The value of `Accept-Language`.
    pub languages: Option<&'a str>,
    /// The request was a GET or a HEAD: the page may repeat it by itself.
    pub repeats: bool,
}

impl Default for Pages {
    fn default() -> Self {
        // The built-in ones are read by a test.
        Self::new(None, None).unwrap_or(Self { languages: Vec::new() })
    }
}

impl Pages {
    /// The built-in page and texts, with what an operator's files (each with its name) put in their place.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn new(template: Option<(&str, &str)>, texts: Option<(&str, &str)>) -> Result<Self, Vec<Problem>> {
        let built_in = Document::parse("texts.toml", TEXTS);
        let mut languages = read_languages(&built_in.root(), &BTreeMap::new());
        let mut problems = built_in.finish();
        if let Some((file, text)) = texts {
            let document = Document::parse(file, text);
            let more = read_languages(&document.root(), &languages);
            problems.extend(document.finish());
            languages.extend(more);
        }
        let (file, template) = template.unwrap_or(("page.html", TEMPLATE));
        let mut made = Vec::new();
        // English first: it is for those whose language is not there.
        let order = languages.keys().filter(|tag| *tag == "en").chain(languages.keys().filter(|tag| *tag != "en"));
        for (tag, texts) in order.filter_map(|tag| languages.get_key_value(tag)) {
            match pieces(template, tag, texts) {
                Ok(pieces) => made.push(Language { tag: tag.clone(), texts: texts.clone(), pieces }),
                Err((found, expected)) => {
                    let template = Document::parse(file, "");
                    template.root().problem("", found, expected);
                    problems.extend(template.finish());
                    break;
                }
            }
        }
        if has_errors(&problems) { Err(problems) } else { Ok(Self { languages: made }) }
    }

    /// The languages, the first one for those who want none of them.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.iter().map(|l| l.tag.as_str())
    }

    /// The page for somebody who waits, and its language.
    pub fn html(&self, wait: &Wait, reader: Reader<'_>, now: Wall) -> (String, &str) {
        let Some(language) = self.language(reader.languages) else { return (String::new(), "") };
        let mut html = String::with_capacity(4 * 1024);
        for piece in &language.pieces {
            match piece {
                Piece::Text(text) => html.push_str(text),
                Piece::Refresh if reader.repeats => {
                    let _ = write!(html, "<meta http-equiv=\"refresh\" content=\"{}\">", wait.retry_after_s);
                }
                Piece::Lead => html.push_str(language.text(lead(wait))),
                Piece::Place => place(language, wait, &mut html),
                Piece::Estimate if wait.ticket.is_some() => estimate(language, wait, &mut html),
                Piece::Refresh | Piece::Estimate => {}
                Piece::Progress => progress(wait, now, &mut html),
                Piece::Note if reader.repeats => fill(language.text("refresh"), &[("{n}", wait.retry_after_s)], &mut html),
                Piece::Note => html.push_str(language.text("repeat")),
            }
        }
        (html, &language.tag)
    }

    /// The language that a reader wants most (RFC 9110 12.5.4), by its primary tag if need be.
    fn language(&self, wanted: Option<&str>) -> Option<&Language> {
        let mut best: Option<(&Language, f32)> = None;
        for range in wanted.unwrap_or_default().split(',').take(RANGES_MAX) {
            let (tag, quality) = range.split_once(';').unwrap_or((range, ""));
            let quality = quality.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
            let tag = tag.trim();
            let primary = tag.split('-').next().unwrap_or(tag);
            let is = |tag: &str| self.languages.iter().find(|l| l.tag.eq_ignore_ascii_case(tag));
            if let Some(language) = is(tag).or_else(|| is(primary)).filter(|_| quality > best.map_or(0.0, |(_, q)| q)) {
                best = Some((language, quality));
            }
        }
        best.map(|(language, _)| language).or_else(|| self.languages.first())
    }
}

impl Language {
    fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }
}

fn lead(wait: &Wait) -> &'static str {
    match wait.whence {
        Whence::Full => "full",
        Whence::Lapsed => "lapsed",
        Whence::New | Whence::Kept if wait.ticket.is_none() => "plain",
        Whence::New | Whence::Kept => "lead",
    }
}

fn place(language: &Language, wait: &Wait, html: &mut String) {
    match (wait.ticket, wait.before) {
        (None, _) => {}
        (Some(_), 0) => html.push_str(language.text("next")),
        (Some(_), 1) => html.push_str(language.text("before_one")),
        (Some(_), n) => fill(language.text("before_many"), &[("{n}", n)], html),
    }
}

fn estimate(language: &Language, wait: &Wait, html: &mut String) {
    match wait.estimate {
        Estimate::Unknown => html.push_str(language.text("unknown")),
        Estimate::Between { high_s, .. } if high_s <= MINUTE_S => html.push_str(language.text("minute")),
        Estimate::Between { low_s, .. } if low_s >= HOUR_S => html.push_str(language.text("hours")),
        Estimate::Between { low_s, high_s } => {
            let (low, high) = ((low_s / MINUTE_S).max(1), high_s.div_ceil(MINUTE_S).max(2));
            fill(language.text("minutes"), &[("{low}", low), ("{high}", high)], html);
        }
    }
}

/// How much of the time is over: what has been waited, beside what is to come.
fn progress(wait: &Wait, now: Wall, html: &mut String) {
    let (Some(ticket), Estimate::Between { low_s, high_s }) = (wait.ticket, wait.estimate) else { return };
    let waited_s = now.0.saturating_sub(ticket.arrival_ms) / 1_000;
    let all_s = waited_s + u64::from(low_s.midpoint(high_s)).max(1);
    let percent = 100 * waited_s / all_s;
    let _ = write!(html, "<progress max=\"100\" value=\"{percent}\">{percent} %</progress>");
}

/// A text with its numbers.
fn fill(text: &str, numbers: &[(&str, u32)], html: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        html.push_str(before);
        let number = numbers.iter().find_map(|(name, n)| from.strip_prefix(name).map(|rest| (n, rest)));
        rest = if let Some((n, rest)) = number {
            let _ = write!(html, "{n}");
            rest
        } else {
            html.push('{');
            from.get(1..).unwrap_or_default()
        };
    }
    html.push_str(rest);
}

/// Tables of texts; what a table leaves out is taken from `known`, or from English.
fn read_languages(root: &Section, known: &BTreeMap<String, Texts>) -> BTreeMap<String, Texts> {
    let mut languages = BTreeMap::new();
    let tags = root.keys();
    if tags.len() > LANGUAGES_MAX {
        root.problem("", format!("{} languages", tags.len()), format!("at most {LANGUAGES_MAX}"));
    }
    for tag in tags.into_iter().take(LANGUAGES_MAX) {
        let section = root.table(&tag, "Texts in one language.");
        if !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || tag.is_empty() {
            root.problem(&tag, "no language tag", "a language tag like \"pt\" or \"pt-BR\" (RFC 5646)");
        }
        let before = known.get(&tag).or_else(|| known.get("en"));
        let texts = NAMES.iter().map(|name| {
            let default = before.and_then(|texts| texts.get(name)).cloned();
            let text = section.optional_string(name, "A text.").map(|text| escape(&text));
            if text.is_none() && default.is_none() {
                section.problem(name, "nothing", "a text");
            }
            (*name, text.or(default).unwrap_or_default())
        });
        languages.insert(tag.clone(), texts.collect());
    }
    languages
}

/// Takes a template apart; whatever is the same on every page is put in at once.
fn pieces(template: &str, tag: &str, texts: &Texts) -> Result<Vec<Piece>, (String, &'static str)> {
    const EXPECTED: &str =
        "{{lang}}, {{title}}, {{lead}}, {{place}}, {{estimate}}, {{progress}}, {{note}}, {{again}} or {{refresh}}";
    let mut pieces = vec![Piece::Text(String::new())];
    let push_text = |text: &str, pieces: &mut Vec<Piece>| match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    };
    let mut rest = template;
    while let Some((before, from)) = rest.split_once("{{") {
        push_text(before, &mut pieces);
        let Some((name, after)) = from.split_once("}}") else {
            return Err(("{{ without }}".to_owned(), EXPECTED));
        };
        rest = after;
        match name.trim() {
            "lang" => push_text(&escape(tag), &mut pieces),
            name @ ("title" | "again") => push_text(texts.get(name).map_or("", String::as_str), &mut pieces),
            "lead" => pieces.push(Piece::Lead),
            "place" => pieces.push(Piece::Place),
            "estimate" => pieces.push(Piece::Estimate),
            "progress" => pieces.push(Piece::Progress),
            "note" => pieces.push(Piece::Note),
            "refresh" => pieces.push(Piece::Refresh),
            other => return Err((format!("{{{{{}}}}}", other.chars().take(40).collect::<String>()), EXPECTED)),
        }
    }
    push_text(rest, &mut pieces);
    if !pieces.contains(&Piece::Refresh) {
        return Err(("no {{refresh}}".to_owned(), "{{refresh}} in the head: without it nobody is let in by himself"));
    }
    let bytes = template.len() + texts.values().map(String::len).sum::<usize>();
    if bytes > PAGE_BYTES_MAX {
        return Err((format!("{bytes} octets"), "at most 65536 octets with its texts: it is sent very often"));
    }
    Ok(pieces)
}

/// Text as HTML text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
