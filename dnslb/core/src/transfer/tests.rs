#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::message::Header;
use crate::name::Name;
use crate::zone::{Diff, Record, Rtype, Soa, Zone};
use proptest::prelude::*;

const LIMITS: Limits = Limits { records_max: 100_000, octets_max: 10_000_000 };

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn soa(serial: u32) -> Record {
    let soa = Soa {
        mname: name("ns.example"),
        rname: name("host.example"),
        serial,
        refresh_s: 3_600,
        retry_s: 600,
        expire_s: 86_400,
        minimum_s: 60,
    };
    Record { owner: name("example"), rtype: Rtype::SOA, ttl_s: 60, rdata: soa.to_rdata() }
}

fn a(owner: &str, last: u8) -> Record {
    Record { owner: name(owner), rtype: Rtype::A, ttl_s: 60, rdata: Box::new([192, 0, 2, last]) }
}

fn ns() -> Record {
    Record { owner: name("example"), rtype: Rtype::NS, ttl_s: 60, rdata: name("ns.example").wire().into() }
}

fn zone(serial: u32, hosts: u32) -> Zone {
    let hosts = (0..hosts).map(|n| a(&format!("h{n}.sub{}.example", n / 100), n as u8));
    Zone::from_records(&name("example"), [soa(serial), ns(), a("ns.example", 1)].into_iter().chain(hosts)).unwrap().zone
}

/// A request for `rtype` of `example.`, with the SOA record of a serial in its authority section.
fn request(rtype: u16, have: Option<u32>) -> Vec<u8> {
    let mut request = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x00".to_vec();
    request.extend_from_slice(&rtype.to_be_bytes());
    request.extend_from_slice(&[0, 1]);
    if let Some(have) = have {
        request[9] = 1;
        let record = soa(have);
        request.extend_from_slice(b"\xc0\x0c\0\x06\0\x01\0\0\0\0");
        request.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
        request.extend_from_slice(&record.rdata);
    }
    request
}

/// Records as messages of at most `limit` octets.
fn pack<'r>(records: impl Iterator<Item = &'r Record>, limit: usize) -> Vec<Vec<u8>> {
    let request = request(252, None);
    let mut packer = Packer::new(&request, limit).unwrap();
    let refs = records.map(|r| crate::zone::RecordRef { owner: &r.owner, rtype: r.rtype, ttl_s: r.ttl_s, rdata: &r.rdata });
    let mut messages: Vec<_> = refs.filter_map(|record| packer.push(record).unwrap()).collect();
    messages.extend(packer.finish());
    messages
}

fn receive(have: Option<u32>, messages: &[Vec<u8>]) -> Result<Option<Outcome>, BadTransfer> {
    let mut incoming = Incoming::new(name("example"), 0x1234, have, LIMITS);
    for message in messages {
        incoming.take(message, false)?;
    }
    Ok(incoming.finish())
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort();
    records
}

#[test]
fn what_is_wanted() {
    assert_eq!(wanted(&request(252, None)), Ok((name("example"), Wanted::Whole)));
    assert_eq!(wanted(&request(251, Some(7))), Ok((name("example"), Wanted::Since(7))));
    assert!(wanted(&request(251, None)).is_err());
}

#[test]
fn a_zone_goes_through_messages_of_any_length() {
    let zone = zone(7, 3_000);
    let sent: Vec<Record> = whole(&zone).map(crate::zone::RecordRef::to_record).collect();
    assert_eq!((sent.first(), sent.last(), sent.len()), (Some(&soa(7)), Some(&soa(7)), zone.record_count() + 1));
    for limit in [100, 512, 16_000, 65_535] {
        let messages = pack(sent.iter(), limit);
        assert!(messages.iter().all(|message| message.len() <= limit));
        let Some(Outcome::Whole(got)) = receive(None, &messages).unwrap() else { panic!("no zone") };
        assert_eq!(sorted(got), sorted(sent[..sent.len() - 1].to_vec()), "{limit}");
    }
    // Two names of a zone share most of their octets: 24 in place of 44.
    let octets: usize = pack(sent.iter(), 65_535).iter().map(Vec::len).sum();
    assert!(octets < sent.len() * 32, "{octets}");
}

