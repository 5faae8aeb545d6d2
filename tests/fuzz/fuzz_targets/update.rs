//! An UPDATE message: read or refused, never a panic; what is done to a zone leaves a zone, one serial on, and can be undone.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::update::{self, Context, Grant, Protected, Requestor, TypePattern};
use dnslb_core::wire::rcode;
use dnslb_core::zone::{self, Diff, Files, Zone, serial};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Text;

impl Files for Text {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(include_bytes!("../tricky.zone").to_vec())
    }
}

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let origin: Name = "example.com.".parse().expect("a name");
    zone::load(&origin, &Text, "tricky").expect("a zone").zone
});

fuzz_target!(|message: &[u8]| {
    let update = match update::read(message) {
        Ok(update) => update,
        Err(code) => return assert!(matches!(code, rcode::FORMERR | rcode::NOTAUTH), "{code}"),
    };
    if update.zone != *ZONE.apex() {
        return;
    }
    let prefixes = vec!["127.0.0.0/8".parse().expect("a prefix")];
    let grants = [Grant { key: None, prefixes, names: Vec::new(), types: vec![TypePattern::Any] }];
    let requestor = Requestor { key: None, from: "127.0.0.1".parse().expect("an address") };
    let protected = Protected::default();
    let context = Context { zone: &ZONE, grants: &grants, requestor: &requestor, protected: &protected, is_signed: false };
    match update::evaluate(&update, context) {
        Ok(None) => {}
        Ok(Some(diff)) => {
            // A change after which the zone would break its rules is refused by `apply`.
            if let Ok(after) = ZONE.apply(&diff) {
                assert!(serial::is_newer(after.serial(), ZONE.serial()));
                let back = Diff { removed: diff.added, added: diff.removed };
                let again = after.apply(&back).expect("it can be undone");
                assert_eq!(again.record_count(), ZONE.record_count());
            }
        }
        Err(code) => assert!(matches!(code, 1 | 3 | 5..=8 | 10), "{code}"),
    }
});
