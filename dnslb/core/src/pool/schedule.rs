//! Which k of the n are named together, and how often: the deficit scheduler over subsets of DESIGN 4.1.
//!
//! "Smooth weighted round robin" extended to subsets and to clients that sort addresses (seed 003, 4.4). A query takes a uniform
//! draw from the finished schedule, so nothing here runs while a question waits, and nothing here may name a member that it was
//! not given.

use super::shares::{bounds, shares};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use std::net::IpAddr;

/// Most subsets of a schedule.
pub const SUBSETS_MAX: usize = 16_384;
/// Fewest subsets of a full schedule.
pub const SUBSETS_MIN: usize = 64;
/// Most addresses in all subsets of a schedule together: 4 MiB of prepared A records.
const NAMED_MAX: usize = 262_144;
/// A share of 1 as a whole number: whole numbers make ties exact, so that they can be broken at random.
const ONE: f64 = (1_u64 << 40) as f64;
/// Candidates for a place in an answer, in multiples of k, when failure domains are spread.
const CANDIDATES: usize = 4;

/// A member that may be named, in one address family.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleMember {
    /// The member's number in its pool.
    pub slot: u32,
    /// Its address; of one family within a schedule.
    pub addr: IpAddr,
    /// Its weight relative to the others, above 0.
    pub weight: f64,
    /// Its failure domain.
    pub zone: Option<Id>,
}

/// Rounds in which targets that turn out to be out of reach are lowered.
const ROUNDS_MAX: usize = 4;
/// A member that gets less than this part of its target could not get more.
const REACHED: f64 = 0.985;

/// Subsets of equal size; a query takes any of them with equal probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    size: usize,
    slots: Vec<u32>,
    shares: Vec<(u32, f64)>,
}

impl Schedule {
    /// The share of all clients that a member is to get, as it was when the schedule was built; 0 for one that it does not know.
    pub fn share(&self, slot: u32) -> f64 {
        self.shares
            .binary_search_by_key(&slot, |(slot, _)| *slot)
            .ok()
            .and_then(|at| self.shares.get(at))
            .map_or(0.0, |s| s.1)
    }

    /// The subsets: slots in the order in which an answer lists them.
    pub fn subsets(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.slots.chunks_exact(self.size.max(1))
    }

    /// Number of subsets.
    pub fn len(&self) -> usize {
        self.slots.len() / self.size.max(1)
    }

    /// Whether there is no subset.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Drops every subset that names a slot which `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let size = self.size.max(1);
        if self.slots.iter().all(|slot| keep(*slot)) {
            return;
        }
        let kept = self.slots.chunks_exact(size).filter(|subset| subset.iter().all(|slot| keep(*slot)));
        self.slots = kept.flatten().copied().collect();
    }
}

/// How many subsets a full schedule of these members has, so that its loads err by about a hundredth: 64 times the largest
/// payment over the smallest share, which is `64 * n / k` for equal members and no sorting; at least 512 and at most
/// [`SUBSETS_MAX`] (fewer when answers are long: 262,144 addresses in all).
pub fn subsets_for(members: &[ScheduleMember], k: usize, sort_share: f64) -> usize {
    let k = k.clamp(1, members.len().max(1));
    let total: f64 = members.iter().map(|m| m.weight).sum();
    let least = members.iter().map(|m| m.weight).fold(f64::INFINITY, f64::min);
    let payment = sort_share + (1.0 - sort_share) / k as f64;
    let wanted = (64.0 * payment * total / least).min(SUBSETS_MAX as f64) as usize;
    wanted.max(8 * SUBSETS_MIN).min(NAMED_MAX / k).clamp(SUBSETS_MIN, SUBSETS_MAX)
}

/// Builds `subsets` subsets of `k` members (all of them when there are no more than `k`: then weights have no say).
///
/// Every member has a deficit: each answer adds its target share to it. An answer names the `k` of largest deficit, ties broken
/// at random; the lowest address of the answer pays `sort_share`, and each of the `k` pays `(1 - sort_share) / k`. A second
/// deficit decides who stands first, so that clients that take the first address are spread as well as those that take any; the
/// others are shuffled. With failure domains, a member whose domain is in the answer already yields to one that is at most one
/// appearance behind.
///
/// Targets follow the weights as far as k of n can. One that a full schedule ([`subsets_for`]) does not reach is lowered to what
/// it reached, and the rest goes to the others in proportion.
pub fn build(members: &[ScheduleMember], k: usize, sort_share: f64, subsets: usize, draws: &mut Draws) -> Schedule {
    let size = k.min(members.len());
    if size == 0 {
        return Schedule::default();
    }
    let sort_share = sort_share.clamp(0.0, 1.0);
    let full = subsets >= subsets_for(members, k, sort_share);
    let mut bounds = bounds(members, size, sort_share);
    let mut targets = shares(members, &bounds);
    let mut slots = Vec::with_capacity(size * subsets);
    for round in 1..=ROUNDS_MAX {
        let mut state = State::new(members, &targets, size, sort_share, draws);
        slots.clear();
        for _ in 0..subsets {
            state.next(draws);
            slots.extend(state.answer.iter().filter_map(|&i| members.get(i)).map(|m| m.slot));
        }
        let reached: Vec<f64> = state.accounts.iter().map(|account| account.load as f64 / ONE / subsets as f64).collect();
        let short = |(target, reached): (&f64, &f64)| *reached < REACHED * target;
        if !full || round == ROUNDS_MAX || !targets.iter().zip(&reached).any(short) {
            break;
        }
        for ((bound, target), reached) in bounds.iter_mut().zip(&targets).zip(&reached) {
            if short((target, reached)) {
                *bound = bound.min(*reached);
            }
        }
        targets = shares(members, &bounds);
    }
    let mut shares: Vec<(u32, f64)> = members.iter().map(|m| m.slot).zip(targets).collect();
    shares.sort_unstable_by_key(|(slot, _)| *slot);
    Schedule { size, slots, shares }
}