#[test]
fn changes_go_as_rfc_1995_has_them() {
    let [first, second] = [
        Diff { removed: vec![a("x.example", 1), soa(1)], added: vec![soa(2), a("x.example", 2)] },
        Diff { removed: vec![soa(2)], added: vec![a("y.example", 3), soa(3)] },
    ];
    let zone = zone(3, 20);
    let diffs = [&first, &second];
    let sent: Vec<Record> = changes(&zone, &diffs).map(crate::zone::RecordRef::to_record).collect();
    let expect = [soa(3), soa(1), a("x.example", 1), soa(2), a("x.example", 2), soa(2), soa(3), a("y.example", 3), soa(3)];
    assert_eq!(sent, expect);
    for limit in [100, 65_535] {
        let Some(Outcome::Changes(got)) = receive(Some(1), &pack(sent.iter(), limit)).unwrap() else { panic!("{limit}") };
        let sort = |diff: &Diff| Diff { removed: sorted(diff.removed.clone()), added: sorted(diff.added.clone()) };
        assert_eq!(got.iter().map(sort).collect::<Vec<_>>(), diffs.map(sort), "{limit}");
    }
}

#[test]
fn what_is_chosen() {
    let zone = zone(3, 2);
    let small = Diff { removed: vec![soa(2)], added: vec![soa(3)] };
    let large = Diff { removed: vec![soa(2); 10], added: vec![soa(3)] };
    let check = |wanted: Wanted, diffs: Option<Vec<&Diff>>, expect: &str| {
        let chosen = match choose(&zone, wanted, |_| diffs.map(Vec::into_iter)) {
            Version::Same => "same",
            Version::Changes(_) => "changes",
            Version::Whole => "whole",
        };
        assert_eq!(chosen, expect, "{wanted:?}");
    };
    check(Wanted::Whole, Some(vec![&small]), "whole");
    check(Wanted::Since(3), None, "same");
    check(Wanted::Since(4), None, "same");
    check(Wanted::Since(2), Some(vec![&small]), "changes");
    check(Wanted::Since(2), Some(vec![&large]), "whole");
    check(Wanted::Since(2), None, "whole");
    check(Wanted::Since(u32::MAX), Some(vec![&small]), "changes");
}

#[test]
fn a_transfer_that_is_none_is_refused() {
    let check = |what: &str, have: Option<u32>, records: &[Record], expect: Result<Option<Outcome>, BadTransfer>| {
        for limit in [100, 65_535] {
            assert_eq!(receive(have, &pack(records.iter(), limit)), expect, "{what} {limit}");
        }
    };
    let foreign = |record: &Record| Err(BadTransfer::Foreign(record.owner.clone(), record.rtype));
    check("nothing newer", Some(7), &[soa(7)], Ok(Some(Outcome::Same(7))));
    check("older", Some(7), &[soa(6)], Ok(Some(Outcome::Same(6))));
    check("not whole", None, &[soa(7), ns()], Ok(None));
    check("no SOA", None, &[ns(), soa(7)], Err(BadTransfer::NoSoa));
    check("other end", None, &[soa(7), ns(), soa(8)], Err(BadTransfer::OtherEnd));
    check("behind", None, &[soa(7), ns(), soa(7), ns()], Err(BadTransfer::Behind));
    check("behind the same", Some(7), &[soa(7), ns()], Err(BadTransfer::Behind));
    let out = a("www.example.net", 1);
    check("out of zone", None, &[soa(7), out.clone(), soa(7)], foreign(&out));
    let deep = Record { owner: name("a.example"), ..soa(7) };
    check("SOA below", None, &[soa(7), deep.clone(), soa(7)], foreign(&deep));
    let opt = Record { rtype: Rtype::OPT, ..ns() };
    check("a type of no zone", None, &[soa(7), opt.clone(), soa(7)], foreign(&opt));
    let bad = Record { rdata: Box::new([1, 2, 3]), ..a("b.example", 1) };
    check("bad data", None, &[soa(7), bad, soa(7)], Err(BadTransfer::BadData(name("b.example"), Rtype::A)));
    check("gap", Some(1), &[soa(3), soa(1), soa(2), soa(3), soa(3), soa(3)], Err(BadTransfer::Chain));
    check("another start", Some(1), &[soa(3), soa(2), soa(3), soa(3)], Err(BadTransfer::OtherEnd));
    check("an IXFR that is whole", Some(1), &[soa(3), ns(), soa(3)], Ok(Some(Outcome::Whole(vec![soa(3), ns()]))));
}

