//! Signatures and denials that were made beforehand, and those that are kept, cost an answer no allocation either.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use dnslb_core::config;
use dnslb_core::control::{Control, Effect, Saved};
use dnslb_core::dnssec::{ActiveKeys, Algorithm, Denial, SigningKey, SigningPlan, Validity, sign_zone};
use dnslb_core::name::Name;
use dnslb_core::online::{Accounts, OnlineSigner};
use dnslb_core::respond::{Transport, respond_signing};
use dnslb_core::snapshot::Snapshot;
use dnslb_core::zone::{Files, Hosted, Zones, rtype_from_text};
use farm_shared::draw::Draws;
use farm_shared::time::{Mono, Now, Wall};
use std::net::Ipv4Addr;
use std::sync::Arc;

const ZONE: &str = "$TTL 60
@ SOA ns1 admin 1 2 3 4 5
@ NS ns1
ns1 A 192.0.2.53
alias CNAME www2
www2 A 192.0.2.1
*.wild A 192.0.2.9
*.cname CNAME q.wild
a.b.ent TXT deep
sub NS ns1
old DNAME new
x.new CNAME www2
";

const POOL: &str = "[[pool]]\nname = 'www'\npublish = ['www.example', '*.any.example']\nk = 2\n\
                    [[pool.member]]\nname = 'a'\naddresses = ['192.0.2.1']\n[[pool.member]]\nname = 'b'\naddresses = ['192.0.2.2']\n";

const NOW: Now = Now { mono: Mono(1_000_000), wall: Wall(1_800_000_000_000) };

struct Text;

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(ZONE.as_bytes().to_vec())
    }
}

fn snapshot(denial: Denial) -> Arc<Snapshot> {
    let pool = if denial == Denial::Online { POOL } else { "" };
    let text = format!("[[zone]]\nname = 'example'\nfile = 'z'\n{pool}");
    let loaded = config::load("test", &text, &Text).unwrap();
    let key = Arc::new(SigningKey::from_private(Algorithm::Ed25519, 257, &[7; 32]).unwrap());
    let apex = Name::from_text("example").unwrap();
    let (entry, zone) = (vec![Arc::clone(&key)], vec![key]);
    let keys = ActiveKeys { apex: apex.clone(), entry, zone, validity: Validity::default() };
    let published = keys.entry.iter().map(|key| key.dnskey().clone()).collect();
    let plan = SigningPlan { keys: keys.clone(), published, wished: Vec::new(), dnskey_ttl_s: 60, denial, serial: None };
    let zone = sign_zone(loaded.zones.get(&apex).unwrap(), &plan, None, NOW.wall).unwrap().zone;
    let zones = Zones::of([Hosted { keys: Some(Arc::new(keys)), ..Hosted::new(Arc::new(zone)) }]).unwrap();
    let mut control = Control::new(loaded.spec, Arc::new(zones), Saved::default(), NOW, Draws::from_u64(1));
    let published = control.flush(NOW).into_iter().find_map(|effect| match effect {
        Effect::Publish(snapshot) => Some(snapshot),
        _ => None,
    });
    published.expect("a snapshot")
}

/// A query with DO.
fn query(name: &str, rtype: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(Name::from_text(name).unwrap().wire());
    message.extend_from_slice(&rtype_from_text(rtype).unwrap().0.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    message
}

#[test]
fn a_signed_answer_allocates_nothing() {
    let names = [
        "example",
        "alias.example",
        "www.example",
        "x.any.example",
        "q.wild.example",
        "z.cname.example",
        "b.ent.example",
        "nope.example",
        "a.b.nope.example",
        "x.sub.example",
        "sub.example",
        "x.old.example",
    ];
    let types = ["A", "AAAA", "NS", "SOA", "DS", "DNSKEY", "NSEC", "RRSIG", "ANY"];
    let queries: Vec<Vec<u8>> = names.iter().flat_map(|name| types.map(|rtype| query(name, rtype))).collect();
    for denial in [Denial::Nsec, Denial::Nsec3, Denial::Online] {
        let snapshot = snapshot(denial);
        let accounts = Arc::new(Accounts::default());
        let mut signer = OnlineSigner::keeping(Arc::clone(&accounts));
        let mut out = vec![0; 65_535];
        let client = Ipv4Addr::LOCALHOST.into();
        let mut round = || {
            let mut refused = 0;
            for query in &queries {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let signer = Some(&mut signer);
                    let reply = respond_signing(&snapshot, transport, client, query, NOW, 7, signer, &mut out);
                    refused += u32::from(reply.is_none_or(|reply| reply.rcode == 2));
                }
            }
            refused
        };
        // The first round signs what the second finds kept.
        assert_eq!(round(), 0, "{denial:?}");
        let mut refused = 0;
        let counted = allocation_counter::measure(|| refused = round());
        assert_eq!((counted.count_total, refused), (0, 0), "{denial:?}");
        assert_eq!(accounts.made() > 10, denial == Denial::Online, "{denial:?}: {}", accounts.made());
    }
}
