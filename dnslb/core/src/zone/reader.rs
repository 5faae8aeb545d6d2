//! Entries to records: directives, inherited owners and TTLs, classes, includes.
//!
//! Every problem is reported and the reading goes on with the next entry. Includes are bounded in depth and number, so that a
//! file that includes itself ends as well.

use std::borrow::Cow;

use super::Files;
use super::draft::Line;
use super::generate::{self, Range, STEPS_MAX};
use super::problem::{Place, Problems};
use super::rdata;
use super::rtype::{Rtype, rtype_from_text};
use super::text::{Entry, Splitter, Token};
use crate::name::Name;

/// Deepest nesting of `$INCLUDE`.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Most `$INCLUDE` directives followed in one load.
const INCLUDES_MAX: usize = 256;
/// Most records made by all `$GENERATE` directives of one load.
const GENERATED_MAX: u32 = 1 << 20;
/// Highest TTL in seconds (RFC 2181 section 8).
const TTL_S_MAX: u32 = 0x7fff_ffff;

/// What an entry inherits from those before it.
#[derive(Debug, Clone)]
struct Context {
    origin: Name,
    owner: Option<Name>,
    ttl_s_default: Option<u32>,
    ttl_s_last: Option<u32>,
}

struct Reader<'a> {
    files: &'a dyn Files,
    problems: &'a mut Problems,
    lines: Vec<Line>,
    includes: usize,
    generated: u32,
}

/// Reads `main` and what it includes.
pub(super) fn read(origin: &Name, files: &dyn Files, main: &str, problems: &mut Problems) -> Vec<Line> {
    let file = problems.file(main);
    let mut reader = Reader { files, problems, lines: Vec::new(), includes: 0, generated: 0 };
    let mut context = Context { origin: origin.clone(), owner: None, ttl_s_default: None, ttl_s_last: None };
    match files.read(main) {
        Ok(source) => reader.file(file, &source, &mut context, 0),
        Err(why) => reader.problems.error(Place::whole(file), why, "a readable zone file"),
    }
    reader.lines
}

/// Seconds of a TTL, plain or with the units w, d, h, m, s (`1h30m`); `None` if it is neither or above 2^31-1.
pub(super) fn parse_ttl(text: &[u8]) -> Option<u32> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for &octet in text {
        if octet.is_ascii_digit() {
            let value = number.unwrap_or(0) * 10 + u64::from(octet - b'0');
            if value > u64::from(TTL_S_MAX) {
                return None;
            }
            number = Some(value);
            continue;
        }
        let unit_s = match octet.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total += number.take()? * unit_s;
        if total > u64::from(TTL_S_MAX) {
            return None;
        }
    }
    if text.is_empty() {
        return None;
    }
    total += number.unwrap_or(0);
    u32::try_from(total).ok().filter(|&total| total <= TTL_S_MAX)
}

/// The path of an included file: relative to the directory of the file that includes it.
fn resolve(including: &str, path: &str) -> String {
    match including.rsplit_once('/') {
        Some((directory, _)) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ => path.to_owned(),
    }
}

