//! Zone files as text: what they become, and what is said about those that are wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::{Files, Loaded, PROBLEMS_MAX, Problem, Severity, Zone, load};
use crate::name::Name;

struct InMemory(BTreeMap<String, Vec<u8>>);

impl Files for InMemory {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }
}

pub(super) fn load_files(files: &[(&str, &[u8])]) -> Result<Loaded, Vec<Problem>> {
    let map = files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect();
    load(&Name::from_text("example.com").unwrap(), &InMemory(map), files[0].0)
}

const HEAD: &str = "@ 60 SOA ns.else. admin 1 2 3 9 5\n@ 60 NS ns.else.\n";

/// Loads `records` behind a SOA and NS record, which are lines 1 and 2.
fn load_text(records: &str) -> Result<Loaded, Vec<Problem>> {
    load_files(&[("z", format!("{HEAD}{records}").as_bytes())])
}

pub(super) fn zone(records: &str) -> Zone {
    load_text(records).unwrap_or_else(|problems| panic!("{records}: {problems:#?}")).zone
}

pub(super) fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Every record as `name ttl type hex`, without those of [`HEAD`].
fn records(zone: &Zone) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, node) in zone.nodes().iter() {
        for set in &node.sets {
            let mut rest: &[u8] = &set.records;
            while !rest.is_empty() {
                let len = usize::from(u16::from_be_bytes([rest[10], rest[11]]));
                let hex = hex(&rest[12..12 + len]);
                lines.push(format!("{name} {} {} {hex}", set.ttl_s, set.rtype));
                rest = &rest[12 + len..];
            }
        }
    }
    lines.retain(|line| !line.starts_with("example.com. 60 NS") && !line.starts_with("example.com. 60 SOA"));
    lines
}

#[test]
fn presentation_format() {
    let check = |text: &str, expect: &[&str]| assert_eq!(records(&zone(text)), expect, "{text}");
    check("www 60 IN A 192.0.2.1", &["www.example.com. 60 A c0000201"]);
    check("WWW IN 1h30m a 192.0.2.1\n", &["www.example.com. 5400 A c0000201"]);
    check("$TTL 2h\nwww A 192.0.2.1", &["www.example.com. 7200 A c0000201"]);
    check("www A 192.0.2.1", &["www.example.com. 60 A c0000201"]);
    check(
        "a 7 A 192.0.2.1\n TXT x\n\tAAAA ::1",
        &[
            "a.example.com. 7 A c0000201",
            "a.example.com. 7 TXT 0178",
            "a.example.com. 7 AAAA 00000000000000000000000000000001",
        ],
    );
    check(
        "$ORIGIN sub\na 1 CNAME @\nb 1 CNAME c.\n$ORIGIN x.example.com.\nc 1 CNAME d",
        &[
            "a.sub.example.com. 1 CNAME 03737562076578616d706c6503636f6d00",
            "b.sub.example.com. 1 CNAME 016300",
            "c.x.example.com. 1 CNAME 01640178076578616d706c6503636f6d00",
        ],
    );
    check(
        r#"t 1 TXT ( "a b" c\"d ; comment
        "e;f" )"#,
        &["t.example.com. 1 TXT 036120620363226403653b66"],
    );
    check(r#"t 1 TXT "\065\\" """#, &["t.example.com. 1 TXT 02415c00"]);
    check("t 1 TXT \"ü\"", &["t.example.com. 1 TXT 02c3bc"]);
    check(r"a\.b 1 A 192.0.2.1", &[r"a\.b.example.com. 1 A c0000201"]);
    check("m 1 MX 10 Mail", &["m.example.com. 1 MX 000a044d61696c076578616d706c6503636f6d00"]);
    check("s 1 SRV 1 2 3 .", &["s.example.com. 1 SRV 00010002000300"]);
    check("u 1 TYPE65280 \\# 3 01 0203", &["u.example.com. 1 TYPE65280 010203"]);
    check("u 1 TYPE65280 \\# 0", &["u.example.com. 1 TYPE65280 "]);
    check("u 1 TYPE1 \\# 4 c0000201", &["u.example.com. 1 A c0000201"]);
    check("u 1 CLASS1 A \\# 4 C0000201", &["u.example.com. 1 A c0000201"]);
    check("u 1 URI 10 1 \"ftp://a/\"", &["u.example.com. 1 URI 000a00016674703a2f2f612f"]);
    check("c 1 CAA 0 issue \"ca.test\"", &["c.example.com. 1 CAA 0005697373756563612e74657374"]);
    check("h 1 HTTPS 1 . alpn=\"h2,h3\" port=443", &["h.example.com. 1 HTTPS 000100000100060268320268330003000201bb"]);
    check("h 1 SVCB 0 other", &["h.example.com. 1 SVCB 0000056f74686572076578616d706c6503636f6d00"]);
    check(
        "@ 1 MX 0 @\nt 1 TXT @\nh 1 HTTPS 0 @",
        &[
            "example.com. 1 MX 0000076578616d706c6503636f6d00",
            "h.example.com. 1 HTTPS 0000076578616d706c6503636f6d00",
            "t.example.com. 1 TXT 0140",
        ],
    );
    check(
        "p 1 PTR x.\nh 1 HINFO a b\nn 1 NAPTR 1 2 u s \"\" .",
        &["h.example.com. 1 HINFO 01610162", "n.example.com. 1 NAPTR 00010002017501730000", "p.example.com. 1 PTR 017800"],
    );
    check(
        "$GENERATE 1-2 h-$ 7 A 192.0.2.$\n$GENERATE 0-17/16 ${0,7,n}.x IN TXT ( \"a $$\" ${1,3,x} )",
        &[
            "h-1.example.com. 7 A c0000201",
            "h-2.example.com. 7 A c0000202",
            "0.0.0.0.x.example.com. 7 TXT 0361202403303031",
            "0.1.0.0.x.example.com. 7 TXT 0361202403303131",
        ],
    );
    check(
        "s 1 SSHFP 1 1 0102\nt 1 TLSA 3 1 1 ab cd",
        &["s.example.com. 1 SSHFP 01010102", "t.example.com. 1 TLSA 030101abcd"],
    );
}

