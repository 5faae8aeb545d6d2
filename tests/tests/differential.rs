//! Our answers against those of Knot, NSD and BIND for the same two zones: every owner and its neighbours, all types, with and
//! without EDNS, over UDP and TCP.
//!
//! The rule: an answer of ours equals Knot's or that of two peers. What differs for a reason stands in [`EXCEPTIONS`]; an
//! exception that no longer occurs fails the test too, so the table never says more than is true.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::answer::Answer;
use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::Octets;
use farm_tests::peer::{Kind, Peer, skipped};
use farm_tests::question::{Question, TYPES, labels, neighbourhood, owners, text};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

const PARENT: &str = include_str!("../zones/parent.zone");
const CHILD: &str = include_str!("../zones/child.zone");

/// Differences that are meant: the names they concern, by their end, and why.
const EXCEPTIONS: [Exception; 3] = [
    Exception {
        names: &["back.child.example.", "nx.child.example.", "tochild.example.", "tochild2.example."],
        below: false,
        types: None,
        why: "an alias into another zone of ours is followed there (RFC 1034 section 4.3.2 step 3a: start over, with all zones), as \
              NSD does; Knot and BIND stop at the zone's edge",
    },
    Exception {
        names: &["old.example.", "dchain.example."],
        below: true,
        types: Some(255),
        why: "the CNAME made of a DNAME is itself an answer to ANY (RFC 1034 section 4.3.2 step 3a, RFC 8482 section 4.1), as BIND \
              has it; Knot and NSD go on and deny the name behind it",
    },
    Exception {
        names: &["dloop.example."],
        below: true,
        types: None,
        why: "a DNAME that leads below itself never ends; we stop after one step, as NSD does, Knot after a few, and BIND with SERVFAIL",
    },
];

/// Questions whose answers may differ.
struct Exception {
    names: &'static [&'static str],
    /// Whether it speaks of what is below the names, else of the names themselves.
    below: bool,
    /// The one type that it speaks of, else all.
    types: Option<u16>,
    why: &'static str,
}

impl Exception {
    /// The name of it that covers a question.
    fn covers(&self, question: &Question) -> Option<&'static str> {
        let name = text(&question.name);
        let is_below = |end: &str| name.strip_suffix(end).is_some_and(|front| front.ends_with('.'));
        let covers = |end: &str| if self.below { is_below(end) } else { name == end };
        let of_type = self.types.is_none_or(|rtype| rtype == question.rtype);
        self.names.iter().copied().find(|end| of_type && covers(end))
    }
}

/// Ours and the peers that are installed.
struct Servers {
    ours: SocketAddr,
    peers: Vec<Peer>,
    _daemon: Daemon,
    _scratch: Scratch,
}

/// `None`, said loudly, if too few peers are installed to judge by.
fn servers() -> Option<Servers> {
    let scratch = Scratch::new("differential");
    let parent = scratch.write("parent.zone", PARENT);
    let child = scratch.write("child.zone", CHILD);
    let zones = [("example", parent.as_path()), ("child.example", child.as_path())];
    let peers: Vec<Peer> = Kind::ALL.into_iter().filter_map(|kind| Peer::start(kind, &scratch, &zones)).collect();
    if peers.len() < 2 && peers.iter().all(|peer| peer.kind != Kind::Knot) {
        skipped("neither Knot nor two other name servers to compare with");
        return None;
    }
    let daemon = Daemon::serve_dns(&scratch, &zones);
    Some(Servers { ours: daemon.port("dns"), peers, _daemon: daemon, _scratch: scratch })
}

/// Whether what we said is what others say.
fn agrees<T: PartialEq>(ours: &T, peers: &[(Kind, T)]) -> bool {
    let same = peers.iter().filter(|(_, theirs)| theirs == ours);
    same.clone().any(|(kind, _)| *kind == Kind::Knot) || same.count() >= 2
}

fn ask_all(server: SocketAddr, questions: &[Question], edns: Option<u16>) -> Vec<Answer> {
    let client = Octets::to(server).expect("a socket");
    let ask = |(number, question): (usize, &Question)| {
        let octets =
            client.udp(&question.octets(number as u16, edns)).unwrap_or_else(|| panic!("{server} is silent: {question}"));
        Answer::read(&octets).unwrap_or_else(|e| panic!("{server}, {question}: {e}"))
    };
    questions.iter().enumerate().map(ask).collect()
}

fn ask_over_tcp(server: SocketAddr, questions: &[Question]) -> Vec<Answer> {
    let mut client = Octets::to(server).expect("a socket");
    let mut ask = |(number, question): (usize, &Question)| {
        let octets = client.tcp(&question.octets(number as u16, Some(1_232)));
        let octets = octets.unwrap_or_else(|| panic!("{server} is silent over TCP: {question}"));
        Answer::read(&octets).unwrap_or_else(|e| panic!("{server}, {question}: {e}"))
    };
    questions.iter().enumerate().map(&mut ask).collect()
}

