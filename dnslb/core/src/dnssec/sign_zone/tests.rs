//! Signed zones, checked by our own verification here; BIND's and NLnet Labs' judge them in `tests/tests/dnssec_zones.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::dnssec::{Algorithm, FLAG_SEP, FLAG_ZONE, SigningKey, Validity};
use crate::zone::load;
use std::sync::Arc;

const DAY_MS: u64 = 86_400_000;
const NOW: Wall = Wall(1_800_000_000_000);

struct OneFile(&'static str);

impl crate::zone::Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }
}

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

const ZONE: &str = "\
$TTL 300
@ 3600 SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.1
www A 192.0.2.2
www 30 AAAA 2001:db8::1
*.wild TXT any
a.b.c TXT deep
cut NS ns.cut
ns.cut A 192.0.2.97
safe NS ns1
safe DS 1 13 2 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
tree DNAME other.test.
below.tree TXT occluded
old RRSIG TXT 13 2 300 20300101000000 20200101000000 1 example. AAAA
old TXT x
";

fn zone(text: &'static str) -> Zone {
    load(&name("example"), &OneFile(text), "z").unwrap().zone
}

fn key(flags: u16, octet: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_private(Algorithm::EcdsaP256Sha256, flags, &[octet; 32]).unwrap())
}

fn plan(ksk: u8, zsk: u8, denial: Denial) -> SigningPlan {
    let (entry, zone) = (key(FLAG_ZONE | FLAG_SEP, ksk), key(FLAG_ZONE, zsk));
    SigningPlan {
        published: vec![entry.dnskey().clone(), zone.dnskey().clone()],
        wished: vec![entry.dnskey().clone()],
        keys: ActiveKeys { apex: name("example"), entry: vec![entry], zone: vec![zone], validity: Validity::default() },
        dnskey_ttl_s: 3_600,
        denial,
        serial: Some(8),
    }
}

/// Every set with `true` if it is signed; every signature must hold at `wall`.
fn judge(zone: &Zone, wall: Wall) -> Vec<String> {
    let keys: Vec<Dnskey> =
        zone.rrset(zone.apex(), Rtype::DNSKEY).unwrap().rdata().map(|rdata| Dnskey::from_rdata(rdata).unwrap()).collect();
    let mut out = Vec::new();
    let sets = zone.names().flat_map(|at| at.sets().iter().map(move |set| (at.name(), set)));
    for (owner, set) in sets.chain(zone.nsec3().map(|nsec3| (&nsec3.owner, &nsec3.set))) {
        for rdata in set.sigs().into_iter().flat_map(Sigs::rdata) {
            let rrsig = Rrsig::read(rdata).unwrap();
            let holds = keys.iter().any(|key| rrsig.verify(key, owner, set.rtype(), set.rdata(), wall).is_ok());
            assert!(holds, "{owner} {}", set.rtype());
        }
        let mark = if set.sigs().is_some() { "" } else { "!" };
        out.push(format!("{owner} {mark}{}", set.rtype()));
    }
    out
}

#[test]
fn what_is_signed_and_what_is_not() {
    let signed = sign_zone(&zone(ZONE), &plan(1, 2, Denial::Nsec), None, NOW).unwrap();
    let all = judge(&signed.zone, NOW);
    let unsigned: Vec<&str> = all.iter().filter(|line| line.contains('!')).map(String::as_str).collect();
    assert_eq!(unsigned, ["cut.example. !NS", "ns.cut.example. !A", "safe.example. !NS", "below.tree.example. !TXT"]);
    for expect in
        ["example. SOA", "example. DNSKEY", "example. CDS", "example. CDNSKEY", "safe.example. DS", "*.wild.example. NSEC"]
    {
        assert!(all.iter().any(|line| line == expect), "{expect} is not in {all:#?}");
    }
    assert_eq!(signed.zone.serial(), 8);
    // The name with nothing but a signature of somebody else has one of ours.
    assert!(all.iter().any(|line| line == "old.example. TXT"));
    assert_eq!((signed.kept, signed.made), (0, all.len() - unsigned.len()));
    // NSEC at names with records alone: no empty non-terminal, nothing below cuts and DNAMEs; TTL of RFC 9077.
    let nsec: Vec<_> =
        signed.zone.names().filter_map(|at| Some((at.name().to_string(), at.set(Rtype::NSEC)?.ttl_s()))).collect();
    let owners = [
        "example.",
        "a.b.c.example.",
        "cut.example.",
        "ns1.example.",
        "old.example.",
        "safe.example.",
        "tree.example.",
        "*.wild.example.",
        "www.example.",
    ];
    assert_eq!(nsec, owners.map(|owner| (owner.to_owned(), 60)));
    let bitmap = |owner: &str| signed.zone.rrset(&name(owner), Rtype::NSEC).unwrap().rdata().next().unwrap().to_vec();
    assert_eq!(bitmap("cut.example"), nsec_rdata(&name("ns1.example"), [Rtype::NS, Rtype::RRSIG, Rtype::NSEC]));
    assert_eq!(bitmap("www.example"), nsec_rdata(&name("example"), [Rtype::A, Rtype::AAAA, Rtype::RRSIG, Rtype::NSEC]));
}