#[test]
fn soa_times_take_units_and_names_and_the_rest_follows() {
    let zone = load_files(&[("z", b"@ SOA ns admin ( 2024010101 1h 15m 1w 5m )\n NS ns.else.\n")]).unwrap().zone;
    let lines: Vec<String> = zone
        .nodes()
        .iter()
        .flat_map(|(_, node)| node.sets.iter().map(|set| (set.rtype, set.ttl_s)))
        .map(|(rtype, ttl)| format!("{rtype} {ttl}"))
        .collect();
    assert_eq!(lines, ["NS 300", "SOA 300"], "no TTL anywhere: that of negative answers");
    assert_eq!((zone.serial(), zone.negative_soa().ttl_s, zone.record_count()), (2_024_010_101, 300, 2));
}

#[test]
fn problems() {
    let check = |text: &str, expect: &[(u32, &str)]| {
        let problems = load_text(text).map(|loaded| loaded.zone).expect_err(text);
        let found: Vec<(u32, String)> =
            problems.iter().filter(|p| p.severity == Severity::Error).map(|p| (p.line, p.found.clone())).collect();
        assert_eq!(found.len(), expect.len(), "{text}: {found:#?}");
        for ((line, found), (expect_line, expect)) in found.iter().zip(expect) {
            assert_eq!(line, expect_line, "{text}: {found}");
            assert!(found.contains(expect), "{text}: {found}");
        }
    };
    check("a 1 A 192.0.2.256", &[(3, "'192.0.2.256'")]);
    check("a 1 A 192.0.2.1 2", &[(3, "")]);
    check("a 1 A", &[(3, "no record data")]);
    check("a 1 AAAA 192.0.2.1", &[(3, "'192.0.2.1'")]);
    check("a 1 NOTYPE x", &[(3, "'NOTYPE'")]);
    check("a 1 ANY x\nb 1 OPT x", &[(3, "type ANY"), (4, "type OPT")]);
    check("a 1 CH A 192.0.2.1", &[(3, "class CH")]);
    check("a 1x A 192.0.2.1", &[(3, "the TTL '1x'")]);
    check("a 2147483648 A 192.0.2.1", &[(3, "the TTL '2147483648'")]);
    check("a..b 1 A 192.0.2.1\n 1 A 192.0.2.2", &[(3, "an empty label"), (4, "a record without an owner")]);
    check("$GENERATE 1-2 a", &[(3, "$GENERATE with 2 arguments")]);
    check("$GENERATE 2-1 a$ A 192.0.2.$", &[(3, "the range '2-1'")]);
    check("$GENERATE 1-300 a$ A 192.0.2.$", &[(3, "'192.0.2.256'")]);
    check("$GENERATE 1-2 a${0,1 A 192.0.2.1", &[(3, "without its '}'")]);
    check("$GENERATE 1-2 \\$GENERATE 1-2 a A 192.0.2.1", &[(3, "a directive made by")]);
    check("a 1 LOC 91 N 0 E 0", &[(3, "'91 N 0 E 0'")]);
    check("$NOSUCH x", &[(3, "$NOSUCH")]);
    check(
        "$ORIGIN\n$TTL x\n$INCLUDE nofile\n$INCLUDE a b c",
        &[(3, "0 arguments"), (4, "'x'"), (5, "no such file"), (6, "3 arguments")],
    );
    check("a 1 TXT \"x\nb 1 A 1.2.3\n)", &[(3, "quoted string"), (4, "'1.2.3'"), (5, "')'")]);
    check("a 1 TXT (x\n\n", &[(3, "'(' without")]);
    check("a.test. 1 A 192.0.2.1", &[(3, "the owner a.test.")]);
    check("xexample.com. 1 A 192.0.2.1", &[(3, "the owner xexample.com.")]);
    check("@ 1 SOA a b 1 1 1 1 1", &[(3, "a second SOA")]);
    check("x 1 SOA a b 1 1 1 1 1", &[(3, "a SOA record at x.example.com.")]);
    check("x 1 CNAME a\nx 1 CNAME b", &[(4, "a second CNAME")]);
    check("x 1 CNAME a\nx 1 A 192.0.2.1", &[(4, "A beside the CNAME of line 3")]);
    check("sub 1 NS ns.sub", &[(3, "no address of the name server ns.sub")]);
    check("a 1 TYPE65280 \\# 2 01", &[(3, "1 octets")]);
    check("a 1 TYPE65280 \\# 1 0g", &[(3, "hexadecimal")]);
    check("a 1 TYPE65280 \\# x 00", &[(3, "length")]);
    check("a 1 TYPE65280 foo", &[(3, "")]);
    check("a 1 A \\# 5 0102030405", &[(3, "malformed")]);
    check("a 1 MX \\# 2 0001", &[(3, "malformed")]);
    check("a 1 MX ten mail", &[(3, "")]);
}

