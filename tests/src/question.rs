//! Questions made from zone files: every owner and its neighbours, as the octets of a query.
//!
//! Names are lists of labels here, so that dots, spaces and zero octets inside a label need no care. It must never use our own
//! reader of names or zones, whose mistakes it helps to find.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A name: its labels, the one next to the root last.
pub type Labels = Vec<Vec<u8>>;

/// Types by the name they are shown with.
pub const TYPES: [(&str, u16); 16] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DNAME", 39),
    ("DS", 43),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
    ("TYPE65280", 65_280),
    ("TYPE65281", 65_281),
];

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Whose records.
    pub name: Labels,
    /// Of which type.
    pub rtype: u16,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let rtype = TYPES.iter().find(|(_, code)| *code == self.rtype).map_or("?", |(text, _)| text);
        write!(f, "{} {rtype}", text(&self.name))
    }
}

impl Question {
    /// The octets of a query, with the EDNS payload size if any.
    pub fn octets(&self, id: u16, edns: Option<u16>) -> Vec<u8> {
        let mut query = [id, 0x0100, 1, 0, 0, u16::from(edns.is_some())].map(u16::to_be_bytes).concat();
        for label in &self.name {
            query.push(label.len() as u8);
            query.extend_from_slice(label);
        }
        query.push(0);
        query.extend_from_slice(&[self.rtype, 1].map(u16::to_be_bytes).concat());
        if let Some(size) = edns {
            query.extend_from_slice(&[0, 0, 41]);
            query.extend_from_slice(&size.to_be_bytes());
            query.extend_from_slice(&[0; 6]);
        }
        query
    }
}

/// A name as text, in lower case, `.` at its end.
pub fn text(name: &Labels) -> String {
    let mut text = String::new();
    for label in name {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' => write!(text, "\\{}", char::from(octet)),
                0x21..=0x7e => write!(text, "{}", char::from(octet.to_ascii_lowercase())),
                _ => write!(text, "\\{octet:03}"),
            }
            .expect("a string");
        }
        text.push('.');
    }
    if text.is_empty() { ".".into() } else { text }
}

/// Labels of a name in presentation format; relative ones end with `origin`, and `@` is it.
pub fn labels(text: &str, origin: &Labels) -> Labels {
    if text == "@" {
        return origin.clone();
    }
    let mut name = vec![Vec::new()];
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'.' => name.push(Vec::new()),
            b'\\' => {
                let next = octets.next().expect("something behind a backslash");
                let literal = if next.is_ascii_digit() {
                    let digits = [next, octets.next().expect("a digit"), octets.next().expect("a digit")];
                    std::str::from_utf8(&digits).expect("digits").parse().expect("an octet")
                } else {
                    next
                };
                name.last_mut().expect("a label").push(literal);
            }
            _ => name.last_mut().expect("a label").push(octet),
        }
    }
    if name.last().is_some_and(Vec::is_empty) {
        name.pop();
        return name;
    }
    name.extend(origin.iter().cloned());
    name
}

/// The owners in a zone file that has one record a line, each with its owner.
pub fn owners(zone: &str) -> BTreeSet<Labels> {
    let mut origin = Labels::new();
    let mut owners = BTreeSet::new();
    for line in zone.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("$ORIGIN") => origin = labels(words.next().expect("a name"), &Labels::new()),
            Some(word) if !word.starts_with(['$', ';']) => {
                owners.insert(labels(word, &origin));
            }
            _ => {}
        }
    }
    owners
}

/// The owners with their ancestors, and around each what its neighbours could be: children that exist nowhere, literal stars,
/// siblings before and behind, and what a wildcard covers at one and two labels.
pub fn neighbourhood(owners: &BTreeSet<Labels>) -> BTreeSet<Labels> {
    let mut all = BTreeSet::new();
    for owner in owners {
        for depth in 0..owner.len() {
            all.insert(owner[depth..].to_vec());
        }
    }
    let mut around = all.clone();
    around.insert(Labels::new());
    for name in &all {
        let below = |labels: &[&[u8]]| [labels.iter().map(|l| l.to_vec()).collect(), name.clone()].concat();
        for child in [&[&b"nx"[..]][..], &[b"*"], &[b"x", b"y"], &[b"a", b"*"], &[b"b"]] {
            around.insert(below(child));
        }
        let [first, parent @ ..] = name.as_slice() else { continue };
        let beside = |label: Vec<u8>| [vec![label], parent.to_vec()].concat();
        around.insert(beside([first.as_slice(), b"0"].concat()));
        around.insert(beside(first[..first.len() - 1].iter().copied().chain([b'!']).collect()));
        if first == b"*" {
            around.insert(beside(b"zz".to_vec()));
            around.insert([vec![b"yy".to_vec(), b"zz".to_vec()], parent.to_vec()].concat());
        }
    }
    around.retain(|name| {
        let octets: usize = name.iter().map(|label| label.len() + 1).sum();
        octets < 255 && name.iter().all(|label| (1..=63).contains(&label.len()))
    });
    around
}
