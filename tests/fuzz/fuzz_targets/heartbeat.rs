//! A heartbeat from anybody: nothing opens without the key, and nothing panics.
#![no_main]

use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Keyring};
use farm_shared::id::Id;
use farm_shared::member::{LeasePolicy, Roster};
use farm_shared::time::{Mono, Now, Wall};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEY: LazyLock<FarmKey> = LazyLock::new(|| FarmKey::from_hex(&"5a".repeat(32)).expect("a key"));

fuzz_target!(|data: &[u8]| {
    let farm = Id::new("mail").expect("an id");
    let mut keyring = Keyring::default();
    keyring.insert(farm.clone(), KEY.clone(), Vec::new());
    let source = "127.0.0.1".parse().expect("an address");
    if let Ok(envelope) = Envelope::from_datagram(data) {
        assert!(keyring.open(&envelope, source, Wall(0)).is_err(), "forged");
    }
    // Behind a MAC that holds: the schema and the roster.
    let id = Id::new("b1").expect("an id");
    let mac = KEY.member(&farm, &id).sign(data);
    let envelope = Envelope::from_parts("mail/b1", &mac, data).expect("an envelope");
    let wall = serde_time(data);
    if let Ok(heartbeat) = keyring.open(&envelope, source, wall) {
        let mut roster = Roster::new(LeasePolicy::default());
        let now = Now { mono: Mono(0), wall };
        let again: Heartbeat = heartbeat.clone();
        let _ = roster.observe(now, heartbeat);
        assert!(roster.observe(now, again).is_err(), "replayed");
    }
});

/// A clock that agrees with the message, so that most messages come past the time check.
fn serde_time(data: &[u8]) -> Wall {
    let text = String::from_utf8_lossy(data);
    let digits =
        text.split("\"time_ms\":").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    Wall(digits.and_then(|d| d.parse().ok()).unwrap_or(0))
}
