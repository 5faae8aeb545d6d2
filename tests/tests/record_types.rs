//! One record of every type that has a text form, and `$GENERATE`: what we make of a zone file against what BIND makes of it.
//!
//! BIND alone judges, since it alone reads all of these types from text.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::answer::Answer;
use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::Octets;
use farm_tests::peer::{Kind, Peer};
use farm_tests::question::{Question, labels};

const ZONE: &str = include_str!("../zones/types.zone");

/// Owners and types of the file's records, the types from the comments, and of those that its directives make.
fn questions() -> Vec<Question> {
    let origin = labels("types.example.", &Vec::new());
    let words = |line: &'static str| line.split_ascii_whitespace().collect::<Vec<_>>();
    let written = ZONE.lines().map(words).filter_map(|words| match words[..] {
        [owner, .., ";", number] if !owner.starts_with(['$', ';']) => {
            Some((owner, number.parse().expect("a type's number")))
        }
        _ => None,
    });
    let made = [("host-1", 1), ("host-3", 1), ("host-4", 1), ("0.1.0.0.rev", 12), ("0.3.0.0.rev", 12)];
    written.chain(made).map(|(owner, rtype)| Question { name: labels(owner, &origin), rtype }).collect()
}

#[test]
fn every_type_is_read_as_others_read_it() {
    let scratch = Scratch::new("types");
    let file = scratch.write("types.zone", ZONE);
    let zones = [("types.example", file.as_path())];
    let Some(peer) = Peer::start(Kind::Bind, &scratch, &zones) else { return };
    let daemon = Daemon::serve_dns(&scratch, &zones);
    let questions = questions();
    assert!(questions.len() > 55, "{}", questions.len());
    for question in questions {
        let [ours, theirs] = [daemon.port("dns"), peer.addr].map(|server| {
            let octets = Octets::to(server).unwrap().udp(&question.octets(1, Some(1_232))).expect("an answer");
            Answer::read(&octets).unwrap_or_else(|e| panic!("{question}: {e}"))
        });
        assert_eq!(ours, theirs, "type {}: {question}", question.rtype);
    }
}
