//! Zones that are signed here and have names laid over them: every signature and denial checked as a validator does.

use std::sync::Arc;

use farm_shared::time::{Mono, Now, Wall};
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use std::collections::{BTreeMap, BTreeSet};

use super::{CLIENT, EXAMPLE, name, query};
use crate::dnssec::{ActiveKeys, Algorithm, Denial, Rrsig, SigningKey, SigningPlan, Validity, sign_zone};
use crate::name::Name;
use crate::online::{Accounts, OnlineSigner};
use crate::overlay::{Overlay, OverlayTarget};
use crate::respond::{Transport, respond_signing};
use crate::snapshot::{FamilyAnswers, Limits, PoolAnswers, Snapshot};
use crate::zone::{Hosted, Rtype, Zone, Zones};

const NOW: Now = Now { mono: Mono(100_000), wall: Wall(1_800_000_000_000) };

fn keys() -> Arc<ActiveKeys> {
    let key = Arc::new(SigningKey::from_private(Algorithm::EcdsaP256Sha256, 257, &[9; 32]).unwrap());
    let entry = vec![Arc::clone(&key)];
    Arc::new(ActiveKeys { apex: name("example"), entry, zone: vec![key], validity: Validity::default() })
}

fn signed(zone: &Zone, keys: &ActiveKeys) -> Zone {
    let plan = SigningPlan {
        keys: keys.clone(),
        published: keys.entry.iter().map(|key| key.dnskey().clone()).collect(),
        wished: Vec::new(),
        dnskey_ttl_s: 300,
        denial: Denial::Online,
        serial: None,
    };
    sign_zone(zone, &plan, None, NOW.wall).unwrap().zone
}

/// The example zone, signed for online denials, with a pool and a host.
fn snapshot() -> Snapshot {
    let keys = keys();
    let plain = super::snapshot(&[("example", EXAMPLE)], &[], Vec::new());
    let zone = Arc::new(signed(plain.zones.get(&name("example")).unwrap(), &keys));
    let zones = Zones::of([Hosted { keys: Some(keys), ..Hosted::new(zone) }]).unwrap();
    let members = [super::member(3), super::member(1)];
    let v4 = FamilyAnswers::v4([(&members[..], Mono::NEVER)]);
    let sets = crate::snapshot::AnswerSets { v4, ..Default::default() };
    let pool = PoolAnswers { sets, ttl_s_min: 1, ttl_s_max: 30, negative_ttl_s: 5, ..PoolAnswers::default() };
    let host = OverlayTarget::Host { v4: None, v6: Some(std::net::Ipv6Addr::LOCALHOST), ttl_s: 20 };
    let overlay = [("pool.example", OverlayTarget::Pool(0)), ("b1.farm.example", host)];
    let overlay = Overlay::build(&zones, overlay.map(|(text, target)| (name(text), target)));
    Snapshot { zones: Arc::new(zones), overlay: Arc::new(overlay), pools: vec![Arc::new(pool)], ..plain }
}

fn ask(snapshot: &Snapshot, question: &str, transport: Transport, co: bool, signer: &mut OnlineSigner) -> Message {
    let mut query = query(question, Some(1_232));
    let flags = query.len() - 4;
    query[flags] = if co { 0xc0 } else { 0x80 };
    let mut out = vec![0; 65_535];
    let reply = respond_signing(snapshot, transport, CLIENT, &query, NOW, 0, Some(signer), &mut out).unwrap();
    Message::from_vec(&out[..reply.len]).unwrap()
}

fn signer() -> (OnlineSigner, Arc<Accounts>) {
    let accounts = Arc::new(Accounts::default());
    (OnlineSigner::keeping(Arc::clone(&accounts)), accounts)
}

/// As it is signed: without compression.
fn octets(data: &impl BinEncodable) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).unwrap();
    octets
}

type Sets = BTreeMap<(Name, Rtype), BTreeSet<Vec<u8>>>;

fn sets(records: &[Record]) -> Sets {
    let mut sets = Sets::new();
    for record in records {
        let owner = Name::from_wire(&octets(&record.name)).unwrap();
        let rtype = Rtype(u16::from(record.record_type()));
        assert!(sets.entry((owner, rtype)).or_default().insert(octets(&record.data)), "{record} twice");
    }
    sets
}