#[test]
fn problems_of_the_whole() {
    let check = |text: &str, expect: &str| {
        let problems = load_files(&[("z", text.as_bytes())]).map(|loaded| loaded.zone).expect_err(text);
        assert!(problems.iter().any(|p| p.found.contains(expect)), "{text}: {problems:#?}");
    };
    check("", "no SOA");
    check("@ 1 NS ns.else.", "no SOA");
    check("@ 1 SOA a b 1 1 1 1 1", "no NS");
    check("a A 192.0.2.1", "no TTL");
    assert!(load(&Name::root(), &InMemory(BTreeMap::new()), "missing").unwrap_err()[0].found.contains("no such file"));
}

#[test]
fn warnings() {
    let check = |text: &str, expect: &str| {
        let loaded = load_text(text).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"));
        assert!(
            loaded.warnings.iter().any(|p| p.severity == Severity::Warning && p.found.contains(expect)),
            "{text}: {:#?}",
            loaded.warnings
        );
    };
    check("a 1 A 192.0.2.1\na 1 A 192.0.2.1", "a second time");
    check("a 9 A 192.0.2.1\na 5 A 192.0.2.2", "TTL 5 beside TTL 9");
    check("sub 1 NS ns.else.\nx.sub 1 TXT x", "below the delegation of sub.example.com.");
    check(
        "a.b.c.sub 1 TXT x\nb.c.sub 1 NS ns.else.\nsub 1 NS ns.else.",
        "TXT at a.b.c.sub.example.com., below the delegation of sub.example.com.",
    );
    check("sub 1 NS ns.else.\nsub 1 TXT x", "at the delegated name");
    check("a 1 A 192.0.2.1", "a last line that does not end");
    check(
        "sub 1 DS 1 13 2 00000000000000000000000000000000000000000000000000000000000000ff",
        "DS at sub.example.com., which is not",
    );
    check("@ 1 MX 1 mail", "no address of mail.example.com., the target of MX");
    check("@ 1 MX 1 mail\nmail 1 CNAME x", "is a CNAME");
    check("@ 1 MX 1 x.d\nd 1 DNAME else.", "below a DNAME");
    check("_s._tcp 1 SRV 1 1 1 192.0.2.1", "192.0.2.1.example.com. as the target of SRV");
    check("s._tcp 1 SRV 1 1 1 .", "SRV at s._tcp");
    check("a_b 1 A 192.0.2.1", "A at a_b");
    check("@ 1 MX 1 a_b\na_b 1 TXT x", "a_b.example.com. as the target of MX");
    check("*.w 1 NS ns.else.", "NS at the wildcard");
    check("a.*.b 1 TXT x", "'*' within");
    check("@ 1 NSEC3PARAM 1 0 101 -", "NSEC3PARAM 1 0 101");
    check("@ 1 NSEC3PARAM 1 0 0 -", "without NSEC3 records");
    check("x 1 DNSKEY 256 3 13 AQID", "DNSKEY at x");
    check("@ 1 DNSKEY 256 1 13 AQID", "protocol 1");
    check("@ 1 SPF \"v=spf1 -all\"", "SPF at example.com.");
    check("@ 1 TXT \"v=spf1 -all\"\n@ 1 TXT v=spf1", "several TXT records v=spf1");
    check("a 1 RRSIG A 13 3 1 20300101000000 20200101000000 1 example.com. AQID", "a signature of a.example.com. A");
    check("@ 60 NS ns", "no address of the name server ns");
    check("@ 60 NS ns\nns 1 CNAME x", "which is a CNAME");
    check("d 1 DNAME x\na.d 1 TXT x", "below the DNAME");
    check("@ 1 DNAME x.\na.b.c 1 TXT x", "below the DNAME of example.com.");
    assert_eq!(records(&zone("a 9 A 192.0.2.1\na 5 A 192.0.2.2"))[1], "a.example.com. 5 A c0000202");
}

