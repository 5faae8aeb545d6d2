//! Prepared SRV and HTTPS records, with the addresses that go along.
//!
//! The addresses in a message must be those that its records speak of: hints equal the additional records, and a target's
//! addresses are the member's own.

use super::Schedule;
use crate::name::Name;
use crate::snapshot::{FamilyAnswers, write_record};
use crate::zone::Rtype;
use farm_shared::time::Mono;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of an SRV record before its target: fixed fields, priority, weight and port.
const BEFORE_TARGET: usize = 12 + 6;

/// Keys of SvcParams (RFC 9460 section 14.3.2), which stand in rising order.
const ALPN: u16 = 1;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;

/// What an SRV record needs to know about a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its own name.
    pub target: Name,
    /// Where that leads.
    pub v4: Option<Ipv4Addr>,
    /// Where that leads.
    pub v6: Option<Ipv6Addr>,
    /// The port of the service.
    pub port: u16,
    /// Its weight among those of one priority.
    pub weight: u16,
    /// When its state can change first.
    pub change_at: Mono,
}

/// The SRV records of a service: the members of a subset with priority 0, behind them up to `backups_max` of `backups`, which are
/// given with their priorities in rising order and take turns. A subset that names somebody unknown is left out.
pub fn srv<'e>(
    schedule: &Schedule,
    endpoint: impl Fn(u32) -> Option<&'e Endpoint>,
    backups: &[(u16, u32)],
    backups_max: usize,
) -> FamilyAnswers {
    let mut family = FamilyAnswers::new(Rtype::SRV);
    let mut chosen = Vec::new();
    let mut extra = Vec::new();
    for (turn, subset) in schedule.subsets().enumerate() {
        chosen.clear();
        chosen.extend(subset.iter().map_while(|&slot| endpoint(slot).map(|endpoint| (0, slot, endpoint))));
        if chosen.len() < subset.len() {
            continue;
        }
        let first = turn * backups_max;
        let behind = (0..backups_max.min(backups.len())).filter_map(|i| backups.get((first + i) % backups.len()));
        chosen.extend(behind.filter_map(|&(priority, slot)| Some((priority, slot, endpoint(slot)?))));
        extra.clear();
        for &(priority, slot, endpoint) in &chosen {
            let target_at = (family.len_open() + BEFORE_TARGET) as u16;
            let numbers = [priority, endpoint.weight, endpoint.port].map(u16::to_be_bytes);
            family.add(slot, &[numbers.as_flattened(), endpoint.target.wire()].concat());
            if let Some(v4) = endpoint.v4 {
                write_record(&mut extra, target_at.to_be_bytes(), Rtype::A, &v4.octets());
            }
            if let Some(v6) = endpoint.v6 {
                write_record(&mut extra, target_at.to_be_bytes(), Rtype::AAAA, &v6.octets());
            }
        }
        let change_at = chosen.iter().map(|(_, _, endpoint)| endpoint.change_at).min();
        family.end_with(change_at.unwrap_or(Mono::NEVER), &extra);
    }
    family
}

/// HTTPS records in service mode at the pool's own name, one in each answer: a subset of each family as hints and as additional
/// records. Subsets of the shorter schedule come again: any run of a schedule is about even.
pub fn https(alpn: &[String], port: Option<u16>, v4: &FamilyAnswers, v6: &FamilyAnswers) -> FamilyAnswers {
    let mut family = FamilyAnswers::new(Rtype::HTTPS);
    let ids: Vec<u8> = alpn.iter().flat_map(|id| std::iter::once(id.len() as u8).chain(id.bytes())).collect();
    let mut extra = Vec::new();
    for turn in 0..v4.len().max(v6.len()) {
        let sections = [v4, v6].map(|family| turn.checked_rem(family.len()).and_then(|index| family.section(index)));
        // Priority 1, target ".": the owner itself.
        let mut rdata = vec![0, 1, 0];
        extra.clear();
        param(&mut rdata, ALPN, &ids);
        if let Some(port) = port {
            param(&mut rdata, PORT, &port.to_be_bytes());
        }
        for (section, key) in sections.iter().zip([IPV4HINT, IPV6HINT]) {
            let Some(section) = section else { continue };
            let hints: Vec<u8> = section.rdata().flatten().copied().collect();
            param(&mut rdata, key, &hints);
            section.rdata().for_each(|address| write_record(&mut extra, [0, 0], section.rtype, address));
        }
        family.add_record(&rdata);
        let named = sections.iter().flatten().next().map(|section| section.slots);
        family.add_slots(named.unwrap_or_default());
        let change_at = sections.iter().flatten().map(|section| section.change_at).min();
        family.end_with(change_at.unwrap_or(Mono::NEVER), &extra);
    }
    family
}

