//! How long a request takes on a server that holds so many sessions: processor sharing among a closed crowd that thinks between
//! requests (mean-value analysis of the machine-repairman model), so that no request need be simulated one by one.
//!
//! Pure arithmetic; it must never look at a farm.

/// Service time of a request on an idle core, in seconds.
pub(super) const SERVICE_S: f64 = 0.05;

/// What a server's crowd makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Strain {
    /// Requests in service on average.
    pub(super) queue: f64,
    /// Busy share of the cores.
    pub(super) busy: f64,
    /// Mean response over service time: 1 when idle.
    pub(super) stretch: f64,
}

/// The mean of a server with so many sessions, each asking for `share` of a core while nothing waits: exact mean-value analysis of a
/// processor-sharing station with thinking clients; several cores are one fast one and a delay (Seidmann's approximation).
pub(super) fn strain(sessions: u32, share: f64, cores: f64) -> Strain {
    if sessions == 0 || share <= 0.0 || cores <= 0.0 {
        return Strain { stretch: 1.0, ..Strain::default() };
    }
    let think_s = (SERVICE_S / share - SERVICE_S).max(0.0);
    let fast_s = SERVICE_S / cores;
    let delay_s = SERVICE_S * (1.0 - 1.0 / cores).max(0.0);
    let (mut waiting, mut response_s, mut throughput) = (0.0, SERVICE_S, 0.0);
    for n in 1..=sessions {
        let shared_s = fast_s * (1.0 + waiting);
        response_s = shared_s + delay_s;
        throughput = f64::from(n) / (think_s + response_s);
        waiting = throughput * shared_s;
    }
    Strain {
        queue: throughput * response_s,
        busy: (throughput * SERVICE_S / cores).min(1.0),
        stretch: response_s / SERVICE_S,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_idle_to_saturated() {
        // A session asks for 0.9*4/100 of a core: a hundred fill nine tenths of four cores.
        let share = 0.036;
        let idle = strain(1, share, 4.0);
        assert!((idle.stretch - 1.0).abs() < 0.01 && idle.busy < 0.01, "{idle:?}");
        let full = strain(100, share, 4.0);
        assert!((1.5..6.0).contains(&full.stretch) && (0.8..1.0).contains(&full.busy), "{full:?}");
        let over = strain(300, share, 4.0);
        assert!(over.busy > 0.99 && over.queue > 100.0, "{over:?}");
        let mut last = 0.0;
        for sessions in 0..500 {
            let now = strain(sessions, share, 4.0);
            assert!(now.stretch >= last - 0.05 && now.queue <= f64::from(sessions) + 1e-9, "{sessions}: {now:?}");
            last = now.stretch;
        }
    }
}