#[test]
fn a_good_zone_is_not_complained_about() {
    let text = "ns 1 A 192.0.2.1\n@ 1 MX 0 .\n@ 1 MX 1 a.w\n*.w 1 A 192.0.2.1\n_s._tcp 1 SRV 1 1 1 ns\n@ 1 TXT \"v=spf1 -all\"
sub 1 NS ns.sub\nsub 1 NS ns\nns.sub 1 A 192.0.2.1\n@ 1 MX 1 x.sub\nd 1 DNAME else.\n_443._tcp 1 TLSA 3 1 1 ab\n\\097b 1 AAAA ::1\n";
    assert_eq!(load_text(text).unwrap().warnings, []);
}

#[test]
fn every_problem_at_once_but_not_without_end() {
    let text = "a A 1\n".repeat(1_000);
    assert_eq!(load_text(&text).unwrap_err().len(), PROBLEMS_MAX);
    let text = format!("{}a 1 A x\n", "a 1 A 192.0.2.1\n".repeat(1_000));
    let problems = load_text(&text).unwrap_err();
    assert_eq!(problems.last().unwrap().severity, Severity::Error, "in the order of lines");
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
}

#[test]
fn includes() {
    let main = format!("{HEAD}$TTL 7\n$INCLUDE sub/one sub\nafter A 192.0.2.3\n");
    let files: &[(&str, &[u8])] = &[
        ("dir/main", main.as_bytes()),
        ("dir/sub/one", b"a A 192.0.2.1\n$INCLUDE two\n TXT x\n$ORIGIN else.\n$TTL 9\n"),
        ("dir/sub/two", b"b A 192.0.2.2\n"),
    ];
    assert_eq!(
        records(&load_files(files).unwrap().zone),
        [
            "after.example.com. 7 A c0000203",
            "a.sub.example.com. 7 A c0000201",
            "a.sub.example.com. 7 TXT 0178",
            "b.sub.example.com. 7 A c0000202",
        ]
        .map(str::to_owned)
    );
    let problems =
        load_files(&[("dir/main", format!("{HEAD}$INCLUDE bad\n").as_bytes()), ("dir/bad", b"\nx 1 A y\n")]).unwrap_err();
    assert_eq!((problems[0].file.as_str(), problems[0].line), ("dir/bad", 2));
    // A file that includes itself twice would be read 2^8 times and more.
    let problems = load_files(&[("z", format!("{HEAD}$INCLUDE z\n$INCLUDE z\n").as_bytes())]).unwrap_err();
    assert!(problems.iter().any(|p| p.expected.contains("nested at most")));
}

#[test]
fn an_rrset_that_no_message_can_hold_is_refused() {
    let text = (0..4_200).fold(String::new(), |mut text, i| {
        let _ = writeln!(text, "a 1 A 10.0.{}.{}", i >> 8, i & 255);
        text
    });
    let problems = load_text(&text).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].found.contains("more A records"));
}