/// What the choice of an answer looks at: kept together and small, since every answer goes over all of them.
#[derive(Clone, Copy)]
struct Claim {
    deficit: i64,
    /// What it gains per answer.
    share: i64,
    /// Breaks ties; drawn anew whenever the member is named.
    tie: u32,
    /// Whose it is.
    member: u32,
}

/// The rest of what is kept of a member.
#[derive(Clone, Copy)]
struct Account {
    /// What it has paid.
    load: i64,
    /// How often it should have stood first and did not.
    first: i64,
    tie: u32,
    /// Position among all addresses.
    rank: u32,
    /// Number of its failure domain.
    zone: u32,
}

/// Indices into `accounts` come from `0..members.len()`, and a claim's `member` is one of them.
struct State {
    accounts: Vec<Account>,
    /// In any order; an answer is made of the first `size`.
    claims: Vec<Claim>,
    answer: Vec<usize>,
    zones_named: Vec<i64>,
    size: usize,
    pay_each: i64,
    pay_sort: i64,
}

impl State {
    fn new(members: &[ScheduleMember], targets: &[f64], size: usize, sort_share: f64, draws: &mut Draws) -> Self {
        let mut by_address: Vec<usize> = (0..members.len()).collect();
        by_address.sort_by_key(|&i| members.get(i).map(|m| m.addr));
        let mut zones: Vec<&Id> = members.iter().filter_map(|m| m.zone.as_ref()).collect();
        zones.sort_unstable();
        zones.dedup();
        // Members without a domain are each a domain of their own.
        let zone = |i: usize, member: &ScheduleMember| {
            member.zone.as_ref().map_or(zones.len() + i, |zone| zones.partition_point(|z| *z < zone)) as u32
        };
        let account = |(i, member)| Account { load: 0, first: 0, tie: 0, rank: 0, zone: zone(i, member) };
        let mut accounts: Vec<Account> = members.iter().enumerate().map(account).collect();
        for (rank, i) in by_address.into_iter().enumerate() {
            accounts[i].rank = rank as u32;
        }
        let claim = |(member, target): (u32, &f64)| Claim {
            deficit: 0,
            share: (target * ONE) as i64,
            tie: draws.u64() as u32,
            member,
        };
        Self {
            claims: (0..).zip(targets).map(claim).collect(),
            answer: Vec::with_capacity(size),
            zones_named: if zones.len() > 1 { vec![0; zones.len() + members.len()] } else { Vec::new() },
            size,
            pay_each: ((1.0 - sort_share) / size as f64 * ONE) as i64,
            pay_sort: (sort_share * ONE) as i64,
            accounts,
        }
    }

    fn next(&mut self, draws: &mut Draws) {
        for claim in &mut self.claims {
            claim.deficit += claim.share;
        }
        self.choose();
        let chosen = &mut self.claims[..self.size];
        self.answer.clear();
        self.answer.extend(chosen.iter().map(|claim| claim.member as usize));
        let lowest = self.answer.iter().copied().min_by_key(|&i| self.accounts[i].rank);
        for (claim, &i) in chosen.iter_mut().zip(&self.answer) {
            let pay = self.pay_each + if Some(i) == lowest { self.pay_sort } else { 0 };
            claim.deficit -= pay;
            claim.tie = draws.u64() as u32;
            self.accounts[i].load += pay;
            self.accounts[i].tie = claim.tie;
        }
        self.stand_first(draws);
    }

    /// Brings the `size` claims of largest deficit to the front.
    fn choose(&mut self) {
        let n = self.claims.len();
        let spread = !self.zones_named.is_empty();
        let candidates = if spread { n.min(self.size * CANDIDATES) } else { self.size };
        if candidates < n {
            self.claims.select_nth_unstable_by(candidates - 1, |a, b| (b.deficit, b.tie).cmp(&(a.deficit, a.tie)));
        }
        if !spread {
            return;
        }
        for at in 0..self.size {
            let score = |claim: &Claim| {
                let named = self.zones_named[self.accounts[claim.member as usize].zone as usize];
                (claim.deficit - self.pay_each * named, claim.tie)
            };
            let best = (at..candidates).max_by_key(|&at| score(&self.claims[at])).unwrap_or(at);
            self.claims.swap(at, best);
            self.zones_named[self.accounts[self.claims[at].member as usize].zone as usize] += 1;
        }
        for claim in &self.claims[..self.size] {
            self.zones_named[self.accounts[claim.member as usize].zone as usize] = 0;
        }
    }

    fn stand_first(&mut self, draws: &mut Draws) {
        let turn = ONE as i64 / self.size as i64;
        for &i in &self.answer {
            self.accounts[i].first += turn;
        }
        let first = (0..self.answer.len()).max_by_key(|&at| {
            let account = &self.accounts[self.answer[at]];
            (account.first, account.tie)
        });
        self.answer.swap(0, first.unwrap_or(0));
        self.accounts[self.answer[0]].first -= turn * self.size as i64;
        for at in (2..self.answer.len()).rev() {
            let other = 1 + draws.below(at);
            self.answer.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests;
