//! Answers at the edge of what a datagram holds, through real sockets: 2,200 addresses in one RRset (more than the largest farm of the
//! paper had to name), the fall-back to TCP, and the letter case of the question.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::{self, Octets};
use farm_tests::peer::installed;
use farm_tests::question::{Question, labels};
use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;

const COUNT: u32 = 2_200;

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number)
}

fn serve(scratch: &Scratch) -> Daemon {
    let mut zone = "$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
    for number in 0..COUNT {
        writeln!(zone, "all A {}", address(number)).expect("a string");
    }
    let file = scratch.write("big.zone", &zone);
    Daemon::serve_dns(scratch, &[("big.example", &file)])
}

#[test]
fn two_thousand_two_hundred_addresses() {
    let scratch = Scratch::new("big");
    let daemon = serve(&scratch);
    let server = daemon.port("dns");
    let everybody: BTreeSet<String> = (0..COUNT).map(|number| address(number).to_string()).collect();

    for size in [None, Some(512), Some(1_232), Some(4_096), Some(65_535)] {
        let mut query = dns::query("all.big.example.", RecordType::A);
        query.edns = size.map(|size| {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns
        });
        let udp = dns::udp(server, &query).expect("an answer over UDP");
        assert!(udp.metadata.truncation && udp.metadata.authoritative, "{size:?}: {udp}");
        assert!(udp.answers.is_empty(), "no part of an RRset");
        assert_eq!(udp.edns.is_some(), size.is_some(), "OPT stays in a truncated answer");
        assert_eq!(udp.queries, query.queries);

        let tcp = dns::tcp(server, &query).expect("an answer over TCP");
        assert!(!tcp.metadata.truncation);
        let (addresses, ttl) = dns::addresses(&tcp);
        assert_eq!((addresses.len(), ttl), (COUNT as usize, 60));
        assert_eq!(addresses.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), everybody);
    }

    // As an operator sees it; dig falls back to TCP by itself.
    let Some(dig) = installed("dig") else { return };
    for more in [&[][..], &["+tcp"]] {
        let output = Command::new(&dig)
            .args(["@127.0.0.1", "-p", &server.port().to_string(), "all.big.example", "A", "+short", "+tries=1"])
            .args(more)
            .output()
            .expect("dig");
        let lines = String::from_utf8(output.stdout).expect("text");
        let found: BTreeSet<String> = lines.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect();
        assert_eq!(found, everybody, "dig {more:?}");
    }
}

#[test]
fn the_question_comes_back_octet_for_octet() {
    let scratch = Scratch::new("case");
    let daemon = serve(&scratch);
    let mut client = Octets::to(daemon.port("dns")).expect("a socket");
    for name in
        ["nS1.bIg.ExAmPlE.", "NS1.BIG.EXAMPLE.", "aLL.big.example.", "NoPe.bIG.example.", "bIg.eXample.", "X.ELSE.test."]
    {
        let question = Question { name: labels(name, &Vec::new()), rtype: 1 };
        for edns in [None, Some(1_232)] {
            let query = question.octets(7, edns);
            let asked = &question.octets(7, None)[12..];
            for answer in [client.udp(&query), client.tcp(&query)] {
                let answer = answer.expect("an answer");
                assert_eq!(answer.get(12..12 + asked.len()), Some(asked), "{name}");
                let message = Message::from_vec(&answer).expect("a message");
                for record in &message.answers {
                    // The owner points at the question, so a client that checks the case (draft-vixie-dnsext-dns0x20) is content.
                    assert_eq!(record.name.to_string(), name, "the owner's letter case");
                }
            }
        }
    }
}
