//! The loads that a schedule makes, as clients of three habits see them.
#![allow(clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

fn members(weights: &[f64]) -> Vec<ScheduleMember> {
    let member = |(i, &weight): (usize, &f64)| ScheduleMember {
        slot: i as u32,
        // Neither in the order of slots nor dense.
        addr: Ipv4Addr::from_bits(0x0a00_0000 + (i as u32 * 7919) % 10_007).into(),
        weight,
        zone: None,
    };
    weights.iter().enumerate().map(member).collect()
}

fn lowest(members: &[ScheduleMember], subset: &[u32]) -> usize {
    subset.iter().map(|&s| s as usize).min_by_key(|&s| members[s].addr).unwrap_or_default()
}

/// Loads of an infinite number of uniform draws: `(any, first)`, where the clients that do not sort take any address of an
/// answer, or its first one.
fn loads(members: &[ScheduleMember], schedule: &Schedule, sort_share: f64) -> [Vec<f64>; 2] {
    let mut loads = [vec![0.0; members.len()], vec![0.0; members.len()]];
    for subset in schedule.subsets() {
        let answer = 1.0 / schedule.len() as f64;
        for load in &mut loads {
            load[lowest(members, subset)] += answer * sort_share;
        }
        for &slot in subset {
            loads[0][slot as usize] += answer * (1.0 - sort_share) / subset.len() as f64;
        }
        loads[1][subset[0] as usize] += answer * (1.0 - sort_share);
    }
    loads
}

fn worst(loads: &[f64], shares: &[f64]) -> f64 {
    loads.iter().zip(shares).map(|(load, share)| load / share).fold(0.0, f64::max)
}

#[test]
fn a_hundred_thousand_answers_are_level_at_the_configured_share() {
    let members = members(&[1.0; 12]);
    for sort_share in [0.0, 0.08, 0.25, 0.5] {
        let mut draws = Draws::from_u64(4);
        let schedule = build(&members, 3, sort_share, subsets_for(&members, 3, sort_share), &mut draws);
        let subsets: Vec<&[u32]> = schedule.subsets().collect();
        let mut load = [0.0; 12];
        for _ in 0..100_000 {
            let subset = subsets[draws.below(subsets.len())];
            load[lowest(&members, subset)] += sort_share;
            for &slot in subset {
                load[slot as usize] += (1.0 - sort_share) / 3.0;
            }
        }
        let mean = load.iter().sum::<f64>() / 12.0;
        let max = load.iter().fold(0.0, |a: f64, b| a.max(*b));
        assert!(max / mean <= 1.02, "s={sort_share}: {}", max / mean);
    }
}

#[test]
fn a_full_list_takes_turns_at_the_front() {
    let members = members(&[1.0; 5]);
    let schedule = build(&members, 9, 0.0, 100, &mut Draws::from_u64(1));
    assert_eq!(schedule.len(), 100);
    assert!(schedule.subsets().all(|s| s.iter().collect::<BTreeSet<_>>().len() == 5));
    assert!(worst(&loads(&members, &schedule, 0.0)[1], &[0.2; 5]) <= 1.05);
}

#[test]
fn answers_spread_over_failure_domains() {
    let mut members = members(&[1.0; 12]);
    for (i, member) in members.iter_mut().enumerate() {
        member.zone = Id::new(["a", "b", "c"][i % 3]).ok();
    }
    let schedule = build(&members, 3, 0.08, subsets_for(&members, 3, 0.08), &mut Draws::from_u64(1));
    let diverse = schedule.subsets().filter(|s| s.iter().map(|i| i % 3).collect::<BTreeSet<_>>().len() == 3).count();
    assert!(diverse * 10 >= schedule.len() * 9, "{diverse} of {}", schedule.len());
    assert!(worst(&loads(&members, &schedule, 0.08)[0], &[1.0 / 12.0; 12]) <= 1.03);
}

#[test]
fn dropping_a_member_drops_its_subsets_only() {
    let members = members(&[1.0; 6]);
    let mut schedule = build(&members, 2, 0.0, 90, &mut Draws::from_u64(1));
    let with: usize = schedule.subsets().filter(|s| s.contains(&3)).count();
    schedule.retain(|slot| slot != 3);
    assert_eq!(schedule.len(), 90 - with);
    assert!(schedule.subsets().all(|s| s.len() == 2 && !s.contains(&3)));
}

#[test]
fn nobody_to_name() {
    assert!(build(&[], 3, 0.1, 64, &mut Draws::from_u64(1)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_members_are_level_for_any_feasible_share(n in 2_usize..=40, k in 1_usize..=8, part in 0.0..=1.0_f64, seed: u64) {
        let k = k.min(n);
        let sort_share = part * (1.0 - k as f64 / n as f64);
        let members = members(&vec![1.0; n]);
        let schedule = build(&members, k, sort_share, subsets_for(&members, k, sort_share), &mut Draws::from_u64(seed));
        let [any, first] = loads(&members, &schedule, sort_share);
        let level = vec![1.0 / n as f64; n];
        prop_assert!(worst(&any, &level) <= 1.03, "{}", worst(&any, &level));
        // Somebody stands first or does not: coarser than the load by any habit.
        let coarse = 1.0 + 2.0 * n as f64 / schedule.len() as f64;
        prop_assert!(worst(&first, &level) <= coarse, "{}", worst(&first, &level));
    }

    #[test]
    fn weights_are_kept_and_subsets_are_subsets(
        weights in proptest::collection::vec(1_u32..=4, 2..=40), k in 1_usize..=8, part in 0.0..=1.0_f64, seed: u64,
    ) {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let k = k.min(weights.len());
        let sort_share = part * (1.0 - k as f64 / weights.len() as f64);
        let members = members(&weights);
        let schedule = build(&members, k, sort_share, subsets_for(&members, k, sort_share), &mut Draws::from_u64(seed));
        for subset in schedule.subsets() {
            prop_assert_eq!(subset.iter().collect::<BTreeSet<_>>().len(), k);
            prop_assert!(subset.iter().all(|&slot| (slot as usize) < members.len()));
        }
        let expect: Vec<f64> = members.iter().map(|m| schedule.share(m.slot)).collect();
        let [any, _] = loads(&members, &schedule, sort_share);
        prop_assert!(worst(&any, &expect) <= 1.03, "{} {:?} {:?}", worst(&any, &expect), any, expect);
    }
}
