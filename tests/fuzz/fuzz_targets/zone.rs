//! A zone file: loaded or refused with problems, never a panic; what was loaded can be asked.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::zone::{self, Files};
use libfuzzer_sys::fuzz_target;

struct OneFile<'a>(&'a [u8]);

impl Files for OneFile<'_> {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.to_vec())
    }
}

fuzz_target!(|text: &[u8]| {
    let origin: Name = "example.com.".parse().expect("a name");
    let _ = zone::load(&origin, &OneFile(text), "fuzz.zone");
});
