//! What names and types get: the algorithm of RFC 1034 with wildcards, aliases, delegations and the overlay.

use super::{answer, check, example, query, snapshot};
use crate::respond::Transport;

const SOA: &str = "AU example. 60 SOA ns1.example. admin.example. 7 3600 600 86400 60";

#[test]
fn static_names() {
    let zone = example();
    let check = |question: &str, expect: &str| check(&zone, question, &expect.replace("$SOA", SOA));
    check("www.example A", "NOERROR aa | AN www.example. 300 A 192.0.2.1, 192.0.2.2");
    check("WwW.eXample A", "NOERROR aa | AN WwW.eXample. 300 A 192.0.2.1, 192.0.2.2");
    check("www.example AAAA", "NOERROR aa | $SOA");
    check("nope.example A", "NXDOMAIN aa | $SOA");
    check("x.www.example A", "NXDOMAIN aa | $SOA");
    check("example SOA", "NOERROR aa | AN example. 300 SOA ns1.example. admin.example. 7 3600 600 86400 60");
    check(
        "example NS",
        "NOERROR aa | AN example. 300 NS ns1.example., ns.else.test. | AD ns1.example. 300 A 192.0.2.53; ns1.example. 300 AAAA 2001:db8::53",
    );
    check("example MX", "NOERROR aa | AN example. 300 MX 10 mail.example. | AD mail.example. 300 A 192.0.2.25");
    check(
        "_sip._tcp.example SRV",
        "NOERROR aa | AN _sip._tcp.example. 300 SRV 1 2 5060 www.example. | AD www.example. 300 A 192.0.2.1, 192.0.2.2",
    );
    check("unknown.example TYPE65280", "NOERROR aa | AN unknown.example. 300 TYPE65280 AQID");
}

#[test]
fn empty_non_terminals_exist() {
    let zone = example();
    let check = |question: &str, expect: &str| check(&zone, question, &expect.replace("$SOA", SOA));
    check("c.example A", "NOERROR aa | $SOA");
    check("b.c.example TXT", "NOERROR aa | $SOA");
    check("_tcp.example SRV", "NOERROR aa | $SOA");
    check("x.c.example A", "NXDOMAIN aa | $SOA");
    check("wild.example A", "NOERROR aa | $SOA");
}

#[test]
fn wildcards() {
    let zone = example();
    let check = |question: &str, expect: &str| check(&zone, question, &expect.replace("$SOA", SOA));
    check("a.wild.example A", "NOERROR aa | AN a.wild.example. 300 A 192.0.2.9");
    check("a.b.wild.example A", "NOERROR aa | AN a.b.wild.example. 300 A 192.0.2.9");
    check("*.wild.example A", "NOERROR aa | AN *.wild.example. 300 A 192.0.2.9");
    check("a.*.wild.example A", "NXDOMAIN aa | $SOA");
    check("a.wild.example TXT", "NOERROR aa | $SOA");
    check("a.wild.example MX", "NOERROR aa | AN a.wild.example. 300 MX 5 mail.example. | AD mail.example. 300 A 192.0.2.25");
    // An existing name, and one that exists only as the way to another, block the wildcard.
    check("host.wild.example A", "NOERROR aa | $SOA");
    check("y.wild.example A", "NOERROR aa | $SOA");
    check("z.y.wild.example A", "NXDOMAIN aa | $SOA");
    check("x.host.wild.example A", "NXDOMAIN aa | $SOA");
    check(
        "a.cname.example A",
        "NOERROR aa | AN a.cname.example. 300 CNAME www.example.; www.example. 300 A 192.0.2.1, 192.0.2.2",
    );
    check(
        "a.chain.example A",
        "NOERROR aa | AN a.chain.example. 300 CNAME x.chain.example.; x.chain.example. 300 CNAME x.chain.example.",
    );
}

