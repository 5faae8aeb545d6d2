//! Small zones from a seed: labels of a short alphabet, so that names meet, and all the shapes that decide an answer.
//!
//! A zone must be one that every server takes: an alias stands alone (RFC 1034 section 3.6.2), no name is below a DNAME record (RFC
//! 6672 section 2.4), and neither delegations nor DNAME records have a star (RFC 4592 sections 4.2 and 4.4 leave them undefined).

use crate::cases::Case;
use farm_shared::draw::Draws;
use std::collections::{BTreeMap, BTreeSet};

const LABELS: [&str; 6] = ["a", "b", "c", "*", "A0", "w"];
const DS: &str = "DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000";

/// `count` zones named `gNNN.example`; the same ones for a seed for ever.
pub fn zones(seed: u64, count: u64) -> Vec<Case> {
    let root = Draws::from_u64(seed);
    let zone = |number| {
        let mut draws = root.child("zone", number);
        let name = format!("g{number:03}.example");
        Case::new(&name, &format!("RFC 1034 section 4.3.2, seed {seed}"), &records(&mut draws))
    };
    (0..count).map(zone).collect()
}

/// A name of one to three labels.
fn name(draws: &mut Draws) -> String {
    let count = 1 + draws.below(3);
    let labels: Vec<&str> = (0..count).map(|_| LABELS[draws.below(LABELS.len())]).collect();
    labels.join(".")
}

/// Where an alias or an exchange leads: mostly near another owner.
fn target(owners: &[String], draws: &mut Draws) -> String {
    match draws.below(8) {
        0 => "x.net.test.".to_owned(),
        1 => "@".to_owned(),
        2 => name(draws).replace('*', "x"),
        3 => format!("x.{}", pick(owners, draws)).replace('*', "y"),
        4 => pick(owners, draws).replace('*', "z"),
        _ => pick(owners, draws).to_owned(),
    }
}

fn pick<'a>(owners: &'a [String], draws: &mut Draws) -> &'a str {
    owners.get(draws.below(owners.len())).map_or("a", String::as_str)
}

/// Whether `name` is below one of `tops`.
fn is_below(name: &str, tops: &BTreeSet<String>) -> bool {
    let name = name.to_ascii_lowercase();
    name.match_indices('.').any(|(at, _)| tops.contains(&name[at + 1..]))
}

fn records(draws: &mut Draws) -> String {
    let mut owners: Vec<String> = (0..3 + draws.below(7)).map(|_| name(draws)).collect();
    owners.sort_by_key(|name| (name.matches('.').count(), name.to_ascii_lowercase()));
    owners.dedup_by_key(|name| name.to_ascii_lowercase());
    // Two spellings of one name are one owner: the last of a pair goes.
    let mut seen = BTreeSet::new();
    owners.retain(|name| seen.insert(name.to_ascii_lowercase()));
    let mut dnames = BTreeSet::new();
    let mut zone: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if draws.below(4) == 0 {
        zone.insert("@".to_owned(), vec!["A 192.0.2.250".to_owned(), format!("MX 10 {}", target(&owners, draws))]);
    }
    for (number, owner) in owners.iter().enumerate() {
        if is_below(owner, &dnames) {
            continue;
        }
        let is_star = owner.starts_with('*');
        let data = match draws.below(12) {
            0 | 1 => vec![format!("CNAME {}", target(&owners, draws))],
            2 | 3 if !is_star => cut(owner, draws),
            4 if !is_star => {
                dnames.insert(owner.to_ascii_lowercase());
                vec![format!("DNAME {}", dname_target(owner, &owners, draws)), "TXT \"beside a DNAME record\"".to_owned()]
            }
            5 => vec![format!("MX 10 {}", target(&owners, draws)), format!("MX 20 {}", target(&owners, draws))],
            6 => vec![format!("SRV 0 0 80 {}", target(&owners, draws))],
            7 => vec!["TXT text".to_owned()],
            8 => vec![format!("A 192.0.2.{number}"), format!("AAAA 2001:db8::{number}"), "TXT all".to_owned()],
            9 => vec!["TYPE65280 \\# 2 0102".to_owned()],
            _ => vec![format!("A 192.0.2.{number}")],
        };
        zone.insert(owner.clone(), data);
    }
    let line = |(owner, data): (&String, &Vec<String>)| {
        data.iter()
            .map(|data| data.strip_prefix('>').map_or_else(|| format!("{owner} {data}\n"), |glue| format!("{glue}\n")))
            .collect::<String>()
    };
    zone.iter().map(line).collect()
}

/// A delegation with a server in it, above it or elsewhere; `>` begins the line of its glue.
fn cut(owner: &str, draws: &mut Draws) -> Vec<String> {
    let mut data = vec![match draws.below(3) {
        0 => "NS ns.net.test.".to_owned(),
        1 => format!("NS ns.{owner}"),
        _ => "NS ns-of-all".to_owned(),
    }];
    if data[0].ends_with(owner) {
        data.push(format!(">ns.{owner} A 192.0.2.200"));
    }
    if draws.below(3) == 0 {
        data.push(DS.to_owned());
    }
    data
}

/// Where a DNAME record leads: not to itself or below itself, where servers stop at will.
fn dname_target(owner: &str, owners: &[String], draws: &mut Draws) -> String {
    let target = target(owners, draws);
    let own = owner.to_ascii_lowercase();
    let there = target.to_ascii_lowercase();
    if target == "@" || there == own || there.ends_with(&format!(".{own}")) { "net.test.".to_owned() } else { target }
}
