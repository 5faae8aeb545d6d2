//! The difference between two signed versions of a zone, for incremental transfers.
//!
//! Both are walked once in canonical order; sets that are octet for octet the same cost a comparison and nothing more.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::name::Name;
use crate::zone::{Diff, Nsec3, Record, RrSet, Rtype, Sigs, Zone, ZoneName};

/// What leads from one version to the other; `None` if they are the same, record for record.
pub fn changes_between(old: &Zone, new: &Zone) -> Option<Diff> {
    let mut diff = Diff::default();
    let (olds, news): (Vec<_>, Vec<_>) = (old.names().collect(), new.names().collect());
    merge(
        &olds,
        &news,
        |a, b| a.name().cmp(b.name()),
        |before, after| {
            if let Some(at) = before.or(after) {
                of_sets(at.name(), sets_of(before), sets_of(after), &mut diff);
            }
        },
    );
    let (olds, news): (Vec<_>, Vec<_>) = (old.nsec3().collect(), new.nsec3().collect());
    merge(
        &olds,
        &news,
        |a, b| a.hash.cmp(&b.hash),
        |before, after| {
            if let Some(nsec3) = before.or(after) {
                of_sets(&nsec3.owner, set_of(before), set_of(after), &mut diff);
            }
        },
    );
    let is_soa = |record: &Record| record.rtype == Rtype::SOA;
    for records in [&mut diff.removed, &mut diff.added] {
        records.sort_by_key(|record| !is_soa(record));
    }
    (!diff.removed.is_empty() || !diff.added.is_empty()).then_some(diff)
}

fn sets_of<'z>(at: Option<&ZoneName<'z>>) -> &'z [RrSet] {
    at.map(|at| at.sets()).unwrap_or_default()
}

fn set_of<'z>(at: Option<&&'z Nsec3>) -> &'z [RrSet] {
    at.map(|at| std::slice::from_ref(&at.set)).unwrap_or_default()
}

/// Walks two sorted lists side by side.
fn merge<T>(a: &[T], b: &[T], compare: impl Fn(&T, &T) -> Ordering, mut each: impl FnMut(Option<&T>, Option<&T>)) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => compare(x, y),
        };
        let left = if order == Ordering::Greater { None } else { a.next() };
        let right = if order == Ordering::Less { None } else { b.next() };
        each(left, right);
    }
}

/// The records of a set and its signatures.
fn records<'s>(owner: &'s Name, set: &'s RrSet) -> impl Iterator<Item = Record> + 's {
    let record = move |rtype, ttl_s, rdata: &[u8]| Record { owner: owner.clone(), rtype, ttl_s, rdata: rdata.into() };
    let data = set.rdata().map(move |rdata| record(set.rtype(), set.ttl_s(), rdata));
    let sigs = set.sigs().into_iter().flat_map(move |sigs: &Sigs| {
        let ttl_s = sigs.ttl_s();
        sigs.rdata().map(move |rdata| record(Rtype::RRSIG, ttl_s, rdata))
    });
    data.chain(sigs)
}

fn of_sets(owner: &Name, before: &[RrSet], after: &[RrSet], diff: &mut Diff) {
    merge(
        before,
        after,
        |a, b| a.rtype().cmp(&b.rtype()),
        |old, new| {
            if let (Some(old), Some(new)) = (old, new)
                && old.records == new.records
                && old.sigs == new.sigs
            {
                return;
            }
            let of = |set: Option<&RrSet>| set.into_iter().flat_map(|set| records(owner, set)).collect::<BTreeSet<Record>>();
            let (old, new) = (of(old), of(new));
            diff.removed.extend(old.difference(&new).cloned());
            diff.added.extend(new.difference(&old).cloned());
        },
    );
}
