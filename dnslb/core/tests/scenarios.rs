//! Runs every script in `scenarios/` in virtual time. Each begins with a paragraph that says which guarantee it shows.
//!
//! ```text
//! CONFIG … END                      the configuration, and ZONE … END the zone lb.example.com; the server starts at the first other command
//! HEARTBEAT id=b1 [addr=A,…] [inc=N] [seq=N] [role=door] [zone=Z] [cores=N] [busy=SHARE] [port=N] [drain_by=ID,…|none] [state=goodbye] [tombstone=ID:INC] [-> EXPECT]
//!                                   EXPECT: `refused REASON`, or any of drain= serves= ttl_left= (ms or `none`) doors= lease=
//! BEATS id,… every 1s for 10s       those members beat as they did last, while time passes
//! TIME_PASSES 3s                    nobody beats
//! CHECKS ADDR ok|fail               from now on
//! QUERY NAME TYPE [from=ADDR] [subnet=PREFIX] -> RCODE [count=N] [names=ID|ADDR,…] [ttl=N|LOW..HIGH] [scope=N] [targets=PRIORITY:NAME:PORT,…]
//!     [weights=N,…] [share=ADDR:LOW..HIGH]    300 times; `names` and `targets` are all that is ever named, a share is in percent of the answers
//! ADMIN drain|down|up|clear TARGET [why] [-> refused]
//! NOTICE KIND SUBJECT               it was logged since the last NOTICE or NOTICES none
//! STATUS POOL MEMBER -> standing=S [measured=S]
//! EXPLAIN NAME -> TEXT              the explanation, as JSON, contains the text
//! RESTART [without state]           RELOAD
//! ```
// The scripts are files, and a test may read files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod harness;

use dnslb_core::control::{AdminCommand, Effect, Event};
use farm_shared::config::parse_duration_ms;
use farm_shared::heartbeat::{Refusal, Reply, Role, State};
use farm_shared::id::Id;
use farm_shared::member::Forced;
use farm_shared::time::Wall;
use harness::{Memory, World};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

struct Script {
    place: String,
    files: Memory,
    config: String,
    world: Option<World>,
}

#[test]
fn scenarios() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "the scripts are missing");
    let mut failed = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with("# "), "{name} does not begin with what it shows");
        if std::panic::catch_unwind(|| run(&name, &text)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "see above: {failed:?}");
}

fn run(file: &str, text: &str) {
    let files = Memory(BTreeMap::from([
        ("farm.key".into(), "0123456789abcdef".repeat(4)),
        ("lb.zone".into(), include_str!("harness/lb.zone").into()),
    ]));
    let config = include_str!("harness/dnslb.toml").to_owned();
    let mut script = Script { place: String::new(), files, config, world: None };
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.split(" # ").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        script.place = format!("{file}:{}: {line}", number + 1);
        if line == "CONFIG" || line == "ZONE" {
            let block: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "END").collect();
            script.block(line, block.join("\n") + "\n");
        } else {
            script.command(line);
        }
    }
}

impl Script {
    fn block(&mut self, kind: &str, text: String) {
        if kind == "CONFIG" {
            self.config = text;
        } else {
            self.files.0.insert("lb.zone".into(), text);
        }
        if let Some(world) = &mut self.world {
            (world.config, world.files) = (self.config.clone(), self.files.clone());
        }
    }

