//! Messages that are no ordinary query, to us and to Knot, NSD and BIND: who answers at all, and with what code.
//!
//! The rule is that of the other comparison: ours equals Knot's or that of two peers, but for [`EXCEPTIONS`], each with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::Octets;
use farm_tests::edns::Opt;
use farm_tests::peer::{Kind, Peer, skipped};
use farm_tests::question::{Question, labels};
use std::collections::BTreeSet;

const PARENT: &str = include_str!("../zones/parent.zone");

/// Cases in which we agree with fewer than two peers, and not with Knot.
const EXCEPTIONS: [(&str, &str); 3] = [
    (
        "class ANY",
        "no class of ours; Knot and NSD answer as for IN (but disagree on AA), BIND says FORMERR. REFUSED keeps us out of the class",
    ),
    (
        "type AXFR",
        "we transfer to nobody, which REFUSED says (RFC 5936 section 2.2.1); others say by NOTIMP that they do not over UDP",
    ),
    ("type IXFR without a SOA record", "the same; the others say NOTAUTH, because the name is no apex"),
];

/// What of an answer says how a message was taken; `None` is silence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict(Option<Header>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    opcode: u8,
    /// With the upper bits that OPT holds.
    rcode: u16,
    authoritative: bool,
    truncated: bool,
    has_answer: bool,
    has_opt: bool,
}

fn header(answer: &[u8]) -> Header {
    let count = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    assert_ne!(answer[2] & 0x80, 0, "no answer: {answer:02x?}");
    let opt = Opt::of(answer);
    Header {
        opcode: answer[2] >> 3 & 0xf,
        rcode: opt.as_ref().map_or(0, |opt| u16::from(opt.rcode_high) << 4) | u16::from(answer[3] & 0xf),
        authoritative: answer[2] & 4 != 0,
        truncated: answer[2] & 2 != 0,
        has_answer: count(6) > 0,
        has_opt: opt.is_some(),
    }
}

/// Transfers are answered beside the plain questions, so what is sent behind them may be answered before: there silence takes its time.
fn is_transfer(what: &str) -> bool {
    what.starts_with("type AXFR") || what.starts_with("type IXFR")
}

fn verdict(client: &Octets, what: &str, message: &[u8]) -> Verdict {
    let probe = plain().octets(0xffff, None);
    let mut message = message.to_vec();
    if let Some(id) = message.get_mut(..2) {
        id.copy_from_slice(&[0x12, 0x34]);
    }
    let answer = if is_transfer(what) { client.udp(&message) } else { client.udp_before(&message, &probe) };
    Verdict(answer.map(|answer| header(&answer)))
}

