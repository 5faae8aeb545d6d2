//! Our answers against those of Knot, NSD and BIND for some 250 small zones: hand-written ones (`tests/zones/cases`), each about a
//! section of an RFC, and those of a seeded grammar; all of them plain, and some signed with DO.
//!
//! With `FARM_RECORD=FOLDER` the zones, questions and our answers are written there once they were found right: what
//! `tests/mutants/run` judges changed code by.
//!
//! The rule: where two of the peers agree, our answer is theirs; where no two agree, it is that of one of them. What differs for a
//! reason is explained beside its zone, with the RFC that decides; an explanation that explains nothing fails the test too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::answer::{Answer, additional};
use farm_tests::cases::{self, Case};
use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::Octets;
use farm_tests::grammar;
use farm_tests::many;
use farm_tests::peer::{Kind, Peer, skipped};
use farm_tests::question::{Labels, Question, neighbourhood, owners};
use farm_tests::signing::{Denial, sign};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The seed and number of the generated zones.
const GENERATED: (u64, u64) = (4, 120);

/// How many of them are signed too.
const SIGNED_GENERATED: u64 = 30;

/// Types that every name is asked for, beside those of its zone: one that is nowhere too.
const TYPES: [u16; 7] = [1, 2, 5, 16, 43, 255, 65_290];

/// Zones that BIND's tools do not sign, or write as Knot does not read it: DS records of no delegation, and octets that need quotes;
/// and one whose plain answers differ.
const UNSIGNED: [&str; 4] = ["w-ds.example", "o-sort.example", "o-quote.example", "w-cname-self.example"];

/// Settings of BIND that let it load what other servers load.
const LENIENT: &str = "check-integrity no; check-mx-cname ignore; check-srv-cname ignore; check-sibling no;";

/// Differences that are meant wherever they come up.
/// The type code of NSEC.
const NSEC: u16 = 47;

const ANY: Rule = Rule {
    why: "the CNAME record made of a DNAME record is itself an answer to ANY (RFC 1034 section 4.3.2 step 3a, RFC 8482 section 4.1), as \
          BIND has it; Knot and NSD go on and deny the name behind it",
    holds: |question, ours, theirs, _| {
        let as_bind = theirs.iter().any(|(kind, answer)| *kind == Kind::Bind && *answer == ours);
        question.rtype == 255 && as_bind && !ours.answers.is_empty()
    },
};

const MADE_GLUE: Rule = Rule {
    why: "the address of a server that only a wildcard covers is no glue (RFC 9471 section 2), and who needs it asks for it; Knot and NSD \
          make it (RFC 4592 section 3.1 speaks of answers alone), BIND leaves it out",
    holds: |question, ours, theirs, owners| {
        let but_glue = |theirs: &Answer| Answer { glue: ours.glue.clone(), ..theirs.clone() } == *ours;
        let is_made = |record: &String| !owners.contains(record.split('.').next().unwrap_or_default());
        // BIND answers for NSEC at a cut itself; the others refer, as we do.
        let apart = |kind: Kind| kind == Kind::Bind && question.rtype == NSEC;
        theirs.iter().any(|(kind, answer)| *kind == Kind::Bind && (answer == &ours || apart(*kind)))
            && theirs
                .iter()
                .filter(|(kind, _)| !apart(*kind))
                .all(|(_, theirs)| but_glue(theirs) && theirs.glue.difference(&ours.glue).all(is_made))
    },
};

const TWICE: Rule = Rule {
    why: "no record comes twice (RFC 2181 section 5): the alias that a wildcard makes to the very name that was asked for",
    holds: |_, ours, theirs, _| {
        let twice = |theirs: &Answer| theirs.answers.iter().any(|record| record.ends_with(" again"));
        let once = |theirs: &Answer| {
            let answers = theirs.answers.iter().filter(|record| !record.ends_with(" again")).cloned().collect();
            Answer { answers, ..theirs.clone() }
        };
        theirs.iter().filter(|(_, theirs)| twice(theirs) && once(theirs) == *ours).count() >= 2
    },
};

