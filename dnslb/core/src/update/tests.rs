//! The rules of RFC 2136, each as a line of a table: what is sent, what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::name::Name;
use crate::wire::rcode;
use crate::zone::{Files, Rtype, Zone, load, rtype_from_text};

struct Text(String);

impl Files for Text {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

const ZONE: &str = "$TTL 60
@ SOA ns host 7 3600 600 86400 60
@ NS ns
@ NS ns.else.test.
@ MX 10 Mail
ns A 192.0.2.1
www A 192.0.2.2
www A 192.0.2.3
www TXT \"a\"
alias CNAME Www
a.ent TXT deep
old DNAME new
";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn zone(text: &str) -> Zone {
    load(&name("example"), &Text(text.into()), "z").unwrap_or_else(|problems| panic!("{problems:?}")).zone
}

/// A record's wire form from a line `name ttl type data…`; its data is read by the reader of zone files.
fn item(line: &str) -> Item {
    let words: Vec<&str> = line.split(' ').collect();
    let [owner, ttl, class, rtype, data @ ..] = words.as_slice() else { panic!("{line}") };
    let owner = Name::from_presentation(owner.as_bytes(), &name("example")).unwrap();
    let rtype = rtype_from_text(rtype).unwrap();
    let class = match *class {
        "IN" => UpdateClass::Zone,
        "ANY" => UpdateClass::Any,
        "NONE" => UpdateClass::None,
        other => panic!("{other}"),
    };
    let rdata = if data.is_empty() {
        Vec::new()
    } else if rtype == Rtype::SOA {
        // A zone has one already.
        let text = format!("@ 60 SOA {}\n@ 60 NS ns.else.test.\n", data.join(" "));
        zone(&text).rrset(&name("example"), rtype).unwrap().rdata().next().unwrap().to_vec()
    } else {
        let text =
            format!("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS ns.else.test.\nx 60 {rtype} {}\nns.x 60 A 192.0.2.9\n", data.join(" "));
        zone(&text).rrset(&name("x.example"), rtype).unwrap().rdata().next().unwrap().to_vec()
    };
    Item { owner, rtype, class, ttl_s: ttl.parse().unwrap(), rdata }
}

