//! What a zone costs: processor time to load, octets a record, time of a change, and lookups in a small and in a large one.
//!
//! `cargo run --release -p dnslb-core --example zone_cost [-- --write FOLDER]`: zones of 1,000,000 records, one of hosts (a name
//! and an address each), one mixed as a hoster's, one of delegations as a registry's. With `--write` the files are only written,
//! so that `bench/zone-peers` can give the same ones to other servers.

// An example prints, reads a clock and may stop where it cannot go on.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::time::Duration;

use dnslb_core::name::Name;
use dnslb_core::zone::{self, Diff, Files, Record, Rtype, Zone};

const RECORDS: usize = 1_000_000;

struct Text(String);

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

const HEAD: &str = "$ORIGIN example.\n$TTL 3600\n@ SOA ns1 admin 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\n";

/// A name and an address each.
fn hosts(records: usize) -> String {
    let mut text = HEAD.to_owned();
    for i in 0..records - 3 {
        writeln!(text, "host-{i:07} A 10.{}.{}.{}", i >> 16 & 255, i >> 8 & 255, i & 255).unwrap();
    }
    text
}

/// Five records on two names for each customer, in no order.
fn mixed(records: usize) -> String {
    let mut text = HEAD.to_owned();
    for i in 0..records / 5 {
        let i = i * 7_919 % (records / 5);
        let v4 = format!("10.{}.{}.{}", i >> 16 & 255, i >> 8 & 255, i & 255);
        writeln!(text, "c{i} A {v4}\n AAAA 2001:db8::{:x}:{:x}\n MX 10 mail.c{i}", i >> 16, i & 0xffff).unwrap();
        writeln!(text, " TXT \"v=spf1 ip4:{v4} -all\"\nwww.c{i} CNAME c{i}").unwrap();
    }
    text
}

/// Two servers and their addresses for each delegation, half of them elsewhere.
fn delegations(records: usize) -> String {
    let mut text = HEAD.to_owned();
    for i in 0..records / 6 {
        writeln!(text, "d{i} NS ns1.d{i}\nd{i} NS ns2.d{i}\ne{i} NS ns1.else.\ne{i} NS ns2.else.").unwrap();
        let v4 = format!("10.{}.{}", i >> 8 & 255, i & 255);
        writeln!(text, "ns1.d{i} A {v4}.1\nns2.d{i} A {v4}.2").unwrap();
    }
    text
}

fn load(text: &str) -> Zone {
    let origin = Name::from_text("example.").unwrap();
    zone::load(&origin, &Text(text.to_owned()), "zone").unwrap_or_else(|problems| panic!("{:?}", problems.first())).zone
}

/// Resident memory in octets.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// Time that this thread has had a processor: other programs do not count.
fn processor_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

/// The shortest of some runs.
fn best(runs: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().unwrap()
}

fn cost(kind: &str, text: &str) {
    let octets = Text(text.to_owned());
    let before = resident();
    let mut zone = None;
    let start = processor_time();
    let counted = allocation_counter::measure(|| zone = Some(load(&octets.0)));
    let took = processor_time().saturating_sub(start);
    let zone = zone.unwrap();
    let each = |total: usize| total as f64 / zone.record_count() as f64;
    println!(
        "{kind}: {} records at {} names, {:.1} MB of text; loaded in {took:.2?}; {:.0} octets a record allocated ({:.0} at the peak, \
         the text's included), {:.0} resident",
        zone.record_count(),
        zone.name_count(),
        text.len() as f64 / 1e6,
        each(counted.bytes_current.try_into().unwrap_or_default()),
        each(counted.bytes_max.try_into().unwrap_or_default()),
        each(resident().saturating_sub(before)),
    );

    let host = |i: usize| Name::from_text(&format!("new-{i}.example.")).unwrap();
    let address = |i: usize| Record { owner: host(i), rtype: Rtype::A, ttl_s: 60, rdata: [10, 0, 0, i as u8].into() };
    let soa = zone.records().next().unwrap().to_record();
    let next = Record { rdata: dnslb_core::zone::Soa { serial: 2, ..zone.soa().clone() }.to_rdata(), ..soa.clone() };
    for changes in [1, 1_000] {
        let added = std::iter::once(next.clone()).chain((0..changes).map(address)).collect();
        let diff = Diff { removed: vec![soa.clone()], added };
        let mut allocated = 0;
        let took = best(5, || {
            let start = processor_time();
            let mut took = Duration::ZERO;
            allocated = allocation_counter::measure(|| {
                let changed = zone.apply(&diff).unwrap();
                took = processor_time().saturating_sub(start);
                drop(changed);
            })
            .bytes_max;
            took
        });
        println!("  a change of {changes} records: {took:.1?}, {:.0} kB beside the old zone", allocated as f64 / 1e3);
    }
}

/// Time of a search in the canonical order and of a lookup of a name that is there, and of one that is not.
fn searches(records: usize, text: &str) {
    let zone = load(text);
    let names: Vec<Name> = (0..200_000)
        .map(|i: usize| Name::from_text(&format!("host-{:07}.example.", i.wrapping_mul(48_271) % records)).unwrap())
        .collect();
    let missing: Vec<Name> = names.iter().map(|name| name.child(b"x").unwrap()).collect();
    let time = |run: &dyn Fn(&Name) -> bool, names: &[Name]| {
        let took = best(3, || {
            let start = processor_time();
            assert!(std::hint::black_box(names.iter().filter(|name| run(name)).count()) <= names.len());
            processor_time().saturating_sub(start)
        });
        took.as_nanos() as f64 / names.len() as f64
    };
    println!(
        "{records} names: found {:.0} ns, not found {:.0} ns, predecessor {:.0} ns",
        time(&|name| zone.contains(name), &names),
        time(&|name| zone.contains(name), &missing),
        time(&|name| zone.predecessor(name).is_some(), &missing),
    );
}

fn main() {
    let kinds = [("hosts", hosts(RECORDS)), ("mixed", mixed(RECORDS)), ("delegations", delegations(RECORDS))];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--write", folder] => {
            for (kind, text) in kinds {
                std::fs::write(format!("{folder}/{kind}.zone"), text).expect("a folder that can be written to");
            }
        }
        [] => {
            for (kind, text) in kinds {
                cost(kind, &text);
            }
            for records in [1_000, 30_000, RECORDS] {
                searches(records, &hosts(records));
            }
        }
        _ => eprintln!("zone_cost [--write FOLDER]"),
    }
}
