//! Answers from what the control loop lays over the zones: pools, their services, and members' own names.
//!
//! Sections are prebuilt; here one is picked and patched. Nobody may be named who is not in the section that was picked.

use super::denial_online::Types;
use super::resolve::{Place, Resolver};
use crate::overlay::OverlayTarget;
use crate::snapshot::{AnswerSets, PoolAnswers, Section as Answer, Snapshot};
use crate::wire::{ClientSubnet, Section, ede, rcode};
use crate::zone::Rtype;
use farm_shared::time::Mono;

/// The type to answer, if the overlay answers this query type: ANY gets the first that is not empty (RFC 8482 section 4.1).
#[inline]
pub(super) fn serves(target: OverlayTarget, rtype: Rtype, snapshot: &Snapshot) -> Option<Rtype> {
    match (target, rtype) {
        (OverlayTarget::Service { .. }, Rtype::SRV | Rtype::ANY) => Some(Rtype::SRV),
        (OverlayTarget::Service { .. }, _) => None,
        (_, Rtype::A | Rtype::AAAA) => Some(rtype),
        (OverlayTarget::Pool(index), Rtype::HTTPS) => {
            // A pool without HTTPS records has no such type; one that has them and nobody to name answers NODATA of its own.
            snapshot.pools.get(index as usize).filter(|pool| pool.has_https).map(|_| rtype)
        }
        (OverlayTarget::Pool(index), Rtype::ANY) => {
            let has_v4 = snapshot.pools.get(index as usize).is_some_and(|pool| !pool.sets.v4.is_empty());
            Some(if has_v4 { Rtype::A } else { Rtype::AAAA })
        }
        (OverlayTarget::Host { v4, .. }, Rtype::ANY) => Some(if v4.is_some() { Rtype::A } else { Rtype::AAAA }),
        _ => None,
    }
}

/// Adds the types that a name laid over the zone has for anybody.
pub(super) fn types(target: OverlayTarget, snapshot: &Snapshot, types: &mut Types) {
    let pool = match target {
        OverlayTarget::Host { v4, v6, .. } => {
            if v4.is_some() {
                types.add(Rtype::A);
            }
            if v6.is_some() {
                types.add(Rtype::AAAA);
            }
            return;
        }
        OverlayTarget::Pool(pool) | OverlayTarget::Service { pool, .. } => snapshot.pools.get(pool as usize),
    };
    for sets in pool.into_iter().flat_map(|pool| pool.all_sets()) {
        let families = match target {
            OverlayTarget::Service { service, .. } => [sets.srv.get(usize::from(service)), None, None],
            _ => [Some(&sets.v4), Some(&sets.v6), Some(&sets.https)],
        };
        for family in families.into_iter().flatten().filter(|family| !family.is_empty()) {
            types.add(family.rtype());
        }
    }
}

impl<'s> Resolver<'s, '_, '_> {
    /// Answers from a pool, a service or a host, for a type that it [`serves`].
    #[inline]
    pub(super) fn target(&mut self, target: OverlayTarget, rtype: Rtype, place: Place<'s, '_>) {
        match target {
            OverlayTarget::Pool(index) => self.pool(index, None, rtype, place),
            OverlayTarget::Service { pool, service } => self.pool(pool, Some(service), rtype, place),
            OverlayTarget::Host { v4, v6, ttl_s } => {
                let has = if rtype == Rtype::A { v4.is_some() } else { v6.is_some() };
                if has && self.dnssec && place.is_signed() {
                    self.signed(rtype, place, 0, |_, _| ttl_s);
                    return;
                }
                let written = match (rtype, v4, v6) {
                    (Rtype::A, Some(v4), _) => self.writer.record(Section::Answer, place.at, rtype.0, ttl_s, &v4.octets()),
                    (Rtype::AAAA, _, Some(v6)) => {
                        self.writer.record(Section::Answer, place.at, rtype.0, ttl_s, &v6.octets())
                    }
                    _ => {
                        self.negative(place, ttl_s, place.no_data());
                        return;
                    }
                };
                self.truncated |= written.is_none();
            }
        }
    }

