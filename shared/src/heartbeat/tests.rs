#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::id::Id;
use crate::prefix::Prefix;
use crate::time::Wall;
use proptest::prelude::*;
use std::net::IpAddr;

const NOW: Wall = Wall(1_700_000_000_000);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn farm_key() -> FarmKey {
    FarmKey::from_hex(&"5a".repeat(32)).unwrap()
}

fn member_key() -> MemberKey {
    farm_key().member(&id("mail"), &id("b17"))
}

fn source() -> IpAddr {
    "10.0.0.17".parse().unwrap()
}

fn keyring() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.insert(id("mail"), farm_key(), vec!["192.0.2.0/24".parse::<Prefix>().unwrap()]);
    keyring
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        v: VERSION,
        farm: id("mail"),
        id: id("b17"),
        role: Role::Backend,
        inc: 5,
        seq: 9,
        time_ms: NOW.0,
        period_ms: 1_000,
        addrs: vec![source()],
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

fn sealed(body: &[u8]) -> Vec<u8> {
    Envelope::datagram(&id("mail"), &id("b17"), &member_key().sign(body), body)
}

fn open(datagram: &[u8]) -> Result<Heartbeat, Refusal> {
    Envelope::from_datagram(datagram).and_then(|e| keyring().open(&e, source(), NOW))
}

/// A change of a good heartbeat, signed by its own member, and the reason it is refused for (`ok` if it is not).
fn check(what: &str, change: impl FnOnce(&mut Heartbeat), expect: &str) {
    let mut heartbeat = heartbeat();
    change(&mut heartbeat);
    let body = serde_json::to_vec(&heartbeat).unwrap();
    let reason = open(&sealed(&body)).map_or_else(|r| r.reason(), |_| "ok");
    assert_eq!(reason, expect, "{what}");
    assert!(expect == "ok" || Refusal::REASONS.contains(&expect), "{expect}");
}

#[test]
fn what_a_member_may_say() {
    check("plain", |_| {}, "ok");
    check("other version", |h| h.v = 2, "unknown_version");
    check("another's name", |h| h.id = id("b18"), "wrong_identity");
    check("another farm", |h| h.farm = id("web"), "wrong_identity");
    check("allowed prefix", |h| h.addrs.push("192.0.2.9".parse().unwrap()), "ok");
    check("foreign address", |h| h.addrs.push("198.51.100.1".parse().unwrap()), "foreign_address");
    check("mapped address", |h| h.addrs = vec!["::ffff:10.0.0.17".parse().unwrap()], "malformed");
    check("no address", |h| h.addrs.clear(), "malformed");
    check("many addresses", |h| h.addrs = vec![source(); 9], "malformed");
    check("any address", |h| h.addrs = vec!["0.0.0.0".parse().unwrap()], "malformed");
    check("port 0", |h| h.port = 0, "malformed");
    check("late", |h| h.time_ms -= SKEW_MS_MAX + 1, "stale");
    check("early", |h| h.time_ms += SKEW_MS_MAX + 1, "stale");
    check("just in time", |h| h.time_ms -= SKEW_MS_MAX, "ok");
    check("far future", |h| h.time_ms = u64::MAX, "stale");
    check(
        "a foreign address is not challenged",
        |h| (h.time_ms, h.addrs) = (0, vec!["9.9.9.9".parse().unwrap()]),
        "foreign_address",
    );
    check("short period", |h| h.period_ms = 99, "malformed");
    check("negative queue", |h| h.load.queue = -1.0, "malformed");
    check("no number", |h| h.load.queue = f64::NAN, "malformed");
    check("too busy", |h| h.load.busy = 1.01, "malformed");
    check("no cores", |h| h.load.cores = 0.0, "malformed");
    check("incarnation 0", |h| h.inc = 0, "malformed");
    check("many drains", |h| h.drain_by = vec![id("d"); 65], "malformed");
}

#[test]
fn a_stale_message_is_handed_back_for_the_challenge() {
    let old = Heartbeat { time_ms: 1, ..heartbeat() };
    let refusal = open(&sealed(&serde_json::to_vec(&old).unwrap())).unwrap_err();
    assert_eq!(refusal, Refusal::Stale(Box::new(old)));
}