fn plain() -> Question {
    Question { name: labels("www.example.", &Vec::new()), rtype: 1 }
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let whole = plain().octets(0, None);
    let edns = plain().octets(0, Some(1_232));
    let with = |at: usize, value: u8| {
        let mut message = whole.clone();
        message[at] = value;
        message
    };
    let opt = &edns[whole.len()..];
    let opts = |opts: &[&[u8]]| {
        let mut message = [&whole[..], &opts.concat()].concat();
        message[11] = opts.len() as u8;
        message
    };
    let opt_with = |at: usize, value: u8, more: &[u8]| {
        let mut opt = opt.to_vec();
        opt[at] = value;
        opts(&[&[&opt[..], more].concat()])
    };
    let end = whole.len() - 1;
    vec![
        ("plain", whole.clone()),
        ("with EDNS", edns.clone()),
        ("empty", Vec::new()),
        ("half a header", whole[..6].to_vec()),
        ("a header alone, no question announced", with(5, 0)[..12].to_vec()),
        ("a header alone", whole[..12].to_vec()),
        ("no question announced", with(5, 0)),
        ("two questions announced, one there", with(5, 2)),
        ("a name cut short", whole[..20].to_vec()),
        ("a question without a class", whole[..end - 1].to_vec()),
        ("an octet behind the end", [&whole[..], b"x"].concat()),
        ("a compressed question", with(12, 0xc0)),
        ("an unknown label type", with(12, 0x40)),
        ("an answer announced and missing", with(7, 1)),
        ("an additional record announced and missing", with(11, 1)),
        ("an answer", with(2, 0x80)),
        ("two OPTs", opts(&[opt, opt])),
        ("an OPT at a name", opts(&[&[b"\x01a", opt].concat()])),
        ("an OPT that is too long for the message", opt_with(10, 5, b"")),
        ("an unknown option", opt_with(10, 5, &[0xff, 0, 0, 1, 7])),
        ("an option that is too long", opt_with(10, 4, &[0xff, 0, 0, 1])),
        ("EDNS version 1", opt_with(6, 1, b"")),
        ("EDNS size 0", opts(&[&[&opt[..3], &[0, 0], &opt[5..]].concat()])),
        ("all EDNS flags", opt_with(8, 0xff, b"")),
        ("class CH", with(end, 3)),
        ("class ANY", with(end, 255)),
        ("class 0", with(end, 0)),
        ("opcode IQUERY", with(2, 0x08)),
        ("opcode STATUS", with(2, 0x10)),
        ("opcode 3", with(2, 0x18)),
        ("opcode 15", with(2, 0x78)),
        ("type AXFR", with(end - 2, 252)),
        ("type IXFR without a SOA record", with(end - 2, 251)),
        ("type MAILB", with(end - 2, 253)),
        ("type OPT", with(end - 2, 41)),
        ("type TSIG", with(end - 2, 250)),
        ("type 0", with(end - 2, 0)),
        ("TC set", with(2, 2)),
        ("AA set", with(2, 4)),
        ("RA set", with(3, 0x80)),
        ("Z set", with(3, 0x40)),
        ("AD and CD set", with(3, 0x30)),
        ("a response code", with(3, 5)),
    ]
}

#[test]
fn odd_messages_are_taken_as_others_take_them() {
    let scratch = Scratch::new("odd");
    let file = scratch.write("parent.zone", PARENT);
    let zones = [("example", file.as_path())];
    let peers: Vec<Peer> = Kind::ALL.into_iter().filter_map(|kind| Peer::start(kind, &scratch, &zones)).collect();
    if peers.len() < 2 && peers.iter().all(|peer| peer.kind != Kind::Knot) {
        return skipped("neither Knot nor two other name servers to compare with");
    }
    let daemon = Daemon::serve_dns(&scratch, &zones);
    let client = |server| Octets::to(server).expect("a socket");
    let ours = client(daemon.port("dns"));
    let theirs: Vec<(Kind, Octets)> = peers.iter().map(|peer| (peer.kind, client(peer.addr))).collect();
    let mut problems = Vec::new();
    let mut hits = BTreeSet::new();
    for (what, message) in cases() {
        let ours = verdict(&ours, what, &message);
        let theirs: Vec<(Kind, Verdict)> =
            theirs.iter().map(|(kind, client)| (*kind, verdict(client, what, &message))).collect();
        let same: Vec<Kind> = theirs.iter().filter(|(_, theirs)| *theirs == ours).map(|(kind, _)| *kind).collect();
        if same.contains(&Kind::Knot) || same.len() >= 2 {
            continue;
        }
        if EXCEPTIONS.iter().any(|(case, _)| *case == what) {
            hits.insert(what);
        } else {
            let theirs: Vec<_> = theirs.iter().map(|(kind, theirs)| format!("  {kind:?} {theirs:?}")).collect();
            problems.push(format!("{what}\n  ours {ours:?}\n{}", theirs.join("\n")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for (what, why) in EXCEPTIONS.iter().filter(|_| peers.len() == Kind::ALL.len()) {
        assert!(hits.contains(what), "{what} is an exception no more: {why}");
    }
}