fn grant(names: &[&str], types: &[&str]) -> Grant {
    Grant {
        key: Some(name("key")),
        prefixes: Vec::new(),
        names: names.iter().map(|text| text.parse().unwrap()).collect(),
        types: types.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn requestor() -> Requestor {
    Requestor { key: Some(name("key")), from: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn run(zone: &Zone, lines: &[&str], grants: &[Grant], protected: &Protected) -> Result<Option<crate::zone::Diff>, u16> {
    let (prerequisites, updates): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.starts_with('?'));
    let update = Update {
        zone: name("example"),
        prerequisites: prerequisites.iter().map(|line| item(line.trim_start_matches("? "))).collect(),
        updates: updates.iter().map(|line| item(line)).collect(),
    };
    evaluate(&update, Context { zone, grants, requestor: &requestor(), protected, is_signed: false })
}

/// The change as text: `-record` and `+record`, without the SOA; or the response code.
fn outcome(lines: &[&str]) -> String {
    let zone = zone(ZONE);
    match run(&zone, lines, &[grant(&[], &["ANY"])], &Protected::default()) {
        Err(code) => code.to_string(),
        Ok(None) => "same".to_owned(),
        Ok(Some(diff)) => {
            let after = zone.apply(&diff).unwrap();
            assert!(crate::zone::serial::is_newer(after.serial(), zone.serial()));
            let list = |sign: char, records: &[crate::zone::Record]| {
                let others = records.iter().filter(|record| record.rtype != Rtype::SOA);
                others
                    .map(|record| format!("{sign}{record}").replace(" IN ", " ").replace(".example.", ""))
                    .collect::<Vec<_>>()
            };
            let mut all = list('-', &diff.removed);
            all.extend(list('+', &diff.added));
            if after.serial() != 8 {
                all.push(format!("serial {}", after.serial()));
            }
            all.join("; ")
        }
    }
}

#[test]
fn prerequisites() {
    let check = |line: &str, expect: u16| {
        let found = outcome(&[line, "new 5 IN A 192.0.2.7"]);
        let expect = if expect == 0 { "+new 5 A 192.0.2.7".to_owned() } else { expect.to_string() };
        assert_eq!(found, expect, "{line}");
    };
    // Name is in use; an empty non-terminal is not.
    check("? www 0 ANY ANY", 0);
    check("? none 0 ANY ANY", rcode::NXDOMAIN);
    check("? ent 0 ANY ANY", rcode::NXDOMAIN);
    // Name is not in use.
    check("? none 0 NONE ANY", 0);
    check("? ent 0 NONE ANY", 0);
    check("? www 0 NONE ANY", rcode::YXDOMAIN);
    // RRset exists, whatever its records.
    check("? www 0 ANY A", 0);
    check("? www 0 ANY AAAA", rcode::NXRRSET);
    // RRset does not exist.
    check("? www 0 NONE AAAA", 0);
    check("? www 0 NONE A", rcode::YXRRSET);
    // RRset exists with these records alone; the case of names makes no difference.
    check("? www 0 IN A 192.0.2.2", rcode::NXRRSET);
    check("? alias 0 IN CNAME wWW.example.", 0);
    check("? none 0 IN A 192.0.2.2", rcode::NXRRSET);
    assert_eq!(outcome(&["? www 0 IN A 192.0.2.3", "? www 0 IN A 192.0.2.2", "new 5 IN A 192.0.2.7"]), "+new 5 A 192.0.2.7");
    let three = ["? www 0 IN A 192.0.2.3", "? www 0 IN A 192.0.2.2", "? www 0 IN A 192.0.2.4", "new 5 IN A 192.0.2.7"];
    assert_eq!(outcome(&three), rcode::NXRRSET.to_string());
    check("? www.else. 0 ANY ANY", rcode::NOTZONE);
}

#[test]
fn what_an_update_does() {
    let check = |lines: &[&str], expect: &str| assert_eq!(outcome(lines), expect, "{lines:?}");
    check(&[], "same");
    check(&["www 60 IN A 192.0.2.2"], "same");
    check(&["WWW 60 IN A 192.0.2.4"], "+www 60 A 192.0.2.4");
    // One TTL for the set.
    check(&["www 5 IN TXT a"], "-www 60 TXT \"a\"; +www 5 TXT \"a\"");
    // Other data beside a CNAME, and a CNAME beside other data, are passed over; another CNAME takes the place.
    check(&["alias 60 IN A 192.0.2.4"], "same");
    check(&["www 60 IN CNAME ns"], "same");
    check(&["alias 60 IN CNAME ns"], "-alias 60 CNAME Www; +alias 60 CNAME ns");
    check(&["alias 0 ANY CNAME", "alias 60 IN A 192.0.2.4"], "-alias 60 CNAME Www; +alias 60 A 192.0.2.4");
    check(&["old 60 IN DNAME ns"], "-old 60 DNAME new; +old 60 DNAME ns");
    // Sets and names.
    check(&["www 0 ANY A"], "-www 60 A 192.0.2.2; -www 60 A 192.0.2.3");
    check(&["www 0 ANY ANY"], "-www 60 A 192.0.2.2; -www 60 A 192.0.2.3; -www 60 TXT \"a\"");
    check(&["www 0 NONE A 192.0.2.3"], "-www 60 A 192.0.2.3");
    check(&["www 0 NONE A 192.0.2.9"], "same");
    check(
        &["www 0 ANY A", "www 0 ANY TXT", "www 9 IN A 192.0.2.2"],
        "-www 60 A 192.0.2.2; -www 60 A 192.0.2.3; -www 60 TXT \"a\"; +www 9 A 192.0.2.2",
    );
    check(&["new 5 IN A 192.0.2.7", "new 0 ANY ANY"], "same");
    // At the apex SOA and NS stay; of the servers, the last one.
    check(&["@ 0 ANY ANY"], "-example. 60 MX 10 Mail");
    check(&["@ 0 ANY NS"], "same");
    check(&["@ 0 ANY SOA"], "same");
    check(&["@ 0 NONE NS ns", "@ 0 NONE NS ns.else.test."], "-example. 60 NS ns");
    check(&["@ 0 NONE MX 10 MAIL"], "-example. 60 MX 10 Mail");
    // The serial: one that rises is taken, others are passed over.
    check(&["@ 60 IN SOA ns host 20 3600 600 86400 60"], "serial 20");
    check(&["@ 60 IN SOA ns host 7 1 1 1 1"], "same");
    check(&["@ 60 IN SOA ns host 6 1 1 1 1"], "same");
    check(&["@ 60 IN SOA ns host 2147483656 1 1 1 1"], "same");
    check(&["www 60 IN SOA ns host 20 1 1 1 1"], "same");
    check(&["www.else. 60 IN A 192.0.2.4"], &rcode::NOTZONE.to_string());
    check(&["new 60 IN A 192.0.2.4", "www.else. 0 ANY ANY"], &rcode::NOTZONE.to_string());
}

#[test]
fn who_may_what() {
    let zone = zone(ZONE);
    let check = |grants: &[Grant], line: &str, expect: bool| {
        let found = run(&zone, &[line], grants, &Protected::default());
        assert_eq!(found.is_ok(), expect, "{grants:?} {line} {found:?}");
    };
    let acme = [grant(&["_acme-challenge.**.example"], &["TXT"])];
    check(&acme, "_acme-challenge 60 IN TXT x", true);
    check(&acme, "_acme-challenge.a.b 60 IN TXT x", true);
    check(&acme, "_acme-challenge.a 60 IN A 192.0.2.1", false);
    check(&acme, "www 60 IN TXT x", false);
    check(&acme, "_acme-challenge.a 0 ANY ANY", true);
    check(&acme, "www 0 ANY ANY", false);
    let one = [grant(&["*.example"], &[])];
    check(&one, "b 60 IN A 192.0.2.1", true);
    check(&one, "c.b 60 IN A 192.0.2.1", false);
    check(&one, "* 60 IN A 192.0.2.1", false);
    check(&one, "b 60 IN NS ns.else.test.", false);
    check(&[grant(&[r"\*.example"], &[])], "* 60 IN A 192.0.2.1", true);
    check(&[grant(&[r"\*.example"], &[])], "b 60 IN A 192.0.2.1", false);
    check(&[], "b 60 IN A 192.0.2.1", false);
    // What signing makes is nobody's.
    check(&[grant(&[], &["ANY"])], "www 0 ANY RRSIG", false);
    check(&[grant(&[], &["ANY"])], "www 0 ANY NSEC", false);
    check(&[grant(&[], &["ANY"])], "@ 0 NONE NS ns", true);
    check(&[grant(&[], &[])], "@ 0 NONE NS ns", false);
    let far = Grant { key: None, prefixes: vec!["192.0.2.0/24".parse().unwrap()], ..grant(&[], &[]) };
    let near = Grant { key: None, prefixes: vec!["127.0.0.0/8".parse().unwrap()], ..grant(&[], &[]) };
    check(&[far], "b 60 IN A 192.0.2.1", false);
    check(&[near], "b 60 IN A 192.0.2.1", true);
    check(&[Grant { key: None, ..grant(&[], &[]) }], "b 60 IN A 192.0.2.1", false);
    check(&[Grant { key: Some(name("other")), ..grant(&[], &[]) }], "b 60 IN A 192.0.2.1", false);
}

#[test]
fn strangers_learn_nothing_by_prerequisites() {
    let zone = zone(ZONE);
    let other = Grant { key: Some(name("other")), ..grant(&[], &[]) };
    let found = run(&zone, &["? www 0 NONE ANY", "new 5 IN A 192.0.2.7"], &[other], &Protected::default());
    assert_eq!(found, Err(rcode::REFUSED));
}

#[test]
fn pools_and_members_are_not_updated_over() {
    let zone = zone(ZONE);
    let names = |list: &[&str]| list.iter().map(|text| name(text)).collect::<BTreeSet<_>>();
    let protected = Protected { pools: names(&["pool.x.example"]), member_zones: names(&["farm.example"]) };
    let check = |line: &str, expect: bool| {
        assert_eq!(run(&zone, &[line], &[grant(&[], &["ANY"])], &protected).is_ok(), expect, "{line}");
    };
    check("pool.x 60 IN A 192.0.2.1", false);
    check("pool.x 60 IN CNAME www", false);
    check("pool.x 60 IN NS ns.else.test.", false);
    check("pool.x 60 IN TXT x", true);
    check("_acme-challenge.pool.x 60 IN TXT x", true);
    check("pool.x 0 ANY ANY", true);
    check("x 60 IN NS ns.else.test.", false);
    check("x 60 IN DNAME www", false);
    check("@ 60 IN DNAME www.else.", false);
    check("@ 60 IN NS more.else.", true);
    check("b1.farm 60 IN A 192.0.2.1", false);
    check("c.b1.farm 60 IN A 192.0.2.1", true);
    check("farm 60 IN NS ns.else.test.", false);
}

/// An UPDATE message of these records.
fn message(prerequisites: &[Item], updates: &[Item]) -> Vec<u8> {
    let (zone, mut out) = (name("example"), vec![0, 1, 0x28, 0, 0, 1]);
    out.extend_from_slice(&(prerequisites.len() as u16).to_be_bytes());
    out.extend_from_slice(&(updates.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(zone.wire());
    out.extend_from_slice(&[0, 6, 0, 1]);
    for item in prerequisites.iter().chain(updates) {
        let class = match item.class {
            UpdateClass::Zone => 1_u16,
            UpdateClass::Any => 255,
            UpdateClass::None => 254,
        };
        out.extend_from_slice(item.owner.wire());
        out.extend_from_slice(&item.rtype.0.to_be_bytes());
        out.extend_from_slice(&class.to_be_bytes());
        out.extend_from_slice(&item.ttl_s.to_be_bytes());
        out.extend_from_slice(&(item.rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(&item.rdata);
    }
    out
}

#[test]
fn messages_are_read_or_refused() {
    let good = |lines: &[&str]| lines.iter().map(|line| item(line)).collect::<Vec<_>>();
    let (prerequisites, updates) = (
        good(&["www 0 ANY ANY", "www 0 NONE AAAA", "www 0 IN A 192.0.2.2"]),
        good(&["a 5 IN MX 10 Mail", "a 0 ANY ANY", "a 0 ANY TXT", "a 0 NONE A 192.0.2.1"]),
    );
    let octets = message(&prerequisites, &updates);
    let read_back = read(&octets).unwrap();
    assert_eq!((read_back.prerequisites, read_back.updates), (prerequisites, updates));
    for len in 0..octets.len() {
        assert_eq!(read(&octets[..len]), Err(rcode::FORMERR), "{len}");
    }
    let check = |prerequisites: &[&str], updates: &[&str]| {
        let message = message(&good(prerequisites), &good(updates));
        assert_eq!(read(&message), Err(rcode::FORMERR), "{prerequisites:?} {updates:?}");
    };
    check(&["www 5 ANY ANY"], &[]);
    check(&["www 0 ANY A 192.0.2.1"], &[]);
    check(&["www 0 NONE A 192.0.2.1"], &[]);
    check(&["www 5 IN A 192.0.2.1"], &[]);
    check(&["www 0 ANY AXFR"], &[]);
    check(&[], &["www 5 ANY A"]);
    check(&[], &["www 0 ANY A 192.0.2.1"]);
    check(&[], &["www 0 ANY AXFR"]);
    check(&[], &["www 5 NONE A 192.0.2.1"]);
    check(&[], &["www 0 NONE ANY"]);
    check(&[], &["www 5 IN ANY"]);
    let short = Item { rdata: vec![1, 2, 3], ..item("www 5 IN A 192.0.2.1") };
    assert_eq!(read(&message(&[], &[short])), Err(rcode::FORMERR));
    let mut other_class = message(&[], &[]);
    *other_class.last_mut().unwrap() = 3;
    assert_eq!(read(&other_class), Err(rcode::NOTAUTH));
}

#[test]
fn names_in_data_are_decompressed() {
    let mut octets = message(&[], &[]);
    octets[9] = 1;
    // `a.example. 5 IN MX 10 mail.example.` with pointers to the zone's name.
    octets.extend_from_slice(b"\x01a\xc0\x0c\0\x0f\0\x01\0\0\0\x05\0\x09\0\x0a\x04mail\xc0\x0c");
    let found = read(&octets).unwrap();
    assert_eq!(found.updates, [Item { ttl_s: 5, ..item("a 5 IN MX 10 mail") }]);
    octets[9] = 2;
    assert_eq!(read(&octets), Err(rcode::FORMERR), "one record too few");
}

proptest! {
    #[test]
    fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&octets);
        let mut octets = octets;
        octets.splice(0..0, message(&[], &[])[..21].iter().copied());
        let _ = read(&octets);
    }

    /// Whatever is sent, the outcome is a zone by the rules, one serial on, and the difference is exactly what became of it.
    #[test]
    fn an_update_is_whole(picks in proptest::collection::vec(0_usize..16, 1..8)) {
        const LINES: [&str; 16] = [
            "www 60 IN A 192.0.2.9", "www 0 ANY A", "www 0 ANY ANY", "www 0 NONE A 192.0.2.2", "alias 0 ANY ANY",
            "alias 5 IN CNAME ns", "alias 5 IN TXT x", "new 5 IN CNAME alias", "new 5 IN TXT y", "@ 0 ANY ANY", "@ 60 IN NS www",
            "@ 0 NONE NS ns", "@ 0 NONE NS ns.else.test.", "a.b.c.ent 5 IN TXT z", "ent 5 IN A 192.0.2.5", "www 5 IN A 192.0.2.2",
        ];
        let before = zone(ZONE);
        let lines: Vec<&str> = picks.iter().map(|pick| LINES[*pick]).collect();
        let outcome = run(&before, &lines, &[grant(&[], &["ANY"])], &Protected::default()).unwrap();
        if let Some(diff) = outcome {
            let after = before.apply(&diff).unwrap();
            prop_assert_eq!(after.serial(), 8);
            let back = crate::zone::Diff { removed: diff.added.clone(), added: diff.removed.clone() };
            let records = |zone: &Zone| zone.records().map(|record| record.to_string()).collect::<BTreeSet<_>>();
            prop_assert_eq!(records(&after.apply(&back).unwrap()), records(&before));
            prop_assert!(records(&after) != records(&before));
        }
    }
}

#[test]
fn keys_of_a_zone_that_is_signed_here_are_not_updated() {
    let zone = zone(ZONE);
    let (grants, requestor, protected) = ([grant(&[], &["ANY"])], requestor(), Protected::default());
    for rtype in [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY, Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3, Rtype::NSEC3PARAM] {
        for class in [UpdateClass::Zone, UpdateClass::Any, UpdateClass::None] {
            let rdata = if class == UpdateClass::Any { vec![] } else { vec![1, 1, 3, 13, 7, 7, 7, 7] };
            let update = Update {
                zone: name("example"),
                prerequisites: Vec::new(),
                updates: vec![Item { owner: name("example"), rtype, class, ttl_s: 0, rdata }],
            };
            let context = |is_signed| Context {
                zone: &zone,
                grants: &grants,
                requestor: &requestor,
                protected: &protected,
                is_signed,
            };
            assert_eq!(evaluate(&update, context(true)), Err(rcode::REFUSED), "{rtype} {class:?}");
            let made_by_signing = matches!(rtype.0, 46 | 47 | 50 | 51);
            assert_eq!(evaluate(&update, context(false)).is_err(), made_by_signing, "{rtype} {class:?}");
        }
    }
}
