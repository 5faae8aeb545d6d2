//! A zone file: loaded or refused with a bounded list of problems, never a panic; what was loaded answers for the names in it.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::overlay::Overlay;
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::{Limits, Snapshot};
use dnslb_core::zone::{self, Files, PROBLEMS_MAX, Zones};
use farm_shared::time::Now;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

const NAMES_MAX: usize = 16;
/// A, NS, CNAME, SOA, MX, DNAME, DS, ANY.
const TYPES: [u16; 8] = [1, 2, 5, 6, 15, 39, 43, 255];

struct OneFile<'a>(&'a [u8]);

impl Files for OneFile<'_> {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.to_vec())
    }
}

fuzz_target!(|text: &[u8]| {
    let origin: Name = "example.com.".parse().expect("a name");
    let zone = match zone::load(&origin, &OneFile(text), "fuzz.zone") {
        Ok(loaded) => loaded.zone,
        Err(problems) => {
            assert!((1..=2 * PROBLEMS_MAX).contains(&problems.len()), "{} problems", problems.len());
            return;
        }
    };
    let zones = Zones::new([Arc::new(zone)]).expect("one zone");
    let overlay = Overlay::build(&zones, []);
    let (zones, overlay) = (Arc::new(zones), Arc::new(overlay));
    let (pools, clients) = (Vec::new(), Arc::default());
    let snapshot = Snapshot {
        generation: 1,
        zones,
        overlay,
        pools,
        clients,
        signed: Arc::default(),
        limits: Limits::default(),
        service: Arc::default(),
    };
    let words = text.split(u8::is_ascii_whitespace).filter_map(|word| Name::from_presentation(word, &origin).ok());
    let client = "192.0.2.1".parse().expect("an address");
    let mut out = vec![0; 65_535];
    for name in [origin.clone()].into_iter().chain(words.take(NAMES_MAX)) {
        for rtype in TYPES {
            let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend_from_slice(name.wire());
            query.extend_from_slice(&[rtype, 1].map(u16::to_be_bytes).concat());
            let reply = respond(&snapshot, Transport::Tcp, client, &query, Now::default(), 7, &mut out).expect("an answer");
            // 0 no error, 3 no such name, 5 a name outside of the zone, 6 a DNAME that leads too far.
            assert!(matches!(reply.rcode, 0 | 3 | 5 | 6), "{name} {rtype}: {}", reply.rcode);
        }
    }
});