/// One SvcParam; none for an empty value.
fn param(rdata: &mut Vec<u8>, key: u16, value: &[u8]) {
    if !value.is_empty() {
        rdata.extend_from_slice(&key.to_be_bytes());
        rdata.extend_from_slice(&(value.len() as u16).to_be_bytes());
        rdata.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::pool::{Facts, ScheduleMember, answers, build};
    use crate::snapshot::split;
    use farm_shared::draw::Draws;
    use std::net::IpAddr;

    fn schedule(slots: std::ops::Range<u32>, k: usize, subsets: usize) -> Schedule {
        let member = |slot: u32| ScheduleMember { slot, addr: Ipv4Addr::from_bits(slot).into(), weight: 1.0, zone: None };
        build(&slots.map(member).collect::<Vec<_>>(), k, 0.0, subsets, &mut Draws::from_u64(1))
    }

    #[test]
    fn each_target_has_its_addresses_and_backups_take_turns() {
        let endpoints: Vec<Endpoint> = (0..7)
            .map(|slot| Endpoint {
                target: Name::from_text(&format!("m{slot}.example")).unwrap(),
                v4: Some(Ipv4Addr::from_bits(slot)),
                v6: (slot == 1).then_some(Ipv6Addr::LOCALHOST),
                port: 993,
                weight: 100 + slot as u16,
                change_at: if slot == 2 { Mono(9) } else { Mono::NEVER },
            })
            .collect();
        let family = srv(&schedule(0..4, 2, 64), |slot| endpoints.get(slot as usize), &[(1, 4), (1, 5), (2, 6)], 2);
        assert_eq!(family.len(), 64);
        let mut behind = [0; 7];
        for section in family.sections() {
            assert_eq!(section.change_at, if section.slots.contains(&2) { Mono(9) } else { Mono::NEVER });
            let rdata: Vec<&[u8]> = section.rdata().collect();
            assert_eq!((rdata.len(), section.slots.len()), (4, 4));
            let mut extra = split(section.extra);
            for (i, (rdata, &slot)) in rdata.iter().zip(section.slots).enumerate() {
                let endpoint = &endpoints[slot as usize];
                let priority = if i < 2 {
                    0
                } else if slot == 6 {
                    2
                } else {
                    1
                };
                assert_eq!(rdata[..6], [0, priority, 0, 100 + slot as u8, 3, 225]);
                assert_eq!(&rdata[6..], endpoint.target.wire());
                behind[slot as usize] += usize::from(i >= 2);
                for _ in 0..=usize::from(slot == 1) {
                    let record = extra.next().unwrap();
                    let at = usize::from(u16::from_be_bytes([record[0], record[1]]));
                    assert!(section.records[at..].starts_with(endpoint.target.wire()));
                    let expect =
                        if record.len() == 16 { &endpoint.v4.unwrap().octets()[..] } else { &Ipv6Addr::LOCALHOST.octets() };
                    assert_eq!(&record[12..], expect);
                }
            }
            assert_eq!(extra.next(), None);
        }
        assert!(behind[4..].iter().all(|times| (40..=46).contains(times)), "{behind:?}");
    }

    #[test]
    fn hints_are_the_additional_addresses() {
        let v4 = schedule(0..5, 2, 64);
        let v6 = schedule(0..3, 2, 40);
        let family = |schedule: &Schedule, rtype, addr: fn(u32) -> IpAddr| {
            answers(schedule, rtype, |slot| Some(Facts { addr: addr(slot), change_at: Mono(u64::from(slot)) }))
        };
        let v4 = family(&v4, Rtype::A, |slot| Ipv4Addr::from_bits(slot).into());
        let v6 = family(&v6, Rtype::AAAA, |slot| Ipv6Addr::from_bits(slot.into()).into());
        let alpn = ["h2".to_owned(), "h3".to_owned()];
        let both = https(&alpn, Some(8_443), &v4, &v6);
        assert_eq!(both.len(), 64);
        for (turn, section) in both.sections().enumerate() {
            let (four, six) = (v4.section(turn).unwrap(), v6.section(turn % 40).unwrap());
            let hints = [four.rdata().flatten(), six.rdata().flatten()].map(|data| data.copied().collect::<Vec<u8>>());
            let head = b"\x00\x01\x00\x00\x01\x00\x06\x02h2\x02h3\x00\x03\x00\x02\x20\xfb";
            let expect = [head, &b"\x00\x04\x00\x08"[..], &hints[0], b"\x00\x06\x00\x20", &hints[1]].concat();
            assert_eq!(section.rdata().collect::<Vec<_>>(), [expect]);
            let extra: Vec<u8> = split(section.extra).flat_map(|record| record[12..].to_vec()).collect();
            assert_eq!(extra, hints.concat());
            assert!(split(section.extra).all(|record| record[..2] == [0, 0]));
            assert_eq!(section.change_at, four.change_at.min(six.change_at));
        }
        let plain = https(&[], None, &v4, &FamilyAnswers::new(Rtype::AAAA));
        assert_eq!(plain.section(0).unwrap().rdata().next().unwrap()[..7], [0, 1, 0, 0, 4, 0, 8]);
        assert!(https(&alpn, None, &FamilyAnswers::default(), &FamilyAnswers::default()).is_empty());
    }
}