    #[inline]
    fn pool(&mut self, index: u32, service: Option<u16>, rtype: Rtype, place: Place<'s, '_>) {
        self.pool = Some(index);
        let snapshot = self.snapshot;
        let Some(pool) = snapshot.pools.get(index as usize) else {
            self.rcode = rcode::SERVFAIL;
            return;
        };
        let sets = if pool.classes.is_empty() { &pool.sets } else { self.sets_for_client(pool) };
        let family = match service {
            None => sets.of(rtype),
            Some(service) => sets.srv.get(usize::from(service)),
        };
        let Some(section) = family.and_then(|family| family.pick(self.draw)) else {
            if sets.v4.is_empty() && sets.v6.is_empty() {
                self.extended_error = Some(ede::NOT_READY);
            }
            self.negative(place, pool.negative_ttl_s, place.no_data());
            return;
        };
        if self.dnssec && place.is_signed() {
            let variant = if pool.classes.is_empty() { 0 } else { pool.variant(self.class) };
            self.signed(rtype, place, variant, |section, now| pool.ttl_s(section.change_at, now));
            return;
        }
        let ttl_s = pool.ttl_s(section.change_at, self.now.mono);
        match rtype {
            Rtype::A | Rtype::AAAA => match self.writer.prebuilt(place.at, section.records, rtype, ttl_s) {
                Some(()) => {
                    self.named = section.slots;
                    self.expanded(place);
                }
                None => self.truncated = true,
            },
            _ => match self.writer.prebuilt_any(place.at, section.records, ttl_s) {
                Some(start) => {
                    self.named = section.slots;
                    self.expanded(place);
                    self.write_proofs();
                    // A resolver can ask for these, so their absence is no truncation.
                    self.writer.prebuilt_extra(place.at, start, section.extra, ttl_s);
                }
                None => self.truncated = true,
            },
        }
    }

    /// Answers with signatures, or not at all.
    fn signed(&mut self, rtype: Rtype, place: Place<'s, '_>, variant: u16, ttl_s: impl Fn(&Answer<'s>, Mono) -> u32) {
        let set = self.snapshot.signed.find(place.name, place.wildcard, rtype, variant);
        let Some((section, rrsigs, count)) = set.and_then(|set| set.pick(self.draw, self.now.wall)) else {
            self.refuse();
            return;
        };
        let ttl_s = ttl_s(&section, self.now.mono);
        let mark = self.writer.mark();
        let start = self.writer.prebuilt_any(place.at, section.records, ttl_s);
        let rrsigs = (rrsigs, count);
        let written = start.and_then(|_| self.writer.prepared(Section::Answer, (&[], place.owner()), rrsigs, ttl_s));
        let (Some(start), Some(_)) = (start, written) else {
            self.writer.rewind(mark);
            self.truncated = true;
            return;
        };
        if self.pool.is_some() {
            self.named = section.slots;
        }
        self.expanded(place);
        self.write_proofs();
        if !self.truncated {
            self.writer.prebuilt_extra(place.at, start, section.extra, ttl_s);
        }
    }

    /// The answers for the class of the client.
    fn sets_for_client(&mut self, pool: &'s PoolAnswers) -> &'s AnswerSets {
        let clients = &self.snapshot.clients;
        match self.subnet {
            // A resolver that gives no bits wants its client to stay unknown, and is a client itself.
            Some(ClientSubnet { address, prefix_bits }) if prefix_bits > 0 => {
                self.class = clients.class_at(address);
                let variant = pool.variant(self.class);
                let scope = clients.scope(address, |class| pool.variant(class) == variant);
                // Never more specific than the question: a prefix across two classes is answered as its first address is.
                self.subnet_scope = scope.min(prefix_bits);
            }
            _ => self.class = clients.class_of(self.client),
        }
        pool.sets(pool.variant(self.class))
    }
}
