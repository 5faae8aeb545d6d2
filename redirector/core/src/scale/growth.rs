//! How steep a crowd could be met now: the gauge of survivable growth.
//!
//! Pure arithmetic over what is measured anyway. It judges the farm as it is, not the policy: it takes for granted that launches are
//! asked for at once.

use super::observation::{Observation, ServerState};
use super::plan::{PlanState, Policy};

/// Growth beyond this is not told apart, in multiples of the present rate per minute.
pub const GROWTH_MAX: f64 = 1_000.0;

/// The numbers of the gauge. Times in seconds, rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    /// Live sessions, waiting ones included.
    pub sessions: f64,
    /// Mean length of a session.
    pub session_s: f64,
    /// Arrivals per second now.
    pub rate_per_s: f64,
    /// From the first sign of a crowd to the first session on a server launched because of it.
    pub lead_s: f64,
    /// Sessions that the servers hold which take sessions now, or will before the lead time is over.
    pub capacity: f64,
    /// Sessions that the largest farm holds.
    pub capacity_max: f64,
}

/// The steepest ramp that can be met now without a session waiting: by how much of its present rate arrivals may rise each minute,
/// if the rise lasts one lead time and the new rate stays. 0.5 is half as many more after one minute; 0: not even a steady rate.
///
/// Within the lead time D only the present capacity C counts. With the rate rising by s each second, the sessions at its end are
/// `n*exp(-D/L) + lambda*I + s*L*(D-I)`, `I = L*(1-exp(-D/L))`, and with two standard deviations of a Poisson number they must be at
/// most C. Afterwards launches arrive, up to the maximum: `(lambda + s*D)*L` and its deviations must be at most that.
pub fn survivable_growth(growth: &Growth) -> f64 {
    let Growth { sessions, rate_per_s, lead_s, .. } = *growth;
    let length_s = growth.session_s.max(1e-3);
    let stay = -length_s * (-lead_s / length_s).exp_m1();
    let steady = sessions * (-lead_s / length_s).exp() + rate_per_s * stay;
    let per_trend = length_s * (lead_s - stay);
    // n + 2*sqrt(n) = C.
    let fits = |capacity: f64| ((1.0 + capacity.max(0.0)).sqrt() - 1.0).powi(2);
    let now = (fits(growth.capacity) - steady) / per_trend.max(1e-9);
    let later = (fits(growth.capacity_max) - rate_per_s * length_s) / (length_s * lead_s.max(1e-3));
    let trend_per_s2 = now.min(later).max(0.0);
    // Of no sessions at all nothing can be said by ratio; one session a minute stands for them.
    let rate = rate_per_s.max(1.0 / 60.0);
    (60.0 * trend_per_s2 / rate).min(GROWTH_MAX)
}

/// The gauge for a farm as observed.
pub fn survivable_growth_of(policy: &Policy, state: &PlanState, observation: &Observation) -> f64 {
    let (mut sessions, mut capacity, mut count) = (f64::from(observation.waiting), 0.0, 0.0);
    for server in observation.servers.iter().filter(|s| s.state == ServerState::Live) {
        sessions += f64::from(server.sessions);
        capacity += f64::from(server.limit.filter(|l| *l > 0).unwrap_or(policy.sessions_per_server));
        count += 1.0;
    }
    let each = if count > 0.0 { capacity / count } else { f64::from(policy.sessions_per_server) };
    let (session_s, rate_per_s) = state.rates(policy, sessions);
    // A trend is seen half a window late.
    let lead_ms = policy.lead_ms(observation) + policy.window_ms / 2;
    let growth = survivable_growth(&Growth {
        sessions,
        session_s,
        rate_per_s,
        lead_s: lead_ms as f64 / 1_000.0,
        capacity: capacity + f64::from(observation.pending) * each,
        capacity_max: f64::from(policy.limits.max) * each,
    });
    // Thousandths: it is read by people, and comes back from a journal as it was.
    (growth * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Sizing, sessions_expected};
    use super::*;
    use proptest::prelude::*;

    const CALM: Growth = Growth {
        sessions: 240.0,
        session_s: 120.0,
        rate_per_s: 2.0,
        lead_s: 150.0,
        capacity: 400.0,
        capacity_max: 10_000.0,
    };

    #[test]
    fn more_room_and_faster_boots_survive_more() {
        let growth = survivable_growth(&CALM);
        assert!((0.2..1.0).contains(&growth), "{growth}");
        assert!(survivable_growth(&Growth { capacity: 500.0, ..CALM }) > growth);
        assert!(survivable_growth(&Growth { lead_s: 40.0, ..CALM }) > 3.0 * growth);
        assert_eq!(survivable_growth(&Growth { capacity: 200.0, ..CALM }), 0.0);
        assert_eq!(survivable_growth(&Growth { capacity_max: 240.0, ..CALM }), 0.0);
        assert_eq!(survivable_growth(&Growth { sessions: 0.0, rate_per_s: 0.0, lead_s: 0.0, ..CALM }), GROWTH_MAX);
    }

    proptest! {
        /// By bisecting the forecast that the sizing makes: the same ramp just fits.
        #[test]
        fn it_is_the_ramp_that_just_fits(rate in 0.1_f64..50.0, length in 5.0_f64..600.0, lead in 5.0_f64..400.0, room in 1.1_f64..5.0) {
            let sessions = rate * length;
            let growth = Growth {
                sessions, session_s: length, rate_per_s: rate, lead_s: lead,
                capacity: sessions * room + 20.0, capacity_max: f64::MAX,
            };
            let fits = |per_minute: f64| {
                let expected = sessions_expected(&Sizing {
                    sessions, session_s: length, rate_per_s: rate, trend_per_s2: per_minute * rate / 60.0,
                    window_s: 0.0, lead_s: lead, per_server: 1.0,
                });
                expected + 2.0 * expected.sqrt() <= growth.capacity
            };
            let (mut low, mut high) = (0.0, GROWTH_MAX);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                if fits(middle) { low = middle } else { high = middle }
            }
            let found = survivable_growth(&growth);
            prop_assert!((found - low).abs() <= 1e-3 * low.max(1e-3), "{} {}", found, low);
        }
    }
}
