//! A name server in virtual time: events in, effects followed, questions asked of what was published.
//!
//! Plays the daemon's part without a socket, a thread or a clock, so a run is the same every time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, dead_code, unreachable_pub)]

use dnslb_core::config::{Loaded, load};
use dnslb_core::control::{Control, Effect, Event, Notice, Saved, ScheduleJob};
use dnslb_core::health::{CheckId, CheckJob, Finding};
use dnslb_core::name::Name;
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::Snapshot;
use dnslb_core::zone::Files;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Heartbeat, Load, Refusal, Reply, Role, State, VERSION};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{RData, Record, RecordType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Milliseconds between two ticks.
pub const TICK_MS: u64 = 100;
const ASKED: usize = 300;

/// Files in memory, by name.
#[derive(Clone, Default)]
pub struct Memory(pub BTreeMap<String, String>);

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| format!("no file {path:?}"))
    }
}

/// What many questions of one kind were answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// `NODATA` for NOERROR without answers.
    pub rcode: String,
    /// Addresses in each answer.
    pub counts: BTreeSet<usize>,
    /// All addresses that any answer named.
    pub named: BTreeSet<IpAddr>,
    /// TTLs of answers, or of the SOA of empty ones.
    pub ttls: BTreeSet<u32>,
    /// `PRIORITY:TARGET:PORT` of every SRV record in any answer, and the weights.
    pub targets: BTreeSet<String>,
    pub weights: BTreeSet<u16>,
    /// The scopes of the client subnets in the answers.
    pub scopes: BTreeSet<u8>,
    /// How often an answer named each address.
    pub times: BTreeMap<IpAddr, usize>,
}

impl Answers {
    fn take(&mut self, message: &Message) {
        let addresses = |records: &[Record]| -> Vec<IpAddr> {
            let addr = |record: &Record| match &record.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(a) => Some(IpAddr::V6(a.0)),
                _ => None,
            };
            records.iter().filter_map(addr).collect()
        };
        let mut found = addresses(&message.answers);
        let extra = addresses(&message.additionals);
        for record in &message.answers {
            match &record.data {
                RData::SRV(srv) => {
                    self.targets.insert(format!("{}:{}:{}", srv.priority, srv.target, srv.port));
                    self.weights.insert(srv.weight);
                    // Each target's addresses are there.
                    let own = |extra: &&Record| extra.name == srv.target;
                    found.extend(addresses(&message.additionals.iter().filter(own).cloned().collect::<Vec<_>>()));
                }
                RData::HTTPS(https) => {
                    let hints = https.svc_params.iter().flat_map(|(_, value)| match value {
                        SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|a| IpAddr::V4(a.0)).collect(),
                        SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|a| IpAddr::V6(a.0)).collect(),
                        _ => Vec::new(),
                    });
                    found.extend(hints);
                    assert_eq!(found, extra, "hints are the additional addresses");
                    assert!(message.additionals.iter().all(|extra| extra.name == record.name));
                }
                _ => {}
            }
        }
        self.rcode = match message.metadata.response_code {
            ResponseCode::NoError if message.answers.is_empty() => "NODATA".into(),
            ResponseCode::NoError => "NOERROR".into(),
            ResponseCode::NXDomain => "NXDOMAIN".into(),
            other => format!("{other:?}").to_uppercase(),
        };
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "an address twice in one answer");
        self.counts.insert(found.len());
        for addr in &found {
            *self.times.entry(*addr).or_default() += 1;
        }
        self.named.extend(found);
        let records = if message.answers.is_empty() { &message.authorities } else { &message.answers };
        self.ttls.extend(records.iter().map(|record| record.ttl));
        let options = message.edns.iter().flat_map(|edns| edns.options().as_ref());
        self.scopes.extend(options.filter_map(|(_, option)| match option {
            EdnsOption::Subnet(subnet) => Some(subnet.scope_prefix()),
            _ => None,
        }));
    }
}

