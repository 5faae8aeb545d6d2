//! What each server was sent in the last minute, beside what its shares in that minute would have given it.
//!
//! Shares change with every heartbeat, so the comparison adds up share times new sessions, second by second. Memory is one small
//! record a slot.

use redirector_core::farm::{SLOTS_MAX, ServerStatus};

const PARTS: usize = 6;
const PART_MS: u64 = 10_000;

#[derive(Clone, Debug, Default)]
struct Line {
    id: String,
    total: u32,
    share: f64,
    new: [u32; PARTS],
    expected: [f64; PARTS],
}

/// The last minute, in six parts of ten seconds.
#[derive(Clone, Debug, Default)]
pub struct Minute {
    lines: Vec<Line>,
    part: u64,
}

impl Minute {
    /// Counts until `mono_ms`: `total` is the counter of dispatches to a slot, which may wrap.
    pub fn add(&mut self, servers: &[ServerStatus], mono_ms: u64, total: impl Fn(u32) -> u32) {
        let part = mono_ms / PART_MS;
        for passed in (self.part + 1..=part).take(PARTS) {
            let at = (passed % PARTS as u64) as usize;
            for line in &mut self.lines {
                (line.new[at], line.expected[at]) = (0, 0.0);
            }
        }
        self.part = part.max(self.part);
        let at = (self.part % PARTS as u64) as usize;
        let mut all = 0_u64;
        for server in servers {
            let slot = server.slot as usize;
            if slot >= SLOTS_MAX {
                continue;
            }
            if slot >= self.lines.len() {
                self.lines.resize(slot + 1, Line::default());
            }
            let (Some(line), now) = (self.lines.get_mut(slot), total(server.slot)) else { continue };
            if line.id != server.id {
                *line = Line { id: server.id.clone(), total: now, share: server.share, ..Line::default() };
            }
            let new = now.wrapping_sub(line.total);
            line.total = now;
            line.new[at] = line.new[at].saturating_add(new);
            all += u64::from(new);
        }
        for server in servers {
            if let Some(line) = self.lines.get_mut(server.slot as usize) {
                // What it had at the last look and what it has now: in between it was somewhere in between.
                line.expected[at] += all as f64 * f64::midpoint(line.share, server.share);
                line.share = server.share;
            }
        }
    }

    /// Fills in [`ServerStatus::new_1m`] and [`ServerStatus::expected_1m`].
    pub fn fill(&self, servers: &mut [ServerStatus]) {
        for server in servers {
            if let Some(line) = self.lines.get(server.slot as usize).filter(|line| line.id == server.id) {
                server.new_1m = line.new.iter().copied().map(u64::from).sum();
                server.expected_1m = line.expected.iter().sum();
            }
        }
    }
}
