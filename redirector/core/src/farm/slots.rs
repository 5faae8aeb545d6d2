//! Numbers of servers: small, stable while a server is a member, used again afterwards.
//!
//! A number is never shared by two members; that of a member that went may be given to the next one at once, since the counter it
//! stands for only rises and each snapshot carries where to count from.

use std::collections::BTreeSet;

#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    next: u32,
    free: BTreeSet<u32>,
}

impl Slots {
    /// The lowest free number.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// The number that the next [`Slots::take`] gives.
    pub(super) fn next(&self) -> u32 {
        self.free.first().copied().unwrap_or(self.next)
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        if slot < self.next {
            self.free.insert(slot);
        }
    }
}
