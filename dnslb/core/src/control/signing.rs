//! Signatures over the answers of pools and members in zones that are signed here: made once for each subset, kept, and made anew
//! before they expire or when the keys change.
//!
//! A subset that names a member which may not be named any more is dropped in the same flush; subsets that are not signed yet
//! wait, and those before them are served, as far as all whom they name may still be named. Signing happens off the loop, but
//! for the few signatures without which there would be no answer at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use farm_shared::time::{Mono, Now, Wall};

use crate::dnssec::{ActiveKeys, seconds, seconds_between};
use crate::name::Name;
use crate::overlay::{Overlay, OverlayTarget};
use crate::signed_answers::{SignedAnswers, SignedSet};
use crate::snapshot::{FamilyAnswers, PoolAnswers, Section};
use crate::zone::{Rtype, Sigs, Zones};

/// Most signatures made by one flush: some ten milliseconds.
const INLINE_MAX: usize = 512;
/// Fewer subsets than this, and some are signed by the flush itself.
const SUBSETS_LEFT_MIN: usize = 32;
/// Signatures that a set gets from the flush itself.
const SUBSETS_ROUGH: usize = 64;
/// A job that has not come back after so many milliseconds is given up.
const JOB_MS_MAX: u64 = 30_000;

/// Which set of answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SetKey {
    owner: Name,
    rtype: Rtype,
    variant: u16,
}

/// The data of an RRset's records in canonical order: what a signature is over.
type Canonical = Vec<Box<[u8]>>;

/// RRSIG records with an owner pointer, and the last second at which they hold.
#[derive(Clone, Debug)]
struct Rrsigs {
    octets: Box<[u8]>,
    expiration_s: u32,
}

#[derive(Debug)]
struct SetState {
    keys: Arc<ActiveKeys>,
    ttl_s: u32,
    /// Signatures by these keys.
    known: BTreeMap<Canonical, Rrsigs>,
    signed: Arc<SignedSet>,
    /// What `signed` was made of, if all of it is signed.
    source: Option<Source>,
}

/// What answers are made of, to see that nothing changed.
#[derive(Clone, Debug)]
enum Source {
    Pool(Arc<PoolAnswers>),
    Host(OverlayTarget),
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pool(a), Self::Pool(b)) => Arc::ptr_eq(a, b),
            (Self::Host(a), Self::Host(b)) => a == b,
            _ => false,
        }
    }
}

/// Signatures to make off the loop.
#[derive(Clone, Debug)]
pub struct SignJob {
    number: u64,
    wall: Wall,
    work: Vec<Work>,
}

#[derive(Clone, Debug)]
struct Work {
    key: SetKey,
    keys: Arc<ActiveKeys>,
    ttl_s: u32,
    sets: Vec<Canonical>,
}

/// Signatures that were made.
#[derive(Clone, Debug)]
pub struct MadeSignatures {
    number: u64,
    made: Vec<(Work, Vec<Option<Rrsigs>>)>,
}

impl SignJob {
    /// Makes them: some 20 us each for P-256.
    pub fn run(self) -> MadeSignatures {
        let Self { number, wall, work } = self;
        let sign = |work: Work| {
            let rrsigs = work.sets.iter().map(|set| sign(&work.key, &work.keys, work.ttl_s, set, wall)).collect();
            (work, rrsigs)
        };
        MadeSignatures { number, made: work.into_iter().map(sign).collect() }
    }

    /// How many signatures it is about.
    pub fn len(&self) -> usize {
        self.work.iter().map(|work| work.sets.len()).sum()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn sign(key: &SetKey, keys: &ActiveKeys, ttl_s: u32, set: &Canonical, wall: Wall) -> Option<Rrsigs> {
    let data = keys.sign(&key.owner, key.rtype, ttl_s, set.iter().map(|rdata| &**rdata), wall).ok()?;
    let sigs = Sigs::new(ttl_s, data.iter().map(Vec::as_slice));
    Some(Rrsigs { octets: sigs.records, expiration_s: keys.window(&key.owner, key.rtype, wall).expiration_s })
}

/// The state of all signatures.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    sets: BTreeMap<SetKey, SetState>,
    /// Names with answers in signed zones: owner, target, and keys.
    names: Vec<(Name, OverlayTarget, Arc<ActiveKeys>)>,
    pending: Option<(u64, Mono)>,
    jobs: u64,
    /// When something has to be signed anew, in seconds since the epoch modulo 2^32.
    renew_s: Option<u32>,
    /// When something was signed last: if it is earlier now, the clock was set back.
    signed_s: Option<u32>,
    /// Signatures arrived that are not served yet.
    fresh: bool,
    answers: Arc<SignedAnswers>,
}

impl Signatures {
    /// What answers are given with.
    pub(super) fn answers(&self) -> Arc<SignedAnswers> {
        Arc::clone(&self.answers)
    }

