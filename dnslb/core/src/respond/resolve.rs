//! From a question to sections: answers, chains, referrals, negative answers.
//!
//! Records go out as whole RRsets. What does not fit sets TC, except additional records that a resolver can do without.

use farm_shared::time::Now;
use std::net::IpAddr;

use super::denial::{Claim, Proofs, has_chain, prove};
use super::denial_online::{Signing, Types};
use super::lookup::{Found, find};
use super::pools;
use crate::dnssec::ActiveKeys;
use crate::name::{NAME_LEN_MAX, Name};
use crate::name_buf::NameBuf;
use crate::online::{Kind, OnlineSigner};
use crate::overlay::OverlayTarget;
use crate::snapshot::{Limits, Snapshot};
use crate::wire::{ClientSubnet, HEADER_LEN, Mark, Owner, Section, Writer, ede, rcode};
use crate::zone::{Node, RrSet, Rtype, Zone};

/// No bound on a TTL.
const ANY_TTL: u32 = u32::MAX;

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Resolver<'s, 'o, 'g> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) now: Now,
    pub(super) draw: u64,
    pub(super) client: IpAddr,
    pub(super) writer: Writer<'o>,
    pub(super) rcode: u16,
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    pub(super) pool: Option<u32>,
    pub(super) named: &'s [u32],
    /// The class of the client, if a pool asked for it.
    pub(super) class: u16,
    /// DO: the client wants signatures and denials.
    pub(super) dnssec: bool,
    /// The client knows compact denials.
    pub(super) compact_ok: bool,
    /// Signs what has to be signed at once.
    pub(super) signer: Option<&'g mut OnlineSigner>,
    /// Whether the client's address is proven, so that it is no use to make it come again.
    pub(super) is_stream: bool,
    /// Something could not be signed, and nothing is answered.
    refused: bool,
    /// Where the sections begin.
    start: Mark,
    /// Denials to write into the authority section.
    proofs: Option<Proofs<'s>>,
    /// Why there is no answer proper (RFC 8914), if that can be told.
    pub(super) extended_error: Option<u16>,
    /// The network that the query was asked for (RFC 7871), if it says one and such are looked at.
    pub(super) subnet: Option<ClientSubnet>,
    /// For how long a prefix of the client subnet the answer holds, in bits (RFC 7871); 0 for everybody.
    pub(super) subnet_scope: u8,
    /// The zone that was answered from last.
    pub(super) zone: Option<&'s Zone>,
    /// Whether a wildcard or a DNAME record took part.
    pub(super) synthesized: bool,
}

/// A name that is answered for: the question's, or one that a chain has come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'s, 'n> {
    pub(super) zone: &'s Zone,
    /// Its keys, if it is one whose denials are made for each answer.
    keys: Option<&'s ActiveKeys>,
    pub(super) name: &'n NameBuf,
    rtype: Rtype,
    /// What the zone has there.
    node: Option<&'s Node>,
    /// What is laid over it.
    target: Option<OverlayTarget>,
    /// Where the name is in the message.
    pub(super) at: usize,
    /// Number of labels of the closest encloser, if a wildcard below it covers the name.
    pub(super) wildcard: Option<usize>,
}

impl<'n> Place<'_, 'n> {
    pub(super) fn owner(&self) -> Owner<'n> {
        Owner { at: self.at, wire: self.name.wire() }
    }

    /// The last `depth` labels of the name as an owner.
    fn suffix(&self, depth: usize) -> Owner<'n> {
        Owner { at: self.at + self.name.start_of(depth), wire: self.name.suffix(depth) }
    }

    /// Whether what is laid over the zone is signed here.
    pub(super) fn is_signed(&self) -> bool {
        self.keys.is_some()
    }

    /// The types that the name has: of a delegated one, those that are the parent's.
    fn types(&self, snapshot: &Snapshot) -> Types {
        let mut types = Types::new();
        for set in self.node.into_iter().flat_map(|node| &node.sets) {
            if !self.node.is_some_and(|node| node.cut) || matches!(set.rtype, Rtype::NS | Rtype::DS) {
                types.add(set.rtype);
            }
        }
        if let Some(target) = self.target {
            pools::types(target, snapshot, &mut types);
        }
        types
    }

    /// What a missing type is to be proved as.
    pub(super) fn no_data(&self) -> Claim {
        self.wildcard.map_or(Claim::NoData, |encloser| Claim::NoWildcardData { encloser })
    }
}

