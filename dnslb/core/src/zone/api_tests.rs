//! Zones as records, in canonical order, and changed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{load_files, name, zone};
use super::{ApplyError, Diff, Record, Rtype, Zone, rtype_from_text, write_rdata};

fn record(owner: &str, rtype: &str, ttl_s: u32, rdata: &[u8]) -> Record {
    Record { owner: name(owner), rtype: rtype_from_text(rtype).unwrap(), ttl_s, rdata: rdata.into() }
}

const SIGNED: &str = "\
@ 60 RRSIG SOA 13 2 60 20300101000000 20200101000000 1 example.com. AQID
a 1 A 192.0.2.1
a 1 RRSIG A 13 3 1 20300101000000 20200101000000 1 example.com. AQID
a 1 NSEC sub A RRSIG NSEC
a.ent 1 A 192.0.2.1
sub 1 NS ns.sub
sub 1 NSEC example.com. NS RRSIG NSEC
ns.sub 1 A 192.0.2.2
@ 1 NSEC a SOA
0p9mhaveqvm6t7vbl5lop2u3t2rp3tom 1 NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A
2t7b4g4vsa5smi47k61mv5bv1a22bojr 1 NSEC3 1 0 0 - 0p9mhaveqvm6t7vbl5lop2u3t2rp3tom A
";

#[test]
fn names_are_in_canonical_order() {
    let zone = zone(SIGNED);
    let names: Vec<String> = zone
        .names()
        .map(|name| {
            let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
            let marks = [(name.is_cut(), "+"), (name.is_below_cut(), "-"), (name.is_empty(), "0")];
            format!("{}{}", name.name(), marks.map(|(is, text)| mark(is, text)).concat())
        })
        .collect();
    let expect = [
        "example.com.",
        "a.example.com.",
        "ent.example.com.0",
        "a.ent.example.com.",
        "sub.example.com.+",
        "ns.sub.example.com.-",
    ];
    assert_eq!(names, expect);
    let check = |text: &str, before: &str, nsec: &str| {
        assert_eq!(zone.predecessor(&name(text)).unwrap().name(), &name(before), "{text}");
        assert_eq!(zone.nsec_at_or_before(name(text).wire()).unwrap().name(), &name(nsec), "{text}");
    };
    check("example.com", "ns.sub.example.com", "example.com");
    check("a.example.com", "example.com", "a.example.com");
    check("*.example.com", "example.com", "example.com");
    check("b.example.com", "a.example.com", "a.example.com");
    check("b.ent.example.com", "a.ent.example.com", "a.example.com");
    check("sub.example.com", "a.ent.example.com", "sub.example.com");
    check("x.example.com", "ns.sub.example.com", "sub.example.com");
}

#[test]
fn signatures_lie_with_their_sets_and_hashed_denials_aside() {
    let zone = zone(SIGNED);
    let set = zone.rrset(&name("a.example.com"), Rtype::A).unwrap();
    assert_eq!((set.rtype(), set.ttl_s(), set.rdata().collect::<Vec<_>>()), (Rtype::A, 1, vec![&[192, 0, 2, 1][..]]));
    let sigs = set.sigs().unwrap();
    assert_eq!((sigs.ttl_s(), sigs.rdata().count()), (1, 1));
    assert!(zone.rrset(&name("sub.example.com"), Rtype::NS).unwrap().sigs().is_none());
    let hashes: Vec<u8> = zone.nsec3().map(|nsec3| nsec3.hash[0]).collect();
    assert_eq!(hashes, [0x06, 0x17]);
    assert!(!zone.contains(&name("2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.com")));
    let check = |hash: u8, expect: u8| assert_eq!(zone.nsec3_at_or_before(&[hash; 20]).unwrap().hash[0], expect, "{hash}");
    check(0, 0x17);
    check(7, 0x06);
    check(0x18, 0x17);
    assert_eq!(zone.records().count(), zone.record_count());
    assert_eq!(zone.records().next().unwrap().rtype, Rtype::SOA);
}

#[test]
fn a_zone_is_its_records() {
    let zone = zone(SIGNED);
    let records: Vec<Record> = zone.records().map(super::RecordRef::to_record).collect();
    let again = Zone::from_records(zone.apex(), records.clone()).unwrap().zone;
    assert_eq!(again.records().map(super::RecordRef::to_record).collect::<Vec<_>>(), records);
}

