//! From a question to sections: answers, chains, referrals, negative answers.
//!
//! Records go out as whole RRsets. What does not fit sets TC, except additional records that a resolver can do without.

use farm_shared::time::Now;
use std::net::IpAddr;

use super::lookup::{Found, find};
use super::pools;
use crate::name::{NAME_LEN_MAX, Name};
use crate::name_buf::NameBuf;
use crate::snapshot::{Limits, Snapshot};
use crate::wire::{HEADER_LEN, Owner, Section, Writer, rcode};
use crate::zone::{Node, RrSet, Rtype, Zone};

/// No bound on a TTL.
const ANY_TTL: u32 = u32::MAX;

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Resolver<'s, 'o> {
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
    /// Which of the pool's answers: see [`crate::snapshot::PoolAnswers::variant`].
    pub(super) variant: u16,
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

impl<'s, 'o> Resolver<'s, 'o> {
    pub(super) fn new(snapshot: &'s Snapshot, writer: Writer<'o>, client: IpAddr, now: Now, draw: u64) -> Self {
        Self {
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
            variant: 0,
        }
    }

    /// Writes the sections for a question of class IN. `name` is lost: it follows the chain.
    #[inline]
    pub(super) fn resolve(&mut self, name: &mut NameBuf, rtype: Rtype) {
        let mut chain = Chain(None);
        while self.step(name, rtype, &mut chain).is_some() {}
    }

    /// Answers for one name; `Some` when it was an alias and `name` now is where it leads.
    fn step(&mut self, name: &mut NameBuf, rtype: Rtype, chain: &mut Chain<'s>) -> Option<()> {
        let snapshot = self.snapshot;
        let Some(found) = snapshot.zones.zone_of(name, rtype == Rtype::DS) else {
            if chain.count() == 0 {
                self.rcode = rcode::REFUSED;
            }
            return None;
        };
        if found.hosted.expired {
            // Where an alias leads is told even so: a resolver asks on by itself.
            if chain.count() == 0 {
                self.rcode = rcode::SERVFAIL;
            }
            return None;
        }
        // AA speaks of the first owner name (RFC 1035 section 4.1.1): an alias that leads into a delegation keeps it.
        self.authoritative = true;
        let name_at = chain.current();
        let zone = found.zone;
        match find(found, &snapshot.overlay, rtype) {
            Found::Missing => {
                self.rcode = rcode::NXDOMAIN;
                self.negative(zone, name, name_at, ANY_TTL);
                None
            }
            Found::Cut { servers, depth } => {
                self.authoritative = chain.count() > 0;
                self.referral(zone, servers, name_at + name.start_of(depth), name.suffix(depth));
                None
            }
            Found::Dname { dname, depth } => self.dname(dname, depth, name, rtype, chain),
            Found::Name { node, target } => {
                if let Some(target) = target
                    && let Some(rtype) = pools::serves(target, rtype, snapshot)
                {
                    self.target(target, rtype, zone, name, name_at);
                    return None;
                }
                self.node(node, zone, name, rtype, chain)
            }
        }
    }

    /// Answers from the records at a name.
    fn node(
        &mut self,
        node: Option<&'s Node>,
        zone: &'s Zone,
        name: &mut NameBuf,
        rtype: Rtype,
        chain: &mut Chain<'s>,
    ) -> Option<()> {
        let name_at = chain.current();
        let owner = Owner { at: name_at, wire: name.wire() };
        let set = node.and_then(|node| match rtype {
            // One RRset is enough of an answer to ANY (RFC 8482 section 4.1), and no lever for amplification.
            Rtype::ANY => node.sets.first(),
            _ => node.set(rtype),
        });
        if let Some(set) = set {
            match self.writer.set(Section::Answer, owner, set, ANY_TTL) {
                Some(start) => self.additional(zone, set, start),
                None => self.truncated = true,
            }
            return None;
        }
        // Signatures and denials belong to the alias itself, not to where it leads (RFC 4034 section 2.5).
        let alias = node.filter(|_| !matches!(rtype, Rtype::NSEC | Rtype::RRSIG)).and_then(|node| node.set(Rtype::CNAME));
        let Some(alias) = alias else {
            self.negative(zone, name, name_at, ANY_TTL);
            return None;
        };
        if chain.count() >= self.chain_max() {
            return None;
        }
        let Some(start) = self.writer.set(Section::Answer, owner, alias, ANY_TTL) else {
            self.truncated = true;
            return None;
        };
        self.follow(name, alias.target().map(Name::wire)?, start + 12, chain)
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
        let name_at = chain.current();
        let owner = Owner { at: name_at + name.start_of(depth), wire: name.suffix(depth) };
        if !chain.took(dname) && self.writer.set(Section::Answer, owner, dname, ANY_TTL).is_none() {
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

    /// Writes the SOA record that tells how long the absence may be remembered (RFC 2308).
    pub(super) fn negative(&mut self, zone: &'s Zone, name: &NameBuf, name_at: usize, ttl_s_max: u32) {
        let owner = Owner { at: name_at + name.start_of(zone.labels()), wire: zone.apex().wire() };
        if self.writer.set(Section::Authority, owner, zone.negative_soa(), ttl_s_max).is_none() {
            self.truncated = true;
        }
    }

    /// Sends the client on to the servers of a delegated name.
    fn referral(&mut self, zone: &'s Zone, servers: &'s RrSet, cut_at: usize, cut: &[u8]) {
        match self.writer.set(Section::Authority, Owner { at: cut_at, wire: cut }, servers, ANY_TTL) {
            Some(start) => self.additional(zone, servers, start),
            None => self.truncated = true,
        }
    }

    /// Writes the addresses of names in an RRset that was written at `start`. Only glue that a referral needs sets TC
    /// (RFC 9471 section 3).
    fn additional(&mut self, zone: &'s Zone, set: &'s RrSet, start: usize) {
        for extra in set.extras() {
            let Some((name, node)) = zone.extra(extra) else { continue };
            let owner = Owner { at: start + extra.name_at as usize, wire: name.wire() };
            for rtype in [Rtype::A, Rtype::AAAA] {
                if let Some(addresses) = node.set(rtype)
                    && self.writer.set(Section::Additional, owner, addresses, ANY_TTL).is_none()
                {
                    self.truncated |= extra.required;
                    return;
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
