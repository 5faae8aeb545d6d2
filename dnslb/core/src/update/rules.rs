//! The rules of an update in the order of RFC 2136 section 3: prerequisites, permission, then record by record.
//!
//! Beyond the RFC: the name of a pool and those of a farm's members are not updated over, since the overlay would hide the data
//! or lose its answers; and sets that signing makes are never taken from an update.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Set, serial_of, sets_at};
use super::grant::{Grant, Requestor, is_made_by_signing, may_try};
use super::message::{Item, Update, UpdateClass};
use crate::name::Name;
use crate::wire::rcode;
use crate::zone::{Diff, Rtype, Zone, serial};

/// Names whose answers are not the zone's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// Names of pools and of their services.
    pub pools: BTreeSet<Name>,
    /// Names below which each member of a farm or of a pool has its own.
    pub member_zones: BTreeSet<Name>,
}

impl Protected {
    fn is_laid_over(&self, name: &Name) -> bool {
        self.pools.contains(name) || name.parent().is_some_and(|parent| self.member_zones.contains(&parent))
    }

    /// Whether a delegation or redirection of `name` would take such a name away.
    fn lies_below(&self, name: &Name) -> bool {
        self.pools.iter().chain(&self.member_zones).any(|laid| laid.is_at_or_below(name))
    }

    /// Whether adding a set of this type at `name` would hide or lose such a name.
    fn forbids(&self, name: &Name, rtype: Rtype, apex: &Name) -> bool {
        // SVCB and HTTPS beside the types that pools answer.
        let answered = matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME | Rtype::SRV | Rtype(64 | 65));
        let leads_away = rtype == Rtype::DNAME || (rtype == Rtype::NS && name != apex);
        (answered && self.is_laid_over(name)) || (leads_away && (self.lies_below(name) || self.is_laid_over(name)))
    }
}

/// What an update is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The zone as it is.
    pub zone: &'a Zone,
    /// Who may update it.
    pub grants: &'a [Grant],
    /// Who asks.
    pub requestor: &'a Requestor,
    /// What is not updated over.
    pub protected: &'a Protected,
    /// Whether we sign the zone: its keys are then not the requestor's to change.
    pub is_signed: bool,
}

/// Carries an update out; `None` when it changes nothing.
///
/// # Errors
/// The response code of RFC 2136: NOTZONE, NXDOMAIN, YXDOMAIN, NXRRSET, YXRRSET, REFUSED or FORMERR.
pub fn evaluate(update: &Update, context: Context<'_>) -> Result<Option<Diff>, u16> {
    if !may_try(context.grants, context.requestor) {
        return Err(rcode::REFUSED);
    }
    check_prerequisites(context.zone, &update.prerequisites)?;
    let apex = context.zone.apex();
    if update.updates.iter().any(|item| !item.owner.is_at_or_below(apex)) {
        return Err(rcode::NOTZONE);
    }
    if !update.updates.iter().all(|item| is_allowed(&context, item)) {
        return Err(rcode::REFUSED);
    }
    let mut draft = Draft::new(context.zone);
    for item in &update.updates {
        apply(&mut draft, apex, item);
    }
    Ok(draft.finish())
}

/// RFC 2136 section 3.2.
fn check_prerequisites(zone: &Zone, prerequisites: &[Item]) -> Result<(), u16> {
    let mut wanted: BTreeMap<(&Name, Rtype), Set> = BTreeMap::new();
    for item in prerequisites {
        if !item.owner.is_at_or_below(zone.apex()) {
            return Err(rcode::NOTZONE);
        }
        let types = || zone.types_at(&item.owner);
        let (holds, otherwise) = match (item.class, item.rtype) {
            (UpdateClass::Any, Rtype::ANY) => (!types().is_empty(), rcode::NXDOMAIN),
            (UpdateClass::Any, rtype) => (types().contains(&rtype), rcode::NXRRSET),
            (UpdateClass::None, Rtype::ANY) => (types().is_empty(), rcode::YXDOMAIN),
            (UpdateClass::None, rtype) => (!types().contains(&rtype), rcode::YXRRSET),
            (UpdateClass::Zone, rtype) => {
                wanted.entry((&item.owner, rtype)).or_default().insert(rtype, &item.rdata);
                (true, rcode::NOERROR)
            }
        };
        if !holds {
            return Err(otherwise);
        }
    }
    for ((owner, rtype), wanted) in wanted {
        let sets = sets_at(zone, owner);
        let is_same = sets.get(&rtype).is_some_and(|set| set.data.keys().eq(wanted.data.keys()));
        if !is_same {
            return Err(rcode::NXRRSET);
        }
    }
    Ok(())
}