/// Why the addresses beside an answer may be others than the majority's.
const ADDED_SVCB: &str = "the addresses of the targets of SVCB and HTTPS records belong there (RFC 9460 section 4.1), as BIND has it; Knot \
                          3.2 and NSD 4.6 do not know of it";
const ADDED_MADE: &str = "addresses that only a wildcard makes are not added: what is added is what is useful and at hand (RFC 1034 section \
                          4.3.2 step 6), and who needs them asks; the others make them";

/// Those of plain zones.
const PLAIN: [Rule; 3] = [ANY, MADE_GLUE, TWICE];

/// Those of signed zones.
const SIGNED: [Rule; 3] = [
    ANY,
    MADE_GLUE,
    Rule {
        why: "the wildcard that covers the name is an empty non-terminal: that it has no data is proved as well (RFC 4035 section 3.1.3.4), as NSD \
          does; BIND and Knot leave it at the proof that the name does not exist",
        holds: |_, ours, theirs, _| {
            let is_less = |theirs: &Answer| {
                let authority = ours.authority.clone();
                Answer { authority, ..theirs.clone() } == *ours && theirs.authority.is_subset(&ours.authority)
            };
            ours.rcode == 0
                && theirs.iter().all(|(kind, theirs)| match kind {
                    Kind::Nsd => *theirs == ours,
                    _ => is_less(theirs),
                })
        },
    },
];

type Holds = fn(&Question, &Answer, &[(Kind, &Answer)], &BTreeSet<String>) -> bool;

/// A difference by what it looks like.
struct Rule {
    /// The RFC that decides.
    why: &'static str,
    /// Whether it is this: the question, our answer, those of others, and the first labels of all owners.
    holds: Holds,
}

/// Zones, their files, and how they are asked for.
struct Suite {
    name: &'static str,
    cases: Vec<Case>,
    files: Vec<PathBuf>,
    dnssec: bool,
    /// Types that every name is asked for.
    types: Vec<u16>,
    rules: &'static [Rule],
}

/// Ours and the peers, each with all zones.
struct Servers {
    ours: SocketAddr,
    peers: Vec<Peer>,
    _daemon: Daemon,
}

impl Suite {
    fn start(&self, scratch: &Scratch) -> Option<Servers> {
        let names = self.cases.iter().map(|case| case.name.as_str());
        let zones: Vec<(&str, &Path)> = names.zip(self.files.iter().map(PathBuf::as_path)).collect();
        let start = |kind| Peer::start_with(kind, scratch, &zones, if kind == Kind::Bind { LENIENT } else { "" });
        let peers: Vec<Peer> = Kind::ALL.into_iter().filter_map(start).collect();
        if peers.len() < 3 {
            skipped("not all of Knot, NSD and BIND are there, and fewer have no majority");
            return None;
        }
        let daemon = Daemon::serve_dns(scratch, &zones);
        Some(Servers { ours: daemon.port("dns"), peers, _daemon: daemon })
    }

    fn questions(&self) -> BTreeSet<Question> {
        let of_case = |case: &Case| {
            let types: BTreeSet<u16> = case.types().into_iter().chain(self.types.iter().copied()).collect();
            let ask = |name: &Labels| types.iter().map(|&rtype| Question { name: name.clone(), rtype }).collect::<Vec<_>>();
            neighbourhood(&owners(&case.zone)).iter().flat_map(ask).collect::<Vec<_>>()
        };
        self.cases.iter().flat_map(of_case).collect()
    }

    fn query(&self, question: &Question) -> Vec<u8> {
        let mut query = question.octets(0, Some(1_232));
        let flags = query.len() - 4;
        query[flags] = if self.dnssec { 0x80 } else { 0 };
        query
    }