/// Checks that each of these sets is signed, and each signature holds. Returns the sets without RRSIG.
fn validated(records: &[Record]) -> Sets {
    let mut all = sets(records);
    let key = keys().zone[0].dnskey().clone();
    let signatures: Vec<_> = all.keys().filter(|(_, rtype)| *rtype == Rtype::RRSIG).cloned().collect();
    let signatures: BTreeMap<Name, BTreeSet<Vec<u8>>> =
        signatures.into_iter().map(|at| (at.0.clone(), all.remove(&at).unwrap())).collect();
    for ((owner, rtype), data) in &all {
        let of_owner = signatures.get(owner).unwrap_or_else(|| panic!("{owner} {rtype} is not signed"));
        let holds = |rdata: &Vec<u8>| {
            let rrsig = Rrsig::read(rdata).unwrap();
            let verdict = rrsig.verify(&key, owner, *rtype, data.iter().map(Vec::as_slice), NOW.wall);
            assert!(rrsig.covered != *rtype || verdict == Ok(()), "{owner} {rtype}: {verdict:?}");
            rrsig.covered == *rtype
        };
        assert!(of_owner.iter().any(holds), "{owner} {rtype} is not signed");
    }
    all
}

/// The one NSEC record: owner, next name, types.
fn nsec(sets: &Sets) -> (Name, Name, Vec<u16>) {
    let mut found = sets.iter().filter(|((_, rtype), _)| *rtype == Rtype::NSEC);
    let ((owner, _), data) = found.next().expect("a denial");
    assert!(found.next().is_none(), "one denial is enough");
    let rdata = data.first().unwrap();
    let next = Name::from_wire(rdata).unwrap();
    let mut bitmap = &rdata[next.wire().len()..];
    let mut types = Vec::new();
    while let [window, len, rest @ ..] = bitmap {
        for (at, octet) in rest[..usize::from(*len)].iter().enumerate() {
            types.extend(
                (0..8).filter(|bit| octet & 0x80 >> bit != 0).map(|bit| u16::from(*window) << 8 | (at as u16 * 8 + bit)),
            );
        }
        bitmap = &rest[usize::from(*len)..];
    }
    (owner.clone(), next, types)
}

#[test]
fn a_denial_speaks_of_the_name_alone() {
    let snapshot = snapshot();
    let (mut signer, _) = signer();
    let mut check = |question: &str, co: bool, rcode: u16, types: &[u16]| {
        let message = ask(&snapshot, question, Transport::Udp, co, &mut signer);
        assert_eq!(u16::from(message.metadata.response_code), rcode, "{question}");
        assert!(message.answers.is_empty() && message.metadata.authoritative && !message.metadata.truncation, "{question}");
        let (owner, next, found) = nsec(&validated(&message.authorities));
        let asked = name(question.split(' ').next().unwrap());
        assert_eq!((owner, next), (asked.clone(), asked.child(&[0]).unwrap()), "{question}");
        assert_eq!(found, types, "{question}");
    };
    // 46 RRSIG, 47 NSEC, 128 NXNAME.
    check("nope.example A", false, 0, &[46, 47, 128]);
    check("nope.example A", true, 3, &[46, 47, 128]);
    check("a.b.nope.example A", true, 3, &[46, 47, 128]);
    check("www.example AAAA", false, 0, &[1, 16, 46, 47]);
    check("example AAAA", false, 0, &[2, 6, 15, 16, 46, 47, 48]);
    check("b.c.example A", false, 0, &[46, 47]);
    check("q.wild.example TXT", false, 0, &[1, 15, 46, 47]);
    check("lame.example DS", false, 0, &[2, 46, 47]);
    check("pool.example AAAA", false, 0, &[1, 46, 47]);
    check("pool.example TXT", false, 0, &[1, 46, 47]);
    check("farm.example A", false, 0, &[46, 47]);
    check("b1.farm.example A", false, 0, &[28, 46, 47]);
    check("b2.farm.example A", true, 3, &[46, 47, 128]);
}

