//! What is an error in a zone: our verdict beside those of named-checkzone and kzonecheck, zone by zone.
//!
//! Where the three disagree, the row says why ours is as it is. A warning is no error.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use std::path::Path;
use std::process::Command;

use dnslb_core::name::Name;
use dnslb_core::zone::{self, Files};
use farm_tests::daemon::Scratch;
use farm_tests::peer;

/// `$TTL`, SOA and NS records of each zone that does not start with `!`.
const HEAD: &str = "$TTL 3600\n@ SOA ns admin 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.53\n";

/// What the zone shows, the zone, the verdicts of ours, named-checkzone and kzonecheck (`o` served, `e` error), and why they differ.
type Row = (&'static str, &'static str, &'static str, &'static str);

const POOLS: &str = "a warning: the name may be a pool's or a member's, which the file does not know";
const SERVED: &str = "a warning: the rest of the zone is worth serving, and it is never answered";

const ROWS: &[Row] = &[
    ("a plain zone", "www A 192.0.2.1\nwww AAAA 2001:db8::1\n@ MX 10 www\n_sip._udp SRV 0 0 5060 www\n", "ooo", ""),
    ("a TTL without units", "www 60 A 192.0.2.1", "ooo", ""),
    ("TTL units", "www 1h30m A 192.0.2.1", "ooo", ""),
    (
        "a TTL beyond 2^31-1",
        "www 2147483648 A 192.0.2.1",
        "eoo",
        "an error: RFC 2181 section 8 sets the bound, and others take it for 0 or cut it",
    ),
    ("a TTL that is none", "www 1x A 192.0.2.1", "eee", ""),
    ("class CH", "www CH A 192.0.2.1", "eee", ""),
    ("class HS", "www HS TXT x", "eee", ""),
    ("an unknown type", "www NOTYPE x", "eee", ""),
    ("an unknown type by number", "www TYPE65280 \\# 2 0102", "ooo", ""),
    ("a known type in generic form", "www A \\# 4 c0000201", "ooo", ""),
    ("generic data of the wrong length", "www TYPE65280 \\# 3 0102", "eee", ""),
    (
        "generic data that is no address",
        "www A \\# 3 c00002",
        "eeo",
        "an error: the data of a known type is of its form in whatever notation (RFC 3597 section 4)",
    ),
    ("an address that is none", "www A 192.0.2.256", "eee", ""),
    ("an address of the other family", "www AAAA 192.0.2.1", "eee", ""),
    ("data that is left over", "www A 192.0.2.1 192.0.2.2", "eee", ""),
    ("no data", "www A", "eee", ""),
    (
        "an owner outside the zone",
        "www.example.net. A 192.0.2.1",
        "eoo",
        "an error: others leave the record out, and a forgotten dot would go unseen",
    ),
    ("an owner that only ends like the zone", "www.badexample. A 192.0.2.1", "eoo", "as the row before"),
    ("an empty label", "a..b A 192.0.2.1", "eee", ""),
    ("a label of 64 octets", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa A 192.0.2.1", "eee", ""),
    ("an escape beyond 255", "a\\256 TXT x", "eeo", "an error: it is no octet (RFC 1035 section 5.1)"),
    ("escapes", "a\\.b\\065\\255 TXT \"\\065\\255\\\"\"", "ooo", ""),
    ("a string that does not end", "www TXT \"x", "eee", ""),
    ("a parenthesis that does not end", "www TXT ( x", "eee", ""),
    ("a string of 256 octets", "", "eeo", "an error: Knot cuts it in two, others do not, and nobody said where"),
    ("no SOA", "!@ 60 NS ns.example.net.\n", "eee", ""),
    (
        "two SOA records",
        "@ SOA ns admin 2 7200 900 1209600 300",
        "eeo",
        "an error: which of them is meant is for the writer to say",
    ),
    ("a SOA record below the apex", "sub SOA ns admin 2 7200 900 1209600 300", "eeo", "an error: Knot leaves it out"),
    ("no NS", "!@ 60 SOA ns admin 1 7200 900 1209600 300\n", "eee", ""),
    ("serial 0", "!$TTL 60\n@ SOA ns admin 0 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n", "ooo", ""),
    ("an expire below the refresh", "!$TTL 60\n@ SOA ns admin 1 7200 900 600 300\n@ NS ns\nns A 192.0.2.1\n", "ooo", ""),
    ("two CNAME records", "www CNAME a\nwww CNAME b", "eee", ""),
    ("the same CNAME twice", "www CNAME ns\nwww CNAME ns", "ooo", ""),
    ("CNAME beside other data", "www CNAME ns\nwww A 192.0.2.1", "eee", ""),
    ("CNAME at the apex", "@ CNAME www.example.net.", "eee", ""),
    ("a CNAME that leads nowhere", "www CNAME nowhere", "ooo", ""),
    ("a CNAME to itself", "www CNAME www", "ooo", ""),
    ("TTLs that differ in an RRset", "www 60 A 192.0.2.1\nwww 61 A 192.0.2.2", "ooo", ""),
    ("a record twice", "www A 192.0.2.1\nwww A 192.0.2.1", "ooo", ""),
    ("a name server of the apex without address", "@ NS ns2", "oee", POOLS),
    (
        "a name server that is a CNAME",
        "@ NS ns2\nns2 CNAME ns",
        "oee",
        "a warning: RFC 2181 section 10.3 forbids it, and resolvers that follow it are served",
    ),
    ("a name server under a wildcard", "@ NS ns2.w\n*.w A 192.0.2.1", "ooo", ""),
    ("a name server elsewhere", "@ NS ns.example.net.", "ooo", ""),
    ("a delegation", "sub NS ns.sub\nns.sub A 192.0.2.1", "ooo", ""),
    (
        "a delegation without glue",
        "sub NS ns.sub",
        "eoe",
        "an error: nobody can follow that delegation; BIND says it and goes on",
    ),
    ("a delegation to a sibling without glue", "sub NS ns.other\nother NS ns.other\nns.other A 192.0.2.1", "ooo", ""),
    ("a delegation to a name that does not exist", "sub NS nowhere", "ooe", POOLS),
    ("data below a delegation", "sub NS ns\nx.sub TXT x", "ooo", ""),
    ("data at a delegation", "sub NS ns\nsub TXT x", "ooo", ""),
    (
        "DS at a delegation",
        "sub NS ns\nsub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
        "ooo",
        "",
    ),
    ("DS without NS", "sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000", "ooo", ""),
    (
        "DS at the apex",
        "@ DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
        "oeo",
        "a warning: RFC 4035 section 2.4 says SHOULD NOT",
    ),
    ("DNAME", "old DNAME www.example.net.", "ooo", ""),
    ("data below a DNAME", "old DNAME www.example.net.\nx.old TXT x", "ooe", SERVED),
    ("two DNAME records", "old DNAME a\nold DNAME b", "eee", ""),
    ("DNAME beside CNAME", "old DNAME a\nold CNAME b", "eee", ""),
    ("DNAME beside NS", "old DNAME a\nold NS ns", "ooe", SERVED),
    ("an MX target without address", "@ MX 10 mail", "ooo", ""),
    ("an MX target that is a CNAME", "@ MX 10 mail\nmail CNAME ns", "ooo", ""),
    ("an MX target that is an address", "@ MX 10 192.0.2.1", "ooo", ""),
    ("no mail", "@ MX 0 .", "ooo", ""),
    ("an SRV target without address", "_sip._udp SRV 0 0 5060 sip", "ooo", ""),
    ("an SRV target that is a CNAME", "_sip._udp SRV 0 0 5060 sip\nsip CNAME ns", "ooo", ""),
    ("an NS target that is an address", "sub NS 192.0.2.1", "ooe", POOLS),
    ("an underscore in the name of a host", "a_b A 192.0.2.1", "ooo", ""),
    (
        "an odd character in the name of a host",
        "a+b A 192.0.2.1",
        "ooe",
        "a warning: it is a domain name (RFC 2181 section 11)",
    ),
    ("an underscore in the name of a text", "_dmarc TXT x", "ooo", ""),
    ("SPF without TXT", "@ SPF \"v=spf1 -all\"", "ooo", ""),
    ("NS at a wildcard", "*.w NS ns", "oeo", "a warning: RFC 4592 section 4.2 leaves it open"),
    ("an asterisk within a name", "a.*.b TXT x", "ooo", ""),
    ("NSEC3PARAM without NSEC3", "@ NSEC3PARAM 1 0 0 -", "ooo", ""),
    ("DNSKEY below the apex", "sub DNSKEY 256 3 13 AQID", "ooo", ""),
    ("an included file that is not there", "$INCLUDE nowhere", "eee", ""),
    ("an unknown directive", "$NOSUCH x", "eee", ""),
    ("$GENERATE", "$GENERATE 1-3 h$ A 192.0.2.$", "ooe", "served: BIND's directive, which Knot does not have"),
    (
        "a mailbox with an at sign",
        "!$TTL 60\n@ SOA ns admin@example 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n",
        "ooe",
        "a warning: it is a domain name (RFC 2181 section 11)",
    ),
];

struct Folder<'a>(&'a Path);