    /// Asks all servers everything and compares.
    fn compare(&self, scratch: &Scratch) {
        let Some(servers) = self.start(scratch) else { return };
        let began = Instant::now();
        let questions: Vec<Question> = self.questions().into_iter().collect();
        let queries: Vec<Vec<u8>> = questions.iter().map(|question| self.query(question)).collect();
        let addrs: Vec<SocketAddr> = servers.peers.iter().map(|peer| peer.addr).chain([servers.ours]).collect();
        let (mut all, mut added): (Vec<Vec<Answer>>, Vec<Vec<Added>>) = std::thread::scope(|scope| {
            let asked: Vec<_> = addrs.iter().map(|addr| scope.spawn(|| answers(*addr, &queries))).collect();
            asked.into_iter().map(|thread| thread.join().expect("answers")).unzip()
        });
        let over_udp = all.last().cloned().expect("ours");
        let truncated = truncated_over_tcp(&addrs, &queries, &mut all);
        let ours = all.pop().expect("ours");
        let ours_added = added.pop().expect("ours");
        println!("{}: {} questions for {} zones", self.name, questions.len(), self.cases.len());
        println!("answered in {:?}, {truncated} of them over TCP because somebody truncated them", began.elapsed());
        let kinds = servers.peers.iter().map(|peer| peer.kind);
        let mut judge = Judge {
            suite: self,
            first_labels: first_labels(&self.cases),
            owners: owner_names(&self.cases),
            split: 0,
            added: 0,
            problems: Vec::new(),
            hits: BTreeMap::new(),
        };
        for (at, (question, ours)) in questions.iter().zip(&ours).enumerate() {
            let theirs: Vec<(Kind, &Answer)> = kinds.clone().zip(all.iter().map(|all| &all[at])).collect();
            let right = judge.judge(question, ours, &theirs);
            let theirs: Vec<(Kind, &Added)> = kinds.clone().zip(added.iter().map(|added| &added[at])).collect();
            if right {
                judge.judge_added(question, &ours_added[at], &theirs);
            }
        }
        judge.end();
        // Over TCP we say what we say over UDP.
        let sample = (0..queries.len()).step_by(101).filter(|at| !over_udp[*at].truncated);
        let mut client = Octets::to(servers.ours).expect("a socket");
        for at in sample {
            let octets = client.tcp(&queries[at]).unwrap_or_else(|| panic!("silent over TCP: {}", questions[at]));
            assert_eq!(Answer::read(&octets).as_ref(), Ok(&over_udp[at]), "{} over TCP", questions[at]);
        }
        if let Some(folder) = std::env::var_os("FARM_RECORD") {
            self.record(&PathBuf::from(folder).join(self.name), &queries, &over_udp);
        }
    }

    fn record(&self, folder: &Path, queries: &[Vec<u8>], ours: &[Answer]) {
        std::fs::create_dir_all(folder).expect("a folder");
        for (case, file) in self.cases.iter().zip(&self.files) {
            std::fs::copy(file, folder.join(format!("{}.zone", case.name))).expect("a copy of the zone");
        }
        let line =
            |(query, answer): (&Vec<u8>, &Answer)| format!("{} {:016x}\n", farm_shared::hex::encode(query), answer.digest());
        let lines: String = queries.iter().zip(ours).map(line).collect();
        std::fs::write(folder.join("answers"), lines).expect("the answers recorded");
    }
}

/// What came of the comparison so far.
struct Judge<'a> {
    suite: &'a Suite,
    first_labels: BTreeSet<String>,
    owners: BTreeSet<String>,
    split: usize,
    /// Answers that bring the same addresses along as the majority's.
    added: usize,
    problems: Vec<String>,
    /// How often each reason was needed.
    hits: BTreeMap<&'a str, usize>,
}