#[test]
fn aliases() {
    let zone = example();
    let check = |question: &str, expect: &str| check(&zone, question, &expect.replace("$SOA", SOA));
    check(
        "alias2.example A",
        "NOERROR aa | AN alias2.example. 300 CNAME alias.example.; alias.example. 300 CNAME WWW.example.; WWW.example. 300 A 192.0.2.1, 192.0.2.2",
    );
    check("alias.example CNAME", "NOERROR aa | AN alias.example. 300 CNAME WWW.example.");
    check("alias.example NSEC", "NOERROR aa | $SOA");
    check("alias.example MX", "NOERROR aa | AN alias.example. 300 CNAME WWW.example. | $SOA");
    check("alias.example ANY", "NOERROR aa | AN alias.example. 300 CNAME WWW.example.");
    check("out.example A", "NOERROR aa | AN out.example. 300 CNAME www.else.test.");
    check("dangling.example A", "NXDOMAIN aa | AN dangling.example. 300 CNAME nothing.example. | $SOA");
    check(
        "loop1.example A",
        "NOERROR aa | AN loop1.example. 300 CNAME loop2.example.; loop2.example. 300 CNAME loop1.example.",
    );
    check("self.example A", "NOERROR aa | AN self.example. 300 CNAME self.example.");
    check(
        "back.lb.else.test A",
        "NOERROR aa | AN back.lb.else.test. 60 CNAME alias2.example.; alias2.example. 300 CNAME alias.example.; \
         alias.example. 300 CNAME WWW.example.; WWW.example. 300 A 192.0.2.1, 192.0.2.2",
    );
    check(
        "intosub.example A",
        "NOERROR aa | AN intosub.example. 300 CNAME x.sub.example. | AU sub.example. 300 NS ns.sub.example., ns1.example. \
         | AD ns.sub.example. 300 A 192.0.2.99; ns1.example. 300 A 192.0.2.53; ns1.example. 300 AAAA 2001:db8::53",
    );
    check(
        "x.old.example A",
        // The reader knows no DNAME and shows its data in base64.
        "NOERROR aa | AN old.example. 300 DNAME A25ldwdleGFtcGxlAA==; x.old.example. 300 CNAME x.new.example.; x.new.example. 300 A 192.0.2.77",
    );
    check("old.example A", "NOERROR aa | $SOA");
}

#[test]
fn dnames() {
    // The reader shows the data of a DNAME in base64.
    let text = "@ SOA ns admin 1 1 1 1 60\n@ NS ns.else.test.\nold DNAME n\na.n CNAME b.old\nb.n A 192.0.2.1\n\
                up DNAME x.up\nnear DNAME xup\na.xup A 192.0.2.2\n";
    let zone = snapshot(&[("t", &format!("$TTL 9\n{text}"))], &[], Vec::new());
    let check = |question: &str, expect: &str| check(&zone, question, expect);
    check("b.old.t A", "NOERROR aa | AN old.t. 9 DNAME AW4BdAA=; b.old.t. 9 CNAME b.n.t.; b.n.t. 9 A 192.0.2.1");
    check("b.old.t CNAME", "NOERROR aa | AN old.t. 9 DNAME AW4BdAA=; b.old.t. 9 CNAME b.n.t.");
    // Taken twice, written once.
    check(
        "a.old.t A",
        "NOERROR aa | AN old.t. 9 DNAME AW4BdAA=; a.old.t. 9 CNAME a.n.t.; a.n.t. 9 CNAME b.old.t.; b.old.t. 9 CNAME b.n.t.; \
         b.n.t. 9 A 192.0.2.1",
    );
    // One that leads below itself ends after a step; one that only looks like it goes on.
    check("a.up.t A", "NOERROR aa | AN up.t. 9 DNAME AXgCdXABdAA=; a.up.t. 9 CNAME a.x.up.t.");
    check("a.near.t A", "NOERROR aa | AN near.t. 9 DNAME A3h1cAF0AA==; a.near.t. 9 CNAME a.xup.t.; a.xup.t. 9 A 192.0.2.2");
}

#[test]
fn delegations() {
    let zone = example();
    let referral = "NOERROR | AU sub.example. 300 NS ns.sub.example., ns1.example. \
         | AD ns.sub.example. 300 A 192.0.2.99; ns1.example. 300 A 192.0.2.53; ns1.example. 300 AAAA 2001:db8::53";
    for question in ["sub A", "sub NS", "sub ANY", "ns.sub A", "other.sub TXT", "x.y.sub A", "x.sub A", "x.sub DS"] {
        check(&zone, &question.replace("sub ", "sub.example "), referral);
    }
    check(&zone, "lame.example A", "NOERROR | AU lame.example. 300 NS ns.else.test.");
    check(&zone, "lame.example DS", &format!("NOERROR aa | {SOA}"));
    let (_, message) = answer(&zone, Transport::Udp, &query("sub.example DS", None));
    assert!(super::dump(&message).starts_with("NOERROR aa | AN sub.example. 300 DS "));
}

