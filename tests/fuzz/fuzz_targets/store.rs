//! A journal, raw or framed rightly around any payloads: a zone comes back, or a refusal in words; never a panic, and what came back is
//! what is brought back once more from the octets that were said to hold.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::store::journal::{Header, frame_of};
use dnslb_core::store::{Stored, first_checkpoint, restore};
use dnslb_core::zone::{self, Files};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Text;

impl Files for Text {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(b"@ 60 SOA a b 7 1 1 1 1\n@ 60 NS ns.else.test.\nwww 60 A 192.0.2.1\n".to_vec())
    }
}

static CHECKPOINT: LazyLock<(Name, Vec<u8>)> = LazyLock::new(|| {
    let apex: Name = "example.com.".parse().expect("a name");
    let zone = zone::load(&apex, &Text, "zone").expect("a zone").zone;
    (apex, first_checkpoint(&zone))
});

fuzz_target!(|input: &[u8]| {
    let Some((&mode, input)) = input.split_first() else { return };
    let (apex, checkpoint) = &*CHECKPOINT;
    let mut journal = Header { apex: apex.clone(), generation: 1, first: 0 }.to_octets();
    match mode % 3 {
        0 => journal = input.to_vec(),
        1 => journal.extend_from_slice(input),
        _ => {
            let payloads = input.split(|octet| *octet == 0xa5);
            (0..).zip(payloads).for_each(|(number, payload)| journal.extend(frame_of(number, payload)));
        }
    }
    let stored = Stored { checkpoint: Some(checkpoint.clone()), journal: Some(journal.clone()) };
    match restore(apex, &stored) {
        Ok(restored) => {
            let restored = restored.expect("a checkpoint is there");
            assert_eq!(restored.journal_len() + restored.cut, journal.len() as u64);
            journal.truncate(restored.journal_len() as usize);
            let journal = (!journal.is_empty()).then_some(journal);
            let again = restore(apex, &Stored { journal, ..stored }).expect("what holds").expect("a zone");
            assert_eq!((again.journal_len(), again.cut), (restored.journal_len(), 0));
        }
        Err(why) => assert!(why.contains("example.com."), "{why}"),
    }
});
