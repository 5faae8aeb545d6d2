//! The sizing of DESIGN 4.4: launch for the sessions that will be there when a launch is ready.
//!
//! The formula is pure arithmetic and never sees a farm; it takes sessions, not processors, since those do not lie when they are full.

use super::super::measure::Rate;
use super::super::observation::ServerState;
use super::{View, Wanted};

/// What the rule wants of what was measured.
pub(super) fn want(view: &View<'_>) -> Wanted {
    let View { policy, observation, measured, .. } = *view;
    let prior_s = policy.session_prior_ms as f64 / 1_000.0;
    let (mut sessions, mut limits, mut count) = (0.0, 0.0, 0.0);
    for server in view.servers() {
        sessions += f64::from(server.sessions);
        limits += f64::from(server.limit.filter(|l| *l > 0).unwrap_or(policy.sessions_per_server));
        count += 1.0;
    }
    sessions += f64::from(observation.waiting);
    // Sessions of a server that is about to go will want another one, and so will those of a lost one that have not come again yet.
    let elsewhere = observation.servers.iter().filter(|s| s.state == ServerState::Leaving);
    sessions += elsewhere.map(|s| f64::from(s.sessions)).sum::<f64>() + measured.owed();
    let session_s = measured.session_s(prior_s);
    // Until arrivals were watched for long enough, the farm is taken to be steady (Little's law).
    let steady = Rate { per_s: sessions / session_s.max(1e-3), ..Rate::default() };
    let rate = measured.rate(policy.window_ms).unwrap_or(steady);
    let sizing = Sizing {
        sessions,
        session_s,
        rate_per_s: rate.per_s,
        trend_per_s2: rate.trend_per_s2,
        window_s: rate.window_s,
        lead_s: policy.lead_ms(observation) as f64 / 1_000.0,
        per_server: if count > 0.0 { limits / count } else { f64::from(policy.sessions_per_server) },
    };
    let (expected, servers) = (sessions_expected(&sizing), servers_wanted(&sizing));
    let Sizing { session_s, rate_per_s, trend_per_s2, window_s, lead_s, per_server, .. } = sizing;
    let formula = format!(
        "n={sessions:.0} L={session_s:.1}s lambda={rate_per_s:.3}/s s={trend_per_s2:.5}/s2 W={window_s:.0}s D={lead_s:.1}s: \
         nhat = n*exp(-D/L) + integral = {expected:.1}; ceil((nhat + 2*sqrt(nhat))/(0.9*{per_server:.0})) = {servers}"
    );
    let reason =
        format!("{sessions:.0} sessions now, {expected:.0} expected when a launch would be ready: {servers} servers");
    Wanted { servers, reason, formula, refused: None }
}

/// The numbers of the formula. Times in seconds, rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sizing {
    /// Live sessions (n).
    pub sessions: f64,
    /// Mean length of a session (L).
    pub session_s: f64,
    /// Arrivals per second, averaged over the window (lambda).
    pub rate_per_s: f64,
    /// Trend of that rate, per second and second (s).
    pub trend_per_s2: f64,
    /// The window (W). Its average is that of its middle, W/2 ago.
    pub window_s: f64,
    /// From the decision to the first session on a new server (D).
    pub lead_s: f64,
    /// Sessions that one server holds (c).
    pub per_server: f64,
}

/// Sessions expected after D: `n*exp(-D/L) + integral_0^D (lambda + s*(W/2+u))*exp(-(D-u)/L) du`.
///
/// In closed form, with `I = L*(1-exp(-D/L))`: `n*exp(-D/L) + (lambda + s*W/2)*I + s*L*(D-I)`. Session lengths are taken for
/// exponential.
pub fn sessions_expected(sizing: &Sizing) -> f64 {
    let Sizing { sessions, session_s, rate_per_s, trend_per_s2, window_s, lead_s, .. } = *sizing;
    let length_s = session_s.max(1e-3);
    let stay = -length_s * (-lead_s / length_s).exp_m1();
    let left = sessions * (-lead_s / length_s).exp();
    let rate_now = rate_per_s + trend_per_s2 * window_s / 2.0;
    (left + rate_now * stay + trend_per_s2 * length_s * (lead_s - stay)).max(0.0)
}

/// Servers for them: `ceil((nhat + 2*sqrt(nhat))/(0.9*c))`. Two standard deviations of a Poisson number, and a tenth in reserve.
pub fn servers_wanted(sizing: &Sizing) -> u32 {
    let expected = sessions_expected(sizing);
    let servers = (expected + 2.0 * expected.sqrt()) / (0.9 * sizing.per_server.max(1e-3));
    // A saturating cast: absurd numbers become the largest farm, which the limits then cut.
    (servers - 1e-9).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quadrature(s: &Sizing) -> f64 {
        const STEPS: u32 = 200_000;
        let du = s.lead_s / f64::from(STEPS);
        let integrand =
            |u: f64| (s.rate_per_s + s.trend_per_s2 * (s.window_s / 2.0 + u)) * (-(s.lead_s - u) / s.session_s).exp();
        let sum: f64 = (0..STEPS).map(|i| integrand((f64::from(i) + 0.5) * du)).sum();
        (s.sessions * (-s.lead_s / s.session_s).exp() + sum * du).max(0.0)
    }

    #[test]
    fn the_closed_form_is_the_integral() {
        for session_s in [3.0, 120.0, 36_000.0] {
            for lead_s in [0.5, 30.0, 400.0] {
                for trend_per_s2 in [-0.001, 0.0, 0.05] {
                    let sizing = Sizing {
                        sessions: 70.0,
                        session_s,
                        rate_per_s: 4.0,
                        trend_per_s2,
                        window_s: 60.0,
                        lead_s,
                        per_server: 50.0,
                    };
                    let (closed, numeric) = (sessions_expected(&sizing), quadrature(&sizing));
                    assert!((closed - numeric).abs() <= 1e-6 * numeric.max(1.0), "{sizing:?}: {closed}, {numeric}");
                }
            }
        }
    }

    #[test]
    fn servers() {
        let at =
            |sessions: f64| servers_wanted(&Sizing { sessions, session_s: 1e9, per_server: 100.0, ..Sizing::default() });
        assert_eq!([0.0, 1.0, 81.0, 82.0, 400.0].map(at), [0, 1, 2, 2, 5]);
        assert_eq!(at(f64::MAX), u32::MAX);
    }
}
