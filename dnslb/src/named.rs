//! Who was named how often, per pool and member: what the shares that are served are computed from.
//!
//! The counters follow a pool by its name over reloads, and a member by its slot. Counting must never lock; it allocates only when
//! the first of 1,024 slots is counted for the first time.

use dnslb_core::snapshot::{AnswerSets, FamilyAnswers, PoolAnswers, Snapshot};
use farm_shared::id::Id;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Slots in one piece of a counter table.
const PIECE_SLOTS: usize = 1_024;
/// Pieces in a table: members with a slot of 65,536 or more are served but not counted.
const PIECES: usize = 64;

/// The type code of AAAA.
const AAAA: u16 = 28;
/// And of SRV.
const SRV: u16 = 33;

/// A snapshot with the counters of its pools: what is published.
#[derive(Clone)]
pub struct Live {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// The counters of its pools, in the same order.
    pools: Vec<PoolCount>,
    /// For each class of clients the number of its site in [`Registry::sites`].
    sites: Arc<[u32]>,
}

#[derive(Clone)]
struct PoolCount {
    answers: Arc<PoolAnswers>,
    order: Arc<Order>,
    counters: Arc<Counters>,
}

/// Rank of each slot's address among those of its family.
#[derive(Default)]
struct Order {
    v4: Vec<u32>,
    v6: Vec<u32>,
}

/// The counters of one pool.
#[derive(Default)]
pub struct Counters {
    threads: Vec<Row>,
}

/// Those of one thread.
#[derive(Default)]
#[repr(align(128))]
struct Row {
    answers: AtomicU64,
    named: Table,
    lowest: Table,
    /// Answers by number of the client's site.
    sites: Table,
}

struct Table([OnceLock<Box<[AtomicU64]>>; PIECES]);

impl Default for Table {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl Table {
    fn add(&self, slot: u32) {
        let slot = slot as usize;
        let Some(piece) = self.0.get(slot / PIECE_SLOTS) else { return };
        let piece = piece.get_or_init(|| (0..PIECE_SLOTS).map(|_| AtomicU64::new(0)).collect());
        if let Some(counter) = piece.get(slot % PIECE_SLOTS) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn get(&self, slot: u32) -> u64 {
        let piece = self.0.get(slot as usize / PIECE_SLOTS).and_then(OnceLock::get);
        piece.and_then(|piece| piece.get(slot as usize % PIECE_SLOTS)).map_or(0, |counter| counter.load(Relaxed))
    }
}

/// The counters of all pools that there ever were.
#[derive(Default)]
pub struct Registry {
    threads: usize,
    pools: BTreeMap<Id, Arc<Counters>>,
    /// Sites that there ever were, so that a site keeps its number over reloads; the first is none.
    sites: Vec<String>,
}

impl Registry {
    /// Counters for so many threads.
    pub fn new(threads: usize) -> Self {
        Self { threads, pools: BTreeMap::new(), sites: vec!["none".into()] }
    }

    /// Puts counters beside a snapshot whose pools have these names. `before` is what was published last: pools whose answers did
    /// not change are taken over from it.
    pub fn live(&mut self, snapshot: Arc<Snapshot>, names: &[Id], before: Option<&Live>) -> Live {
        let pools = snapshot.pools.iter().zip(names).enumerate().map(|(i, (answers, name))| {
            let counters = self.pools.entry(name.clone()).or_insert_with(|| Arc::new(Counters::new(self.threads)));
            let known = before.and_then(|live| live.pools.get(i)).filter(|pool| Arc::ptr_eq(&pool.answers, answers));
            let order = known.map_or_else(|| Arc::new(Order::of(answers)), |pool| Arc::clone(&pool.order));
            PoolCount { answers: Arc::clone(answers), order, counters: Arc::clone(counters) }
        });
        let pools = pools.collect();
        let sites = match before.filter(|live| Arc::ptr_eq(&live.snapshot.clients, &snapshot.clients)) {
            Some(live) => Arc::clone(&live.sites),
            None => self.numbers(&snapshot),
        };
        Live { snapshot, pools, sites }
    }

    fn numbers(&mut self, snapshot: &Snapshot) -> Arc<[u32]> {
        let clients = &snapshot.clients;
        let mut number = |site: Option<&str>| {
            let site = site.unwrap_or("none");
            let known = self.sites.iter().position(|known| known == site);
            known.unwrap_or_else(|| {
                self.sites.push(site.into());
                self.sites.len() - 1
            }) as u32
        };
        clients.classes().iter().map(|class| number(clients.site_name(*class))).collect()
    }

    /// Answers of a pool by the client's site.
    pub fn by_site(&self, pool: &Id) -> Vec<(String, u64)> {
        let Some(counters) = self.pools.get(pool) else { return Vec::new() };
        let count = |site: u32| counters.threads.iter().map(|row| row.sites.get(site)).sum();
        self.sites.iter().zip(0..).map(|(name, site)| (name.clone(), count(site))).collect()
    }