#[test]
fn parent_and_child_in_one_server() {
    let parent = "@ 60 SOA ns admin 1 1 1 1 1\n@ 60 NS ns.else.\nchild 60 NS ns.else.\nchild 60 DS 1 13 2 00\n";
    let child = "@ 60 SOA ns admin 2 2 2 2 2\n@ 60 NS ns.else.\nwww 60 A 192.0.2.1\n";
    let zone = snapshot(&[("example", parent), ("child.example", child)], &[], Vec::new());
    let soa = "AU child.example. 2 SOA ns.child.example. admin.child.example. 2 2 2 2 2";
    check(&zone, "www.child.example A", "NOERROR aa | AN www.child.example. 60 A 192.0.2.1");
    check(&zone, "child.example NS", "NOERROR aa | AN child.example. 60 NS ns.else.");
    check(&zone, "child.example A", &format!("NOERROR aa | {soa}"));
    check(&zone, "www.child.example DS", &format!("NOERROR aa | {soa}"));
    let (_, message) = answer(&zone, Transport::Udp, &query("child.example DS", None));
    assert!(super::dump(&message).starts_with("NOERROR aa | AN child.example. 60 DS "));
    // Without the parent, the child itself denies.
    let zone = snapshot(&[("child.example", child)], &[], Vec::new());
    check(&zone, "child.example DS", &format!("NOERROR aa | {soa}"));
}

#[test]
fn outside() {
    let zone = example();
    for question in ["else.test A", ". NS", "com A", "xexample A", "example AXFR", "www.example IXFR", "nowhere.test A"] {
        check(&zone, question, "REFUSED");
    }
}

#[test]
fn pools_and_hosts() {
    let zone = example();
    let check = |question: &str, expect: &str| check(&zone, question, &expect.replace("$SOA", SOA));
    let short = |ttl: u32| SOA.replace("example. 60", &format!("example. {ttl}"));
    check("pool.example A", "NOERROR aa | AN pool.example. 12 A 198.51.100.3, 198.51.100.1");
    check("pool.example AAAA", "NOERROR aa | AN pool.example. 30 AAAA 2001:db8::1");
    check("pool.example TXT", "NOERROR aa | AN pool.example. 300 TXT beside");
    check("pool.example MX", "NOERROR aa | $SOA");
    check("pool.example ANY", "NOERROR aa | AN pool.example. 12 A 198.51.100.3, 198.51.100.1");
    check("x.pool.example A", "NXDOMAIN aa | $SOA");
    check(
        "topool.example A",
        "NOERROR aa | AN topool.example. 300 CNAME pool.example.; pool.example. 12 A 198.51.100.3, 198.51.100.1",
    );
    check("v4.example AAAA", &format!("NOERROR aa | {}", short(5)));
    check("empty.example A", &format!("NOERROR aa | {}", short(5)));
    check("empty.example ANY", &format!("NOERROR aa | {}", short(5)));
    check("empty.example TXT", "NOERROR aa | $SOA");
    check("toempty.example A", &format!("NOERROR aa | AN toempty.example. 300 CNAME empty.example. | {}", short(5)));
    check("any.doors.example A", "NOERROR aa | AN any.doors.example. 12 A 198.51.100.3, 198.51.100.1");
    check("doors.example A", "NOERROR aa | $SOA");
    check("lb.else.test A", "NOERROR aa | AN lb.else.test. 12 A 198.51.100.3, 198.51.100.1");
    check("lb.else.test NS", "NOERROR aa | AN lb.else.test. 60 NS ns.else.test.");
    check("host.farm.example A", "NOERROR aa | AN host.farm.example. 20 A 203.0.113.1");
    check("host.farm.example AAAA", &format!("NOERROR aa | {}", short(20)));
    check("host.farm.example TXT", "NOERROR aa | AN host.farm.example. 300 TXT beside");
    check("b1.deep.farm.example AAAA", "NOERROR aa | AN b1.deep.farm.example. 20 AAAA ::1");
    check("deep.farm.example A", "NOERROR aa | $SOA");
    check("other.deep.farm.example A", "NXDOMAIN aa | $SOA");
}

#[test]
fn the_reply_says_who_was_named() {
    let zone = example();
    let named = |question: &str| {
        let (reply, _) = answer(&zone, Transport::Udp, &query(question, None));
        (reply.pool, reply.named.to_vec())
    };
    assert_eq!(named("pool.example A"), (Some(0), vec![3, 1]));
    assert_eq!(named("topool.example AAAA"), (Some(0), vec![1]));
    assert_eq!(named("empty.example A"), (Some(2), vec![]));
    assert_eq!(named("www.example A"), (None, vec![]));
}