#[test]
fn changes() {
    let zone = zone("a 1 A 192.0.2.1\nb.c 1 CNAME a\n");
    let soa = zone.records().next().unwrap().to_record();
    let mut next = zone.soa().clone();
    next.serial += 1;
    let next = Record { rdata: next.to_rdata(), ..soa.clone() };
    let changed = zone
        .apply(&Diff {
            removed: vec![soa.clone(), record("b.c.example.com", "CNAME", 7, name("A.example.com").wire())],
            added: vec![next.clone(), record("a.example.com", "A", 1, &[192, 0, 2, 2])],
        })
        .unwrap();
    assert_eq!((changed.serial(), changed.record_count()), (2, 4));
    assert!(!changed.contains(&name("c.example.com")) && zone.contains(&name("c.example.com")));
    assert_eq!(changed.rrset(&name("a.example.com"), Rtype::A).unwrap().rdata().count(), 2);

    let a = |last: u8| record("a.example.com", "A", 1, &[192, 0, 2, last]);
    let check = |removed: &[Record], added: &[Record]| {
        zone.apply(&Diff { removed: removed.to_vec(), added: added.to_vec() }).unwrap_err()
    };
    assert_eq!(check(&[a(2)], &[]), ApplyError::Missing(a(2).into()));
    assert_eq!(check(&[], &[a(1)]), ApplyError::Present(a(1).into()));
    assert!(matches!(check(&[soa], &[]), ApplyError::Invalid(_)));
    assert!(matches!(check(&[], &[next]), ApplyError::Invalid(_)));
    assert!(matches!(check(&[], &[record("b.c.example.com", "A", 1, &[1; 4])]), ApplyError::Invalid(_)));
    assert!(matches!(check(&[], &[record("else.test", "A", 1, &[1; 4])]), ApplyError::Invalid(_)));
}

#[test]
fn chains_of_the_deepest_names_come_and_go() {
    // Each new and each emptied name once looked at all that lies below it, and that at all above it.
    let chain = |first: usize| record(&format!("{}{first}.example.com", "a.".repeat(115)), "TXT", 1, b"\x01x");
    let chains: Vec<Record> = (0..20).map(chain).collect();
    let before = zone("a 1 A 192.0.2.1\n");
    let with = before.apply(&Diff { removed: Vec::new(), added: chains.clone() }).unwrap();
    assert_eq!(with.names().count(), before.names().count() + 20 * 116);
    let half = with.apply(&Diff { removed: chains[..10].to_vec(), added: Vec::new() }).unwrap();
    assert_eq!(half.names().count(), before.names().count() + 10 * 116);
    let after = half.apply(&Diff { removed: chains[10..].to_vec(), added: Vec::new() }).unwrap();
    assert_eq!(after.names().count(), before.names().count());
}

proptest! {
    #[test]
    fn a_changed_zone_is_the_zone_of_the_changed_records(
        start in proptest::collection::btree_set((0_usize..14, 0_u8..7, 0_u8..3), 0..40),
        steps in proptest::collection::vec(proptest::collection::btree_set((0_usize..14, 0_u8..7, 0_u8..3), 1..12), 1..6),
    ) {
        const NAMES: [&str; 14] = [
            "example.com", "a.example.com", "b.a.example.com", "c.b.a.example.com", "*.example.com", "*.b.a.example.com", "d.e.f.example.com",
            "e.f.example.com", "x.d.e.f.example.com", "z.example.com", "y.z.example.com", "w.y.z.example.com",
            "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.com", "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.com",
        ];
        // What is drawn twice goes and comes back.
        let record_of = |(at, kind, data): (usize, u8, u8)| {
            let (owner, target) = (NAMES[at], [b'a' + data]);
            if at > 11 {
                return record(owner, "NSEC3", 1, &[&[1, 0, 0, 0, 0, 20][..], &[data; 20], &[0, 1, 0x40]].concat());
            }
            let host = [&[1][..], &target, name("example.com").wire()].concat();
            match kind {
                0 => record(owner, "A", 1, &[192, 0, 2, data]),
                1 => record(owner, "NS", 1, &host),
                2 => record(owner, "TXT", 1, &[1, data]),
                3 => record(owner, "MX", 1, &[&[0, data][..], &host].concat()),
                4 => record(owner, "RRSIG", 1, &[&[0, 1, 13, 2][..], &[data; 14], &[0, 7]].concat()),
                5 => record(owner, "DS", 1, &[data; 36]),
                _ => record(owner, "AAAA", 1, &[data; 16]),
            }
        };
        let base = zone("");
        let mut model: Vec<Record> = base.records().map(super::RecordRef::to_record).collect();
        let mut zone = base;
        let first: Vec<_> = start.into_iter().collect();
        for step in std::iter::once(first).chain(steps.into_iter().map(|step| step.into_iter().collect())) {
            let mut diff = Diff::default();
            for record in step.into_iter().map(record_of).collect::<BTreeSet<Record>>() {
                if let Some(at) = model.iter().position(|other| *other == record) {
                    diff.removed.push(model.swap_remove(at));
                } else {
                    model.push(record.clone());
                    diff.added.push(record);
                }
            }
            // A signature without what it signs is left out, there as here.
            let expect = Zone::from_records(&name("example.com"), model.clone()).unwrap().zone;
            zone = zone.apply(&diff).unwrap();
            model = expect.records().map(super::RecordRef::to_record).collect();
            let sorted = |zone: &Zone| {
                let mut records: Vec<Record> = zone.records().map(super::RecordRef::to_record).collect();
                records.sort();
                records
            };
            prop_assert_eq!(sorted(&zone), sorted(&expect));
            let names = |zone: &Zone| -> Vec<_> {
                let name = |name: super::ZoneName| (name.name().clone(), name.is_cut(), name.is_below_cut(), name.is_empty());
                zone.names().map(name).collect()
            };
            prop_assert_eq!(names(&zone), names(&expect));
            prop_assert_eq!(zone.record_count(), zone.records().count());
            prop_assert_eq!(zone.name_count(), expect.name_count());
            prop_assert!(zone.nsec3().map(|nsec3| &nsec3.hash).eq(expect.nsec3().map(|nsec3| &nsec3.hash)));
            for text in NAMES {
                prop_assert_eq!(zone.types_at(&name(text)), expect.types_at(&name(text)));
            }
        }
    }
}

