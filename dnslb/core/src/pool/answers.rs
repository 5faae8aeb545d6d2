//! Schedules as prepared answer sections.
//!
//! Done by the control loop, never while a question waits. A subset that names somebody without facts is left out: it must
//! never be answered.

use super::Schedule;
use crate::snapshot::FamilyAnswers;
use farm_shared::time::Mono;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an answer needs to know about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its address in the schedule's family.
    pub addr: IpAddr,
    /// When its state can change first; [`Mono::NEVER`] for one whose lease is fresh.
    pub change_at: Mono,
}

/// The answer sections of one family; `facts` gives what is known of a slot.
pub fn answers(schedule: &Schedule, facts: impl Fn(u32) -> Option<Facts>) -> FamilyAnswers {
    let mut v4: Vec<(u32, Ipv4Addr)> = Vec::new();
    let mut v6: Vec<(u32, Ipv6Addr)> = Vec::new();
    let mut ends = Vec::with_capacity(schedule.len());
    for subset in schedule.subsets() {
        let before = (v4.len(), v6.len());
        let mut change_at = Mono::NEVER;
        let mut whole = true;
        for &slot in subset {
            let Some(facts) = facts(slot) else {
                whole = false;
                break;
            };
            change_at = change_at.min(facts.change_at);
            match facts.addr {
                IpAddr::V4(addr) => v4.push((slot, addr)),
                IpAddr::V6(addr) => v6.push((slot, addr)),
            }
        }
        if whole {
            ends.push((v4.len(), v6.len(), change_at));
        } else {
            v4.truncate(before.0);
            v6.truncate(before.1);
        }
    }
    if v6.is_empty() {
        FamilyAnswers::v4(cut(&v4, ends.iter().map(|e| (e.0, e.2))))
    } else {
        FamilyAnswers::v6(cut(&v6, ends.iter().map(|e| (e.1, e.2))))
    }
}

fn cut<T>(named: &[T], ends: impl Iterator<Item = (usize, Mono)>) -> impl Iterator<Item = (&[T], Mono)> {
    let mut start = 0;
    ends.map(move |(end, change_at)| {
        let subset = named.get(start..end).unwrap_or_default();
        start = end;
        (subset, change_at)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pool::{ScheduleMember, build};
    use farm_shared::draw::Draws;

    #[test]
    fn the_earliest_change_of_a_named_member_bounds_an_answer() {
        let addr = |slot: u32| IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0100 + slot));
        let members: Vec<_> =
            (0..4).map(|slot| ScheduleMember { slot, addr: addr(slot), weight: 1.0, zone: None }).collect();
        let schedule = build(&members, 2, 0.0, 64, &mut Draws::from_u64(1));
        let change_at = |slot| if slot == 2 { Mono(700) } else { Mono::NEVER };
        let family = answers(&schedule, |slot| (slot != 3).then(|| Facts { addr: addr(slot), change_at: change_at(slot) }));
        assert_eq!(family.len(), schedule.subsets().filter(|s| !s.contains(&3)).count());
        for section in family.sections() {
            assert_eq!(section.change_at == Mono(700), section.slots.contains(&2));
            let slot = *section.slots.first().unwrap();
            assert_eq!(section.records.get(12..16), Some(&Ipv4Addr::from_bits(0x7f00_0100 + slot).octets()[..]));
        }
    }
}