impl Files for Folder<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.0.join(path)).map_err(|error| error.to_string())
    }
}

fn verdict(good: bool) -> char {
    if good { 'o' } else { 'e' }
}

#[test]
fn errors_are_errors_to_others_too_or_it_is_said_why() {
    let scratch = Scratch::new("zone-checks");
    let judges = [("named-checkzone", &["example."][..]), ("kzonecheck", &["-o", "example."][..])];
    let judges = judges.map(|(judge, arguments)| (peer::installed(judge), arguments));
    let mut wrong = Vec::new();
    for (what, text, expect, why) in ROWS {
        let mut text = text.strip_prefix('!').map_or_else(|| format!("{HEAD}{text}\n"), str::to_owned);
        if *what == "a string of 256 octets" {
            text.extend(["www TXT ", &"x".repeat(256), "\n"]);
        }
        let file = scratch.write("example.zone", &text);
        let ours = zone::load(&Name::from_text("example").unwrap(), &Folder(scratch.path()), "example.zone");
        let mut found = verdict(ours.is_ok()).to_string();
        for (at, (judge, arguments)) in judges.iter().enumerate() {
            let of_judge = judge.as_ref().map(|judge| {
                let mut judge = Command::new(judge);
                // Included files are relative to where they run.
                let output = judge.args(*arguments).arg(&file).current_dir(scratch.path()).output().expect("a judge");
                verdict(output.status.success())
            });
            found.extend(of_judge.or(expect.chars().nth(at + 1)));
        }
        let agree = expect.chars().all(|verdict| expect.starts_with(verdict));
        if found != *expect || agree != why.is_empty() {
            wrong.push(format!("{what}: {found}, expected {expect} ({why})"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ROWS.len() >= 40);
}