#[test]
fn messages_that_are_no_answers_are_refused() {
    let whole = pack([soa(7), ns(), soa(7)].iter(), 65_535).remove(0);
    let check = |what: &str, change: &dyn Fn(&mut Vec<u8>), expect: BadTransfer| {
        let mut message = whole.clone();
        change(&mut message);
        assert_eq!(receive(None, &[message]), Err(expect), "{what}");
    };
    check("ID", &|m| m[0] ^= 1, BadTransfer::OtherAnswer);
    check("QR", &|m| m[2] ^= 0x80, BadTransfer::OtherAnswer);
    check("opcode", &|m| m[2] ^= 0x20, BadTransfer::OtherAnswer);
    check("rcode", &|m| m[3] |= 5, BadTransfer::Refused(5));
    check("TC", &|m| m[2] |= 2, BadTransfer::Format);
    check("question", &|m| m[13] ^= 1, BadTransfer::OtherAnswer);
    check("empty", &|m| (m[7], m[11]) = (0, 0), BadTransfer::Empty);
    check("cut", &|m| m.truncate(m.len() - 1), BadTransfer::Format);
    check("class", &|m| m[25 + 5] = 3, BadTransfer::Foreign(name("example"), Rtype::SOA));
}

#[test]
fn limits_hold() {
    let records: Vec<Record> = std::iter::once(soa(7)).chain((0..50).map(|n| a("h.example", n))).collect();
    let messages = pack(records.iter(), 200);
    for limits in [Limits { records_max: 20, ..LIMITS }, Limits { octets_max: 1_000, ..LIMITS }] {
        let mut incoming = Incoming::new(name("example"), 0x1234, None, limits);
        let end = messages.iter().cycle().find_map(|message| incoming.take(message, false).err());
        assert_eq!(end, Some(BadTransfer::TooMuch));
        assert!(incoming.records() <= limits.records_max + 1 && incoming.octets() <= limits.octets_max + 200);
    }
}

#[test]
fn over_udp_there_is_one_message() {
    let check = |records: &[Record], expect: Result<Progress, BadTransfer>| {
        let message = pack(records.iter(), 65_535).remove(0);
        let mut incoming = Incoming::new(name("example"), 0x1234, Some(1), LIMITS);
        assert_eq!(incoming.take(&message, true), expect, "{records:?}");
    };
    check(&[soa(1)], Ok(Progress::Done));
    check(&[soa(3)], Ok(Progress::NeedsStream));
    check(&[soa(3), soa(1), soa(3), soa(3)], Ok(Progress::Done));
    check(&[soa(3), soa(1), soa(3)], Err(BadTransfer::Format));
    let mut message = pack([soa(1)].iter(), 65_535).remove(0);
    message[2] |= 2;
    let mut incoming = Incoming::new(name("example"), 0x1234, Some(1), LIMITS);
    assert_eq!(incoming.take(&message, true), Ok(Progress::NeedsStream));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4)) {
        let _ = receive(Some(1), &messages);
        for message in &messages {
            let _ = (wanted(message), Packer::new(message, 512).is_some());
        }
    }

    #[test]
    fn a_flipped_bit_is_never_a_panic(at in 0_usize..4_000, bit in 0_u8..8) {
        let sent = [soa(3), soa(1), a("x.example", 1), soa(2), soa(2), soa(3), ns(), soa(3)];
        let mut messages = pack(sent.iter(), 100);
        let total: usize = messages.iter().map(Vec::len).sum();
        let mut at = at % total;
        for message in &mut messages {
            if at < message.len() {
                message[at] ^= 1 << bit;
                break;
            }
            at -= message.len();
        }
        let _ = receive(Some(1), &messages);
    }

    #[test]
    fn headers_say_what_is_in_them(limit in 60_usize..2_000) {
        let zone = zone(7, 50);
        let sent: Vec<Record> = whole(&zone).map(crate::zone::RecordRef::to_record).collect();
        let messages = pack(sent.iter(), limit.max(90));
        let count: usize = messages.iter().map(|message| usize::from(Header::read(message).unwrap().counts[1])).sum();
        prop_assert_eq!(count, sent.len());
    }
}

#[test]
fn compression_does_not_hide_what_records_take() {
    let long = format!("{}example", format!("{}.", "l".repeat(60)).repeat(4));
    let records: Vec<Record> =
        (0..1_000).map(|n| Record { rdata: Box::new([192, 0, (n / 256) as u8, n as u8]), ..a(&long, 0) }).collect();
    let messages = pack([soa(1), ns()].iter().chain(&records).chain([&soa(1)]), 65_535);
    let octets: usize = messages.iter().map(Vec::len).sum();
    assert!(octets < 20_000, "{octets}");
    for (octets_max, expect) in [(400_000, true), (300_000, false)] {
        let mut incoming = Incoming::new(name("example"), 0x1234, None, Limits { octets_max, ..LIMITS });
        let end = messages.iter().map(|message| incoming.take(message, false)).find(|taken| *taken != Ok(Progress::More));
        assert_eq!(end == Some(Ok(Progress::Done)), expect, "{end:?}");
    }
}