    fn command(&mut self, line: &str) {
        let (line, expect) = line.split_once(" -> ").map_or((line, None), |(line, expect)| (line, Some(expect)));
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = self.place.clone();
        let world = self.world.get_or_insert_with(|| World::new(&self.config, self.files.clone()));
        match words[0] {
            "HEARTBEAT" => heartbeat(&place, world, &words[1..], expect),
            "BEATS" => {
                let ids: Vec<String> = words[1].split(',').map(Into::into).collect();
                world.pass(duration(words[5]), &ids, duration(words[3]));
            }
            "TIME_PASSES" => world.pass(duration(words[1]), &[], 1_000),
            "CHECKS" => {
                let addr = words[1].parse().unwrap();
                if words[2] == "fail" {
                    world.failing.insert(addr)
                } else {
                    world.failing.remove(&addr)
                };
            }
            "QUERY" => query(&place, world, &words[1..], expect.expect("an expectation")),
            "ADMIN" => {
                let force = match words[1] {
                    "drain" => Some(Forced::Drain),
                    "down" => Some(Forced::Down),
                    "up" => Some(Forced::Up),
                    "clear" => None,
                    other => panic!("{place}: {other}"),
                };
                let command =
                    AdminCommand { target: words[2].into(), force, why: words[3..].join(" "), ..AdminCommand::default() };
                let answer = world.event(Event::Admin(command)).into_iter().next();
                let Some(Effect::Answer(answer)) = answer else { panic!("{place}: {answer:?}") };
                assert_eq!(answer.is_err(), expect == Some("refused"), "{place}: {answer:?}");
            }
            "NOTICE" => {
                let notices = std::mem::take(&mut world.notices);
                let found = notices.iter().any(|n| n.kind.label() == words[1] && n.subject == words[2]);
                assert!(found, "{place}: {notices:#?}");
            }
            "NOTICES" => assert!(world.notices.is_empty(), "{place}: {:#?}", world.notices),
            "STATUS" => {
                let status = world.control.status(world.now);
                let pool = status.pools.iter().find(|p| p.name.as_str() == words[1]).expect("the pool");
                let member = pool.members.iter().find(|m| m.name.as_str() == words[2]).expect("the member");
                for (key, value) in pairs(expect.unwrap()) {
                    match key {
                        "standing" => assert_eq!(member.standing, value, "{place}: {member:?}"),
                        "measured" => assert_eq!(member.measured, value, "{place}: {member:?}"),
                        other => panic!("{place}: {other}"),
                    }
                }
            }
            "EXPLAIN" => {
                let text = serde_json::to_string(&world.explain(words[1])).unwrap();
                assert!(text.contains(expect.unwrap()), "{place}: {text}");
            }
            "RESTART" => world.restart(words.len() == 1),
            "RELOAD" => world.reload(),
            other => panic!("{place}: unknown command {other}"),
        }
    }
}

fn heartbeat(place: &str, world: &mut World, words: &[&str], expect: Option<&str>) {
    let options: Vec<(&str, &str)> = words.iter().map(|word| word.split_once('=').expect("KEY=VALUE")).collect();
    let id = options.iter().find(|(key, _)| *key == "id").expect("an id").1;
    let mut message = world.next(id);
    for (key, value) in options {
        match key {
            "id" => {}
            "addr" => message.addrs = value.split(',').map(|a| a.parse().unwrap()).collect(),
            "inc" => (message.inc, message.seq) = (value.parse().unwrap(), 1),
            "seq" => message.seq = value.parse().unwrap(),
            "role" => message.role = if value == "door" { Role::Door } else { Role::Backend },
            "zone" => message.zone = Id::new(value).ok(),
            "cores" => message.load.cores = value.parse().unwrap(),
            "busy" => message.load.busy = value.parse().unwrap(),
            "port" => message.port = value.parse().unwrap(),
            "drain_by" if value == "none" => message.drain_by.clear(),
            "drain_by" => message.drain_by = value.split(',').map(|id| Id::new(id).unwrap()).collect(),
            "state" => message.state = if value == "goodbye" { State::Goodbye } else { State::Up },
            "tombstone" => {
                let (buried, inc) = value.split_once(':').unwrap();
                let farm = world.control.spec().farms[0].clone();
                let stone = farm.key.unwrap().bury(
                    &farm.trust.name,
                    &Id::new(buried).unwrap(),
                    inc.parse().unwrap(),
                    world.now.wall,
                );
                message.tombstones.push(stone);
            }
            "forged_tombstone" => {
                let farm = world.control.spec().farms[0].clone();
                let mut stone = farm.key.unwrap().bury(&farm.trust.name, &Id::new(value).unwrap(), 1, Wall(1));
                stone.inc = 99;
                message.tombstones.push(stone);
            }
            other => panic!("{place}: {other}"),
        }
    }
    let answer = world.beat(message);
    check_reply(place, &answer, expect);
    if answer.is_err() || world.last[id].state == State::Goodbye {
        // It goes on from here when it beats again.
        world.last.get_mut(id).unwrap().state = State::Up;
    }
}

