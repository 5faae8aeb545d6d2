//! A whole zone signed ahead of time: keys at the apex, denial of existence, signatures over everything authoritative
//! (RFC 4035 section 2, RFC 5155 section 7.1).
//!
//! A pure function of the zone, the plan, the version that was signed before and the time. Signatures that still fit are kept,
//! so that signing again costs what changed; nothing is ever kept that is not by a key of the plan or not fresh. What an unsigned
//! zone has of DNSSEC's own records (RRSIG, NSEC, NSEC3, NSEC3PARAM) is dropped: it would be of another signer.

use std::collections::BTreeMap;
use std::fmt;

use farm_shared::time::Wall;

use super::active::ActiveKeys;
use super::canonical::CanonicalSet;
use super::denial::{HASH_LEN, NSEC3PARAM, nsec_rdata, nsec3_hash, nsec3_owner, nsec3_rdata};
use super::ds::{DigestType, Ds};
use super::key::{Dnskey, KeyError};
use super::rrsig::{Rrsig, seconds, seconds_between, sign_set};
use crate::name::Name;
use crate::zone::{Record, RrSet, Rtype, Sigs, Zone, same_rdata};

/// How absence is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// By a chain of NSEC records that are signed ahead.
    #[default]
    Nsec,
    /// By a chain of NSEC3 records without salt and iterations (RFC 9276) that are signed ahead.
    Nsec3,
    /// By records made for each answer; the zone holds none.
    Online,
}

/// How a zone is to be signed.
#[derive(Clone, Debug)]
pub struct SigningPlan {
    /// The keys that sign.
    pub keys: ActiveKeys,
    /// The keys that its DNSKEY set shows beside those that the zone has itself.
    pub published: Vec<Dnskey>,
    /// The keys that its CDS and CDNSKEY sets ask the parent for; none to leave the zone's own.
    pub wished: Vec<Dnskey>,
    /// TTL of DNSKEY, CDS and CDNSKEY, in seconds.
    pub dnskey_ttl_s: u32,
    /// How absence is proven.
    pub denial: Denial,
    /// The serial to give it; none for the zone's own.
    pub serial: Option<u32>,
}

/// A signed zone.
#[derive(Debug)]
pub struct SignedZone {
    /// It.
    pub zone: Zone,
    /// Signatures that were made.
    pub made: usize,
    /// Signatures that were kept.
    pub kept: usize,
    /// When the first signature is to be made anew.
    pub refresh_at: Wall,
    /// Before this, not every signature holds yet.
    pub begins_at: Wall,
}

/// Why a zone cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignZoneError {
    /// There is no key for some of the types.
    NoKey,
    /// The cryptographic library fails.
    Key(KeyError),
    /// The apex is too long for the names of NSEC3 records.
    ApexTooLong,
    /// The result breaks a rule of zones.
    Invalid(String),
}

