//! Free capacity as the weight of SRV records.
//!
//! Members report their load with each heartbeat, and an answer that changed as often would never be the same twice. So weights
//! have sixteen steps and are looked at every five seconds.

use super::view::{View, Who};
use farm_shared::time::Mono;
use std::collections::BTreeMap;

/// Time between two looks, in milliseconds.
const LOOK_MS: u64 = 5_000;
/// Steps of a weight.
const STEPS: f64 = 16.0;
/// The weight of one step: the highest weight is 65,520.
const STEP: u16 = 4_095;

/// The weights of the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads {
    weights: BTreeMap<Who, u16>,
    next: Mono,
}

impl Loads {
    pub(super) fn is_due(&self, now: Mono) -> bool {
        self.next <= now
    }

    /// Gives each view its weight: in proportion to what is free, the one with most free the highest, and nobody none. Members that
    /// do not report get the middle of those that do. Between two looks the weights stay; new members get theirs at once.
    pub(super) fn weigh(&mut self, views: &mut [View], now: Mono) {
        let most = views.iter().filter_map(|view| view.free).fold(0.0, f64::max);
        let steps = |free: f64| if most > 0.0 { (free / most * STEPS).ceil().clamp(1.0, STEPS) } else { STEPS };
        let known: Vec<f64> = views.iter().filter_map(|view| view.free).map(steps).collect();
        let middle = if known.is_empty() { STEPS } else { (known.iter().sum::<f64>() / known.len() as f64).round() };
        let due = self.is_due(now);
        if due {
            self.next = now.plus_ms(LOOK_MS);
        }
        let old = std::mem::take(&mut self.weights);
        for view in views {
            let fresh = view.free.map_or(middle, steps) as u16 * STEP;
            view.load_weight = old.get(&view.who).copied().filter(|_| !due).unwrap_or(fresh);
            self.weights.insert(view.who.clone(), view.load_weight);
        }
    }
}
