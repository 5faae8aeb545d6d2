//! What the servers of a parent zone show of a zone's DS set, for the key schedule.
//!
//! All of them must give an authoritative answer, and the same; what one alone shows, or none, is no observation. Answers come from
//! the network and are hostile: bounded, matched to the question, read without a panic. That somebody forges them is met by the
//! digest (a DS is believed to be there only if it is that of a key) and by the port and id of each question.

use dnslb_core::dnssec::Ds;
use dnslb_core::dnssec::schedule::{KeyPlan, Schedule};
use dnslb_core::name::Name;
use dnslb_core::zone::Rtype;
use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::{Message, MessageBuilder, UnknownRecordData};
use farm_daemon::clock::draws_from_os;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::signing::Question;

const WAIT: Duration = Duration::from_secs(3);
const TRIES: usize = 3;

/// Tags of the schedule's keys whose DS all servers of the parent show.
///
/// # Errors
/// Which server gave no usable answer, or that they differ, in words.
pub async fn ask(question: &Question) -> Result<Vec<u16>, String> {
    let mut common: Option<Vec<u16>> = None;
    for server in &question.servers {
        let sets = ask_one(*server, &question.zone).await.map_err(|why| format!("{server}: {why}"))?;
        let tags = tags_of(&sets, &question.zone, &question.schedule);
        match &common {
            Some(common) if *common != tags => return Err(format!("{server}: another DS set than the servers before it")),
            _ => common = Some(tags),
        }
    }
    common.ok_or_else(|| "no server to ask".to_owned())
}

fn tags_of(sets: &[Vec<u8>], zone: &Name, schedule: &Schedule) -> Vec<u16> {
    let shown = |key: &&KeyPlan| key.public().is_some_and(|public| sets.iter().any(|ds| Ds::stands_for(ds, zone, &public)));
    schedule.keys.iter().filter(shown).map(|key| key.tag).collect()
}

async fn ask_one(server: SocketAddr, zone: &Name) -> Result<Vec<Vec<u8>>, String> {
    let mut last = "no answer".to_owned();
    for _ in 0..TRIES {
        let id = draws_from_os().map_err(|error| error.to_string())?.u64() as u16;
        let query = query(id, zone)?;
        let answer = match timeout(WAIT, over_udp(server, &query)).await {
            Ok(Ok(answer)) if is_truncated(&answer) => timeout(WAIT, over_tcp(server, &query)).await,
            answer => answer,
        };
        match answer {
            Ok(Ok(answer)) => match read(&answer, id, zone) {
                Ok(sets) => return Ok(sets),
                Err(why) => last = why,
            },
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => "no answer in time".clone_into(&mut last),
        }
    }
    Err(last)
}

fn query(id: u16, zone: &Name) -> Result<Vec<u8>, String> {
    let fail = |error: &dyn std::fmt::Display| error.to_string();
    let owner = domain::base::Name::from_octets(zone.wire().to_vec()).map_err(|error| fail(&error))?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::QUERY);
    let mut builder = builder.question();
    builder.push((owner, domain::base::Rtype::DS, Class::IN)).map_err(|error| fail(&error))?;
    Ok(builder.finish())
}

async fn over_udp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 4_096];
    loop {
        let len = socket.recv(&mut buffer).await?;
        // Another id is not for us; who waits has a deadline.
        if buffer.get(..2) == query.get(..2) {
            buffer.truncate(len);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 2 != 0)
}

