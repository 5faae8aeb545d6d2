//! `dnslb ask`: answers from a configuration without a socket, and says why.
//!
//! It builds the same control state and asks the same `respond` as the daemon. Members known by heartbeat are read from `state_dir`
//! as they were written down last; the directory is not locked, and nothing is changed.

use dnslb_core::control::{Control, Effect, Explanation, Saved};
use dnslb_core::name::Name;
use dnslb_core::respond::{MESSAGE_LEN_MAX, Transport, respond};
use dnslb_core::snapshot::Snapshot;
use dnslb_core::zone::rtype_from_text;
use domain::base::Message;
use domain::rdata::Cname;
use farm_daemon::clock::{Clock, draws_from_os};
use farm_daemon::state_dir::read_capped;
use farm_shared::draw::Draws;
use farm_shared::prefix::Prefix;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::load::Loaded;
use crate::persist;
use crate::store::as_stored;

/// One question.
#[derive(Debug)]
pub struct Question {
    /// The name, absolute or not: a last dot makes no difference.
    pub name: Name,
    /// The record type, as text.
    pub rtype: u16,
    /// Who asks.
    pub from: IpAddr,
    /// How often.
    pub count: u32,
    /// The client subnet that goes along: an address, and how many bits of it are given (RFC 7871).
    pub subnet: Option<(IpAddr, u8)>,
}

impl Question {
    /// From words of a command line.
    pub fn new(name: &str, rtype: &str, from: IpAddr, count: u32) -> Result<Self, String> {
        let parsed = name.parse::<Name>().map_err(|e| format!("{name:?} is no domain name: {e}"))?;
        let rtype = rtype_from_text(rtype).ok_or_else(|| format!("{rtype:?} is no record type"))?;
        Ok(Self { name: parsed, rtype: rtype.0, from, count, subnet: None })
    }

    /// The same with a client subnet, as a resolver at `from` would send it.
    pub fn with_subnet(self, prefix: Option<Prefix>) -> Self {
        let first = |prefix: Prefix| match (prefix.width(), prefix.bounds()) {
            (32, [first, _]) => (IpAddr::V4((first as u32).into()), prefix.bits()),
            (_, [first, _]) => (IpAddr::V6(first.into()), prefix.bits()),
        };
        Self { subnet: prefix.map(first), ..self }
    }
}

/// The answers and the reasons, as text.
pub fn ask(loaded: &Loaded, question: &Question) -> Result<String, String> {
    let clock = Clock::start();
    let mut draws = draws_from_os().map_err(|e| e.to_string())?;
    let zones = match &loaded.state_dir {
        Some(dir) => as_stored(&loaded.spec, &loaded.zones, dir).map_err(|problems| problems.join("\n"))?,
        None => Arc::clone(&loaded.zones),
    };
    let mut control = Control::new(Arc::clone(&loaded.spec), zones, saved(loaded)?, clock.now(), draws.child("control", 0));
    let snapshot = control.flush(clock.now()).into_iter().find_map(|effect| match effect {
        Effect::Publish(snapshot) => Some(snapshot),
        _ => None,
    });
    let snapshot = snapshot.ok_or("nothing would be published")?;
    let mut text = String::new();
    let mut names = vec![question.name.clone()];
    for _ in 0..question.count {
        let octets = answer(&snapshot, question, &clock, &mut draws)?;
        let unreadable = |e: &dyn std::fmt::Display| format!("the answer cannot be read: {e}");
        let message = Message::from_octets(octets.as_slice()).map_err(|e| unreadable(&e))?;
        text.push_str(&message.display_dig_style().to_string());
        for alias in message.answer().map_err(|e| unreadable(&e))?.limit_to::<Cname<_>>() {
            let target = alias.map_err(|e| unreadable(&e))?.data().cname().to_string();
            names.extend(target.parse().ok().filter(|name| !names.contains(name)));
        }
    }
    for name in names {
        explain(&mut text, &control.explain(&name, question.subnet.map_or(question.from, |(addr, _)| addr), clock.now()));
    }
    Ok(text)
}

fn saved(loaded: &Loaded) -> Result<Saved, String> {
    let Some(dir) = &loaded.state_dir else { return Ok(Saved::default()) };
    let file = dir.join(persist::FILE);
    match read_capped(&file, persist::OCTETS_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Saved::default()),
        Err(error) => Err(format!("{}: {error}", file.display())),
        Ok(text) => Saved::from_json(&text).map_err(|error| format!("{}: {error}", file.display())),
    }
}

fn answer(snapshot: &Snapshot, question: &Question, clock: &Clock, draws: &mut Draws) -> Result<Vec<u8>, String> {
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(question.name.wire());
    query.extend_from_slice(&question.rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    if let Some((addr, bits)) = question.subnet {
        let (family, octets) = match addr {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        let octets = octets.get(..usize::from(bits).div_ceil(8)).unwrap_or_default();
        let len = octets.len() as u8;
        if let Some(additional) = query.get_mut(11) {
            *additional = 1;
        }
        query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 8 + len, 0, 8, 0, 4 + len, 0, family, bits, 0]);
        query.extend_from_slice(octets);
    }
    let mut out = vec![0; MESSAGE_LEN_MAX];
    let reply = respond(snapshot, Transport::Tcp, question.from, &query, clock.now(), draws.u64(), &mut out);
    let len = reply.ok_or("the question would be dropped")?.len;
    out.truncate(len);
    Ok(out)
}

fn explain(text: &mut String, explanation: &Explanation) {
    let Explanation { name, zone, pool, own_name } = explanation;
    match zone {
        Some(zone) => {
            let _ = writeln!(text, "; {name} lies in the zone {zone}");
        }
        None => {
            let _ = writeln!(text, "; {name} lies in no zone that is served: REFUSED");
        }
    }
    if *own_name {
        text.push_str("; it is the own name of one member\n");
    }
    let Some(pool) = pool else { return };
    let _ = writeln!(text, "; it is answered by the pool {}", pool.name);
    let _ = writeln!(text, "; named: {}", pool.verdict);
    for line in pool.client.iter().chain(&pool.levels) {
        let _ = writeln!(text, ";   {line}");
    }
    let _ = writeln!(text, "; ttl: {}", pool.ttl);
    for member in &pool.members {
        let word = if member.eligible { "may be named" } else { "is not named" };
        let _ = write!(text, ";   {} {word}: {}", member.name, member.standing);
        let _ = if member.why.is_empty() { writeln!(text) } else { writeln!(text, " ({})", member.why) };
    }
}
