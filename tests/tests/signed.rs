//! Zones that others signed, served by us: our answers against those of Knot, NSD and BIND for the same files, and as validators see
//! them. Every owner and its neighbours, all types, DO set; NSEC, NSEC3, and NSEC3 with opt-out.
//!
//! The rule: an answer of ours equals Knot's or that of two peers, signatures and denials included. What differs for a reason stands
//! in [`excused`].
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::Octets;
use farm_tests::peer::{Kind, Peer, installed, skipped};
use farm_tests::question::{Question, labels, neighbourhood, owners, text};
use farm_tests::signing::{Denial, Signed, sign};
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

const PARENT: &str = include_str!("../zones/parent.zone");
const CHILD: &str = include_str!("../zones/child.zone");

/// Types that are asked for: those with data, those of DNSSEC, and one that is nowhere.
const TYPES: [u16; 15] = [1, 2, 5, 6, 15, 16, 28, 39, 43, 46, 47, 48, 50, 255, 65_282];

/// Of an answer, what a validator acts upon.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    rcode: u16,
    authoritative: bool,
    answers: BTreeSet<String>,
    /// Without the NS records that some add to an answer proper.
    authority: BTreeSet<String>,
    /// Addresses in a referral.
    glue: BTreeSet<String>,
}

fn set<'r>(records: impl IntoIterator<Item = &'r Record>) -> BTreeSet<String> {
    records.into_iter().map(|record| record.to_string().to_lowercase()).collect()
}

impl Answer {
    fn of(message: &Message, any: bool) -> Self {
        let is = |record: &Record, rtype: u16| u16::from(record.record_type()) == rtype;
        let denial = message.authorities.iter().any(|record| is(record, 6));
        let referral = !denial && message.answers.iter().all(|r| matches!(u16::from(r.record_type()), 5 | 39 | 46));
        let covers_ns = |record: &Record| is(record, 46) && record.data.to_string().starts_with("NS ");
        let authority = message.authorities.iter().filter(|record| referral || !(is(record, 2) || covers_ns(record)));
        let glue = message.additionals.iter().filter(|record| referral && (is(record, 1) || is(record, 28)));
        let mut answers = set(&message.answers);
        if any && !answers.is_empty() {
            answers = ["something".to_owned()].into();
        }
        Self {
            rcode: message.metadata.response_code.into(),
            authoritative: message.metadata.authoritative,
            answers,
            authority: set(authority),
            glue: set(glue),
        }
    }
}

/// Ours and the peers that are installed, all with the same signed zones.
struct Servers {
    ours: SocketAddr,
    peers: Vec<Peer>,
    parent: Signed,
    _daemon: Daemon,
    scratch: Scratch,
}

/// `None`, said loudly, if too much is missing.
fn servers(denial: Denial) -> Option<Servers> {
    let scratch = Scratch::new("signed");
    let child = sign(&scratch, "child.example", &scratch.write("child.zone", CHILD), denial)?;
    let parent = sign(&scratch, "example", &scratch.write("parent.zone", PARENT), denial)?;
    let zones = [("example", parent.file.as_path()), ("child.example", child.file.as_path())];
    let peers: Vec<Peer> = Kind::ALL.into_iter().filter_map(|kind| Peer::start(kind, &scratch, &zones)).collect();
    if peers.len() < 2 && peers.iter().all(|peer| peer.kind != Kind::Knot) {
        skipped("neither Knot nor two other name servers to compare with");
        return None;
    }
    let daemon = Daemon::serve_dns(&scratch, &zones);
    Some(Servers { ours: daemon.port("dns"), peers, parent, _daemon: daemon, scratch })
}

/// The octets of a query with DO.
fn octets(number: usize, question: &Question, size: u16) -> Vec<u8> {
    let mut octets = question.octets(number as u16, Some(size));
    let flags = octets.len() - 4;
    octets[flags] = 0x80;
    octets
}

fn read(server: SocketAddr, question: &Question, octets: Option<Vec<u8>>) -> Message {
    let octets = octets.unwrap_or_else(|| panic!("{server} is silent: {question}"));
    Message::from_vec(&octets).unwrap_or_else(|e| panic!("{server}, {question}: {e} {octets:02x?}"))
}