/// Where the current name of a chain stands in the message. Hardly any answer has one, so it is made at the first step.
struct Chain<'s>(Option<Steps<'s>>);

struct Steps<'s> {
    /// Offset of each name so far, the question's first.
    at: [usize; Limits::CHAIN_CEILING as usize + 1],
    /// The DNAME record, if any, that each step took.
    dnames: [Option<&'s RrSet>; Limits::CHAIN_CEILING as usize + 1],
    count: usize,
}

impl<'s> Chain<'s> {
    fn steps(&mut self) -> &mut Steps<'s> {
        self.0.get_or_insert(Steps { at: [HEADER_LEN; _], dnames: [None; _], count: 0 })
    }

    /// Number of steps taken.
    fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |steps| steps.count)
    }

    /// Whether an earlier step took this DNAME record: then it is in the answer.
    fn took(&self, dname: &'s RrSet) -> bool {
        self.0.iter().flat_map(|steps| steps.dnames.iter().flatten()).any(|taken| std::ptr::eq(*taken, dname))
    }

    fn current(&self) -> usize {
        self.0.as_ref().and_then(|steps| steps.at.get(steps.count).copied()).unwrap_or(HEADER_LEN)
    }
}

impl<'s, 'o> Resolver<'s, 'o, '_> {
    pub(super) fn new(snapshot: &'s Snapshot, writer: Writer<'o>, client: IpAddr, now: Now, draw: u64) -> Self {
        Self {
            start: writer.mark(),
            snapshot,
            now,
            draw,
            client,
            writer,
            rcode: rcode::NOERROR,
            authoritative: false,
            truncated: false,
            pool: None,
            named: &[],
            class: 0,
            dnssec: false,
            compact_ok: false,
            signer: None,
            is_stream: false,
            refused: false,
            proofs: None,
            extended_error: None,
            subnet: None,
            subnet_scope: 0,
            zone: None,
            synthesized: false,
        }
    }

    /// Writes the sections for a question of class IN. `name` is lost: it follows the chain.
    #[inline]
    pub(super) fn resolve(&mut self, name: &mut NameBuf, rtype: Rtype) {
        let mut chain = Chain(None);
        while self.step(name, rtype, &mut chain).is_some() {}
        self.write_proofs();
    }

    /// Answers for one name; `Some` when it was an alias and `name` now is where it leads.
    fn step(&mut self, name: &mut NameBuf, rtype: Rtype, chain: &mut Chain<'s>) -> Option<()> {
        let snapshot = self.snapshot;
        let Some(found) = snapshot.zones.zone_of(name, rtype == Rtype::DS) else {
            if chain.count() == 0 {
                self.rcode = rcode::REFUSED;
                self.extended_error = Some(ede::NOT_AUTHORITATIVE);
            }
            return None;
        };
        if found.hosted.expired {
            // Where an alias leads is told even so: a resolver asks on by itself.
            if chain.count() == 0 {
                self.rcode = rcode::SERVFAIL;
                self.extended_error = Some(ede::INVALID_DATA);
            }
            return None;
        }
        // AA speaks of the first owner name (RFC 1035 section 4.1.1): an alias that leads into a delegation keeps it.
        self.authoritative = true;
        let zone = found.zone;
        self.zone = Some(zone);
        let keys = found.hosted.keys.as_deref();
        let place = Place { zone, keys, name, rtype, node: None, target: None, at: chain.current(), wildcard: None };
        match find(found, &snapshot.overlay, rtype) {
            Found::Missing { encloser } => {
                self.rcode = rcode::NXDOMAIN;
                self.negative(place, ANY_TTL, Claim::NoName { encloser });
                None
            }
            Found::Cut { node, servers, depth } => {
                self.authoritative = chain.count() > 0;
                self.referral(Place { node: Some(node), ..place }, node, servers, depth);
                None
            }
            Found::Dname { dname, depth } => self.dname(dname, depth, name, rtype, chain),
            Found::Name { node, target, wildcard } => {
                self.synthesized |= wildcard.is_some();
                let place = Place { node, target, wildcard, ..place };
                if let Some(target) = target
                    && let Some(rtype) = pools::serves(target, rtype, snapshot)
                {
                    self.target(target, rtype, place);
                    return None;
                }
                let start = self.node(place, chain.count())?;
                self.follow(name, node?.set(Rtype::CNAME)?.target().map(Name::wire)?, start, chain)
            }
        }
    }

    /// Answers from the records at a name; if that is an alias, returns where its target stands in the message.
    fn node(&mut self, place: Place<'s, '_>, steps: usize) -> Option<usize> {
        let Place { zone, node, rtype, .. } = place;
        if rtype == Rtype::RRSIG {
            self.signatures_alone(place);
            return None;
        }
        let set = node.and_then(|node| match rtype {
            // One RRset is enough of an answer to ANY (RFC 8482 section 4.1), and no lever for amplification.
            Rtype::ANY => node.sets.first(),
            _ => node.set(rtype),
        });
        if let Some(set) = set {
            match self.put(Section::Answer, place.owner(), set, ANY_TTL) {
                Some(start) => {
                    self.expanded(place);
                    self.additional(zone, set, start);
                }
                None => self.truncated = true,
            }
            return None;
        }
        // A denial belongs to the alias itself, not to where it leads (RFC 4034 section 2.5).
        let alias = node.filter(|_| rtype != Rtype::NSEC).and_then(|node| node.set(Rtype::CNAME));
        let Some(alias) = alias else {
            self.negative(place, ANY_TTL, place.no_data());
            return None;
        };
        if steps >= self.chain_max() {
            return None;
        }
        let Some(start) = self.put(Section::Answer, place.owner(), alias, ANY_TTL) else {
            self.truncated = true;
            return None;
        };
        self.expanded(place);
        (!self.refused).then_some(start + 12)
    }

    fn chain_max(&self) -> usize {
        usize::from(self.snapshot.limits.chain_max.min(Limits::CHAIN_CEILING))
    }

    /// Makes `name` the next one of a chain, which stands at `at` in the message; `None` when it was there before.
    fn follow(&self, name: &mut NameBuf, target: &[u8], at: usize, chain: &mut Chain<'s>) -> Option<()> {
        let steps = chain.steps();
        let seen = steps.at.get(..=steps.count)?;
        // Length octets are below every letter, so comparing whole names without case is right.
        if seen.iter().any(|&seen| self.writer.written(seen, target.len()).eq_ignore_ascii_case(target)) {
            return None;
        }
        steps.count += 1;
        *steps.at.get_mut(steps.count)? = at;
        name.read(target)
    }

    /// Replaces the end of the name as the DNAME record says (RFC 6672).
    fn dname(
        &mut self,
        dname: &'s RrSet,
        depth: usize,
        name: &mut NameBuf,
        rtype: Rtype,
        chain: &mut Chain<'s>,
    ) -> Option<()> {
        if chain.count() >= self.chain_max() {
            return None;
        }
        self.synthesized = true;
        let name_at = chain.current();
        let owner = Owner { at: name_at + name.start_of(depth), wire: name.suffix(depth) };
        if !chain.took(dname) && self.put(Section::Answer, owner, dname, ANY_TTL).is_none() {
            self.truncated = true;
            return None;
        }
        let target = dname.target()?;
        // One that leads to or below its own owner would grow the name without end.
        let grows = last_labels(target, depth).is_some_and(|end| end.eq_ignore_ascii_case(owner.wire));
        let target = target.wire();
        let prefix = name.wire().get(..name.start_of(depth))?;
        let mut changed = [0; NAME_LEN_MAX];
        let Some(changed) = changed.get_mut(..prefix.len() + target.len()) else {
            self.rcode = rcode::YXDOMAIN;
            return None;
        };
        let (front, back) = changed.split_at_mut(prefix.len());
        front.copy_from_slice(prefix);
        back.copy_from_slice(target);
        let Some(at) = self.writer.record(Section::Answer, name_at, Rtype::CNAME.0, dname.ttl_s, changed) else {
            self.truncated = true;
            return None;
        };
        if grows || matches!(rtype, Rtype::CNAME | Rtype::ANY) {
            return None;
        }
        let steps = chain.steps();
        *steps.dnames.get_mut(steps.count)? = Some(dname);
        self.follow(name, changed, at, chain)
    }

    /// Writes an RRset with its signatures, if the client wants them: both or neither (RFC 4035 section 3.1.1).
    #[inline]
    fn put(&mut self, section: Section, owner: Owner<'_>, set: &RrSet, ttl_s_max: u32) -> Option<usize> {
        if !self.dnssec {
            return self.writer.set(section, owner, set, ttl_s_max);
        }
        let mark = self.writer.mark();
        let start = self.writer.set(section, owner, set, ttl_s_max)?;
        if self.put_signatures(section, (&[], owner), set, ttl_s_max).is_none() {
            self.writer.rewind(mark);
            return None;
        }
        Some(start)
    }

    /// Writes the signatures of an RRset, if it has any; `None` when they do not fit.
    fn put_signatures(&mut self, section: Section, owner: (&[u8], Owner<'_>), set: &RrSet, ttl_s_max: u32) -> Option<()> {
        if let Some(sigs) = &set.sigs {
            self.writer.prepared(section, owner, (&sigs.records, sigs.count), set.ttl_s.min(ttl_s_max))?;
        }
        Some(())
    }

    /// Answers a query for signatures with those of one RRset, as one for ANY (RFC 8482 section 7).
    fn signatures_alone(&mut self, place: Place<'s, '_>) {
        let Some(set) = place.node.and_then(|node| node.sets.iter().find(|set| set.sigs.is_some())) else {
            self.negative(place, ANY_TTL, place.no_data());
            return;
        };
        match self.put_signatures(Section::Answer, (&[], place.owner()), set, ANY_TTL) {
            Some(()) => self.expanded(place),
            None => self.truncated = true,
        }
    }

    /// Remembers to prove that nothing is closer to the name than the wildcard that it was answered from, if it was.
    #[inline]
    pub(super) fn expanded(&mut self, place: Place<'s, '_>) {
        if let Some(encloser) = place.wildcard
            && self.dnssec
        {
            self.prove(place, Claim::Expanded { encloser }, ANY_TTL);
        }
    }

    fn prove(&mut self, place: Place<'s, '_>, claim: Claim, ttl_s_max: u32) {
        match place.keys {
            Some(keys) if !has_chain(place.zone) => self.prove_at_once(place, claim, ttl_s_max, keys),
            _ => prove(place, claim, self.proofs.get_or_insert_with(Proofs::new)),
        }
    }

    /// Signs a denial for this answer alone.
    fn prove_at_once(&mut self, place: Place<'s, '_>, claim: Claim, ttl_s_max: u32, keys: &ActiveKeys) {
        let Some(signer) = &mut self.signer else {
            self.refuse();
            return;
        };
        let ttl_s = place.zone.negative_soa().ttl_s;
        let kind = match claim {
            Claim::NoData | Claim::Insecure { .. } => Kind::Present,
            Claim::NoName { .. } | Claim::NoWildcardData { .. } | Claim::Expanded { .. } => Kind::Absent,
        };
        let mut signing = Signing {
            keys,
            signer,
            kind,
            ttl_s,
            served_ttl_s: ttl_s.min(ttl_s_max),
            now: (self.now.mono, self.now.wall),
            per_s: self.snapshot.limits.signatures_s_max,
        };
        let owner = place.owner();
        let made = match claim {
            Claim::Expanded { encloser } => signing.around(place.name, encloser + 1),
            Claim::NoData | Claim::NoWildcardData { .. } => {
                let mut types = place.types(self.snapshot);
                types.remove(place.rtype);
                signing.at_name(owner.wire, owner.at, &types)
            }
            Claim::NoName { .. } => {
                let mut types = Types::new();
                types.add(Rtype::NXNAME);
                if !self.compact_ok {
                    self.rcode = rcode::NOERROR;
                }
                signing.at_name(owner.wire, owner.at, &types)
            }
            Claim::Insecure { cut } => {
                let owner = place.suffix(cut);
                signing.at_name(owner.wire, owner.at, &place.types(self.snapshot))
            }
        };
        if made.is_err() {
            self.refuse();
        }
    }

    /// Answers nothing, because what it takes cannot be signed now.
    pub(super) fn refuse(&mut self) {
        self.writer.rewind(self.start);
        self.proofs = None;
        if let Some(signer) = &mut self.signer {
            signer.forget();
        }
        (self.pool, self.named) = (None, &[]);
        self.authoritative = false;
        // What the sections would have said is gone, so the code for it goes as well.
        (self.truncated, self.rcode) = if self.is_stream { (false, rcode::SERVFAIL) } else { (true, rcode::NOERROR) };
        (self.extended_error, self.refused) = (Some(ede::NOT_READY), true);
    }

    /// Writes the denials that were collected: behind the last answer, before anything additional.
    #[inline]
    pub(super) fn write_proofs(&mut self) {
        if self.dnssec {
            self.write_all_proofs();
        }
    }

    fn write_all_proofs(&mut self) {
        if let Some(proofs) = self.proofs.take() {
            self.write_these(&proofs);
        }
        if let Some(signer) = &mut self.signer
            && signer.pending_count > 0
        {
            let written = self.writer.whole(Section::Authority, &signer.pending, signer.pending_count);
            self.truncated |= written.is_none();
            signer.forget();
        }
    }

    fn write_these(&mut self, proofs: &Proofs<'s>) {
        for proof in proofs.iter() {
            if self.truncated {
                return;
            }
            let prefix = proof.owner.wire().strip_suffix(proof.apex.wire()).unwrap_or_default();
            let owner = (prefix, Owner { at: proof.apex_at, wire: proof.apex.wire() });
            let records = (&*proof.set.records, proof.set.count);
            let written = self.writer.prepared(Section::Authority, owner, records, proof.set.ttl_s);
            let written = written.and_then(|_| self.put_signatures(Section::Authority, owner, proof.set, ANY_TTL));
            self.truncated |= written.is_none();
        }
    }

    /// Writes the SOA record that tells how long the absence may be remembered (RFC 2308), and the proof of it.
    pub(super) fn negative(&mut self, place: Place<'s, '_>, ttl_s_max: u32, claim: Claim) {
        let zone = place.zone;
        if place.rtype == Rtype::NXNAME {
            // Nobody asks for it (RFC 9824 section 3.1).
            self.rcode = rcode::FORMERR;
            return;
        }
        let owner = Owner { wire: zone.apex().wire(), ..place.suffix(zone.labels()) };
        let soa = zone.negative_soa();
        if !self.dnssec {
            self.truncated |= self.writer.set(Section::Authority, owner, soa, ttl_s_max).is_none();
            return;
        }
        // The signatures lie with the record itself, whose TTL they speak of.
        let signed = zone.apex_node().and_then(|apex| apex.set(Rtype::SOA)).unwrap_or(soa);
        if self.put(Section::Authority, owner, signed, ttl_s_max.min(soa.ttl_s)).is_none() {
            self.truncated = true;
            return;
        }
        self.prove(place, claim, ttl_s_max);
        self.write_proofs();
    }

    /// Sends the client on to the servers of a delegated name, with the DS records that sign it or the proof that it has none
    /// (RFC 4035 section 3.1.4).
    fn referral(&mut self, place: Place<'s, '_>, node: &'s Node, servers: &'s RrSet, depth: usize) {
        let owner = place.suffix(depth);
        let Some(start) = self.put(Section::Authority, owner, servers, ANY_TTL) else {
            self.truncated = true;
            return;
        };
        if self.dnssec {
            match node.set(Rtype::DS) {
                Some(ds) => self.truncated |= self.put(Section::Authority, owner, ds, ANY_TTL).is_none(),
                None => self.prove(place, Claim::Insecure { cut: depth }, ANY_TTL),
            }
        }
        self.additional(place.zone, servers, start);
    }

    /// Writes the addresses of names in an RRset that was written at `start`. Only glue that a referral needs sets TC
    /// (RFC 9471 section 3).
    fn additional(&mut self, zone: &'s Zone, set: &'s RrSet, start: usize) {
        self.write_proofs();
        if self.truncated || self.refused {
            return;
        }
        for extra in set.extras() {
            let Some((name, node)) = zone.extra(set, extra) else { continue };
            let owner = Owner { at: start + extra.written_at(), wire: name.wire() };
            for rtype in [Rtype::A, Rtype::AAAA] {
                let Some(addresses) = node.set(rtype) else { continue };
                if self.writer.set(Section::Additional, owner, addresses, ANY_TTL).is_none() {
                    self.truncated |= extra.required;
                    return;
                }
                // Here signatures may be left out (RFC 4035 section 3.1.1).
                if self.dnssec {
                    let _ = self.put_signatures(Section::Additional, (&[], owner), addresses, ANY_TTL);
                }
            }
        }
    }
}

/// The end of a name, `depth` labels long; `None` if it is shorter than that.
fn last_labels(name: &Name, depth: usize) -> Option<&[u8]> {
    let mut rest = name.wire();
    for _ in 0..name.label_count().checked_sub(depth)? {
        let (&len, labels) = rest.split_first()?;
        rest = labels.get(usize::from(len)..)?;
    }
    Some(rest)
}