#[test]
fn a_referral_tells_whether_the_child_is_signed() {
    let snapshot = snapshot();
    let (mut signer, _) = signer();
    let message = ask(&snapshot, "x.lame.example A", Transport::Udp, false, &mut signer);
    let (cut, servers): (Vec<_>, Vec<_>) =
        message.authorities.iter().cloned().partition(|record| u16::from(record.record_type()) != 2);
    assert_eq!(servers.len(), 1);
    let (owner, _, types) = nsec(&validated(&cut));
    assert_eq!((owner, types), (name("lame.example"), vec![2, 46, 47]));
    let message = ask(&snapshot, "x.sub.example A", Transport::Udp, false, &mut signer);
    let ds: Vec<Record> =
        message.authorities.iter().filter(|record| u16::from(record.record_type()) != 2).cloned().collect();
    assert!(validated(&ds).contains_key(&(name("sub.example"), Rtype::DS)));
}

#[test]
fn a_wildcard_comes_with_the_proof_that_nothing_is_closer() {
    let snapshot = snapshot();
    let (mut signer, accounts) = signer();
    for (question, closer) in [
        ("q.wild.example A", "q.wild.example"),
        ("r.q.wild.example A", "q.wild.example"),
        ("s.q.wild.example A", "q.wild.example"),
        ("z.cname.example A", "z.cname.example"),
    ] {
        let message = ask(&snapshot, question, Transport::Udp, false, &mut signer);
        validated(&message.answers);
        let (before, next, types) = nsec(&validated(&message.authorities));
        let closer = name(closer);
        assert!(before < closer && closer < next, "{before} {closer} {next}");
        assert_eq!((before.parent(), next.parent(), types), (closer.parent(), closer.parent(), vec![46, 47]));
    }
    assert_eq!(accounts.made(), 2, "names below one next closer name share its proof");
}

#[test]
fn nothing_is_half_answered_when_nothing_may_be_signed() {
    let mut snapshot = snapshot();
    snapshot.limits = Limits { signatures_s_max: 0, ..Limits::default() };
    let (mut signer, accounts) = signer();
    let questions = ["nope.example A", "www.example AAAA", "q.wild.example A", "z.cname.example A", "x.lame.example A"];
    for question in questions {
        let udp = ask(&snapshot, question, Transport::Udp, false, &mut signer);
        assert_eq!((u16::from(udp.metadata.response_code), udp.metadata.truncation), (0, true), "{question}");
        let tcp = ask(&snapshot, question, Transport::Tcp, false, &mut signer);
        assert_eq!((u16::from(tcp.metadata.response_code), tcp.metadata.truncation), (2, false), "{question}");
        for message in [udp, tcp] {
            assert!(message.answers.is_empty() && message.authorities.is_empty() && !message.metadata.authoritative);
        }
    }
    assert_eq!((accounts.made(), accounts.refused()), (0, 2 * questions.len() as u64));
    // What was signed ahead needs nobody.
    let message = ask(&snapshot, "www.example A", Transport::Udp, false, &mut signer);
    assert!(validated(&message.answers).contains_key(&(name("www.example"), Rtype::A)));
}

#[test]
fn a_flood_of_names_takes_nothing_from_those_that_exist() {
    let snapshot = snapshot();
    let (mut signer, accounts) = signer();
    let refused = (0..5_000).filter(|number| {
        ask(&snapshot, &format!("r{number}.example A"), Transport::Udp, false, &mut signer).metadata.truncation
    });
    assert_eq!(refused.count(), 4_750, "a quarter of a second's account");
    assert_eq!(accounts.made(), 250);
    let message = ask(&snapshot, "www.example AAAA", Transport::Udp, false, &mut signer);
    assert_eq!(nsec(&validated(&message.authorities)).0, name("www.example"));
}

#[test]
fn the_type_of_absent_names_cannot_be_asked_for() {
    let snapshot = snapshot();
    let (mut signer, _) = signer();
    let message = ask(&snapshot, "www.example TYPE128", Transport::Udp, false, &mut signer);
    assert_eq!(u16::from(message.metadata.response_code), 1);
}
