//! Schedules as prepared answer sections.
//!
//! Done by the control loop, never while a question waits. A subset that names somebody without facts is left out: it must
//! never be answered.

use super::Schedule;
use crate::snapshot::FamilyAnswers;
use crate::zone::Rtype;
use farm_shared::time::Mono;
use std::net::IpAddr;

/// What an answer needs to know about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its address in the schedule's family.
    pub addr: IpAddr,
    /// When its state can change first; [`Mono::NEVER`] for one whose lease is fresh.
    pub change_at: Mono,
}

/// The answer sections of one family; `facts` gives what is known of a slot.
pub fn answers(schedule: &Schedule, rtype: Rtype, facts: impl Fn(u32) -> Option<Facts>) -> FamilyAnswers {
    let mut family = FamilyAnswers::new(rtype);
    let mut named = Vec::new();
    for subset in schedule.subsets() {
        named.clear();
        named.extend(subset.iter().map_while(|&slot| facts(slot).map(|facts| (slot, facts))));
        if named.len() < subset.len() {
            continue;
        }
        for (slot, facts) in &named {
            match facts.addr {
                IpAddr::V4(addr) => family.add(*slot, &addr.octets()),
                IpAddr::V6(addr) => family.add(*slot, &addr.octets()),
            }
        }
        family.end(named.iter().map(|(_, facts)| facts.change_at).min().unwrap_or(Mono::NEVER));
    }
    family
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pool::{ScheduleMember, build};
    use farm_shared::draw::Draws;
    use std::net::Ipv4Addr;

    #[test]
    fn the_earliest_change_of_a_named_member_bounds_an_answer() {
        let addr = |slot: u32| IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0100 + slot));
        let members: Vec<_> =
            (0..4).map(|slot| ScheduleMember { slot, addr: addr(slot), weight: 1.0, zone: None }).collect();
        let schedule = build(&members, 2, 0.0, 64, &mut Draws::from_u64(1));
        let change_at = |slot| if slot == 2 { Mono(700) } else { Mono::NEVER };
        let family =
            answers(&schedule, Rtype::A, |slot| (slot != 3).then(|| Facts { addr: addr(slot), change_at: change_at(slot) }));
        assert_eq!(family.len(), schedule.subsets().filter(|s| !s.contains(&3)).count());
        for section in family.sections() {
            assert_eq!(section.change_at == Mono(700), section.slots.contains(&2));
            let slot = *section.slots.first().unwrap();
            assert_eq!(section.records.get(12..16), Some(&Ipv4Addr::from_bits(0x7f00_0100 + slot).octets()[..]));
        }
    }
}
