//! What every source owes: a table of fixed size, shared by all workers without a lock.
//!
//! Each entry is one number: a part of the source's hash, and the time at which the source will owe nothing any more (the theoretical
//! arrival time of ITU-T I.371, "virtual scheduling"). One that is past is as good as none, so nothing has to be cleared. A line of the
//! table is one cache line; a source has its place in one line, chosen by a secret.
//!
//! When all places of a line are taken, whoever owes least loses his: who asks too much keeps his debt, and who lost his may
//! ask as if he were new. So nobody is ever refused for others' requests, but for a match of hashes (one in thirty thousand); and
//! whoever commands more sources than there are places is bound by other limits than this one.

use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Places in a line: 64 octets.
const WAYS: usize = 8;
const LINES: usize = 1 << 14;
/// The lower bits are a time in 256ths of a millisecond, which comes round after two years; the upper ones tell sources apart.
const TIME_BITS: u32 = 44;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
pub(super) const TICKS_PER_MS: u64 = 256;
/// How often an entry is tried again that another worker changed meanwhile.
const TRIES: usize = 8;

/// What all sources owe.
#[derive(Debug)]
pub struct Debts {
    secret: [u64; 2],
    lines: Box<[Line]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// How much a source may owe, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// What one request costs: the time between two of them in the long run.
    pub(super) cost: u64,
    /// What may be owed at once.
    pub(super) debt_max: u64,
}

impl Debts {
    /// Octets of the table.
    pub const BYTES: usize = LINES * WAYS * 8;
    /// Sources that have a place at once.
    pub const PLACES: usize = LINES * WAYS;

    /// Nobody owes anything. The secret decides where each source has its place, so that nobody can choose his neighbours.
    pub fn new(secret: [u64; 2]) -> Self {
        Self { secret, lines: (0..LINES).map(|_| Line::default()).collect() }
    }

    /// One request of a source at a time in ticks; if it owes too much already, the ticks until it may ask again.
    pub(super) fn pay(&self, source: u128, now: u64, allowance: Allowance) -> Result<(), u64> {
        let (line, tag) = self.place(source);
        let Some(Line(ways)) = self.lines.get(line) else { return Ok(()) };
        let Allowance { cost, debt_max } = allowance;
        // More than this can only be a time that has come round, or an allowance that was larger.
        let believed = debt_max.saturating_add(cost).min(TIME_MASK >> 1);
        for _ in 0..TRIES {
            let (mut least, mut least_debt) = (None, u64::MAX);
            let (mut own, mut own_debt) = (None, 0);
            for way in ways {
                let seen = way.load(Relaxed);
                let ahead = (seen & TIME_MASK).wrapping_sub(now) & TIME_MASK;
                let debt = if ahead > believed { 0 } else { ahead };
                if seen >> TIME_BITS == tag && debt > 0 {
                    (own, own_debt) = (Some((way, seen)), debt);
                    break;
                }
                if debt < least_debt {
                    (least, least_debt) = (Some((way, seen)), debt);
                }
            }
            let owes = own_debt.saturating_add(cost);
            if owes > debt_max {
                return Err(owes - debt_max);
            }
            let Some((way, seen)) = own.or(least) else { return Ok(()) };
            let paid = tag << TIME_BITS | (now.wrapping_add(owes) & TIME_MASK);
            if way.compare_exchange(seen, paid, Relaxed, Relaxed).is_ok() {
                return Ok(());
            }
        }
        // So many at once on one line are more than there are workers; one request more or less does not matter.
        Ok(())
    }

    /// The line of a source, and what tells it from others there.
    fn place(&self, source: u128) -> (usize, u64) {
        let [first, second] = self.secret;
        // SipHash, begun with a secret.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(first);
        hasher.write_u64(second);
        hasher.write_u128(source);
        let hash = hasher.finish();
        (hash as usize % LINES, hash >> TIME_BITS)
    }
}
