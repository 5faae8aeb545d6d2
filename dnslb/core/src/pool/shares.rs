//! What share of the clients each member is to get, and what k of n can give it.
//!
//! A weight may ask for more than is possible: with three addresses in an answer nobody gets more than a third of the clients
//! that take any address. Such a share is cut to what is possible and the rest goes to the others in proportion, so that the
//! schedule never chases a target it cannot reach. Nothing here may return a share above its bound.

use super::schedule::ScheduleMember;

/// The most that each member can get.
///
/// With `s = sort_share` of the clients taking the lowest address of an answer and the others any of its `k`, a member gets at
/// most `(1-s)/k + s`, and the `k-1` members of highest address, which are never the lowest of an answer, at most `(1-s)/k`.
/// These bounds are necessary, and enough unless `k` is close to `n`: there [`super::build`] finds lower ones by trying.
pub(super) fn bounds(members: &[ScheduleMember], k: usize, sort_share: f64) -> Vec<f64> {
    let n = members.len();
    let each = (1.0 - sort_share) / k as f64;
    let mut by_address: Vec<(&ScheduleMember, usize)> = members.iter().zip(0..).collect();
    by_address.sort_by_key(|(member, _)| member.addr);
    let mut bounds = vec![each; n];
    for (_, i) in by_address.into_iter().take((n + 1).saturating_sub(k)) {
        bounds[i] = each + sort_share;
    }
    bounds
}

/// The share of all clients that each member is to get: in proportion to the weights, none above its bound. They sum to 1 if
/// the bounds allow it.
pub(super) fn shares(members: &[ScheduleMember], bounds: &[f64]) -> Vec<f64> {
    let weight = |member: &ScheduleMember| member.weight.max(f64::MIN_POSITIVE);
    let mut bounded: Vec<(usize, f64, f64)> =
        members.iter().zip(bounds).enumerate().map(|(i, (m, b))| (i, weight(m), *b)).collect();
    // Those that exceed their bound the most are cut first: cutting one raises the others, never lowers them.
    bounded.sort_by(|a, b| (b.1 * a.2).total_cmp(&(a.1 * b.2)).then(a.0.cmp(&b.0)));
    let mut weight_left: f64 = bounded.iter().map(|b| b.1).sum();
    let mut share_left: f64 = 1.0;
    let mut shares = vec![0.0; members.len()];
    for (i, weight, bound) in bounded {
        let share = (weight / weight_left * share_left).clamp(0.0, bound);
        shares[i] = share;
        weight_left -= weight;
        share_left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use std::net::Ipv4Addr;

    fn members(weights: &[f64]) -> Vec<ScheduleMember> {
        let member = |(i, &weight): (usize, &f64)| ScheduleMember {
            slot: i as u32,
            addr: Ipv4Addr::from_bits(0x0a00_0000 + i as u32).into(),
            weight,
            zone: None,
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn check(weights: &[f64], k: usize, sort_share: f64, expect: &[f64]) {
        let members = members(weights);
        let got = shares(&members, &bounds(&members, k, sort_share));
        assert_eq!(got.len(), expect.len());
        for (got, expect) in got.iter().zip(expect) {
            assert!((got - expect).abs() < 1e-9, "{got} is not {expect} for {weights:?} k={k} s={sort_share}");
        }
    }

    #[test]
    fn weights_are_followed_as_far_as_k_of_n_can() {
        check(&[], 3, 0.0, &[]);
        check(&[1.0, 1.0], 1, 0.0, &[0.5, 0.5]);
        check(&[1.0, 3.0], 1, 0.0, &[0.25, 0.75]);
        check(&[1.0, 1.0, 1.0, 5.0], 2, 0.0, &[1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 0.5]);
        check(&[5.0, 1.0, 1.0, 1.0], 2, 0.5, &[0.625, 0.125, 0.125, 0.125]);
        check(&[1.0, 1.0, 1.0, 5.0], 2, 0.5, &[0.25, 0.25, 0.25, 0.25]);
        check(&[1.0, 2.0], 2, 0.2, &[0.6, 0.4]);
        check(&[1.0, 1.0], 2, 0.2, &[0.6, 0.4]);
    }
}