fn ask_over_tcp(server: SocketAddr, questions: &[Question]) -> Vec<Answer> {
    let mut client = Octets::to(server).expect("a socket");
    let mut ask = |(number, question): (usize, &Question)| {
        let message = read(server, question, client.tcp(&octets(number, question, 1_232)));
        Answer::of(&message, question.rtype == 255)
    };
    questions.iter().enumerate().map(&mut ask).collect()
}

fn questions() -> Vec<Question> {
    let mut names = neighbourhood(&(&owners(PARENT) | &owners(CHILD)));
    for more in ["com.", "xexample.", "y.old.example.", "a.b.c.old.example.", "nope.old.example.", "www.dout.example."] {
        names.insert(labels(more, &Vec::new()));
    }
    names.into_iter().flat_map(|name| TYPES.map(|rtype| Question { name: name.clone(), rtype })).collect()
}

/// Names below which, or at which, peers differ without signatures already: tests/tests/differential.rs says why.
const PLAIN: [&str; 7] = ["back.child", "nx.child", "tochild", "tochild2", "old", "dchain", "dloop"];

/// Why an answer may differ, given those of others.
fn excused(denial: Denial, question: &Question, ours: &Answer, theirs: &[(Kind, &Answer)]) -> Option<&'static str> {
    let name = text(&question.name);
    let is_at = |end: &str| name == format!("{end}.example.") || name.ends_with(&format!(".{end}.example."));
    let by = |wanted: Kind| theirs.iter().find(|(kind, _)| *kind == wanted).map(|(_, answer)| *answer);
    if PLAIN.iter().any(|end| is_at(end)) {
        return Some("differs without signatures too");
    }
    // NSD follows no alias for NSEC3.
    let as_nsd = by(Kind::Nsd).is_none_or(|theirs| theirs == ours || question.rtype == 50);
    if denial == Denial::Nsec
        && as_nsd
        && by(Kind::Knot).is_some_and(|theirs| theirs.rcode == 0 && theirs.authority.is_subset(&ours.authority))
    {
        return Some(
            "the wildcard that covers the name is an empty non-terminal: that it has no data is proved as well (RFC 4035 section \
             3.1.3.4), as NSD does; BIND and Knot leave it at the proof that the name does not exist",
        );
    }
    // BIND gives the SOA record in a negative answer for SOA the TTL 0.
    let as_bind = by(Kind::Bind).is_none_or(|theirs| theirs == ours || question.rtype == 6);
    if denial == Denial::OptOut && is_at("cut") && as_bind {
        return Some(
            "the empty non-terminals above an unsigned delegation have no NSEC3 records (RFC 5155 section 7.1): the closest encloser \
             that can be proved is shown, as BIND does; Knot says nothing and NSD less than it must (section 7.2.2)",
        );
    }
    None
}

fn compare(denial: Denial) {
    let Some(servers) = servers(denial) else { return };
    let questions = questions();
    let ours = ask_over_tcp(servers.ours, &questions);
    let theirs: Vec<(Kind, Vec<Answer>)> =
        servers.peers.iter().map(|peer| (peer.kind, ask_over_tcp(peer.addr, &questions))).collect();
    let mut problems = Vec::new();
    let mut excuses = BTreeMap::new();
    for (at, (question, ours)) in questions.iter().zip(&ours).enumerate() {
        let same: Vec<Kind> = theirs.iter().filter(|(_, all)| all[at] == *ours).map(|(kind, _)| *kind).collect();
        if same.contains(&Kind::Knot) || same.len() >= 2 {
            continue;
        }
        let theirs: Vec<(Kind, &Answer)> = theirs.iter().map(|(kind, all)| (*kind, &all[at])).collect();
        if let Some(why) = excused(denial, question, ours, &theirs) {
            *excuses.entry(why).or_insert(0) += 1;
            continue;
        }
        let theirs: Vec<String> = theirs.iter().map(|(kind, theirs)| format!("  {kind:?} {theirs:#?}")).collect();
        problems.push(format!("{question} {}\n  ours {ours:#?}\n{}", question.rtype, theirs.join("\n")));
    }
    let headings: Vec<_> = problems.iter().filter_map(|problem| problem.lines().next()).collect();
    let shown = problems.iter().take(4).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(
        problems.is_empty(),
        "{denial:?}: {} of {} differ: {}\n{shown}",
        problems.len(),
        questions.len(),
        headings[..headings.len().min(200)].join(", ")
    );
    println!(
        "{denial:?}: {} questions to {} peers; differences with a reason: {excuses:#?}",
        questions.len(),
        servers.peers.len()
    );
    small_answers(&servers, &questions, &ours);
}