#[test]
fn hashed_denial() {
    let signed = sign_zone(&zone(ZONE), &plan(1, 2, Denial::Nsec3), None, NOW).unwrap();
    judge(&signed.zone, NOW);
    let bitmap = |owner: &str| {
        let hash = nsec3_hash(&name(owner));
        let found = signed.zone.nsec3_at_or_before(&hash).unwrap();
        assert_eq!(*found.hash, hash, "{owner}");
        found.set.rdata().next().unwrap()[26..].to_vec()
    };
    use crate::dnssec::type_bitmap;
    assert_eq!(bitmap("b.c.example"), type_bitmap([]));
    assert_eq!(bitmap("cut.example"), type_bitmap([Rtype::NS]));
    assert_eq!(bitmap("safe.example"), type_bitmap([Rtype::NS, Rtype::DS, Rtype::RRSIG]));
    assert_eq!(bitmap("www.example"), type_bitmap([Rtype::A, Rtype::AAAA, Rtype::RRSIG]));
    assert!(bitmap("example").len() > 5);
    // Apex, ns1, www, wild, *.wild, c, b.c, a.b.c, cut, safe, tree, old.
    assert_eq!(signed.zone.nsec3().count(), 12);
    assert_eq!(signed.zone.rrset(&name("example"), Rtype::NSEC3PARAM).unwrap().rdata().next(), Some(&NSEC3PARAM[..]));
}

#[test]
fn online_denial_holds_nothing_ahead() {
    let signed = sign_zone(&zone(ZONE), &plan(1, 2, Denial::Online), None, NOW).unwrap();
    assert!(!judge(&signed.zone, NOW).iter().any(|line| line.contains("NSEC")));
}

#[test]
fn signing_again_costs_what_changed() {
    for denial in [Denial::Nsec, Denial::Nsec3] {
        let plan = plan(1, 2, denial);
        let one = sign_zone(&zone(ZONE), &plan, None, NOW).unwrap();
        let later = Wall(NOW.0 + DAY_MS);
        let two = sign_zone(&zone(ZONE), &plan, Some(&one.zone), later).unwrap();
        assert_eq!((two.made, two.kept), (0, one.made));
        assert_eq!(judge(&two.zone, later), judge(&one.zone, NOW));
        assert!(two.zone.records().eq(one.zone.records()));
        // Another serial is one signature.
        let three =
            sign_zone(&zone(ZONE), &SigningPlan { serial: Some(9), ..plan.clone() }, Some(&two.zone), later).unwrap();
        assert_eq!((three.made, three.kept), (1, one.made - 1));
        // When the first one is due, it is made anew, and before it expires.
        assert!(one.refresh_at.0 >= NOW.0 + 8 * DAY_MS && one.refresh_at.0 <= NOW.0 + 9 * DAY_MS, "{:?}", one.refresh_at);
        assert!(sign_zone(&zone(ZONE), &plan, Some(&one.zone), one.refresh_at).unwrap().made > 0);
        let due = Wall(NOW.0 + 9 * DAY_MS + 1);
        let four = sign_zone(&zone(ZONE), &plan, Some(&one.zone), due).unwrap();
        assert_eq!(four.kept, 0);
        judge(&four.zone, due);
        // A new zone key signs everything but the keys, a new entry key the keys and what they ask for.
        let zone_key = sign_zone(&zone(ZONE), &self::plan(1, 3, denial), Some(&one.zone), later).unwrap();
        assert_eq!(zone_key.kept, 2, "CDS and CDNSKEY");
        judge(&zone_key.zone, later);
        let entry_key = sign_zone(&zone(ZONE), &self::plan(4, 2, denial), Some(&one.zone), later).unwrap();
        assert_eq!(entry_key.made, 3);
        judge(&entry_key.zone, later);
    }
}

#[test]
fn a_clock_set_back_leaves_no_signature_of_the_future() {
    let plan = plan(1, 2, Denial::Nsec);
    let one = sign_zone(&zone(ZONE), &plan, None, NOW).unwrap();
    let back = Wall(NOW.0 - DAY_MS);
    let two = sign_zone(&zone(ZONE), &plan, Some(&one.zone), back).unwrap();
    assert_eq!(two.kept, 0);
    judge(&two.zone, back);
}

#[test]
fn no_key_is_no_zone() {
    let mut plan = plan(1, 2, Denial::Nsec);
    plan.keys.zone.clear();
    assert_eq!(sign_zone(&zone(ZONE), &plan, None, NOW).err(), Some(SignZoneError::NoKey));
}