fn is_allowed(context: &Context<'_>, item: &Item) -> bool {
    let apex = context.zone.apex();
    let granted = |rtype: Rtype| {
        let signers = context.is_signed && matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
        let mut grants = context.grants.iter().filter(|grant| grant.is_for(context.requestor));
        !is_made_by_signing(rtype) && !signers && grants.any(|grant| grant.covers(&item.owner, rtype))
    };
    if (item.class, item.rtype) == (UpdateClass::Any, Rtype::ANY) {
        // Everything at the name: each set that is there must be the requestor's to delete. At the apex NS and SOA stay.
        let stays = |rtype: Rtype| item.owner == *apex && matches!(rtype, Rtype::NS | Rtype::SOA);
        let types = context.zone.types_at(&item.owner);
        let may = |rtype: &Rtype| stays(*rtype) || is_made_by_signing(*rtype) || granted(*rtype);
        return if types.is_empty() { names_granted(context, &item.owner) } else { types.iter().all(may) };
    }
    granted(item.rtype) && !(item.class == UpdateClass::Zone && context.protected.forbids(&item.owner, item.rtype, apex))
}

fn names_granted(context: &Context<'_>, name: &Name) -> bool {
    let mut grants = context.grants.iter().filter(|grant| grant.is_for(context.requestor));
    grants.any(|grant| grant.names.is_empty() || grant.names.iter().any(|pattern| pattern.matches(name)))
}

/// RFC 2136 section 3.4.2: what does not fit is passed over without a word.
fn apply(draft: &mut Draft<'_>, apex: &Name, item: &Item) {
    let (rtype, is_apex) = (item.rtype, item.owner == *apex);
    let sets = draft.at(&item.owner);
    match item.class {
        UpdateClass::Zone => {
            let is_neutral = |rtype: Rtype| rtype == Rtype::CNAME || is_made_by_signing(rtype);
            let fits = match rtype {
                Rtype::SOA => is_apex && rises(sets.get(&Rtype::SOA), &item.rdata),
                Rtype::CNAME => sets.keys().all(|other| is_neutral(*other)),
                _ => is_made_by_signing(rtype) || !sets.contains_key(&Rtype::CNAME),
            };
            if !fits {
                return;
            }
            let set = sets.entry(rtype).or_default();
            // One record at most, and the new one takes its place (RFC 2136 section 3.4.2.2; RFC 6672 section 2.4).
            if matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME) && !set.contains(rtype, &item.rdata) {
                set.data.clear();
            }
            set.insert(rtype, &item.rdata);
            // RFC 2181 section 5.2: one TTL for the set, and its upper bound (section 8).
            set.ttl_s = if item.ttl_s > 0x7fff_ffff { 0 } else { item.ttl_s };
        }
        UpdateClass::Any => {
            let stays = |rtype: Rtype| is_apex && matches!(rtype, Rtype::NS | Rtype::SOA);
            if rtype == Rtype::ANY {
                sets.retain(|rtype, _| stays(*rtype));
            } else if !stays(rtype) {
                sets.remove(&rtype);
            }
        }
        UpdateClass::None => {
            let Some(set) = sets.get_mut(&rtype) else { return };
            let is_last_server = is_apex && rtype == Rtype::NS && set.data.len() == 1;
            if rtype == Rtype::SOA || is_last_server {
                return;
            }
            set.remove(rtype, &item.rdata);
            if set.data.is_empty() {
                sets.remove(&rtype);
            }
        }
    }
}

/// Whether the serial of new SOA data is greater than that of the old (RFC 1982), and not 0.
fn rises(old: Option<&Set>, new: &[u8]) -> bool {
    let old = old.and_then(|set| set.data.values().next()).and_then(|rdata| serial_of(rdata));
    match (old, serial_of(new)) {
        (Some(old), Some(new)) => new != 0 && serial::is_newer(new, old),
        _ => false,
    }
}