fn text_of(zone: &Zone) -> String {
    let mut text = String::new();
    zone.write_text(&mut text).unwrap();
    text
}

#[test]
fn what_is_written_is_read_again() {
    let types = include_str!("../../../../tests/zones/types.zone");
    for text in [types.to_owned(), format!("@ 60 SOA ns.else. admin 1 2 3 4 5\n@ 60 NS ns.else.\n{SIGNED}")] {
        let zone = load_files(&[("z", text.as_bytes())]).unwrap().zone;
        let written = text_of(&zone);
        let again =
            load_files(&[("z", written.as_bytes())]).unwrap_or_else(|problems| panic!("{written}: {problems:#?}")).zone;
        let records = |zone: &Zone| zone.records().map(super::RecordRef::to_record).collect::<Vec<_>>();
        assert_eq!(records(&again), records(&zone), "{written}");
        assert_eq!(text_of(&again), written);
        // Only what has no text form, or one that is read differently (no gateway, keys without a name), is in generic form.
        let generic: Vec<&str> = written.lines().filter(|line| line.contains("\\#")).collect();
        assert!(
            generic.iter().all(|line| ["NULL", "TYPE731", "IPSECKEY", "SVCB"].contains(&line.split(' ').nth(3).unwrap())),
            "{generic:#?}"
        );
    }
}

#[test]
fn text_of_data() {
    let check = |rtype: &str, rdata: &[u8], expect: &str| {
        let mut text = String::new();
        write_rdata(rtype_from_text(rtype).unwrap(), rdata, &mut text).unwrap();
        assert_eq!(text, expect, "{rtype}");
    };
    check("A", &[192, 0, 2, 1], "192.0.2.1");
    check("A", &[192, 0, 2], r"\# 3 c00002");
    check("NS", b"\x01N\0", "N.");
    check("NS", b"\x01N", r"\# 2 014e");
    check("MX", b"\0\x0a\0", "10 .");
    check("SRV", b"\0\x01\0\x02\0\x03\x01a\0", "1 2 3 a.");
    check("TXT", b"\x04a\"\\\xff", r#""a\"\\\255""#);
    check("TXT", b"", r"\# 0");
    check("TXT", b"\x02a", r"\# 2 0261");
    check("TYPE731", b"\x01", r"\# 1 01");
    check("APL", &[0, 3, 0, 0], r"\# 4 00030000");
    check(
        "LOC",
        &[0x00, 0x33, 0x16, 0x13, 0x89, 0x17, 0x2d, 0xd0, 0x70, 0xbe, 0x15, 0xf0, 0x00, 0x98, 0x8d, 0x20],
        "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
    );
}

proptest! {
    #[test]
    fn any_data_of_any_type_survives_its_text(
        rtype in prop_oneof![1_u16..300, 32_768_u16..32_770],
        rdata in proptest::collection::vec(any::<u8>(), 0..40),
        structured in any::<bool>(),
        owner in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        // Half of the data starts with short names and strings, which most types have.
        let rdata = if structured { rdata.iter().map(|octet| octet & 3).collect() } else { rdata };
        let rtype = Rtype(rtype);
        prop_assume!(!rtype.is_meta() && !matches!(rtype, Rtype::SOA | Rtype::RRSIG | Rtype::NSEC3));
        let record = Record { owner: name("example.com").child(&owner).unwrap(), rtype, ttl_s: 7, rdata: rdata.into() };
        let text = format!("@ 60 SOA ns.else. admin 1 2 3 4 5\n@ 60 NS ns.else.\n{record}\n");
        // Data that is malformed is refused; whatever is read is what was written.
        if let Ok(loaded) = load_files(&[("z", text.as_bytes())]) {
            let found = loaded.zone.records().map(super::RecordRef::to_record).find(|found| found.owner == record.owner);
            prop_assert_eq!(found, Some(record));
        }
    }
}