/// The server and its surroundings.
pub struct World {
    pub control: Control,
    pub now: Now,
    pub files: Memory,
    pub config: String,
    pub snapshot: Option<Arc<Snapshot>>,
    pub saved: Saved,
    pub publications: usize,
    pub persists: usize,
    pub notices: Vec<Notice>,
    pub held: Vec<ScheduleJob>,
    /// Builds wait until they are released.
    pub hold_builds: bool,
    /// Addresses whose checks fail.
    pub failing: BTreeSet<IpAddr>,
    pub last: BTreeMap<String, Heartbeat>,
    draws: Draws,
}

impl World {
    pub fn new(config: &str, files: Memory) -> Self {
        let now = Now { mono: Mono(1_000), wall: Wall(1_700_000_000_000) };
        let loaded = Self::loaded(config, &files);
        let control = Control::new(loaded.spec, loaded.zones, Saved::default(), now, Draws::from_u64(1));
        let mut world = Self {
            control,
            now,
            files,
            config: config.into(),
            snapshot: None,
            saved: Saved::default(),
            publications: 0,
            persists: 0,
            notices: Vec::new(),
            held: Vec::new(),
            hold_builds: false,
            failing: BTreeSet::new(),
            last: BTreeMap::new(),
            draws: Draws::from_u64(2),
        };
        world.flush();
        world
    }