/// Appendix A.1 of RFC 8976.
const DIGESTED: &str = "\
@ 86400 SOA ns1 admin 2018031900 1800 900 604800 86400
 86400 NS ns1
 86400 NS NS2
 86400 ZONEMD 2018031900 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c
ns1 3600 A 203.0.113.63
ns2 3600 AAAA 2001:db8::63
";

fn load_digested(text: &str) -> Result<Loaded, Vec<Problem>> {
    load(&name("example"), &InMemory([("z".to_owned(), text.as_bytes().to_vec())].into()), "z")
}

#[test]
fn a_zone_that_has_a_digest_is_held_against_it() {
    let check = |text: String, expect: &str| {
        let problems = load_digested(&text).map_or_else(|problems| problems, |loaded| loaded.warnings);
        let found: Vec<String> =
            problems.iter().map(|problem| format!("{:?} {}", problem.severity, problem.found)).collect();
        assert!(
            found.len() == usize::from(!expect.is_empty()) && found.iter().all(|found| found.contains(expect)),
            "{found:?}"
        );
    };
    check(DIGESTED.into(), "");
    check(DIGESTED.replace("AAAA 2001:db8::63", "AAAA 2001:db8::64"), "Error records that do not have the digest");
    check(DIGESTED.replace("ns2 3600 AAAA 2001:db8::63\n", "").replace(" 86400 NS NS2\n", ""), "Error records that do not");
    check(DIGESTED.replace("admin 2018031900", "admin 2018031901"), "Warning no ZONEMD record of this serial");
    check(DIGESTED.replace("ZONEMD 2018031900 1 1", "ZONEMD 2018031900 1 240"), "Warning no ZONEMD record");
}

#[test]
fn a_file_that_was_cut_is_refused_or_said_to_be_cut_or_lacks_whole_lines() {
    let whole = DIGESTED.replace(DIGESTED.lines().nth(3).unwrap(), "; no digest");
    let lines: Vec<&str> = whole.lines().collect();
    for len in 0..whole.len() {
        let cut = &whole[..len];
        let Ok(loaded) = load_digested(cut) else { continue };
        let said = loaded.warnings.iter().any(|problem| problem.found.contains("does not end"));
        assert!(said || lines.starts_with(&cut.lines().collect::<Vec<_>>()), "{cut}");
    }
    // With a digest behind the SOA record, as signers put it, nothing that lacks a record is loaded.
    for len in 0..DIGESTED.len() - 1 {
        let loaded = load_digested(&DIGESTED[..len]);
        let has_digest = DIGESTED[..len].lines().count() > 4;
        assert!(!has_digest || loaded.is_err(), "{}", &DIGESTED[..len]);
    }
}

#[test]
fn what_a_zone_says_of_itself() {
    let zone = zone("a.b 1 A 192.0.2.1\na.b 1 TXT x\nsub 1 NS ns.else.\n");

    let types: Vec<String> = zone.types_at(&name("a.b.example.com")).iter().map(ToString::to_string).collect();
    assert_eq!(types, ["A", "TXT"]);
    assert!(zone.contains(&name("b.example.com")) && zone.types_at(&name("b.example.com")).is_empty());
    assert!(!zone.contains(&name("c.example.com")));
    assert_eq!(zone.cut_above(&name("x.sub.example.com")), Some(name("sub.example.com")));
    assert_eq!(zone.cut_above(&name("a.b.example.com")), None);
}

proptest! {
    #[test]
    fn random_text_is_read_without_a_panic(text in "([a-c@.$\\\\\"();\n 0-9]|TXT|A |MX |SOA |\\$TTL |\\$ORIGIN |IN |\\\\# ){0,60}") {
        let _ = load_text(&text);
    }

    #[test]
    fn random_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_files(&[("z", &octets)]);
    }

    #[test]
    fn random_data_of_every_type_is_read_without_a_panic(
        rtype in 1_u16..300,
        data in "([a-z0-9.]|\\\\[0-9]{3}|\\\\.|\"|[0-9]{1,5} |=|,| |\\+|ipv4hint=|alpn=|2[0-9]{13} |\u{fc}|issue ){0,40}",
    ) {
        let _ = load_text(&format!("a 1 TYPE{rtype} {data}"));
    }

    #[test]
    fn random_generic_data_of_every_type_is_read_without_a_panic(rtype in 1_u16..300, data in proptest::collection::vec(any::<u8>(), 0..80)) {
        let hex = hex(&data);
        let _ = load_text(&format!("a 1 TYPE{rtype} \\# {} {hex}", data.len()));
    }
}