fn check_reply(place: &str, answer: &Result<Reply, Refusal>, expect: Option<&str>) {
    if let Some(reason) = expect.and_then(|e| e.strip_prefix("refused ")) {
        assert_eq!(answer.as_ref().map_err(Refusal::reason).err(), Some(reason), "{place}: {answer:?}");
        return;
    }
    let reply = answer.as_ref().unwrap_or_else(|refusal| panic!("{place}: {refusal:?}"));
    for (key, value) in pairs(expect.unwrap_or_default()) {
        let got = match key {
            "drain" => reply.drain.to_string(),
            "serves" => reply.serves.unwrap_or_default().to_string(),
            "doors" => reply.doors.unwrap_or_default().to_string(),
            "lease" => reply.lease_ms.to_string(),
            "ttl_left" => reply.ttl_left_ms.map_or("none".into(), |ms| ms.to_string()),
            other => panic!("{place}: {other}"),
        };
        assert_eq!(got, value, "{place}: {key}: {reply:?}");
    }
}

fn query(place: &str, world: &mut World, words: &[&str], expect: &str) {
    let rtype = words[1];
    let (mut client, mut subnet) = (IpAddr::from([127, 0, 0, 1]), None);
    for (key, value) in words[2..].iter().map(|word| word.split_once('=').expect("KEY=VALUE")) {
        match key {
            "from" => client = value.parse().unwrap(),
            "subnet" => subnet = Some(value),
            other => panic!("{place}: {other}"),
        }
    }
    let answers = world.ask_from(words[0], rtype, client, subnet);
    let (rcode, rest) = expect.split_once(' ').unwrap_or((expect, ""));
    assert_eq!(answers.rcode, rcode, "{place}: {answers:?}");
    for (key, value) in pairs(rest) {
        match key {
            "count" => assert_eq!(answers.counts, BTreeSet::from([value.parse().unwrap()]), "{place}: {answers:?}"),
            "names" => {
                let expect: BTreeSet<IpAddr> = value.split(',').flat_map(|word| addresses(world, word, rtype)).collect();
                assert_eq!(answers.named, expect, "{place}: {answers:?}");
            }
            "ttl" => {
                let (low, high) = value.split_once("..").unwrap_or((value, value));
                let range = low.parse().unwrap()..=high.parse().unwrap();
                assert!(answers.ttls.iter().all(|ttl| range.contains(ttl)), "{place}: {answers:?}");
                assert!(answers.ttls.contains(range.end()) || low == "0", "{place}: {answers:?}");
            }
            "scope" => assert_eq!(answers.scopes, BTreeSet::from([value.parse().unwrap()]), "{place}: {answers:?}"),
            "targets" => {
                let expect: BTreeSet<String> = value.split(',').map(Into::into).collect();
                assert_eq!(answers.targets, expect, "{place}");
            }
            "weights" => {
                let expect: BTreeSet<u16> = value.split(',').map(|weight| weight.parse().unwrap()).collect();
                assert_eq!(answers.weights, expect, "{place}");
            }
            "share" => {
                let (addr, range) = value.rsplit_once(':').unwrap();
                let (low, high) = range.split_once("..").unwrap();
                let times = answers.times.get(&addr.parse().unwrap()).copied().unwrap_or(0);
                let percent = 100 * times / answers.times.values().sum::<usize>().max(1);
                assert!(
                    (low.parse().unwrap()..=high.parse().unwrap()).contains(&percent),
                    "{place}: {percent} %: {answers:?}"
                );
            }
            other => panic!("{place}: {other}"),
        }
    }
}

fn addresses(world: &World, word: &str, rtype: &str) -> Vec<IpAddr> {
    if let Ok(addr) = word.parse() {
        return vec![addr];
    }
    let known = world.last.get(word).unwrap_or_else(|| panic!("who is {word}?"));
    known.addrs.iter().copied().filter(|a| a.is_ipv4() == (rtype == "A")).take(1).collect()
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().map(|word| word.split_once('=').expect("KEY=VALUE"))
}

fn duration(text: &str) -> u64 {
    parse_duration_ms(text).expect("a duration")
}