impl fmt::Display for SignZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no key that signs"),
            Self::Key(error) => error.fmt(f),
            Self::ApexTooLong => f.write_str("the zone's name is too long for NSEC3"),
            Self::Invalid(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for SignZoneError {}

impl From<KeyError> for SignZoneError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// Signs `zone` as `plan` says. `before` is the signed version before this one, whose signatures are kept where they fit.
///
/// # Errors
/// [`SignZoneError`]; an unsigned or half-signed zone never comes out.
pub fn sign_zone(zone: &Zone, plan: &SigningPlan, before: Option<&Zone>, wall: Wall) -> Result<SignedZone, SignZoneError> {
    if plan.keys.entry.is_empty() || plan.keys.zone.is_empty() {
        return Err(SignZoneError::NoKey);
    }
    let mut signer = Signer {
        plan,
        before,
        wall,
        records: Vec::with_capacity(zone.record_count() * 3),
        made: 0,
        kept: 0,
        first_expiry_s: i64::MAX,
        last_inception_s: i64::MIN,
    };
    let apex = zone.apex();
    let denial_ttl_s = zone.negative_soa().ttl_s();
    let mut chain: BTreeMap<Name, Vec<Rtype>> = BTreeMap::new();
    let mut dname: Option<&Name> = None;
    for name in zone.names() {
        let owner = name.name();
        let occluded = name.is_below_cut() || dname.is_some_and(|dname| owner.is_at_or_below(dname));
        let mut types = Vec::new();
        for set in name.sets() {
            let rtype = set.rtype();
            let ours = owner == apex && matches!(rtype, Rtype::DNSKEY | Rtype::NSEC3PARAM);
            let wished = owner == apex && matches!(rtype, Rtype::CDS | Rtype::CDNSKEY) && !plan.wished.is_empty();
            if ours || wished || matches!(rtype, Rtype::NSEC | Rtype::NSEC3) {
                continue;
            }
            let authoritative = !occluded && (!name.is_cut() || rtype == Rtype::DS);
            if authoritative || (name.is_cut() && rtype == Rtype::NS && !occluded) {
                types.push(rtype);
            }
            let serial = plan.serial.filter(|_| rtype == Rtype::SOA);
            let data: Vec<Vec<u8>> = match serial {
                Some(serial) => vec![crate::zone::Soa { serial, ..zone.soa().clone() }.to_rdata().into_vec()],
                None => set.rdata().map(<[u8]>::to_vec).collect(),
            };
            signer.add(owner, rtype, set.ttl_s(), data, authoritative)?;
        }
        if owner == apex {
            signer.apex_sets(zone, &mut types)?;
        }
        if name.set(Rtype::DNAME).is_some() && !occluded {
            dname = Some(owner);
        }
        if !occluded {
            chain.insert(owner.clone(), types);
        }
    }
    match plan.denial {
        Denial::Nsec => signer.nsec(&chain, denial_ttl_s)?,
        Denial::Nsec3 => signer.nsec3(apex, chain, denial_ttl_s)?,
        Denial::Online => {}
    }
    let Signer { records, made, kept, first_expiry_s, last_inception_s, .. } = signer;
    let begins_at = Wall(wall.0.saturating_add_signed(last_inception_s.saturating_mul(1_000)));
    let refresh_in_s = (first_expiry_s - i64::from(plan.keys.validity.refresh_s)).max(0);
    let refresh_at = Wall(wall.0.saturating_add(refresh_in_s as u64 * 1_000));
    match Zone::from_records(apex, records) {
        Ok(loaded) => Ok(SignedZone { zone: loaded.zone, made, kept, refresh_at, begins_at }),
        Err(problems) => {
            let first = problems.first().map(ToString::to_string);
            Err(SignZoneError::Invalid(first.unwrap_or_else(|| "no zone comes out".to_owned())))
        }
    }
}

struct Signer<'a> {
    plan: &'a SigningPlan,
    before: Option<&'a Zone>,
    wall: Wall,
    records: Vec<Record>,
    made: usize,
    kept: usize,
    /// Seconds until the first of all signatures expires.
    first_expiry_s: i64,
    /// Seconds until the last of all signatures begins to hold: none or less, since none is of the future.
    last_inception_s: i64,
}

