//! What somebody wants to look at: range, filter, order and page, from the query of the page's address and back into it.
//!
//! Everything is bounded, and whatever is not understood is as if it were not there: an old bookmark still opens the page.

use crate::history::RANGES;
use redirector_core::farm::{ServerStatus, Topic};

/// Servers on one page.
pub const SERVERS_PER_PAGE: usize = 50;
const TEXT_CHARS_MAX: usize = 64;
const PAGE_MAX: usize = 1_000_000;

/// States to filter by, as they stand in the address and as they read.
pub const STATES: [(&str, &str); 5] = [
    ("in_service", "in service"),
    ("draining", "draining"),
    ("silent", "silent"),
    ("admin_down", "forced down"),
    ("unknown", "not heard since restart"),
];

/// Columns to sort by, as they stand in the address.
pub const SORTS: [&str; 7] = ["id", "state", "queue", "sessions", "share", "busy", "heard"];

/// One way to look at the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Index into [`RANGES`].
    pub range: usize,
    /// Servers whose id, address or zone holds this.
    pub text: String,
    /// Servers of this state.
    pub state: Option<&'static str>,
    /// Index into [`SORTS`].
    pub sort: usize,
    /// The other way round.
    pub descending: bool,
    /// The page of the list, from 0.
    pub page: usize,
    /// Events of this topic.
    pub topic: Option<Topic>,
}

impl Look {
    /// From pairs of names and values.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut look = Self::default();
        for (name, value) in pairs {
            match name {
                "range" => look.range = RANGES.iter().position(|r| r.name == value).unwrap_or_default(),
                "q" => look.text = value.trim().chars().take(TEXT_CHARS_MAX).collect(),
                "state" => look.state = STATES.iter().map(|(name, _)| *name).find(|s| *s == value),
                "sort" => {
                    let name = value.strip_prefix('-').unwrap_or(value);
                    look.sort = SORTS.iter().position(|s| *s == name).unwrap_or_default();
                    look.descending = value.starts_with('-');
                }
                "page" => look.page = value.parse::<usize>().unwrap_or(1).clamp(1, PAGE_MAX) - 1,
                "topic" => look.topic = Topic::ALL.into_iter().find(|t| t.label() == value),
                _ => {}
            }
        }
        look
    }

    /// The query that leads here, with its `?`; nothing for the plain page.
    pub fn query(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.range > 0 {
            parts.extend(RANGES.get(self.range).map(|r| format!("range={}", r.name)));
        }
        if !self.text.is_empty() {
            parts.push(format!("q={}", crate::text::percent_encode(&self.text)));
        }
        parts.extend(self.state.map(|s| format!("state={s}")));
        if self.sort > 0 || self.descending {
            let sign = if self.descending { "-" } else { "" };
            parts.extend(SORTS.get(self.sort).map(|s| format!("sort={sign}{s}")));
        }
        if self.page > 0 {
            parts.push(format!("page={}", self.page + 1));
        }
        parts.extend(self.topic.map(|t| format!("topic={}", t.label())));
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }

    /// The same with one thing changed, as an address.
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut other = self.clone();
        change(&mut other);
        format!("/{}", other.query())
    }

    /// The servers that are wanted, in the order that is wanted.
    pub fn servers<'a>(&self, all: &'a [ServerStatus]) -> Vec<&'a ServerStatus> {
        let text = self.text.to_lowercase();
        let wanted = |s: &&ServerStatus| {
            let texts = [Some(&s.id), Some(&s.location), s.zone.as_ref()];
            self.state.is_none_or(|state| s.standing == state)
                && (text.is_empty() || texts.into_iter().flatten().any(|t| t.to_lowercase().contains(&text)))
        };
        let mut servers: Vec<&ServerStatus> = all.iter().filter(wanted).collect();
        servers.sort_by_cached_key(|s| natural(&s.id));
        let key: fn(&ServerStatus) -> f64 = match SORTS.get(self.sort).copied() {
            Some("queue") => |s| s.queue,
            Some("sessions") => |s| f64::from(s.sessions),
            Some("share") => |s| s.share,
            Some("busy") => |s| s.busy,
            Some("heard") => |s| s.heard_ms_ago as f64,
            _ => |_| 0.0,
        };
        match SORTS.get(self.sort).copied() {
            Some("state") => servers.sort_by_key(|s| s.standing),
            _ => servers.sort_by(|a, b| key(a).total_cmp(&key(b))),
        }
        if self.descending {
            servers.reverse();
        }
        servers
    }
}

/// A key that sorts b2 before b10.
pub fn natural(id: &str) -> (String, usize, String) {
    let name = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = id.get(name.len()..).unwrap_or_default().trim_start_matches('0');
    (name.to_owned(), number.len(), number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::testing::server;

    #[test]
    fn a_look_leads_back_to_itself() {
        for query in
            ["", "?range=24h", "?q=b1%2F", "?range=2h&q=10.0.0.1&state=draining&sort=-queue&page=3&topic=alarm", "?sort=-id"]
        {
            let decoded = query.trim_start_matches('?').replace("%2F", "/");
            let pairs = decoded.split('&').filter_map(|p| p.split_once('='));
            assert_eq!(Look::new(pairs).query(), query);
        }
    }

    #[test]
    fn what_is_not_understood_is_not_there() {
        for (name, value) in [
            ("range", "1y"),
            ("sort", "evil"),
            ("page", "0"),
            ("page", "-3"),
            ("page", "x"),
            ("state", "<b>"),
            ("topic", "no"),
            ("who", "me"),
            ("q", "  "),
        ] {
            assert_eq!(Look::new([(name, value)]), Look::default(), "{name}={value}");
        }
        assert_eq!(Look::new([("q", "x".repeat(1_000).as_str())]).text.len(), TEXT_CHARS_MAX);
        assert_eq!(Look::new([("page", "99999999999")]).page, PAGE_MAX - 1);
    }

    #[test]
    fn servers_are_found_and_sorted() {
        let mut all: Vec<ServerStatus> = ["b10", "b2", "c1"].map(|id| server(id, "in_service")).into();
        (all[0].queue, all[1].queue, all[2].queue) = (1.0, 3.0, 2.0);
        all[2].standing = "draining";
        all[1].zone = Some("East".into());
        let ids = |pairs: &[(&str, &str)]| -> Vec<&str> {
            Look::new(pairs.iter().copied()).servers(&all).iter().map(|s| s.id.as_str()).collect()
        };
        assert_eq!(ids(&[]), ["b2", "b10", "c1"]);
        assert_eq!(ids(&[("sort", "-queue")]), ["b2", "c1", "b10"]);
        assert_eq!(ids(&[("q", "B1")]), ["b10"]);
        assert_eq!(ids(&[("q", "east")]), ["b2"]);
        assert_eq!(ids(&[("state", "draining")]), ["c1"]);
    }

    #[test]
    fn numbers_in_ids_sort_as_numbers() {
        let mut ids = ["b10", "b2", "a9", "b", "b02x", "b1"];
        ids.sort_by_cached_key(|id| natural(id));
        assert_eq!(ids, ["a9", "b", "b1", "b2", "b10", "b02x"]);
    }
}
