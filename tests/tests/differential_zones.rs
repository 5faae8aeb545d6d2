//! Our answers against those of Knot, NSD and BIND for some 250 small zones: hand-written ones (`tests/zones/cases`), each about a
//! section of an RFC, and those of a seeded grammar; all of them plain, and some signed with DO.
//!
//! The rule: where two of the peers agree, our answer is theirs; where no two agree, it is that of one of them. What differs for a
//! reason is explained beside its zone, with the RFC that decides; an explanation that explains nothing fails the test too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::answer::Answer;
use farm_tests::cases::{self, Case};
use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::grammar;
use farm_tests::many;
use farm_tests::peer::{Kind, Peer, skipped};
use farm_tests::question::{Question, neighbourhood, owners};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The seed and number of the generated zones.
const GENERATED: (u64, u64) = (4, 120);

/// Types that every name is asked for, beside those of its zone: one that is nowhere too.
const TYPES: [u16; 7] = [1, 2, 5, 16, 43, 255, 65_290];

/// Settings of BIND that let it load what other servers load.
const LENIENT: &str = "check-integrity no; check-mx-cname ignore; check-srv-cname ignore; check-sibling no;";

/// Differences that are meant wherever they come up.
const RULES: [Rule; 3] = [
    Rule {
        why: "the CNAME record made of a DNAME record is itself an answer to ANY (RFC 1034 section 4.3.2 step 3a, RFC 8482 section 4.1), as \
              BIND has it; Knot and NSD go on and deny the name behind it",
        holds: |question, ours, theirs, _| {
            let as_bind = theirs.iter().any(|(kind, answer)| *kind == Kind::Bind && *answer == ours);
            question.rtype == 255 && as_bind && !ours.answers.is_empty()
        },
    },
    Rule {
        why: "the address of a server that only a wildcard covers is no glue (RFC 9471 section 2), and who needs it asks for it; Knot and NSD \
              make it (RFC 4592 section 3.1 speaks of answers alone), BIND leaves it out",
        holds: |_, ours, theirs, owners| {
            let but_glue = |theirs: &Answer| Answer { glue: ours.glue.clone(), ..theirs.clone() } == *ours;
            let is_made = |record: &String| !owners.contains(record.split('.').next().unwrap_or_default());
            theirs.iter().any(|(kind, answer)| *kind == Kind::Bind && but_glue(answer) && answer.glue == ours.glue)
                && theirs.iter().all(|(_, theirs)| but_glue(theirs) && theirs.glue.difference(&ours.glue).all(is_made))
        },
    },
    Rule {
        why: "no record comes twice (RFC 2181 section 5): the alias that a wildcard makes to the very name that was asked for",
        holds: |_, ours, theirs, _| {
            let twice = |theirs: &Answer| theirs.answers.iter().any(|record| record.ends_with(" again"));
            let once = |theirs: &Answer| {
                let answers = theirs.answers.iter().filter(|record| !record.ends_with(" again")).cloned().collect();
                Answer { answers, ..theirs.clone() }
            };
            theirs.iter().filter(|(_, theirs)| twice(theirs) && once(theirs) == *ours).count() >= 2
        },
    },
];

/// A difference by what it looks like.
struct Rule {
    /// The RFC that decides.
    why: &'static str,
    /// Whether it is this: the question, our answer, those of others, and the first labels of all owners.
    holds: fn(&Question, &Answer, &[(Kind, &Answer)], &BTreeSet<String>) -> bool,
}

/// Ours and the peers, each with all zones.
struct Servers {
    ours: SocketAddr,
    peers: Vec<Peer>,
    _daemon: Daemon,
    _scratch: Scratch,
}

fn servers(cases: &[Case]) -> Option<Servers> {
    let scratch = Scratch::new("differential-zones");
    let files: Vec<PathBuf> = cases.iter().map(|case| scratch.write(&format!("{}.zone", case.name), &case.zone)).collect();
    let zones: Vec<(&str, &Path)> =
        cases.iter().zip(&files).map(|(case, file)| (case.name.as_str(), file.as_path())).collect();
    let start = |kind| Peer::start_with(kind, &scratch, &zones, if kind == Kind::Bind { LENIENT } else { "" });
    let peers: Vec<Peer> = Kind::ALL.into_iter().filter_map(start).collect();
    if peers.len() < 3 {
        skipped("not all of Knot, NSD and BIND are there, and fewer have no majority");
        return None;
    }
    let daemon = Daemon::serve_dns(&scratch, &zones);
    Some(Servers { ours: daemon.port("dns"), peers, _daemon: daemon, _scratch: scratch })
}

fn questions(cases: &[Case]) -> BTreeSet<Question> {
    let of_case = |case: &Case| {
        let types: BTreeSet<u16> = case.types().into_iter().chain(TYPES).collect();
        let names = neighbourhood(&owners(&case.zone));
        names
            .into_iter()
            .flat_map(move |name| types.iter().map(move |&rtype| Question { name: name.clone(), rtype }).collect::<Vec<_>>())
    };
    cases.iter().flat_map(of_case).collect()
}

