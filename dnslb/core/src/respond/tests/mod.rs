//! Answers of whole snapshots, decoded by an independent reader and compared as text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

mod messages;
mod names;
mod online;
mod options;
mod properties;
mod sizes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use farm_shared::time::{Mono, Now, Wall};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::Record;

use super::{Reply, Transport, respond};
use crate::name::Name;
use crate::overlay::{Overlay, OverlayTarget};
use crate::snapshot::{AnswerSets, FamilyAnswers, Limits, PoolAnswers, Snapshot};
use crate::zone::{self, Files, Rtype, Zones, rtype_from_text};

pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const NOW: Now = Now { mono: Mono(100_000), wall: Wall(0) };

struct OneFile(String);

impl Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

pub(super) fn snapshot(zones: &[(&str, &str)], overlay: &[(&str, OverlayTarget)], pools: Vec<PoolAnswers>) -> Snapshot {
    let zones = zones.iter().map(|(origin, text)| {
        let loaded = zone::load(&name(origin), &OneFile((*text).to_owned()), "test");
        Arc::new(loaded.unwrap_or_else(|problems| panic!("{problems:#?}")).zone)
    });
    let zones = Zones::new(zones).unwrap();
    let overlay = Overlay::build(&zones, overlay.iter().map(|(text, target)| (name(text), *target)));
    Snapshot {
        generation: 1,
        zones: Arc::new(zones),
        overlay: Arc::new(overlay),
        pools: pools.into_iter().map(Arc::new).collect(),
        clients: Arc::default(),
        signed: Arc::default(),
        limits: Limits::default(),
        service: Arc::default(),
    }
}

/// The zone most tests ask: every shape that servers get wrong.
pub(super) const EXAMPLE: &str = "
$ORIGIN example.
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
@ NS ns.else.test.
@ MX 10 mail
@ TXT \"apex\"
ns1 A 192.0.2.53
ns1 AAAA 2001:db8::53
mail A 192.0.2.25
www A 192.0.2.1
www A 192.0.2.2
WWW TXT \"a\" \"b c\"
_sip._tcp SRV 1 2 5060 www
a.b.c TXT deep
alias CNAME WWW
alias2 CNAME alias
out CNAME www.else.test.
dangling CNAME nothing
loop1 CNAME loop2
loop2 CNAME loop1
self CNAME self
*.wild A 192.0.2.9
*.wild MX 5 mail
host.wild TXT here
x.y.wild A 192.0.2.10
*.cname CNAME www
*.chain CNAME x.chain
sub NS ns.sub
sub NS ns1
sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub A 192.0.2.99
other.sub TXT occluded
intosub CNAME x.sub
lame NS ns.else.test.
old DNAME new
x.new A 192.0.2.77
unknown TYPE65280 \\# 3 010203
";

pub(super) fn member(last: u8) -> (u32, Ipv4Addr) {
    (u32::from(last), Ipv4Addr::new(198, 51, 100, last))
}

/// [`EXAMPLE`] with a pool at `pool`, `*.doors` and the apex, one without IPv6 members, one without any, and two hosts.
pub(super) fn example() -> Snapshot {
    let one = [member(3), member(1)];
    let v6 = [(1, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
    let pool = PoolAnswers {
        sets: AnswerSets {
            v4: FamilyAnswers::v4([(&one[..], Mono(112_500))]),
            v6: FamilyAnswers::v6([(&v6[..], Mono::NEVER)]),
            ..AnswerSets::default()
        },
        ttl_s_min: 2,
        ttl_s_max: 30,
        negative_ttl_s: 5,
        ..PoolAnswers::default()
    };
    let v4_only = PoolAnswers { sets: AnswerSets { v6: FamilyAnswers::default(), ..pool.sets.clone() }, ..pool.clone() };
    let empty = PoolAnswers { sets: AnswerSets::default(), ..pool.clone() };
    let host = |v4, v6| OverlayTarget::Host { v4, v6, ttl_s: 20 };
    let text = format!("{EXAMPLE}pool TXT \"beside\"\ntopool CNAME pool\ntoempty CNAME empty\nhost.farm TXT \"beside\"\n");
    snapshot(
        &[("example", &text), ("lb.else.test", LB)],
        &[
            ("pool.example", OverlayTarget::Pool(0)),
            ("v4.example", OverlayTarget::Pool(1)),
            ("empty.example", OverlayTarget::Pool(2)),
            ("*.doors.example", OverlayTarget::Pool(0)),
            ("lb.else.test", OverlayTarget::Pool(0)),
            ("host.farm.example", host(Some(Ipv4Addr::new(203, 0, 113, 1)), None)),
            ("b1.deep.farm.example", host(None, Some(Ipv6Addr::LOCALHOST))),
            ("x.sub.example", host(Some(Ipv4Addr::LOCALHOST), None)),
            ("nowhere.test", OverlayTarget::Pool(0)),
        ],
        vec![pool, v4_only, empty],
    )
}

const LB: &str = "
@ 60 SOA ns.else.test. admin 1 1 1 1 1000
@ 60 NS ns.else.test.
back 60 CNAME alias2.example.
";

/// A query message with EDNS size `edns`, if any.
pub(super) fn query(question: &str, edns: Option<u16>) -> Vec<u8> {
    let (text, rtype) = question.split_once(' ').unwrap();
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in text.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&rtype_from_text(rtype).unwrap().0.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if let Some(size) = edns {
        message.extend_from_slice(&[0, 0, 41]);
        message.extend_from_slice(&size.to_be_bytes());
        message.extend_from_slice(&[0; 6]);
    }
    message
}

pub(super) fn answer<'s>(snapshot: &'s Snapshot, transport: Transport, query: &[u8]) -> (Reply<'s>, Vec<u8>) {
    let mut out = vec![0xaa; 65_535];
    let reply = respond(snapshot, transport, CLIENT, query, NOW, 0, &mut out).unwrap();
    out.truncate(reply.len);
    (reply, out)
}

/// The records of a section as text, those of one owner and type together: `owner ttl type data, data`.
fn section(records: &[Record]) -> String {
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for record in records {
        let rtype = Rtype(u16::from(record.record_type()));
        let key = format!("{} {} {rtype}", record.name, record.ttl);
        if !sets.contains_key(&key) {
            order.push(key.clone());
        }
        sets.entry(key).or_default().push(record.data.to_string());
    }
    let sets: Vec<String> = order.iter().map(|key| format!("{key} {}", sets[key].join(", "))).collect();
    sets.join("; ")
}

/// An answer on one line: code and flags, then the sections that are not empty.
pub(super) fn dump(message: &[u8]) -> String {
    let message = Message::from_vec(message).unwrap();
    let code = match message.metadata.response_code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    };
    let mut text = code;
    for (flag, is_set) in [("aa", message.metadata.authoritative), ("tc", message.metadata.truncation)] {
        if is_set {
            let _ = write!(text, " {flag}");
        }
    }
    for (mark, records) in [("AN", &message.answers), ("AU", &message.authorities), ("AD", &message.additionals)] {
        if !records.is_empty() {
            let _ = write!(text, " | {mark} {}", section(records));
        }
    }
    text
}

/// Asks over UDP with EDNS 1232 and compares.
pub(super) fn check(snapshot: &Snapshot, question: &str, expect: &str) {
    let (_, message) = answer(snapshot, Transport::Udp, &query(question, Some(1_232)));
    assert_eq!(dump(&message), expect, "{question}");
}
