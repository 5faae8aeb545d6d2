//! A configuration file: accepted or refused with a bounded list of problems, never a panic. Nothing is opened.
#![no_main]

use dnslb_core::zone::Files;
use farm_shared::config::Document;
use libfuzzer_sys::fuzz_target;

/// Every file there is: the zone where a zone is asked for, else a key.
struct Both;

impl Files for Both {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let text: &[u8] = match path.rsplit('.').next() {
            Some("zone") => include_bytes!("../tricky.zone"),
            Some("key") => b"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
            _ => return Err("no such file".into()),
        };
        Ok(text.to_vec())
    }
}

fuzz_target!(|text: &str| {
    if let Err(problems) = dnslb_core::config::load("fuzz.toml", text, &Both) {
        assert!(!problems.is_empty() && problems.len() <= 200, "{} problems", problems.len());
    }
    let document = Document::parse("fuzz.toml", text);
    let _ = redirector_core::config::Spec::read(&document.root());
    let problems = document.finish();
    assert!(problems.len() <= 101, "{} problems", problems.len());
});
