//! The hand-written zones of the differential suite, read from `tests/zones/cases`: many small zones a file, each with the RFC that it
//! is about, and beside it the differences from other servers that are meant.
//!
//! A file has zones that begin with `== NAME RFC …`; the zone is `NAME.example`. Then one record a line, each with its owner. SOA and
//! NS of the apex are added; `!soa` gives another SOA record. `;; OWNER TYPE: why` explains a difference: TYPE may be `*`, and an
//! OWNER that begins with `+` speaks of all below it instead. It must never use our own reader of zones, whose mistakes it helps to
//! find.

use crate::question::{Labels, Question, TYPES, labels};
use std::collections::BTreeSet;

const FILES: [(&str, &str); 9] = [
    ("alias", include_str!("../zones/cases/alias.zones")),
    ("delegation", include_str!("../zones/cases/delegation.zones")),
    ("dname", include_str!("../zones/cases/dname.zones")),
    ("names", include_str!("../zones/cases/names.zones")),
    ("negative", include_str!("../zones/cases/negative.zones")),
    ("nested", include_str!("../zones/cases/nested.zones")),
    ("secure", include_str!("../zones/cases/secure.zones")),
    ("types", include_str!("../zones/cases/types.zones")),
    ("wildcard", include_str!("../zones/cases/wildcard.zones")),
];

const SOA: &str = "300 SOA ns.net.test. admin 1 3600 600 86400 60";

/// One small zone.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name without the last dot.
    pub name: String,
    /// The RFC it is about and what that wants.
    pub rule: String,
    /// The zone file: one record a line, each with its owner.
    pub zone: String,
    /// Differences that are meant.
    pub exceptions: Vec<Exception>,
}

/// Questions whose answers may differ from those of other servers.
#[derive(Debug, Clone)]
pub struct Exception {
    owner: Labels,
    is_below: bool,
    /// All types if there is none.
    rtype: Option<u16>,
    /// The RFC that decides.
    pub why: String,
}

impl Exception {
    /// Whether it speaks of this question.
    pub fn covers(&self, question: &Question) -> bool {
        let name: Labels = question.name.iter().map(|label| label.to_ascii_lowercase()).collect();
        let at = if self.is_below { name.ends_with(&self.owner) && name != self.owner } else { name == self.owner };
        at && self.rtype.is_none_or(|rtype| rtype == question.rtype)
    }
}

impl Case {
    /// A zone of `records`, one a line.
    pub fn new(name: &str, rule: &str, records: &str) -> Self {
        let soa = records.lines().find_map(|line| line.strip_prefix("!soa ")).unwrap_or(SOA);
        let lines = records.lines().filter(|line| !line.starts_with(['!', ';']) && !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let zone = format!("$ORIGIN {name}.\n$TTL 300\n@ {soa}\n@ NS ns.net.test.\n{}\n", lines.join("\n"));
        let origin = labels(&format!("{name}."), &Labels::new());
        let exceptions = records.lines().filter_map(|line| exception(line.strip_prefix(";; ")?, &origin)).collect();
        Self { name: name.to_owned(), rule: rule.to_owned(), zone, exceptions }
    }

    /// The same zone by another name, without its exceptions.
    pub fn renamed(&self, name: &str) -> Self {
        let (_, records) = self.zone.split_once('\n').expect("an origin");
        let zone = format!("$ORIGIN {name}.\n{records}");
        Self { name: name.to_owned(), rule: self.rule.clone(), zone, exceptions: Vec::new() }
    }

    /// The types that its records have.
    pub fn types(&self) -> BTreeSet<u16> {
        let of_line = |line: &str| line.split_ascii_whitespace().skip(1).take(2).find_map(rtype);
        self.zone.lines().filter(|line| !line.starts_with('$')).filter_map(of_line).collect()
    }
}

/// The number of a type, by its name.
fn rtype(text: &str) -> Option<u16> {
    const MORE: [(&str, u16); 8] =
        [("HINFO", 13), ("RP", 17), ("LOC", 29), ("NAPTR", 35), ("SSHFP", 44), ("TLSA", 52), ("SVCB", 64), ("URI", 256)];
    let named = TYPES.iter().chain(&MORE).find(|(name, _)| *name == text).map(|(_, code)| *code);
    named.or_else(|| text.strip_prefix("TYPE")?.parse().ok())
}

fn exception(line: &str, origin: &Labels) -> Option<Exception> {
    let (what, why) = line.split_once(": ")?;
    let (owner, of_type) = what.split_once(' ')?;
    let owner_text = owner.strip_prefix('+').unwrap_or(owner);
    let all = of_type == "*";
    assert!(all || rtype(of_type).is_some(), "an unknown type: {line}");
    assert!(why.contains("RFC"), "no RFC decides: {line}");
    let owner = labels(owner_text, origin);
    Some(Exception {
        is_below: owner_text.len() < what.len() - of_type.len() - 1,
        owner: owner.iter().map(|label| label.to_ascii_lowercase()).collect(),
        rtype: rtype(of_type),
        why: why.to_owned(),
    })
}

/// All of them, in the order of their files.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, text) in FILES {
        let (head, zones) = text.split_once("== ").expect("a zone");
        assert!(head.is_empty(), "{file}.zones begins with {head:?}");
        for zone in zones.split("\n== ") {
            let (title, records) = zone.split_once('\n').unwrap_or((zone, ""));
            let (name, rule) = title.split_once(' ').expect("a name and a rule");
            assert!(rule.starts_with("RFC "), "{file}.zones: {name} names no RFC");
            cases.push(Case::new(&format!("{name}.example"), rule, records));
        }
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two zones of one name");
    cases
}
