//! A signed request, and the signed answers to one of ours: octets from anybody never panic, nothing unsigned passes, and what is said
//! of a bad signature is a response that can be read. Key files too.
#![no_main]

use dnslb_core::message::Header;
use dnslb_core::name::Name;
use dnslb_core::tsig::{HmacAlgorithm, Keys, Signer, TsigKey, keys_from_file, split, verify};
use farm_shared::time::Wall;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

/// When the messages of the corpus were signed.
const NOW: Wall = Wall(1_700_000_000_000);

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Keys::default();
    for algorithm in HmacAlgorithm::ALL {
        let name = Name::from_text(algorithm.label()).expect("a name");
        keys.insert(TsigKey::new(name, algorithm, b"a secret that the corpus knows").expect("a key"));
    }
    keys
});

fuzz_target!(|octets: &[u8]| {
    match verify(octets, &KEYS, NOW) {
        Ok(None) => assert!(matches!(split(octets), Ok(None))),
        Ok(Some(mut verified)) => {
            assert!(verified.message.len() < octets.len());
            assert!(matches!(split(&verified.message), Ok(None)), "one signature is all there may be");
            let mut answer = verified.message;
            let before = answer.len();
            verified.signer.sign(&mut answer, NOW);
            assert!(answer.len() - before <= verified.key.record_len_max());
        }
        Err(fault) => {
            if let Some(response) = fault.response {
                let header = Header::read(&response).expect("a header");
                assert!(header.is_response() && matches!(header.rcode(), 1 | 9));
                assert!(split(&response).is_ok());
            }
        }
    }
    let name = Name::from_text(HmacAlgorithm::Sha256.label()).expect("a name");
    if let Some(key) = KEYS.get(&name) {
        let mut request = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01".to_vec();
        let mut checker = Signer::request(Arc::clone(key), &mut request, NOW);
        // Its MAC covers that of the request: no corpus has it.
        assert!(checker.check(octets, NOW).is_err());
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = keys_from_file(text);
    }
});
