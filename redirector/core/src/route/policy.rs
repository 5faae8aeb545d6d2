//! The rules by which a new session finds its server.
//!
//! Those of the last group are here to be measured against (`farm-sim routing`): a configuration must never be able to name one.

use super::Speeds;

/// A session is long if it lasts for so many heartbeats,
const LONG_PERIODS: f64 = 20.0;
/// and keeps fewer cores busy than this: then a server has many, and their number says what its queue will be.
const THINKS_CORES_MAX: f64 = 0.25;

/// The rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutePolicy {
    /// [`RoutePolicy::Sessions`] where sessions are long beside heartbeats and think most of the time, else
    /// [`RoutePolicy::Weighted`].
    Auto,
    /// `(mu/(1+qhat))^4` (DESIGN 4.3).
    #[default]
    Weighted,
    /// The better of two, drawn by their speeds: the larger `mu/(1+qhat)`.
    TwoChoices,
    /// The largest `mu/(1+qhat)` of all, one of them at random if there are several.
    LeastLoaded,
    /// The lowest predicted utilisation: live sessions and those under way, over what the server can hold; queues as a penalty.
    Sessions,
    /// Twice the sessions for half the queue: `1/max(q, 0.5)` (seed 003, 4.1).
    Paper,
    /// All alike.
    Random,
    /// `1/(1+q)`, to be measured against.
    Inverse,
    /// `(mu/(1+qhat))^2`, to be measured against.
    Square,
    /// The least reported queue, which herds: to be measured against.
    LeastReported,
    /// Two drawn alike, the less `q` and own dispatches: to be measured against.
    TwoQueues,
}

/// How a server is found by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Drawn by weights that own dispatches lower.
    Draw,
    /// Two drawn by weights that stand, the better one taken.
    Pair,
    /// The best.
    Best,
}

impl RoutePolicy {
    /// Those that a configuration can name.
    pub const CONFIGURABLE: [Self; 7] =
        [Self::Weighted, Self::Auto, Self::TwoChoices, Self::LeastLoaded, Self::Sessions, Self::Paper, Self::Random];
    /// Their labels.
    pub const LABELS: [&'static str; 7] = ["weighted", "auto", "two-choices", "least-loaded", "sessions", "paper", "random"];

    /// As in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Weighted => "weighted",
            Self::TwoChoices => "two-choices",
            Self::LeastLoaded => "least-loaded",
            Self::Sessions => "sessions",
            Self::Paper => "paper",
            Self::Random => "random",
            Self::Inverse => "inverse",
            Self::Square => "square",
            Self::LeastReported => "least-reported",
            Self::TwoQueues => "two-queues",
        }
    }

    /// The rule that a configuration names; none if it cannot.
    pub fn named(label: &str) -> Option<Self> {
        Self::CONFIGURABLE.into_iter().find(|policy| policy.label() == label)
    }

    /// The rule that holds now, by how long sessions last beside a heartbeat's period and what they keep busy: `auto` is one of two,
    /// any other is itself. What held `before` holds until the lengths differ clearly.
    pub fn resolved(self, speeds: &Speeds, period_ms: u64, before: Option<Self>) -> Self {
        if self != Self::Auto {
            return self;
        }
        let bias = if before == Some(Self::Sessions) { 0.5 } else { 1.0 };
        let periods = speeds.session_s.unwrap_or(0.0) * 1_000.0 / period_ms.max(1) as f64;
        let thinks = speeds.cores_per_session.is_some_and(|cores| cores * bias < THINKS_CORES_MAX);
        if periods >= LONG_PERIODS * bias && thinks { Self::Sessions } else { Self::Weighted }
    }

    pub(super) fn search(self) -> Search {
        match self {
            Self::TwoChoices | Self::TwoQueues => Search::Pair,
            Self::LeastLoaded | Self::LeastReported | Self::Sessions => Search::Best,
            _ => Search::Draw,
        }
    }

    /// Whether its estimates change with nothing but time, as queues shrink.
    pub fn ages(self) -> bool {
        !matches!(self, Self::Paper | Self::Random | Self::Inverse | Self::LeastReported | Self::TwoQueues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sessions_that_think_are_counted() {
        let at = |session_s, cores, before| {
            let mut speeds = Speeds::default();
            (speeds.session_s, speeds.cores_per_session) = (session_s, cores);
            RoutePolicy::Auto.resolved(&speeds, 1_000, before).label()
        };
        assert_eq!(at(None, None, None), "weighted");
        assert_eq!(at(Some(100.0), Some(0.05), None), "sessions");
        assert_eq!(at(Some(15.0), Some(0.05), None), "weighted");
        assert_eq!(at(Some(15.0), Some(0.05), Some(RoutePolicy::Sessions)), "sessions", "not back and forth");
        assert_eq!(at(Some(5.0), Some(0.05), Some(RoutePolicy::Sessions)), "weighted");
        assert_eq!(at(Some(100.0), Some(0.9), None), "weighted", "one long computation a session");
        assert_eq!(RoutePolicy::Paper.resolved(&Speeds::default(), 1_000, None), RoutePolicy::Paper);
    }

    #[test]
    fn labels_name_their_rules() {
        for (policy, label) in RoutePolicy::CONFIGURABLE.into_iter().zip(RoutePolicy::LABELS) {
            assert_eq!((policy.label(), RoutePolicy::named(label)), (label, Some(policy)));
        }
        for label in ["inverse", "square", "least-reported", "two-queues", ""] {
            assert_eq!(RoutePolicy::named(label), None, "{label}");
        }
    }
}