impl Reader<'_> {
    fn file(&mut self, file: u32, source: &[u8], context: &mut Context, depth: usize) {
        if let Some(last) = source.last().filter(|last| **last != b'\n') {
            let found = format!("a last line that does not end, but with {:?}", char::from(*last));
            let place = Place { file, line: source.split(|octet| *octet == b'\n').count() as u32 };
            self.problems.warning(place, found, "a line end: without it, a file that was cut looks like a whole one");
        }
        let mut splitter = Splitter::new(source);
        while !self.problems.is_full() {
            match splitter.next_entry() {
                Ok(None) => return,
                Ok(Some(entry)) => {
                    let place = Place { file, line: entry.line };
                    self.entry(place, source, &entry, context, depth);
                }
                Err(broken) => {
                    let place = Place { file, line: broken.line };
                    self.problems.error(place, broken.found, broken.expected);
                }
            }
        }
    }

    fn entry(&mut self, place: Place, source: &[u8], entry: &Entry, context: &mut Context, depth: usize) {
        let octets = |token: &Token| source.get(token.range.clone()).unwrap_or_default();
        let mut tokens = entry.tokens.as_slice();
        let Some(first) = tokens.first() else { return };
        if !entry.indented && !first.quoted && octets(first).starts_with(b"$") {
            self.directive(place, source, tokens, context, depth);
            return;
        }
        let owner = if entry.indented {
            context.owner.clone()
        } else {
            tokens = tokens.get(1..).unwrap_or_default();
            match Name::from_presentation(octets(first), &context.origin) {
                Ok(owner) => Some(owner),
                Err(error) => {
                    // What follows with the same owner belongs to the broken name, not to the name before it.
                    context.owner = None;
                    self.problems.error(place, format!("the owner '{}', {error}", lossy(octets(first))), "a domain name");
                    return;
                }
            }
        };
        let Some(owner) = owner else {
            self.problems.error(place, "a record without an owner", "an owner name at the start of the line");
            return;
        };
        context.owner = Some(owner.clone());

        let mut ttl_s = None;
        let mut class_seen = false;
        let rtype = loop {
            let Some((token, rest)) = tokens.split_first() else {
                self.problems.error(place, "no record type", "[TTL] [class] type data");
                return;
            };
            tokens = rest;
            let text = lossy(octets(token));
            if ttl_s.is_none() && text.starts_with(|first: char| first.is_ascii_digit()) {
                ttl_s = parse_ttl(text.as_bytes());
                if ttl_s.is_none() {
                    self.problems.error(
                        place,
                        format!("the TTL '{text}'"),
                        "seconds up to 2147483647, or a time such as 1h30m",
                    );
                    return;
                }
            } else if !class_seen && (text.eq_ignore_ascii_case("IN") || text.eq_ignore_ascii_case("CLASS1")) {
                class_seen = true;
            } else if ["CH", "HS", "CS"].iter().any(|class| text.eq_ignore_ascii_case(class))
                || text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("CLASS"))
            {
                self.problems.error(place, format!("class {text}"), "class IN, the only one served");
                return;
            } else {
                match rtype_from_text(&text) {
                    Some(rtype) if rtype.is_meta() => {
                        self.problems.error(place, format!("type {rtype}"), "a type that can be in a zone");
                        return;
                    }
                    Some(rtype) => break rtype,
                    None => {
                        self.problems.error(
                            place,
                            format!("'{text}'"),
                            "a TTL, a class or a record type (TYPEnnn if it has no name)",
                        );
                        return;
                    }
                }
            }
        };
        let rdata = match rdata::scan(rtype, source, tokens, &context.origin) {
            Ok(rdata) => rdata,
            Err(bad) => {
                self.problems.error(place, bad.found, bad.expected);
                return;
            }
        };
        if ttl_s.is_some() {
            context.ttl_s_last = ttl_s;
        }
        let Some(ttl_s) = ttl_s.or(context.ttl_s_default).or(context.ttl_s_last).or_else(|| soa_minimum(rtype, &rdata))
        else {
            self.problems.error(place, "no TTL", "a TTL in the record or a $TTL before it");
            return;
        };
        if context.ttl_s_last.is_none() {
            context.ttl_s_last = Some(ttl_s);
        }
        self.lines.push(Line { place, owner, rtype, ttl_s, rdata: rdata.into() });
    }

    fn directive(&mut self, place: Place, source: &[u8], tokens: &[Token], context: &mut Context, depth: usize) {
        let words: Vec<&[u8]> = tokens.iter().map(|token| source.get(token.range.clone()).unwrap_or_default()).collect();
        let (name, arguments) =
            words.split_first().map_or((String::new(), &[][..]), |(name, rest)| (lossy(name).to_ascii_uppercase(), rest));
        match (name.as_str(), arguments) {
            ("$ORIGIN", [origin]) => match Name::from_presentation(origin, &context.origin) {
                Ok(origin) => context.origin = origin,
                Err(error) => {
                    self.problems.error(place, format!("the origin '{}', {error}", lossy(origin)), "a domain name");
                }
            },
            ("$TTL", [ttl]) => {
                context.ttl_s_default = parse_ttl(ttl).or(context.ttl_s_default);
                if parse_ttl(ttl).is_none() {
                    let found = format!("the TTL '{}'", lossy(ttl));
                    self.problems.error(place, found, "seconds up to 2147483647, or a time such as 1h30m");
                }
            }
            ("$INCLUDE", [path]) => self.include(place, &lossy(path), None, context, depth),
            ("$INCLUDE", [path, origin]) => match Name::from_presentation(origin, &context.origin) {
                Ok(origin) => self.include(place, &lossy(path), Some(origin), context, depth),
                Err(error) => {
                    self.problems.error(place, format!("the origin '{}', {error}", lossy(origin)), "a domain name");
                }
            },
            ("$GENERATE", [range, _, _, ..]) => self.generate(place, source, range, tokens, context, depth),
            ("$GENERATE", _) => {
                let found = format!("{name} with {} arguments", arguments.len());
                self.problems.error(place, found, "start-stop[/step], an owner, and the rest of a record");
            }
            ("$ORIGIN" | "$TTL", _) => {
                self.problems.error(place, format!("{name} with {} arguments", arguments.len()), "one argument");
            }
            ("$INCLUDE", _) => {
                self.problems.error(
                    place,
                    format!("{name} with {} arguments", arguments.len()),
                    "a file and perhaps an origin",
                );
            }
            _ => self.problems.error(place, format!("the directive {name}"), "$ORIGIN, $TTL, $INCLUDE or $GENERATE"),
        }
    }

    /// One record for each number of a range, from the words behind it. A broken template is reported once.
    fn generate(
        &mut self,
        place: Place,
        source: &[u8],
        range: &[u8],
        tokens: &[Token],
        context: &mut Context,
        depth: usize,
    ) {
        let Some(numbers) = Range::parse(range) else {
            let expected = format!("start-stop[/step], not more than {STEPS_MAX} numbers");
            self.problems.error(place, format!("the range '{}'", lossy(range)), expected);
            return;
        };
        let (mut template, mut line) = (Vec::new(), Vec::new());
        for (index, token) in tokens.iter().skip(2).enumerate() {
            let words = source.get(token.range.clone()).unwrap_or_default();
            let quote: &[u8] = if token.quoted { b"\"" } else { b"" };
            let space: &[u8] = if index == 0 || token.glued { b"" } else { b" " };
            template.extend([space, quote, words, quote].concat());
        }
        let errors = self.problems.error_count();
        for number in numbers.numbers() {
            line.clear();
            self.generated += 1;
            if self.generated > GENERATED_MAX {
                let expected = format!("at most {GENERATED_MAX} records from all of them");
                self.problems.error(place, "one $GENERATE too many", expected);
            } else if let Err(found) = generate::expand(&template, number, &mut line) {
                let expected =
                    "$ or ${offset[,width[,base]]}, with no number below 0, a width up to 255, a base of d, o, x, X, n or N";
                self.problems.error(place, found, expected);
            } else if line.starts_with(b"$") {
                self.problems.error(place, "a directive made by $GENERATE", "an owner name and the rest of a record");
            } else if let Ok(Some(entry)) = Splitter::new(&line).next_entry() {
                self.entry(place, &line, &entry, context, depth);
            }
            if self.problems.error_count() > errors {
                return;
            }
        }
    }

    /// Reads another file. It starts with the state of the including file, which is as before afterwards (RFC 1035 section 5.1).
    fn include(&mut self, place: Place, path: &str, origin: Option<Name>, context: &Context, depth: usize) {
        self.includes += 1;
        if depth >= INCLUDE_DEPTH_MAX || self.includes > INCLUDES_MAX {
            let expected = format!("includes nested at most {INCLUDE_DEPTH_MAX} deep and {INCLUDES_MAX} in all");
            self.problems.error(place, format!("$INCLUDE {path}"), expected);
            return;
        }
        let path = resolve(self.problems.path(place.file), path);
        match self.files.read(&path) {
            Ok(source) => {
                let mut inner = context.clone();
                if let Some(origin) = origin {
                    inner.origin = origin;
                }
                let file = self.problems.file(&path);
                self.file(file, &source, &mut inner, depth + 1);
            }
            Err(why) => self.problems.error(place, format!("$INCLUDE {path}: {why}"), "a readable file"),
        }
    }
}