/// The data of the DS records in an authoritative answer.
fn read(answer: &[u8], id: u16, zone: &Name) -> Result<Vec<Vec<u8>>, String> {
    const BROKEN: &str = "an answer that cannot be read";
    let message = Message::from_octets(answer).map_err(|_| BROKEN)?;
    let header = message.header();
    let question = message.first_question().ok_or(BROKEN)?;
    let owner = domain::base::Name::from_octets(zone.wire()).map_err(|_| BROKEN)?;
    if header.id() != id || !header.qr() || question.qtype().to_int() != Rtype::DS.0 || *question.qname() != owner {
        return Err("an answer to another question".to_owned());
    }
    if !header.aa() || header.rcode() != Rcode::NOERROR {
        return Err(format!("{} without authority or success", header.rcode()));
    }
    let mut sets = Vec::new();
    for record in message.answer().map_err(|_| BROKEN)?.limit_to::<UnknownRecordData<_>>() {
        let record = record.map_err(|_| BROKEN)?;
        if record.data().rtype().to_int() == Rtype::DS.0 && *record.owner() == owner {
            sets.push(record.data().data().to_vec());
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::key_dir;
    use dnslb_core::dnssec::schedule::{Event, KeyRules, NewKey, Role, Timing, step};
    use dnslb_core::dnssec::{Algorithm, DigestType, KeyTimes};

    fn zone() -> Name {
        Name::from_text("Sub.example").unwrap()
    }

    /// An answer with these DS data and header bits.
    fn answer(query: &[u8], flags: [u8; 2], data: &[Vec<u8>]) -> Vec<u8> {
        let mut out = query.to_vec();
        out[2..4].copy_from_slice(&flags);
        out[7] = data.len() as u8;
        for rdata in data {
            out.extend_from_slice(&[0xc0, 12, 0, 43, 0, 1, 0, 0, 0, 60, 0, rdata.len() as u8]);
            out.extend_from_slice(rdata);
        }
        out
    }

    #[test]
    fn answers_are_read_and_others_refused() {
        let query = query(7, &zone()).unwrap();
        let ds = vec![vec![0, 1, 13, 2, 9, 9]];
        assert_eq!(read(&answer(&query, [0x84, 0], &ds), 7, &zone()), Ok(ds.clone()));
        assert_eq!(read(&answer(&query, [0x84, 0], &[]), 7, &zone()), Ok(vec![]));
        let check =
            |answer: &[u8], expect: &str| assert!(read(answer, 7, &zone()).unwrap_err().contains(expect), "{expect}");
        check(&answer(&query, [0x80, 0], &ds), "without authority");
        check(&answer(&query, [0x84, 3], &ds), "without authority or success");
        check(&answer(&query, [0x04, 0], &ds), "another question");
        check(&answer(&super::query(8, &zone()).unwrap(), [0x84, 0], &ds), "another question");
        check(&answer(&super::query(7, &Name::root()).unwrap(), [0x84, 0], &ds), "another question");
        let whole = answer(&query, [0x84, 0], &ds);
        for len in 0..whole.len() {
            assert!(read(whole.get(..len).unwrap(), 7, &zone()).is_err(), "{len}");
        }
    }

    #[tokio::test]
    async fn all_servers_of_the_parent_must_agree() {
        let key = key_dir::make(&zone(), Algorithm::Ed25519, 257, KeyTimes::default(), &|_| false).unwrap();
        let mut schedule = Schedule::new(&zone(), 1);
        let rules = KeyRules { algorithm: Algorithm::Ed25519, split: false, entry_lifetime_s: 0, zone_lifetime_s: 0 };
        let timing =
            Timing { dnskey_ttl_s: 1, zone_ttl_s_max: 1, ds_ttl_s: 1, propagation_s: 1, parent_propagation_s: 1, lead_s: 0 };
        let made = NewKey { role: Role::Csk, algorithm: Algorithm::Ed25519, dnskey: key.key.dnskey().clone() };
        step(&mut schedule, &rules, &timing, 10, Event::Made(made));
        let ds = Ds::new(&zone(), key.key.dnskey(), DigestType::Sha384).rdata().to_vec();
        // Two servers with the same, then one of them without: the truncated answer goes over TCP.
        for (second, expect) in [(vec![ds.clone(), vec![1, 2, 3, 4, 5]], Ok(vec![key.key.tag()])), (vec![], Err(()))] {
            let mut servers = Vec::new();
            for (data, truncated) in [(vec![ds.clone()], false), (second, true)] {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let addr = socket.local_addr().unwrap();
                let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
                let for_tcp = data.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 512];
                    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                        let flags = if truncated { [0x86, 0] } else { [0x84, 0] };
                        let shown = if truncated { &[][..] } else { &data };
                        socket.send_to(&answer(&buffer[..len], flags, shown), from).await.unwrap();
                    }
                });
                tokio::spawn(async move {
                    while let Ok((mut stream, _)) = listener.accept().await {
                        let len = stream.read_u16().await.unwrap();
                        let mut query = vec![0; usize::from(len)];
                        stream.read_exact(&mut query).await.unwrap();
                        let answer = answer(&query, [0x84, 0], &for_tcp);
                        stream.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat()).await.unwrap();
                    }
                });
                servers.push(addr);
            }
            let question = Question { zone: zone(), servers, schedule: schedule.clone().into() };
            assert_eq!(ask(&question).await.map_err(|_| ()), expect);
        }
    }
}