    pub fn loaded(config: &str, files: &Memory) -> Loaded {
        load("dnslb.toml", config, files)
            .unwrap_or_else(|problems| panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
    }

    /// One event and the flush after it. What is meant for the sender comes back.
    pub fn event(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.control.step(self.now, event);
        let rest = self.follow(effects);
        self.flush();
        rest
    }

    pub fn flush(&mut self) {
        let effects = self.control.flush(self.now);
        let rest = self.follow(effects);
        assert!(rest.is_empty(), "{rest:?}");
    }

    fn follow(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Publish(snapshot) => {
                    self.publications += 1;
                    self.snapshot = Some(snapshot);
                }
                Effect::Persist(saved) => {
                    self.persists += 1;
                    self.saved = Saved::from_json(&saved.to_json()).expect("what is saved can be read");
                    assert_eq!(self.saved, saved);
                }
                Effect::Build(job) if self.hold_builds => self.held.push(*job),
                Effect::Build(job) => {
                    rest.extend(self.control.step(self.now, Event::Scheduled(Box::new(job.run()))));
                    self.flush();
                }
                Effect::Sign(job) => {
                    rest.extend(self.control.step(self.now, Event::Signatures(Box::new(job.run()))));
                    self.flush();
                }
                Effect::Check(CheckJob { id, addr, .. }) => self.check(id, addr),
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Reply(_) | Effect::Refused(_) | Effect::Answer(_) => rest.push(effect),
            }
        }
        rest
    }

    fn check(&mut self, job: CheckId, addr: IpAddr) {
        let result = if self.failing.contains(&addr) { Err("connection refused".into()) } else { Ok(Finding::default()) };
        let effects = self.control.step(self.now, Event::Checked { job, result });
        let rest = self.follow(effects);
        assert!(rest.is_empty());
    }

    /// Builds that were held come back.
    pub fn release(&mut self) {
        for job in std::mem::take(&mut self.held) {
            self.event(Event::Scheduled(Box::new(job.run())));
        }
    }

    /// Time passes in ticks; `beating` send a heartbeat every `period_ms`.
    pub fn pass(&mut self, ms: u64, beating: &[String], period_ms: u64) {
        let mut since = period_ms;
        for _ in 0..ms / TICK_MS {
            if since >= period_ms {
                since = 0;
                for id in beating {
                    let heartbeat = self.next(id);
                    let answer = self.beat(heartbeat);
                    assert!(answer.is_ok(), "{id}: {answer:?}");
                }
            }
            since += TICK_MS;
            self.now = self.now.plus_ms(TICK_MS);
            self.event(Event::Tick);
        }
    }

    /// The next heartbeat of a member, like its last one.
    pub fn next(&self, id: &str) -> Heartbeat {
        let last = self.last.get(id).cloned().unwrap_or_else(|| first(id));
        Heartbeat { seq: last.seq + 1, time_ms: self.now.wall.0, ..last }
    }

    /// Sends a heartbeat.
    pub fn beat(&mut self, heartbeat: Heartbeat) -> Result<Reply, Refusal> {
        self.last.insert(heartbeat.id.to_string(), Heartbeat { tombstones: Vec::new(), ..heartbeat.clone() });
        match self.event(Event::Heartbeat(Box::new(heartbeat))).into_iter().next() {
            Some(Effect::Reply(reply)) => Ok(reply),
            Some(Effect::Refused(refusal)) => Err(refusal),
            other => panic!("a heartbeat led to {other:?}"),
        }
    }

    /// The process ends and another one begins, with what was written down (or with nothing).
    pub fn restart(&mut self, saved: bool) {
        let loaded = Self::loaded(&self.config, &self.files);
        let saved = if saved { self.saved.clone() } else { Saved::default() };
        self.now = Now { mono: Mono(5_000), wall: Wall(self.now.wall.0 + 2_000) };
        self.control = Control::new(loaded.spec, loaded.zones, saved, self.now, Draws::from_u64(3));
        (self.snapshot, self.held) = (None, Vec::new());
        self.flush();
    }

    /// The files are read again.
    pub fn reload(&mut self) {
        let loaded = Self::loaded(&self.config, &self.files);
        self.event(Event::Reload { spec: loaded.spec, zones: loaded.zones });
    }

    /// Asks the same question many times, from the loopback address.
    pub fn ask(&mut self, name: &str, rtype: &str) -> Answers {
        self.ask_from(name, rtype, IpAddr::V4(Ipv4Addr::LOCALHOST), None)
    }

    /// Asks the same question many times; `subnet` goes along as the client's (RFC 7871).
    pub fn ask_from(&mut self, name: &str, rtype: &str, client: IpAddr, subnet: Option<&str>) -> Answers {
        let snapshot = self.snapshot.clone().expect("a snapshot was published");
        let rtype: RecordType = rtype.parse().expect("a type");
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(hickory_proto::rr::Name::from_ascii(name).unwrap(), rtype));
        if let Some(subnet) = subnet {
            let mut edns = Edns::new();
            edns.options_mut().insert(EdnsOption::Subnet(subnet.parse().expect("a subnet")));
            query.set_edns(edns);
        }
        let query = query.to_vec().unwrap();
        let mut answers = Answers::default();
        let mut out = vec![0; 65_535];
        for _ in 0..ASKED {
            let draw = self.draws.u64();
            let reply = respond(&snapshot, Transport::Tcp, client, &query, self.now, draw, &mut out).expect("a reply");
            answers.take(&Message::from_vec(&out[..reply.len]).expect("a reply that can be read"));
        }
        answers
    }

    pub fn explain(&self, name: &str) -> dnslb_core::control::Explanation {
        self.control.explain(&Name::from_text(name).unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST), self.now)
    }
}

/// The first heartbeat of a member of the farm `mail`.
pub fn first(id: &str) -> Heartbeat {
    Heartbeat {
        v: VERSION,
        farm: Id::new("mail").unwrap(),
        id: Id::new(id).unwrap(),
        role: Role::Backend,
        inc: 1,
        seq: 0,
        time_ms: 0,
        period_ms: 1_000,
        addrs: Vec::new(),
        port: 80,
        zone: None,
        state: State::Up,
        drain_by: Vec::new(),
        load: Load::default(),
        heard: Vec::new(),
        notice: None,
        tombstones: Vec::new(),
        killed: None,
    }
}
