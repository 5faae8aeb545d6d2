//! Tombstones on their way from a redirector to every dnslb. The agent cannot check their signature (it has no farm key), so it
//! bounds how many it carries and for how long; each dnslb checks them itself.

use farm_shared::heartbeat::Tombstone;
use farm_shared::id::Id;
use farm_shared::time::Mono;
use std::collections::BTreeMap;

const STONES_MAX: usize = 256;
const PER_MESSAGE_MAX: usize = 8;
const KEEP_MS: u64 = 600_000;
const MAC_DIGITS: usize = 64;

/// The stones that are being carried, at most one for each id.
#[derive(Clone, Debug, Default)]
pub(super) struct Stones {
    by_id: BTreeMap<Id, (Tombstone, Mono)>,
    last_sent: Option<Id>,
}

impl Stones {
    /// Takes up what a redirector said. A stone that is carried already keeps its age; a later incarnation replaces an earlier one.
    pub(super) fn take(&mut self, now: Mono, stones: Vec<Tombstone>) {
        for stone in stones.into_iter().take(STONES_MAX) {
            let is_mac = stone.mac.len() == MAC_DIGITS && stone.mac.bytes().all(|b| b.is_ascii_hexdigit());
            let is_news = self.by_id.get(&stone.id).is_none_or(|(old, _)| old.inc < stone.inc);
            let fits = self.by_id.len() < STONES_MAX || self.by_id.contains_key(&stone.id);
            if is_mac && is_news && fits {
                self.by_id.insert(stone.id.clone(), (stone, now));
            }
        }
    }

    /// Drops what has been carried long enough: ten minutes reach every dnslb that is alive.
    pub(super) fn expire(&mut self, now: Mono) {
        self.by_id.retain(|_, (_, since)| now.since_ms(*since) < KEEP_MS);
    }

    /// The next few, in turn, so that all of them get through in messages of bounded size.
    pub(super) fn next_batch(&mut self) -> Vec<Tombstone> {
        let from = self.last_sent.take();
        let after = self.by_id.iter().filter(|(id, _)| from.as_ref().is_some_and(|f| *id > f));
        let before = self.by_id.iter().filter(|(id, _)| from.as_ref().is_none_or(|f| *id <= f));
        let batch: Vec<Tombstone> = after.chain(before).take(PER_MESSAGE_MAX).map(|(_, (stone, _))| stone.clone()).collect();
        self.last_sent = batch.last().map(|stone| stone.id.clone());
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stone(id: &str, inc: u64) -> Tombstone {
        Tombstone { id: Id::new(id).unwrap(), inc, time_ms: 1, mac: "a".repeat(MAC_DIGITS) }
    }

    #[test]
    fn all_get_their_turn_and_none_stays_for_ever() {
        let mut stones = Stones::default();
        stones.take(Mono(0), (0..20).map(|i| stone(&format!("b{i}"), 1)).collect());
        let mut seen: Vec<String> = (0..3).flat_map(|_| stones.next_batch()).map(|s| s.id.to_string()).collect();
        assert_eq!(seen.len(), 24);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 20);
        stones.take(Mono(KEEP_MS - 1), vec![stone("b3", 1), stone("b4", 2), stone("b5", 0)]);
        stones.expire(Mono(KEEP_MS));
        assert_eq!(stones.next_batch(), vec![stone("b4", 2)]);
    }

    #[test]
    fn hostile_stones_stay_bounded() {
        let mut stones = Stones::default();
        stones.take(Mono(0), vec![Tombstone { mac: "x".repeat(9_000), ..stone("b1", 1) }]);
        assert!(stones.next_batch().is_empty());
        for i in 0..2 * STONES_MAX {
            stones.take(Mono(0), vec![stone(&format!("b{i}"), 1)]);
        }
        assert_eq!(stones.by_id.len(), STONES_MAX);
        assert!(stones.next_batch().len() <= PER_MESSAGE_MAX);
    }
}
