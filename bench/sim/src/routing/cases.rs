//! What is measured: the columns of DESIGN 4.3, larger farms, more doors, and sessions that stay.

use redirector_core::route::RoutePolicy;

/// One farm and its crowd. Times are in mean service times of one request unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The heading.
    pub name: String,
    /// Servers.
    pub servers: usize,
    /// Redirectors (K); a session comes to any of them.
    pub doors: u32,
    /// Time between two heartbeats of a server (T).
    pub period: f64,
    /// Half of the servers are so fast, the others so slow; 1 is all alike.
    pub speeds: [f64; 2],
    /// The mean service time on the doors' clocks, in seconds.
    pub service_s: f64,
    /// Demand over capacity.
    pub load: f64,
    /// What a session is.
    pub sessions: Sessions,
    /// Sessions that are measured.
    pub measured: usize,
}

/// What a session is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sessions {
    /// One request, and its heartbeats carry the run queue of the instant: what DESIGN 4.3 measured.
    OneRequest,
    /// Requests with pauses between them; heartbeats carry the mean run queue since the one before, as the agent does.
    Long {
        /// Mean length.
        length: f64,
        /// Mean pause before a request.
        think: f64,
    },
}

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Sessions of each cell of the small farm.
    pub sessions: usize,
    /// Seeds; cells are the mean of them.
    pub seeds: u64,
}

/// The rules of DESIGN 4.3, with how they are called there.
pub fn policies() -> [(RoutePolicy, &'static str); 9] {
    [
        (RoutePolicy::Random, "random"),
        (RoutePolicy::Inverse, "1/(1+q)"),
        (RoutePolicy::Paper, "paper: 1/max(q, 0.5)"),
        (RoutePolicy::LeastReported, "least reported queue"),
        (RoutePolicy::TwoQueues, "two choices on q+d"),
        (RoutePolicy::TwoChoices, "`two-choices`: on mu/(1+qhat)"),
        (RoutePolicy::Square, "(mu/(1+qhat))^2"),
        (RoutePolicy::Weighted, "`weighted`: (mu/(1+qhat))^4"),
        (RoutePolicy::LeastLoaded, "`least-loaded`: argmin (1+qhat)/mu"),
    ]
}

/// The rules that are of use where sessions are long.
pub fn long_policies() -> [(RoutePolicy, &'static str); 5] {
    [
        (RoutePolicy::Random, "`random`"),
        (RoutePolicy::Paper, "`paper`"),
        (RoutePolicy::Weighted, "`weighted`"),
        (RoutePolicy::LeastLoaded, "`least-loaded`"),
        (RoutePolicy::Sessions, "`sessions`"),
    ]
}

/// The columns of DESIGN 4.3, for so many doors.
pub fn classic(doors: u32, wanted: Wanted) -> Vec<Case> {
    let column = |period: f64, speeds: [f64; 2]| Case {
        name: if speeds[0] > speeds[1] {
            format!("T={period}, speeds {}/{}", speeds[0], speeds[1])
        } else {
            format!("T={period}")
        },
        servers: 20,
        doors,
        period,
        speeds,
        service_s: 1.0,
        load: 0.9,
        sessions: Sessions::OneRequest,
        measured: wanted.sessions,
    };
    vec![column(1.0, [1.0; 2]), column(5.0, [1.0; 2]), column(20.0, [1.0; 2]), column(5.0, [1.5, 0.5])]
}

/// 10,000 servers.
pub fn large(wanted: Wanted) -> Vec<Case> {
    let of = |doors| {
        let small = Wanted { sessions: 60 * 10_000 * wanted.sessions / 400_000, ..wanted };
        classic(doors, small).into_iter().filter(|case| case.period == 5.0).map(move |case| Case {
            name: format!("{}, K={doors}", case.name),
            servers: 10_000,
            ..case
        })
    };
    of(1).chain(of(4)).collect()
}

/// Long sessions: 40 ms a request, half a second to think, heartbeats every second, sessions of two minutes and of half an hour.
pub fn long(wanted: Wanted) -> Vec<Case> {
    let case = |length_s: f64, doors: u32, speeds: [f64; 2]| Case {
        name: format!(
            "{} s{}, K={doors}",
            length_s,
            if speeds[0] > speeds[1] { format!(", speeds {}/{}", speeds[0], speeds[1]) } else { String::new() }
        ),
        servers: 20,
        doors,
        period: 25.0,
        speeds,
        service_s: 0.04,
        load: 0.8,
        sessions: Sessions::Long { length: length_s * 25.0, think: 12.5 },
        measured: wanted.sessions / 100,
    };
    vec![
        case(5.0, 1, [1.0; 2]),
        case(120.0, 1, [1.0; 2]),
        case(120.0, 4, [1.0; 2]),
        case(120.0, 1, [1.5, 0.5]),
        case(600.0, 1, [1.0; 2]),
    ]
}