#[test]
fn what_an_envelope_must_be() {
    let body = serde_json::to_vec(&heartbeat()).unwrap();
    let good = sealed(&body);
    let text = String::from_utf8(good.clone()).unwrap();
    let mac = member_key().sign(&body);
    let other = farm_key().member(&id("mail"), &id("b18")).sign(&body);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "malformed"),
        ("no newline", b"FARM1 mail/b17".to_vec(), "malformed"),
        ("other magic", text.replacen("FARM1", "FARM2", 1).into(), "malformed"),
        ("no id", text.replacen("mail/b17", "mail", 1).into(), "malformed"),
        ("bad id", text.replacen("mail/b17", "mail/B17", 1).into(), "malformed"),
        ("a path in the id", text.replacen("mail/b17", "mail/../b17", 1).into(), "malformed"),
        ("short mac", text.replacen(&mac, &mac[2..], 1).into(), "malformed"),
        ("long mac", text.replacen(&mac, &format!("{mac}00"), 1).into(), "malformed"),
        ("no hex", text.replacen(&mac, &"zz".repeat(32), 1).into(), "malformed"),
        ("a word more", text.replacen(&mac, &format!("{mac} x"), 1).into(), "malformed"),
        ("late newline", [&vec![b' '; 300][..], b"\n"].concat(), "malformed"),
        ("no text", [&b"FARM1 \xff\xfe/b "[..], mac.as_bytes(), b"\n"].concat(), "malformed"),
        ("not configured", text.replacen("mail/b17", "web/b17", 1).into(), "unknown_farm"),
        ("forged", text.replacen(&mac, &"00".repeat(32), 1).into(), "bad_mac"),
        ("another's key", text.replacen(&mac, &other, 1).into(), "bad_mac"),
        ("another's name on the envelope", text.replacen("mail/b17", "mail/b18", 1).into(), "bad_mac"),
        ("truncated", good[..good.len() - 1].to_vec(), "bad_mac"),
        ("no body", good[..good.len() - body.len()].to_vec(), "bad_mac"),
        ("a byte more", [&good[..], b" "].concat(), "bad_mac"),
        ("signed garbage", sealed(b"{"), "malformed"),
        ("signed version alone", sealed(b"{\"v\":1}"), "malformed"),
        ("signed deep nesting", sealed("[".repeat(7_000).as_bytes()), "malformed"),
        ("too long", sealed(&vec![b' '; UDP_BYTES_MAX]), "oversized"),
    ];
    for (what, datagram, expect) in cases {
        assert_eq!(open(&datagram).map_or_else(|r| r.reason(), |_| "ok"), expect, "{what}");
    }
    assert!(open(&good).is_ok());
    let big = vec![b' '; 16 * 1024 + 1];
    let mac = member_key().sign(&big);
    let envelope = Envelope::from_parts("mail/b17", &mac, &big).unwrap();
    assert_eq!(keyring().open(&envelope, source(), NOW), Err(Refusal::Oversized));
}

#[test]
fn fields_of_later_versions_of_the_schema_are_ignored() {
    let mut json = serde_json::to_value(heartbeat()).unwrap();
    json["colour"] = "blue".into();
    assert!(open(&sealed(json.to_string().as_bytes())).is_ok());
}

#[test]
fn a_mapped_source_is_its_ipv4_address() {
    let body = serde_json::to_vec(&heartbeat()).unwrap();
    let datagram = sealed(&body);
    let envelope = Envelope::from_datagram(&datagram).unwrap();
    assert!(keyring().open(&envelope, "::ffff:10.0.0.17".parse().unwrap(), NOW).is_ok());
}

#[test]
fn replies_come_back_and_pass_for_nothing_else() {
    let key = member_key();
    let reply = Reply { drain: true, ..Reply::new(&id("ns1"), Kind::Dnslb, &heartbeat(), NOW) };
    let datagram = reply.datagram(&key);
    let envelope = Envelope::from_datagram(&datagram).unwrap();
    assert_eq!(key.open_reply(&envelope.mac, envelope.body), Ok(reply));
    assert_eq!(open(&datagram), Err(Refusal::BadMac), "a reply as a heartbeat");
    let other = farm_key().member(&id("mail"), &id("b18"));
    assert_eq!(other.open_reply(&envelope.mac, envelope.body), Err(Refusal::BadMac), "a reply to another");
    let body = serde_json::to_vec(&heartbeat()).unwrap();
    let sent = sealed(&body);
    let sent = Envelope::from_datagram(&sent).unwrap();
    assert_eq!(key.open_reply(&sent.mac, sent.body), Err(Refusal::BadMac), "a heartbeat as a reply");
}

#[test]
fn graves_are_signed_by_the_farm_alone() {
    let stone = farm_key().bury(&id("mail"), &id("b17"), 5, NOW);
    assert!(farm_key().is_buried(&id("mail"), &stone));
    assert!(!farm_key().is_buried(&id("web"), &stone));
    for forged in [
        Tombstone { inc: 6, ..stone.clone() },
        Tombstone { id: id("b18"), ..stone.clone() },
        Tombstone { time_ms: 1, ..stone.clone() },
        Tombstone { mac: String::new(), ..stone.clone() },
        Tombstone { mac: "é".repeat(32), ..stone.clone() },
    ] {
        assert!(!farm_key().is_buried(&id("mail"), &forged), "{forged:?}");
    }
}

#[test]
fn keys_show_nothing_and_refuse_short_secrets() {
    assert_eq!(format!("{:?} {:?}", farm_key(), member_key()), "FarmKey(…) MemberKey(…)");
    assert_eq!(MemberKey::from_hex(&member_key().to_hex()).unwrap().to_hex(), member_key().to_hex());
    for bad in ["", "00", "xyz", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66 * 8 + 2)] {
        assert!(MemberKey::from_hex(bad).is_err(), "{bad}");
        assert!(FarmKey::from_hex(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn random_signed_bodies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&sealed(&bytes)).is_err());
    }

    #[test]
    fn a_flipped_bit_never_opens(bit in any::<prop::sample::Index>()) {
        let mut datagram = sealed(&serde_json::to_vec(&heartbeat()).unwrap());
        let bit = bit.index(datagram.len() * 8);
        datagram[bit / 8] ^= 1 << (bit % 8);
        // The case of a hexadecimal digit of the MAC carries no meaning.
        let same = Envelope::from_datagram(&datagram).ok()
            == Envelope::from_datagram(&sealed(&serde_json::to_vec(&heartbeat()).unwrap())).ok();
        prop_assert_eq!(open(&datagram).is_ok(), same);
    }

    #[test]
    fn a_signed_message_with_a_changed_byte_keeps_the_bounds(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = serde_json::to_vec(&heartbeat()).unwrap();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(opened) = open(&sealed(&body)) {
            prop_assert_eq!(opened.check(), Ok(()));
            prop_assert_eq!((opened.farm, opened.id), (id("mail"), id("b17")));
        }
    }
}
