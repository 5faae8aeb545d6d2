//! A transfer from a primary that nobody trusts: any messages, within the limits and without a panic; what comes out whole is within
//! the zone, and goes out again as it came in. The first octet says whether it is incremental and over UDP; each message has its
//! length before it.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::transfer::{Incoming, Limits, Outcome, Packer, Progress, wanted, whole};
use dnslb_core::zone::{RecordRef, Zone};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { records_max: 200, octets_max: 20_000 };

fn frames(mut octets: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((len, rest)) = octets.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        frames.push(frame);
        octets = rest;
    }
    frames
}

fuzz_target!(|octets: &[u8]| {
    let Some((&how, octets)) = octets.split_first() else { return };
    let apex = Name::from_text("example").expect("a name");
    let mut incoming = Incoming::new(apex.clone(), 0x1234, (how & 1 == 1).then_some(7), LIMITS);
    for frame in frames(octets) {
        let _ = wanted(frame);
        match incoming.take(frame, how & 2 == 2) {
            Ok(Progress::More) => {}
            Ok(Progress::Done | Progress::NeedsStream) | Err(_) => break,
        }
    }
    assert!(incoming.records() <= LIMITS.records_max + 1);
    let Some(outcome) = incoming.finish() else { return };
    let records = match outcome {
        Outcome::Same(_) => return,
        Outcome::Whole(records) => records,
        Outcome::Changes(diffs) => {
            assert!(diffs.iter().all(|diff| !diff.removed.is_empty() && !diff.added.is_empty()));
            return;
        }
    };
    assert!(records.iter().all(|record| record.owner.is_at_or_below(&apex)));
    let Ok(loaded) = Zone::from_records(&apex, records) else { return };
    let zone = loaded.zone;
    let request = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x00\x00\xfc\x00\x01";
    let mut packer = Packer::new(request, 65_535).expect("a question");
    let mut messages = Vec::new();
    let sent: Vec<RecordRef<'_>> = whole(&zone).collect();
    for record in &sent {
        messages.extend(packer.push(*record).expect("it came in a message"));
    }
    messages.extend(packer.finish());
    let mut again = Incoming::new(apex, 0x1234, None, Limits { records_max: 1_000, octets_max: 1_000_000 });
    for message in &messages {
        again.take(message, false).expect("what we send is a transfer");
    }
    let Some(Outcome::Whole(got)) = again.finish() else { panic!("no zone came back") };
    assert_eq!(got.len() + 1, sent.len());
});