fn answers(server: SocketAddr, queries: &[Vec<u8>]) -> Vec<Answer> {
    let read = |octets: Vec<u8>| Answer::read(&octets).unwrap_or_else(|e| panic!("{server}: {e}"));
    many::ask(server, queries).into_iter().map(read).collect()
}

/// Of two or more equal answers, the one; whether there is one.
fn majority<'a>(theirs: &[(Kind, &'a Answer)]) -> Option<&'a Answer> {
    theirs.iter().map(|(_, answer)| *answer).find(|answer| theirs.iter().filter(|(_, other)| other == answer).count() >= 2)
}

#[test]
fn every_zone_is_answered_as_the_majority_of_others_does() {
    let cases: Vec<Case> = cases::all().into_iter().chain(grammar::zones(GENERATED.0, GENERATED.1)).collect();
    assert!(cases.len() >= 150, "{} zones", cases.len());
    let Some(servers) = servers(&cases) else { return };
    let began = Instant::now();
    let questions: Vec<Question> = questions(&cases).into_iter().collect();
    let queries: Vec<Vec<u8>> = questions.iter().map(|question| question.octets(0, Some(1_232))).collect();
    println!("{} questions for {} zones", questions.len(), cases.len());
    let addrs: Vec<SocketAddr> = servers.peers.iter().map(|peer| peer.addr).chain([servers.ours]).collect();
    let mut all: Vec<Vec<Answer>> = std::thread::scope(|scope| {
        let asked: Vec<_> = addrs.iter().map(|addr| scope.spawn(|| answers(*addr, &queries))).collect();
        asked.into_iter().map(|thread| thread.join().expect("answers")).collect()
    });
    let ours = all.pop().expect("ours");
    println!("answered in {:?}", began.elapsed());
    let mut problems = Vec::new();
    let mut hits: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut rule_hits = BTreeMap::new();
    let first_labels = first_labels(&cases);
    let mut split = 0;
    for (at, (question, ours)) in questions.iter().zip(&ours).enumerate() {
        let theirs: Vec<(Kind, &Answer)> =
            servers.peers.iter().map(|peer| peer.kind).zip(all.iter().map(|all| &all[at])).collect();
        let right = match majority(&theirs) {
            Some(majority) => majority == ours,
            None => {
                split += 1;
                theirs.iter().any(|(_, answer)| *answer == ours)
            }
        };
        if right {
            continue;
        }
        if let Some(rule) = RULES.iter().position(|rule| (rule.holds)(question, ours, &theirs, &first_labels)) {
            *rule_hits.entry(rule).or_insert(0) += 1;
            continue;
        }
        let excused = cases.iter().enumerate().find_map(|(number, case)| {
            Some((number, case.exceptions.iter().position(|exception| exception.covers(question))?))
        });
        match excused {
            Some(key) => *hits.entry(key).or_default() += 1,
            None => problems.push(format!("{question} {}\n  ours {ours:?}\n  {}", question.rtype, shown(&theirs))),
        }
    }
    println!("{} have no two peers that agree; {} differ for a reason", split, hits.values().sum::<usize>());
    report(&problems);
    for (at, rule) in RULES.iter().enumerate() {
        println!("{} answers: {}", rule_hits.get(&at).copied().unwrap_or(0), rule.why);
        assert!(rule_hits.contains_key(&at), "differs no more: {}", rule.why);
    }
    let every = cases.iter().enumerate().flat_map(|(number, case)| {
        case.exceptions.iter().enumerate().map(move |(at, exception)| ((number, at), &case.name, &exception.why))
    });
    let idle: Vec<_> =
        every.filter(|(key, ..)| !hits.contains_key(key)).map(|(_, zone, why)| format!("{zone}: {why}")).collect();
    assert!(idle.is_empty(), "differ no more:\n{}", idle.join("\n"));
}

/// The first labels of what is written in the zones, in lower case.
fn first_labels(cases: &[Case]) -> BTreeSet<String> {
    let owners = cases.iter().flat_map(|case| owners(&case.zone));
    owners.filter_map(|owner| Some(String::from_utf8_lossy(owner.first()?).to_lowercase())).collect()
}

fn report(problems: &[String]) {
    let headings: Vec<_> = problems.iter().filter_map(|problem| problem.lines().next()).collect();
    let shown = problems.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} differ: {}\n{shown}", problems.len(), headings[..headings.len().min(200)].join(", "));
}

fn shown(theirs: &[(Kind, &Answer)]) -> String {
    theirs.iter().map(|(kind, theirs)| format!("{kind:?} {theirs:?}")).collect::<Vec<_>>().join("\n  ")
}