impl<'a> Judge<'a> {
    /// Whether our answer is that of the majority.
    fn judge(&mut self, question: &Question, ours: &Answer, theirs: &[(Kind, &Answer)]) -> bool {
        let majority = majority(theirs);
        self.split += usize::from(majority.is_none());
        let right = majority.map_or_else(|| theirs.iter().any(|(_, answer)| *answer == ours), |majority| majority == ours);
        if right {
            return true;
        }
        match self.reason(question, ours, theirs) {
            Some(why) => *self.hits.entry(why).or_default() += 1,
            None => self.problems.push(format!("{question} {}\n  ours {ours:?}\n  {}", question.rtype, shown(theirs))),
        }
        false
    }

    /// The addresses beside an answer that nobody truncated: those of the majority, or with a reason.
    fn judge_added(&mut self, question: &Question, ours: &Added, theirs: &[(Kind, &Added)]) {
        if ours.is_none() || theirs.iter().any(|(_, added)| added.is_none()) {
            return;
        }
        let majority = theirs
            .iter()
            .map(|(_, added)| *added)
            .find(|added| theirs.iter().filter(|(_, other)| other == added).count() >= 2);
        if majority.map_or_else(|| theirs.iter().any(|(_, added)| *added == ours), |majority| majority == ours) {
            self.added += usize::from(ours.as_ref().is_some_and(|ours| !ours.is_empty()));
            return;
        }
        if let Some(reason) = self.reason_added(question, ours, theirs) {
            *self.hits.entry(reason).or_default() += 1;
            return;
        }
        let theirs = theirs.iter().map(|(kind, added)| format!("{kind:?} {added:?}")).collect::<Vec<_>>().join("\n  ");
        self.problems.push(format!("ADDED {question} {}\n  ours {ours:?}\n  {theirs}", question.rtype));
    }

    fn reason_added(&self, question: &Question, ours: &Added, theirs: &[(Kind, &Added)]) -> Option<&'static str> {
        let as_bind = theirs.iter().any(|(kind, added)| *kind == Kind::Bind && *added == ours);
        if [64, 65].contains(&question.rtype) && as_bind {
            return Some(ADDED_SVCB);
        }
        let ours = ours.as_ref()?;
        let is_made = |record: &String| !self.owners.contains(record.split(' ').next().unwrap_or_default());
        let is_more = |theirs: &Added| {
            theirs.as_ref().is_some_and(|theirs| ours.is_subset(theirs) && theirs.difference(ours).all(is_made))
        };
        theirs.iter().all(|(_, theirs)| is_more(theirs)).then_some(ADDED_MADE)
    }

    fn reason(&self, question: &Question, ours: &Answer, theirs: &[(Kind, &Answer)]) -> Option<&'a str> {
        let rule = self.suite.rules.iter().find(|rule| (rule.holds)(question, ours, theirs, &self.first_labels));
        let beside =
            || self.suite.cases.iter().flat_map(|case| &case.exceptions).find(|exception| exception.covers(question));
        rule.map(|rule| rule.why).or_else(|| beside().map(|exception| exception.why.as_str()))
    }

    /// Fails if something differs without a reason, or a reason was not needed.
    fn end(&self) {
        println!("{} answers bring along the addresses that those of the majority do", self.added);
        println!("{} have no two peers that agree; differences with a reason: {:#?}", self.split, self.hits);
        report(&self.problems);
        let reasons = self.suite.cases.iter().flat_map(|case| &case.exceptions).map(|exception| exception.why.as_str());
        let reasons = reasons.chain(self.suite.rules.iter().map(|rule| rule.why)).chain([ADDED_SVCB, ADDED_MADE]);
        let idle: Vec<&str> = reasons.filter(|why| !self.hits.contains_key(why)).collect();
        assert!(idle.is_empty(), "differ no more: {idle:#?}");
    }
}

/// The addresses that come along with an answer; `None` where none are looked for.
type Added = Option<BTreeSet<String>>;

fn answers(server: SocketAddr, queries: &[Vec<u8>]) -> (Vec<Answer>, Vec<Added>) {
    let read = |octets: Vec<u8>| {
        let answer = Answer::read(&octets).unwrap_or_else(|e| panic!("{server}: {e}"));
        (answer, additional(&octets))
    };
    many::ask(server, queries).into_iter().map(read).unzip()
}

