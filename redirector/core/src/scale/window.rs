//! Stabilisation: the most or the fewest servers that were wanted within a window.
//!
//! A window is remembered in pieces, so that a long one costs no more than a short one.

use farm_shared::time::Mono;
use std::collections::VecDeque;

const PIECES: u64 = 60;

/// Extremes of the pieces of one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    pieces: VecDeque<(u64, u32)>,
    began: Option<Mono>,
}

impl Window {
    /// Notes what is wanted now. The extreme by `worse` within the window; none until the window has passed once.
    pub(super) fn note(&mut self, window_ms: u64, wanted: u32, now: Mono, worse: fn(u32, u32) -> u32) -> Option<u32> {
        let began = *self.began.get_or_insert(now);
        let piece_ms = (window_ms / PIECES).max(1);
        let piece = now.0 / piece_ms;
        match self.pieces.back_mut() {
            Some((last, value)) if *last == piece => *value = worse(*value, wanted),
            _ => self.pieces.push_back((piece, wanted)),
        }
        while self.pieces.front().is_some_and(|(at, _)| at + PIECES < piece) {
            self.pieces.pop_front();
        }
        let passed = now.since_ms(began) >= window_ms;
        passed.then(|| self.pieces.iter().map(|(_, value)| *value).fold(wanted, worse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_a_window() {
        let mut window = Window::default();
        let mut most = |s: u64, wanted| window.note(60_000, wanted, Mono(s * 1_000), u32::max);
        assert_eq!([(0, 5), (30, 9), (59, 4)].map(|(s, n)| most(s, n)), [None; 3]);
        assert_eq!([(60, 4), (90, 3), (92, 3)].map(|(s, n)| most(s, n)), [Some(9), Some(9), Some(4)]);
        let mut none = Window::default();
        assert_eq!(none.note(0, 7, Mono(5), u32::min), Some(7));
        assert_eq!(none.note(0, 9, Mono(6_000), u32::min), Some(9));
    }
}