/// The minimum field: the TTL of a SOA record that has none, as BIND reads it.
fn soa_minimum(rtype: Rtype, rdata: &[u8]) -> Option<u32> {
    let minimum = rdata.last_chunk::<4>()?;
    (rtype == Rtype::SOA).then_some(u32::from_be_bytes(*minimum))
}

/// Text for a message, cut to a readable length.
fn lossy(octets: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(octets.get(..300).unwrap_or(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_units() {
        let check = |text: &str, expect: Option<u32>| assert_eq!(parse_ttl(text.as_bytes()), expect, "{text}");
        check("0", Some(0));
        check("3600", Some(3_600));
        check("1h30m", Some(5_400));
        check("1W2D3H4M5S", Some(788_645));
        check("1h30", Some(3_630));
        check("2147483647", Some(2_147_483_647));
        check("2147483648", None);
        check("99999999999999999999999", None);
        check("4000w", None);
        check("h", None);
        check("", None);
        check("1x", None);
    }

    #[test]
    fn included_paths() {
        let check = |including: &str, path: &str, expect: &str| assert_eq!(resolve(including, path), expect);
        check("zones/a.zone", "b.zone", "zones/b.zone");
        check("a.zone", "b.zone", "b.zone");
        check("zones/a.zone", "/etc/b.zone", "/etc/b.zone");
    }
}