    /// Whether there is something to do though nothing changed: signatures arrived, or time has come to make them anew.
    pub(super) fn due(&self, now: Now) -> bool {
        let is_past = |at_s: u32| seconds_between(at_s, seconds(now.wall)) >= 0;
        let set_back = self.signed_s.is_some_and(|at_s| seconds_between(seconds(now.wall), at_s) > 600);
        self.fresh || (self.pending(now).is_none() && (set_back || self.renew_s.is_some_and(is_past)))
    }

    fn pending(&self, now: Now) -> Option<u64> {
        self.pending.filter(|(_, since)| now.mono.since_ms(*since) < JOB_MS_MAX).map(|(number, _)| number)
    }

    /// Takes the names that the overlay has now.
    pub(super) fn rename(&mut self, overlay: &Overlay, zones: &Zones) {
        let signed = |(name, target): (&Name, OverlayTarget)| {
            let keys = zones.find(name).and_then(|zone| zones.hosted_at(zone.apex())?.keys.clone())?;
            Some((name.clone(), target, keys))
        };
        self.names = overlay.targets().filter_map(signed).collect();
    }

    /// Takes what a job made.
    pub(super) fn take(&mut self, made: MadeSignatures) {
        if self.pending.is_some_and(|(number, _)| number == made.number) {
            self.pending = None;
        }
        for (work, rrsigs) in made.made {
            let Some(state) = self.sets.get_mut(&work.key).filter(|state| state.is_by(&work.keys, work.ttl_s)) else {
                continue;
            };
            let rrsigs = work.sets.into_iter().zip(rrsigs);
            state.known.extend(rrsigs.filter_map(|(set, rrsigs)| Some((set, rrsigs?))));
        }
        self.fresh = true;
    }

    /// Makes what is served of the answers of now. Returns what is to be signed off the loop.
    pub(super) fn update(&mut self, pools: &[Arc<PoolAnswers>], now: Now) -> Option<Box<SignJob>> {
        self.fresh = false;
        let mut flush = Flush { now, inline_left: INLINE_MAX, work: Vec::new() };
        let mut old = std::mem::take(&mut self.sets);
        for (owner, target, keys) in &self.names {
            let mut refresh = |rtype: Rtype, variant: u16, ttl_s: u32, source: Source, family: &FamilyAnswers| {
                let key = SetKey { owner: owner.clone(), rtype, variant };
                let mut state = old.remove(&key).unwrap_or_else(|| SetState::new(rtype, keys, ttl_s));
                state.refresh(&key, keys, ttl_s, source, family, &mut flush);
                self.sets.insert(key, state);
            };
            match *target {
                OverlayTarget::Host { v4, v6, ttl_s } => {
                    let source = Source::Host(*target);
                    if let Some(v4) = v4 {
                        let family = FamilyAnswers::v4([(&[(0, v4)][..], Mono::NEVER)]);
                        refresh(Rtype::A, 0, ttl_s, source.clone(), &family);
                    }
                    if let Some(v6) = v6 {
                        let family = FamilyAnswers::v6([(&[(0, v6)][..], Mono::NEVER)]);
                        refresh(Rtype::AAAA, 0, ttl_s, source, &family);
                    }
                }
                OverlayTarget::Pool(pool) | OverlayTarget::Service { pool, .. } => {
                    let Some(pool) = pools.get(pool as usize) else { continue };
                    for (variant, sets) in (0..).zip(pool.all_sets()) {
                        let families = match *target {
                            OverlayTarget::Service { service, .. } => [sets.srv.get(usize::from(service)), None, None],
                            _ => [Some(&sets.v4), Some(&sets.v6), Some(&sets.https)],
                        };
                        for family in families.into_iter().flatten().filter(|family| !family.is_empty()) {
                            refresh(family.rtype(), variant, pool.ttl_s_max, Source::Pool(Arc::clone(pool)), family);
                        }
                    }
                }
            }
        }
        let mut answers = SignedAnswers::default();
        self.renew_s = None;
        for (key, state) in &self.sets {
            answers.insert(&key.owner, key.rtype, key.variant, Arc::clone(&state.signed));
            self.renew_s =
                [self.renew_s, state.renew_s()].into_iter().flatten().min_by(|a, b| 0.cmp(&seconds_between(*a, *b)));
        }
        self.answers = Arc::new(answers);
        self.signed_s = Some(seconds(now.wall));
        let work: Vec<Work> = flush.work;
        if work.is_empty() || self.pending(now).is_some() {
            return None;
        }
        self.jobs += 1;
        self.pending = Some((self.jobs, now.mono));
        Some(Box::new(SignJob { number: self.jobs, wall: now.wall, work }))
    }
}

/// What one flush may do, and what it leaves.
struct Flush {
    now: Now,
    inline_left: usize,
    work: Vec<Work>,
}

impl SetState {
    fn new(rtype: Rtype, keys: &Arc<ActiveKeys>, ttl_s: u32) -> Self {
        Self {
            keys: Arc::clone(keys),
            ttl_s,
            known: BTreeMap::new(),
            signed: Arc::new(SignedSet::new(rtype, keys.signers(rtype).len() as u16)),
            source: None,
        }
    }