impl Signer<'_> {
    /// Takes an RRset over, signed if it is authoritative.
    fn add(
        &mut self,
        owner: &Name,
        rtype: Rtype,
        ttl_s: u32,
        data: Vec<Vec<u8>>,
        authoritative: bool,
    ) -> Result<(), SignZoneError> {
        let old = self.before.and_then(|before| before.rrset(owner, rtype));
        let signatures = if authoritative { self.signatures(owner, rtype, ttl_s, &data, old)? } else { Vec::new() };
        self.take(owner, rtype, ttl_s, data, signatures);
        Ok(())
    }

    fn take(&mut self, owner: &Name, rtype: Rtype, ttl_s: u32, data: Vec<Vec<u8>>, signatures: Vec<Vec<u8>>) {
        let record = |rtype, rdata: Vec<u8>| Record { owner: owner.clone(), rtype, ttl_s, rdata: rdata.into() };
        self.records.extend(data.into_iter().map(|rdata| record(rtype, rdata)));
        self.records.extend(signatures.into_iter().map(|rdata| record(Rtype::RRSIG, rdata)));
    }

    /// A signature of the set by each key for its type: those of `old`, the same set before, where they fit.
    fn signatures(
        &mut self,
        owner: &Name,
        rtype: Rtype,
        ttl_s: u32,
        data: &[Vec<u8>],
        old: Option<&RrSet>,
    ) -> Result<Vec<Vec<u8>>, SignZoneError> {
        let keys = &self.plan.keys;
        let old = old.filter(|old| {
            let same = |rdata: &[u8]| data.iter().any(|new| same_rdata(rtype, new, rdata));
            old.ttl_s() == ttl_s && old.rdata().count() == data.len() && old.rdata().all(same)
        });
        let mut set = None;
        let mut out = Vec::with_capacity(1);
        for key in keys.signers(rtype) {
            let fits = |rrsig: &Rrsig<'_>| {
                rrsig.key_tag == key.tag()
                    && rrsig.algorithm == key.algorithm().number()
                    && rrsig.original_ttl_s == ttl_s
                    && rrsig.signer == keys.apex
                    && keys.validity.is_fresh(rrsig.window, self.wall)
            };
            let mut kept = old.and_then(RrSet::sigs).into_iter().flat_map(Sigs::rdata);
            let kept = kept.find_map(|rdata| Rrsig::read(rdata).filter(&fits).map(|rrsig| (rdata.to_vec(), rrsig.window)));
            let (rdata, window) = if let Some(kept) = kept {
                self.kept += 1;
                kept
            } else {
                self.made += 1;
                let set = set.get_or_insert_with(|| CanonicalSet::new(owner, rtype, ttl_s, data.iter().map(Vec::as_slice)));
                let window = keys.window(owner, rtype, self.wall);
                (sign_set(key, &keys.apex, set, window)?, window)
            };
            let left_s = seconds_between(seconds(self.wall), window.expiration_s);
            self.first_expiry_s = self.first_expiry_s.min(left_s);
            self.last_inception_s = self.last_inception_s.max(seconds_between(seconds(self.wall), window.inception_s));
            out.push(rdata);
        }
        Ok(out)
    }

    /// DNSKEY, CDS, CDNSKEY and NSEC3PARAM. The zone's own keys stay beside ours: another signer may share it (RFC 8901).
    fn apex_sets(&mut self, zone: &Zone, types: &mut Vec<Rtype>) -> Result<(), SignZoneError> {
        let (plan, apex) = (self.plan, zone.apex());
        let foreign = zone.rrset(apex, Rtype::DNSKEY).into_iter().flat_map(RrSet::rdata);
        let mut keys: Vec<Vec<u8>> = foreign.chain(plan.published.iter().map(Dnskey::rdata)).map(<[u8]>::to_vec).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut sets = vec![(Rtype::DNSKEY, plan.dnskey_ttl_s, keys)];
        if !plan.wished.is_empty() {
            let digests = plan.wished.iter().map(|key| Ds::new(apex, key, DigestType::Sha256).rdata().to_vec());
            sets.push((Rtype::CDS, plan.dnskey_ttl_s, digests.collect()));
            let wished = plan.wished.iter().map(|key| key.rdata().to_vec());
            sets.push((Rtype::CDNSKEY, plan.dnskey_ttl_s, wished.collect()));
        }
        if plan.denial == Denial::Nsec3 {
            sets.push((Rtype::NSEC3PARAM, 0, vec![NSEC3PARAM.to_vec()]));
        }
        for (rtype, ttl_s, data) in sets {
            types.push(rtype);
            self.add(apex, rtype, ttl_s, data, true)?;
        }
        types.sort_unstable();
        Ok(())
    }

    /// One NSEC record for each name that has records, in a circle.
    fn nsec(&mut self, chain: &BTreeMap<Name, Vec<Rtype>>, ttl_s: u32) -> Result<(), SignZoneError> {
        let names = || chain.iter().filter(|(_, types)| !types.is_empty());
        let nexts = names().skip(1).chain(names().take(1)).map(|(name, _)| name);
        for ((owner, types), next) in names().zip(nexts) {
            let mut types = types.clone();
            types.extend([Rtype::RRSIG, Rtype::NSEC]);
            types.sort_unstable();
            self.add(owner, Rtype::NSEC, ttl_s, vec![nsec_rdata(next, types)], true)?;
        }
        Ok(())
    }

    /// One NSEC3 record for each name, the empty non-terminals too, in a circle of hashes.
    fn nsec3(&mut self, apex: &Name, chain: BTreeMap<Name, Vec<Rtype>>, ttl_s: u32) -> Result<(), SignZoneError> {
        let mut hashed: Vec<([u8; HASH_LEN], Vec<Rtype>)> = chain
            .into_iter()
            .map(|(name, mut types)| {
                // A delegation without DS has nothing that is signed.
                let delegated = name != *apex && types.contains(&Rtype::NS);
                if !types.is_empty() && (!delegated || types.contains(&Rtype::DS)) {
                    types.push(Rtype::RRSIG);
                    types.sort_unstable();
                }
                (nsec3_hash(&name), types)
            })
            .collect();
        hashed.sort_unstable();
        let nexts: Vec<[u8; HASH_LEN]> = hashed.iter().skip(1).chain(hashed.first()).map(|(hash, _)| *hash).collect();
        for ((hash, types), next) in hashed.into_iter().zip(nexts) {
            let owner = nsec3_owner(&hash, apex).map_err(|_| SignZoneError::ApexTooLong)?;
            let data = vec![nsec3_rdata(&next, types)];
            let old = self.before.and_then(|before| before.nsec3_at_or_before(&hash)).filter(|old| *old.hash == hash);
            let signatures = self.signatures(&owner, Rtype::NSEC3, ttl_s, &data, old.map(|old| &old.set))?;
            self.take(&owner, Rtype::NSEC3, ttl_s, data, signatures);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