/// Over UDP an answer is that over TCP, or says that it is cut.
fn small_answers(servers: &Servers, questions: &[Question], whole: &[Answer]) {
    let client = Octets::to(servers.ours).expect("a socket");
    let mut cut = 0;
    for (number, (question, whole)) in questions.iter().zip(whole).enumerate() {
        for size in [512, 1_232] {
            let message = read(servers.ours, question, client.udp(&octets(number, question, size)));
            if message.metadata.truncation {
                cut += 1;
                continue;
            }
            let answer = Answer::of(&message, question.rtype == 255);
            // Glue that a referral can do without may be left out.
            let whole = Answer { glue: &whole.glue & &answer.glue, ..whole.clone() };
            assert_eq!(answer, whole, "{question} within {size} octets");
        }
    }
    assert!(cut > 100, "only {cut} answers were cut");
    println!("{cut} of {} answers over UDP were cut", 2 * questions.len());
}

#[test]
fn answers_with_nsec_are_those_of_others() {
    compare(Denial::Nsec);
}

#[test]
fn answers_with_nsec3_are_those_of_others() {
    compare(Denial::Nsec3);
}

#[test]
fn answers_with_opt_out_are_those_of_others() {
    compare(Denial::OptOut);
}

/// A name of each kind, a type, and what a validator has to say of it.
const SAMPLES: [(&str, &str, &str); 17] = [
    ("www.example", "A", "fully validated"),
    ("example", "DNSKEY", "fully validated"),
    ("alias3.example", "A", "fully validated"),
    ("x.old.example", "A", "fully validated"),
    ("q.wild.example", "A", "fully validated"),
    ("q.cname.example", "A", "fully validated"),
    ("q.wild.example", "TXT", "negative response, fully validated"),
    ("www.example", "SRV", "negative response, fully validated"),
    ("b.c.example", "A", "negative response, fully validated"),
    ("nope.example", "A", "negative response, fully validated"),
    ("a.b.c.d.nope.example", "A", "negative response, fully validated"),
    ("nods.example", "DS", "negative response, fully validated"),
    ("child.example", "DS", "fully validated"),
    ("sub.example", "DS", "negative response, fully validated"),
    ("w.child.example", "A", "fully validated"),
    ("q.w.child.example", "AAAA", "fully validated"),
    ("nope.child.example", "A", "negative response, fully validated"),
];

#[test]
fn delv_validates_answers_of_every_kind() {
    let Some(delv) = installed("delv") else { return };
    for denial in Denial::ALL {
        let Some(servers) = servers(denial) else { return };
        let anchor = servers.scratch.write("anchor", &servers.parent.anchor);
        for (name, rtype, expect) in SAMPLES {
            let mut ask = Command::new(&delv);
            ask.arg(format!("@{}", servers.ours.ip())).args(["-p", &servers.ours.port().to_string(), "-a"]).arg(&anchor);
            let output = ask.args([&format!("+root={}", servers.parent.name), name, rtype]).output().expect("delv");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            // Behind an opt-out span an absence is not proved, only that nothing signed is there (RFC 5155 section 9.2).
            let unproved = denial == Denial::OptOut && said.contains("unsigned answer");
            let verdict = format!("; {expect}\n");
            assert!(
                said.starts_with(&verdict) || said.contains(&format!("\n{verdict}")) || unproved,
                "{denial:?} {name} {rtype}: {said}"
            );
        }
    }
}
