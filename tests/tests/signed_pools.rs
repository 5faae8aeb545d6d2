//! A zone that dnslb signs, with pools laid over it: Unbound and BIND validate every kind of answer while backends come and go, and
//! delv finds nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::dns;
use farm_tests::peer::{free_port, installed, skipped};
use farm_tests::recursor::{Kind, Recursor, Trusted};
use farm_tests::wait;
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

const ZONE: &str = "\
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 5
@ NS ns1
ns1 A 127.0.0.1
static A 192.0.2.1
alias CNAME www
*.cname CNAME www
*.wild TXT \"any\"
a.b.c TXT deep
";

/// Members of the pool: 127.0.0.21 to 127.0.0.26.
const MEMBERS: [u8; 6] = [21, 22, 23, 24, 25, 26];

/// What is asked: one of every kind of answer.
const QUESTIONS: [(&str, RecordType); 14] = [
    ("www.lb.test", RecordType::A),
    ("www.lb.test", RecordType::AAAA),
    ("www.lb.test", RecordType::TXT),
    ("x.any.lb.test", RecordType::A),
    ("y.x.any.lb.test", RecordType::A),
    ("alias.lb.test", RecordType::A),
    ("q.cname.lb.test", RecordType::A),
    ("static.lb.test", RecordType::A),
    ("static.lb.test", RecordType::AAAA),
    ("q.wild.lb.test", RecordType::TXT),
    ("q.wild.lb.test", RecordType::A),
    ("c.lb.test", RecordType::A),
    ("nope.lb.test", RecordType::A),
    ("lb.test", RecordType::DNSKEY),
];

/// Something that takes connections, and can stop.
struct Backend {
    last: u8,
    port: u16,
    listener: Option<TcpListener>,
}

impl Backend {
    fn up(&mut self) {
        self.listener = Some(TcpListener::bind(SocketAddr::from(([127, 0, 0, self.last], self.port))).unwrap());
    }
}

struct World {
    daemon: Daemon,
    trusted: Trusted,
    backends: Vec<Backend>,
    scratch: Scratch,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new("signed-pools");
        scratch.write("lb.zone", ZONE);
        let port = free_port().port();
        let mut backends: Vec<Backend> = MEMBERS.map(|last| Backend { last, port, listener: None }).into();
        backends.iter_mut().for_each(Backend::up);
        let member = |last: &u8| format!("[[pool.member]]\nname = \"m{last}\"\naddresses = [\"127.0.0.{last}\"]\n");
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n\
             [[dnssec_policy]]\nname = \"default\"\nkey_dir = \"keys\"\nmanage_keys = true\n\
             [[zone]]\nname = \"lb.test\"\nfile = \"lb.zone\"\n[zone.dnssec]\npolicy = \"default\"\n\
             [[pool]]\nname = \"www\"\npublish = [\"www.lb.test\", \"*.any.lb.test\"]\nk = 2\nttl_min = \"1s\"\nttl_max = \"5s\"\n\
             [pool.check]\nkind = \"tcp\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 2\n{}",
            MEMBERS.iter().map(member).collect::<String>()
        );
        let config = scratch.write("dnslb.toml", &config);
        let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
        let keys = scratch.path().join("keys");
        let ds = Command::new(bins().join("dnslb")).arg("ds").arg("-K").arg(&keys).arg("lb.test").output().unwrap();
        let ds = String::from_utf8(ds.stdout).unwrap();
        let words: Vec<String> = ds.lines().next().expect("a DS record").split_whitespace().map(str::to_owned).collect();
        let ds = words.last_chunk().expect("four fields of data").clone();
        let trusted = Trusted { zone: "lb.test".to_owned(), server: daemon.port("dns"), ds };
        Self { daemon, trusted, backends, scratch }
    }

    fn named(message: &Message) -> BTreeSet<u8> {
        let text = message.answers.iter().map(|record| record.data.to_string());
        text.filter_map(|data| data.strip_prefix("127.0.0.")?.parse().ok()).collect()
    }

    /// Waits until a hundred answers in a row name nobody but those who are up, and among them all of those.
    fn settled(&self) {
        let up: BTreeSet<u8> = self.backends.iter().filter(|b| b.listener.is_some()).map(|b| b.last).collect();
        wait::until("answers that name those who are up", SOON, || {
            let ask = || dns::udp(self.trusted.server, &dns::query("www.lb.test", RecordType::A)).unwrap();
            let named: BTreeSet<u8> = (0..100).flat_map(|_| Self::named(&ask())).collect();
            (named == up).then_some(())
        });
    }
}

fn is_right(kind: Kind, name: &str, rtype: RecordType, message: &Message) -> Result<(), String> {
    let rcode = u16::from(message.metadata.response_code);
    // A compact denial looks like missing data to those who do not know it (RFC 9824).
    let is_right = message.metadata.authentic_data && (rcode == 0 || (rcode == 3 && name.starts_with("nope")));
    if is_right { Ok(()) } else { Err(format!("{kind:?}: {name} {rtype}: {message:?}")) }
}

#[test]
fn recursors_validate_every_kind_of_answer_while_backends_flap() {
    let mut world = World::new();
    world.settled();
    let recursors: Vec<Recursor> = [Kind::Unbound, Kind::Bind]
        .into_iter()
        .filter_map(|kind| Recursor::start(kind, &world.scratch, &world.trusted))
        .collect();
    if recursors.is_empty() {
        skipped("no validating recursor");
        return;
    }
    let mut asked = 0;
    for round in 0..12 {
        let flapping = &mut world.backends[round % 3];
        match flapping.listener.take() {
            Some(_) => {}
            None => flapping.up(),
        }
        // While it changes and after it has.
        for settled in [false, true] {
            if settled {
                world.settled();
            }
            for recursor in &recursors {
                for (name, rtype) in QUESTIONS {
                    let message =
                        recursor.ask(name, rtype).unwrap_or_else(|e| panic!("{:?} {name} {rtype}: {e}", recursor.kind));
                    is_right(recursor.kind, name, rtype, &message).unwrap_or_else(|why| panic!("{why}\n{}", recursor.log()));
                    asked += 1;
                }
            }
        }
    }
    println!("{asked} answers of {} recursors validated", recursors.len());
    let refused = world.daemon.metric("dnslb_online_signatures_refused_total");
    assert_eq!(refused, Some(0.0), "nobody was refused a signature");
}

#[test]
fn delv_finds_nothing() {
    let world = World::new();
    world.settled();
    let Some(delv) = installed("delv") else { return };
    let [tag, algorithm, digest_type, digest] = &world.trusted.ds;
    let anchors = format!("trust-anchors {{ lb.test. static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n");
    let anchors = world.scratch.write("anchors", &anchors);
    let server: SocketAddr = world.trusted.server;
    for (name, rtype) in QUESTIONS {
        let mut ask = Command::new(&delv);
        ask.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), "-a"]).arg(&anchors);
        let output = ask.args(["+root=lb.test", name, &rtype.to_string()]).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("fully validated"), "{name} {rtype}: {said}");
    }
}