    /// The counters of a pool.
    pub fn pool(&self, name: &Id) -> Option<&Arc<Counters>> {
        self.pools.get(name)
    }
}

impl Live {
    /// Counts one answer of a pool to a client of a class: `named` are the members in it, `query` is the question.
    pub fn count(&self, thread: usize, pool: u32, class: u16, named: &[u32], query: &[u8]) {
        let Some(pool) = self.pools.get(pool as usize) else { return };
        let Some(row) = pool.counters.threads.get(thread) else { return };
        row.answers.fetch_add(1, Relaxed);
        if !pool.answers.classes.is_empty() {
            row.sites.add(self.sites.get(usize::from(class)).copied().unwrap_or(0));
        }
        for slot in named {
            row.named.add(*slot);
        }
        let order = match qtype(query) {
            AAAA => &pool.order.v6,
            // Whoever asks for these takes no member for its address.
            SRV => return,
            _ => &pool.order.v4,
        };
        let rank = |slot: &&u32| order.get(**slot as usize).copied().unwrap_or(u32::MAX);
        if let Some(lowest) = named.iter().min_by_key(rank) {
            row.lowest.add(*lowest);
        }
    }
}

impl Counters {
    fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| Row::default()).collect() }
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.threads.iter().map(|row| row.answers.load(Relaxed)).sum()
    }

    /// How often the member of a slot was named so far, and how often its address was the lowest of those named.
    pub fn named(&self, slot: u32) -> (u64, u64) {
        let sum = |table: fn(&Row) -> &Table| self.threads.iter().map(|row| table(row).get(slot)).sum();
        (sum(|row| &row.named), sum(|row| &row.lowest))
    }
}

impl Order {
    fn of(answers: &PoolAnswers) -> Self {
        let of = |family: fn(&AnswerSets) -> &FamilyAnswers| ranks(answers.all_sets().map(family));
        Self { v4: of(|sets| &sets.v4), v6: of(|sets| &sets.v6) }
    }
}

/// A slot that has several addresses, for clients inside and outside, counts by the highest.
fn ranks<'a>(families: impl Iterator<Item = &'a FamilyAnswers>) -> Vec<u32> {
    let mut members: Vec<(IpAddr, u32)> = Vec::new();
    for section in families.flat_map(FamilyAnswers::sections) {
        members.extend(section.each().zip(section.slots).filter_map(|(record, slot)| Some((address(record)?, *slot))));
    }
    members.sort_unstable();
    members.dedup();
    let mut ranks = Vec::new();
    for (rank, (_, slot)) in members.iter().enumerate().filter(|(_, (_, slot))| (*slot as usize) < PIECES * PIECE_SLOTS) {
        let slot = *slot as usize;
        if ranks.len() <= slot {
            ranks.resize(slot + 1, u32::MAX);
        }
        if let Some(place) = ranks.get_mut(slot) {
            *place = rank as u32;
        }
    }
    ranks
}

/// The address at the end of a prepared A or AAAA record.
fn address(record: &[u8]) -> Option<IpAddr> {
    let data = record.get(12..)?;
    let v4 = <[u8; 4]>::try_from(data).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from)).ok()
}

/// The type of a question that was answered; 0 if there is none.
fn qtype(query: &[u8]) -> u16 {
    let mut rest = query.get(12..).unwrap_or_default();
    while let Some((&len, tail)) = rest.split_first() {
        if len == 0 {
            return tail.first_chunk::<2>().map_or(0, |octets| u16::from_be_bytes(*octets));
        }
        rest = tail.get(usize::from(len)..).unwrap_or_default();
    }
    0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dnslb_core::overlay::Overlay;
    use dnslb_core::snapshot::Limits;
    use dnslb_core::zone::Zones;
    use farm_shared::time::Mono;
    use std::net::Ipv4Addr;

    fn snapshot(last_octets: &[u8]) -> Arc<Snapshot> {
        let members: Vec<(u32, Ipv4Addr)> = (0..).zip(last_octets.iter().map(|o| Ipv4Addr::new(192, 0, 2, *o))).collect();
        let v4 = FamilyAnswers::v4([(&members[..], Mono::NEVER)]);
        Arc::new(Snapshot {
            generation: 1,
            zones: Arc::new(Zones::new([]).unwrap()),
            overlay: Arc::new(Overlay::empty()),
            pools: vec![Arc::new(PoolAnswers {
                sets: AnswerSets { v4, ..AnswerSets::default() },
                ..PoolAnswers::default()
            })],
            clients: Arc::default(),
            signed: Arc::default(),
            limits: Limits::default(),
            service: Arc::default(),
        })
    }

    #[test]
    fn names_and_lowest_addresses_are_counted() {
        let name = [Id::new("www").unwrap()];
        let mut registry = Registry::new(2);
        let first = registry.live(snapshot(&[9, 3, 200]), &name, None);
        first.count(0, 0, 0, &[0, 1], b"");
        first.count(1, 0, 0, &[2, 0], b"");
        first.count(1, 7, 0, &[0], b"");
        first.count(9, 0, 0, &[0], b"");
        first.count(0, 0, 0, &[u32::MAX], b"");
        let second = registry.live(snapshot(&[1, 3, 200]), &name, Some(&first));
        second.count(0, 0, 0, &[1, 0], b"");
        let counters = registry.pool(&name[0]).unwrap();
        assert_eq!(counters.answers(), 4);
        assert_eq!([0, 1, 2, 5_000].map(|slot| counters.named(slot)), [(3, 2), (2, 1), (1, 0), (0, 0)]);
    }

    #[test]
    fn types_of_questions() {
        let check = |tail: &[u8], expect| assert_eq!(qtype(&[&[0; 12], tail].concat()), expect, "{tail:?}");
        check(b"\x01a\x00\x00\x1c\x00\x01", 28);
        check(b"\x00\x00\x01", 1);
        check(b"\x00\x00", 0);
        check(b"\xc0\x0c", 0);
        check(b"", 0);
    }
}
