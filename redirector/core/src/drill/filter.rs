//! Which servers a drill may hit: `zone=a,role=web,id=b*`.
//!
//! Several values of one key mean any of them, several keys mean all of them. A word that is not understood must be an error, never
//! "everything".

use super::Target;
use std::fmt;
use std::str::FromStr;

const TERMS_MAX: usize = 64;

/// A filter; the empty one lets everybody through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(Key, String)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Zone,
    Role,
    Instance,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFilter(String);

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {:?}, expected KEY=PATTERN,… with the keys id, zone, role, instance, and * for any text", self.0)
    }
}

impl std::error::Error for BadFilter {}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let term = |term: &str| {
            let bad = || BadFilter(term.chars().take(80).collect());
            let (key, pattern) = term.split_once('=').ok_or_else(bad)?;
            let key = match key.trim() {
                "id" => Key::Id,
                "zone" => Key::Zone,
                "role" => Key::Role,
                "instance" => Key::Instance,
                _ => return Err(bad()),
            };
            let pattern = pattern.trim();
            if pattern.is_empty() || pattern.len() > 128 { Err(bad()) } else { Ok((key, pattern.to_owned())) }
        };
        let terms: Vec<_> = text.split(',').take(TERMS_MAX + 1).map(term).collect::<Result<_, _>>()?;
        if terms.len() > TERMS_MAX { Err(BadFilter(format!("more than {TERMS_MAX} terms"))) } else { Ok(Self(terms)) }
    }
}

impl Filter {
    /// Both filters' terms together.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether a server may be hit.
    pub fn admits(&self, target: &Target) -> bool {
        [Key::Id, Key::Zone, Key::Role, Key::Instance].into_iter().all(|key| {
            let mut wanted = self.0.iter().filter(|(k, _)| *k == key).peekable();
            let value = match key {
                Key::Id => Some(target.id.as_str()),
                Key::Zone => target.zone.as_deref(),
                Key::Role => target.role.as_deref(),
                Key::Instance => target.instance_id.as_deref(),
            };
            wanted.peek().is_none() || wanted.any(|(_, pattern)| value.is_some_and(|v| matches(pattern, v)))
        })
    }
}

/// Whether a text is like a pattern in which `*` stands for any text. Greedy from the left, so it takes no longer than the product of
/// both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = pattern.contains('*').then(|| parts.next_back()).flatten() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(id: &str, zone: &str, role: Option<&str>) -> Target {
        Target { id: id.into(), zone: Some(zone.into()), role: role.map(Into::into), ..Target::default() }
    }

    #[test]
    fn terms() {
        let servers = [target("b1", "a", None), target("b12", "b", Some("web")), target("c1", "a", Some("db-1"))];
        for (text, expect) in [
            ("id=b*", "b1 b12"),
            ("id=*1", "b1 c1"),
            ("id=b*2", "b12"),
            ("id=*", "b1 b12 c1"),
            ("id=b1", "b1"),
            ("id=b1,id=c1", "b1 c1"),
            ("zone=a", "b1 c1"),
            ("zone=a,role=*", "c1"),
            ("zone=a, id=b*", "b1"),
            ("role=db-*", "c1"),
            ("zone=c", ""),
        ] {
            let filter: Filter = text.parse().unwrap();
            let found: Vec<&str> = servers.iter().filter(|t| filter.admits(t)).map(|t| t.id.as_str()).collect();
            assert_eq!(found.join(" "), expect, "{text}");
        }
        assert!(servers.iter().all(|t| Filter::default().admits(t)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["", "b1", "name=x", "id=", "id=b1,", "ID=b1", &"id=a,".repeat(100)] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        /// The same answer as by trying every way to fill the stars.
        #[test]
        fn stars(pattern in "[ab*]{0,6}", text in "[ab]{0,7}") {
            fn slow(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| slow(rest, &t[n..])),
                    Some((c, rest)) => t.first() == Some(c) && slow(rest, &t[1..]),
                }
            }
            proptest::prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