    fn is_by(&self, keys: &Arc<ActiveKeys>, ttl_s: u32) -> bool {
        Arc::ptr_eq(&self.keys, keys) && self.ttl_s == ttl_s
    }

    /// When it is time to sign anew.
    fn renew_s(&self) -> Option<u32> {
        self.signed.expiration_s().map(|at_s| at_s.wrapping_sub(self.keys.validity.refresh_s))
    }

    /// Whether signatures that hold until then are still good enough at `now`, and not of a clock that has been set back since.
    fn is_fresh(&self, expiration_s: u32, now: Now) -> bool {
        let left_s = seconds_between(seconds(now.wall), expiration_s);
        left_s > i64::from(self.keys.validity.refresh_s) && left_s <= i64::from(self.keys.validity.lifetime_s) + 600
    }

    fn refresh(
        &mut self,
        key: &SetKey,
        keys: &Arc<ActiveKeys>,
        ttl_s: u32,
        source: Source,
        family: &FamilyAnswers,
        flush: &mut Flush,
    ) {
        let by_these = self.is_by(keys, ttl_s);
        let fresh = self.signed.expiration_s().is_some_and(|at_s| self.is_fresh(at_s, flush.now));
        if by_these && fresh && self.source.as_ref().is_some_and(|known| known.is(&source)) {
            return;
        }
        if !by_these {
            (self.keys, self.ttl_s) = (Arc::clone(keys), ttl_s);
            self.known.clear();
        }
        if !fresh {
            let (now, validity) = (flush.now, keys.validity);
            self.known.retain(|_, rrsigs| {
                let left_s = seconds_between(seconds(now.wall), rrsigs.expiration_s);
                left_s > i64::from(validity.refresh_s) && left_s <= i64::from(validity.lifetime_s) + 600
            });
        }
        let wanted: Vec<(Section<'_>, Canonical)> = family.sections().map(|section| (section, canonical(section))).collect();
        let all: BTreeSet<&Canonical> = wanted.iter().map(|(_, set)| set).collect();
        self.known.retain(|set, _| all.contains(set));
        let mut missing: Vec<Canonical> =
            all.iter().filter(|set| !self.known.contains_key(**set)).map(|set| (*set).clone()).collect();
        let mut next = self.made_of(key.rtype, &wanted);
        if !missing.is_empty() && next.len() < SUBSETS_LEFT_MIN.min(family.len()) {
            let old = self.still_right(&wanted, flush.now);
            if old.len() > next.len() {
                next = old;
            }
            if next.len() < SUBSETS_LEFT_MIN.min(family.len()) {
                let count = missing.len().min(SUBSETS_ROUGH).min(flush.inline_left);
                flush.inline_left -= count;
                for set in missing.drain(..count) {
                    if let Some(rrsigs) = sign(key, keys, ttl_s, &set, flush.now.wall) {
                        self.known.insert(set, rrsigs);
                    }
                }
                let signed = self.made_of(key.rtype, &wanted);
                if signed.len() > next.len() {
                    next = signed;
                }
            }
        }
        self.signed = Arc::new(next);
        self.source = missing.is_empty().then_some(source);
        if !missing.is_empty() {
            flush.work.push(Work { key: key.clone(), keys: Arc::clone(keys), ttl_s, sets: missing });
        }
    }

    /// The subsets that are signed.
    fn made_of(&self, rtype: Rtype, wanted: &[(Section<'_>, Canonical)]) -> SignedSet {
        let mut signed = SignedSet::new(rtype, self.keys.signers(rtype).len() as u16);
        for (section, set) in wanted {
            if let Some(rrsigs) = self.known.get(set) {
                signed.push(*section, &rrsigs.octets, rrsigs.expiration_s);
            }
        }
        signed
    }

    /// Of the subsets served until now those whose signatures hold and that name nobody but those whom the wanted ones name. What
    /// was known of the members' next change is old, so they get the lowest TTL.
    fn still_right(&self, wanted: &[(Section<'_>, Canonical)], now: Now) -> SignedSet {
        let may_be_named: BTreeSet<&[u8]> = wanted.iter().flat_map(|(_, set)| set.iter().map(|rdata| &**rdata)).collect();
        let rtype = wanted.first().map_or(Rtype::A, |(section, _)| section.rtype);
        let mut left = SignedSet::new(rtype, self.signed.rrsigs_each());
        let holds = self.signed.expiration_s().filter(|at_s| seconds_between(seconds(now.wall), *at_s) > 0);
        let Some(expiration_s) = holds else { return left };
        for (section, rrsigs, _) in self.signed.sections() {
            if section.rdata().all(|rdata| may_be_named.contains(rdata)) {
                left.push(Section { change_at: Mono(0), ..section }, rrsigs, expiration_s);
            }
        }
        left
    }
}

fn canonical(section: Section<'_>) -> Canonical {
    let mut set: Canonical = section.rdata().map(Box::from).collect();
    set.sort_unstable();
    set
}

#[cfg(test)]
mod tests;