fn questions() -> Vec<Question> {
    let mut names = neighbourhood(&(&owners(PARENT) | &owners(CHILD)));
    for more in ["com.", "xexample.", "y.old.example.", "a.b.c.old.example.", "nope.old.example.", "www.dout.example."] {
        names.insert(labels(more, &Vec::new()));
    }
    // One octet more than fits once the DNAME has done its work (RFC 6672 section 2.3), and the longest that fits.
    for last in [49, 50] {
        let long =
            [vec![b'l'; 60], vec![b'l'; 60], vec![b'l'; 60], vec![b'm'; last]].map(|l| String::from_utf8(l).expect("text"));
        names.insert(labels(&format!("{}.dchain.example.", long.join(".")), &Vec::new()));
    }
    names.into_iter().flat_map(|name| TYPES.map(|(_, rtype)| Question { name: name.clone(), rtype })).collect()
}

#[test]
fn every_question_has_the_answer_that_others_give() {
    let Some(servers) = servers() else { return };
    let questions = questions();
    let mut hits = BTreeMap::new();
    let mut problems = Vec::new();
    let mut truncated = BTreeSet::new();
    for edns in [None, Some(1_232)] {
        let ours = ask_all(servers.ours, &questions, edns);
        let theirs: Vec<(Kind, Vec<Answer>)> =
            servers.peers.iter().map(|peer| (peer.kind, ask_all(peer.addr, &questions, edns))).collect();
        for (at, (question, ours)) in questions.iter().zip(&ours).enumerate() {
            let theirs: Vec<(Kind, &Answer)> = theirs.iter().map(|(kind, all)| (*kind, &all[at])).collect();
            // Who truncates leaves out what it likes: that others do is all that can be compared here.
            let of_others: Vec<(Kind, bool)> = theirs.iter().map(|(kind, answer)| (*kind, answer.truncated)).collect();
            if edns.is_none() && ours.truncated && agrees(&true, &of_others) {
                truncated.insert(question.clone());
                continue;
            }
            judge(question, ours, &theirs, &mut hits, &mut problems);
        }
        println!("{} questions with EDNS {edns:?} to {} peers", questions.len(), servers.peers.len());
    }
    // Over TCP we say what we say over UDP; and what did not fit there is compared here.
    let tcp = ask_over_tcp(servers.ours, &questions);
    let udp = ask_all(servers.ours, &questions, Some(1_232));
    for ((question, tcp), udp) in questions.iter().zip(&tcp).zip(&udp) {
        if udp.truncated {
            truncated.insert(question.clone());
        } else if tcp != udp {
            problems.push(format!("{question} over TCP\n  {tcp:?}\n  UDP {udp:?}"));
        }
    }
    let of_truncated = questions.iter().zip(tcp).filter(|(question, _)| truncated.contains(question));
    let (questions, ours): (Vec<Question>, Vec<Answer>) =
        of_truncated.map(|(question, tcp)| (question.clone(), tcp)).unzip();
    assert!(questions.len() > 2, "nothing was truncated");
    let theirs: Vec<_> = servers.peers.iter().map(|peer| (peer.kind, ask_over_tcp(peer.addr, &questions))).collect();
    for (at, (question, ours)) in questions.iter().zip(&ours).enumerate() {
        let theirs: Vec<(Kind, &Answer)> = theirs.iter().map(|(kind, all)| (*kind, &all[at])).collect();
        judge(question, ours, &theirs, &mut hits, &mut problems);
    }
    println!("{} of them over TCP, because they were truncated", questions.len());
    let headings: Vec<_> = problems.iter().filter_map(|problem| problem.lines().next()).collect();
    let shown = problems.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(
        problems.is_empty(),
        "{} differences: {}\n{shown}",
        problems.len(),
        headings[..headings.len().min(100)].join(", ")
    );
    let complete = servers.peers.len() == Kind::ALL.len();
    for (at, exception) in EXCEPTIONS.iter().enumerate().filter(|_| complete) {
        for name in exception.names {
            assert!(hits.contains_key(&(at, *name)), "{name} is an exception no more: {}", exception.why);
        }
    }
}

fn judge(
    question: &Question,
    ours: &Answer,
    theirs: &[(Kind, &Answer)],
    hits: &mut BTreeMap<(usize, &'static str), usize>,
    problems: &mut Vec<String>,
) {
    if agrees(&ours, theirs) {
        return;
    }
    let excused = EXCEPTIONS.iter().enumerate().find_map(|(at, exception)| Some((at, exception.covers(question)?)));
    match excused {
        Some(key) => *hits.entry(key).or_default() += 1,
        None => problems.push(format!("{question}\n  ours {ours:?}\n  {}", shown(theirs))),
    }
}

fn shown<T: std::fmt::Debug>(theirs: &[(Kind, T)]) -> String {
    theirs.iter().map(|(kind, theirs)| format!("{kind:?} {theirs:?}")).collect::<Vec<_>>().join("\n  ")
}