/// Replaces what any server truncated by everybody's answer over TCP; returns how many questions that were.
fn truncated_over_tcp(addrs: &[SocketAddr], queries: &[Vec<u8>], all: &mut [Vec<Answer>]) -> usize {
    let is_cut = |at: &usize| all.iter().any(|answers| answers[*at].truncated);
    let cut: Vec<usize> = (0..queries.len()).filter(is_cut).collect();
    for (addr, answers) in addrs.iter().zip(all) {
        let mut client = Octets::to(*addr).expect("a socket");
        for &at in &cut {
            let octets = client.tcp(&queries[at]).unwrap_or_else(|| panic!("{addr} is silent over TCP"));
            answers[at] = Answer::read(&octets).unwrap_or_else(|e| panic!("{addr}: {e}"));
        }
    }
    cut.len()
}

/// Of two or more equal answers, the one; whether there is one.
fn majority<'a>(theirs: &[(Kind, &'a Answer)]) -> Option<&'a Answer> {
    theirs.iter().map(|(_, answer)| *answer).find(|answer| theirs.iter().filter(|(_, other)| other == answer).count() >= 2)
}

#[test]
fn plain_zones_are_answered_as_the_majority_of_others_does() {
    let scratch = Scratch::new("differential-plain");
    let cases: Vec<Case> = cases::all().into_iter().chain(grammar::zones(GENERATED.0, GENERATED.1)).collect();
    assert!(cases.len() >= 150, "{} zones", cases.len());
    let files = cases.iter().map(|case| scratch.write(&format!("{}.zone", case.name), &case.zone)).collect();
    Suite { name: "plain", cases, files, dnssec: false, types: TYPES.to_vec(), rules: &PLAIN }.compare(&scratch);
}

#[test]
fn signed_zones_are_answered_as_the_majority_of_others_does() {
    let scratch = Scratch::new("differential-signed");
    // Where plain answers differ, signed ones do too; and zones inside others are signed in tests/signed.rs.
    let mut cases: Vec<Case> = cases::all().into_iter().chain(grammar::zones(GENERATED.0, SIGNED_GENERATED)).collect();
    cases.retain(|case| {
        case.exceptions.is_empty() && case.name.matches('.').count() == 1 && !UNSIGNED.contains(&case.name.as_str())
    });
    let mut denials: Vec<Denial> = [Denial::Nsec, Denial::Nsec3].into_iter().cycle().take(cases.len()).collect();
    // What a referral proves depends on how absence is proved: each of these is signed in all ways.
    let secure: Vec<Case> = cases.iter().filter(|case| case.name.starts_with("ds-")).cloned().collect();
    assert!(!secure.is_empty());
    for (number, denial) in Denial::ALL.into_iter().enumerate() {
        cases.extend(secure.iter().map(|case| case.renamed(&format!("{number}-{}", case.name))));
        denials.extend(secure.iter().map(|_| denial));
    }
    let sign = |(&denial, case): (&Denial, &Case)| {
        let file = scratch.write(&format!("{}.zone", case.name), &case.zone);
        Some(sign(&scratch, &case.name, &file, denial)?.file)
    };
    let Some(files) = denials.iter().zip(&cases).map(sign).collect() else { return };
    let types = TYPES.into_iter().chain([47, 48]).collect();
    Suite { name: "signed", cases, files, dnssec: true, types, rules: &SIGNED }.compare(&scratch);
}

/// What is written in the zones, in lower case with the last dot.
fn owner_names(cases: &[Case]) -> BTreeSet<String> {
    let shown = |owner: Labels| {
        let labels = owner.iter().map(|label| String::from_utf8_lossy(label).to_lowercase() + ".");
        labels.collect::<String>()
    };
    cases.iter().flat_map(|case| owners(&case.zone)).map(shown).collect()
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
