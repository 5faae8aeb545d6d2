//! The arithmetic of a farm that does not exist yet: from what somebody knows of a site to the limits to start with.
//!
//! After the white paper on high availability of seed 002: peak throughput, concurrent connections and memory by request; and Little's
//! law between visits and sessions. Every step is one line that says its numbers, since all of them are guesses to be argued with.

use std::fmt::Write as _;

/// Days of a month, as the paper counts them.
const DAYS: f64 = 31.0;
/// A binary gigabyte in megabytes, and a megabyte in megabits, as the paper counts them.
const MB_PER_GB: f64 = 1_024.0;
const MBIT_PER_MB: f64 = 8.0;
/// The paper's advice: 30 to 40 % past the estimate.
const RESERVE: f64 = 1.35;
/// Limits are round numbers of servers within this.
const SERVERS_MAX: f64 = 10_000.0;

/// What is known of the site. What is not known is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Site {
    /// Traffic of a month in gigabytes.
    pub gb_month: Option<f64>,
    /// Peak over mean traffic. The paper counts a day as eight hours: 3.
    pub peak_factor: Option<f64>,
    /// Visits that begin at peak, a second.
    pub visits_per_s: Option<f64>,
    /// Weight of a visit in megabytes.
    pub visit_mb: Option<f64>,
    /// Mean length of a visit in seconds.
    pub session_s: Option<f64>,
    /// Concurrent users at peak, instead of visits and their length.
    pub users: Option<f64>,
    /// Seconds between two requests of a visit.
    pub think_s: Option<f64>,
    /// Memory that one request takes in megabytes.
    pub request_mb: Option<f64>,
    /// Memory of a server for requests in megabytes.
    pub server_mb: Option<f64>,
    /// Throughput of a server in Mbit/s.
    pub server_mbit_s: Option<f64>,
    /// Processor time of a visit in seconds.
    pub visit_cpu_s: Option<f64>,
    /// Cores of a server.
    pub cores: Option<f64>,
    /// Boot time of a server in seconds.
    pub boot_s: Option<f64>,
    /// How many times the peak a crowd may bring.
    pub crowd: Option<f64>,
}

/// What follows from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// The steps, one line each.
    pub lines: Vec<String>,
    /// What is missing to say more.
    pub missing: Vec<&'static str>,
    /// A `[scaler]` section to start with; none if sessions or servers could not be sized.
    pub toml: Option<String>,
}

/// Sizes a farm. Numbers that are not positive count as not known.
pub fn starting_limits(site: &Site) -> Start {
    let mut start = Start::default();
    let known = |value: Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0);
    let peak = known(site.peak_factor).unwrap_or(3.0);
    let mut mbit_s = None;
    if let Some(gb) = known(site.gb_month) {
        let mean = gb * MB_PER_GB / (DAYS * 86_400.0) * MBIT_PER_MB;
        start.lines.push(format!(
            "{gb} GB a month * 1024 MB / (31 d * 86400 s) * 8 bit = {mean:.3} Mbit/s on average; at peak {peak} times that: {:.2} Mbit/s",
            mean * peak
        ));
        mbit_s = Some(mean * peak);
    }
    let mut visits = known(site.visits_per_s);
    if let (Some(rate), Some(mb)) = (visits, known(site.visit_mb)) {
        let needed = rate * mb * MBIT_PER_MB;
        start.lines.push(format!("{rate} visits/s * {mb} MB * 8 bit = {needed:.1} Mbit/s at peak"));
        mbit_s = Some(mbit_s.map_or(needed, |m| needed.max(m)));
    } else if let (None, Some(mb), Some(mbit)) = (visits, known(site.visit_mb), mbit_s) {
        let rate = mbit / MBIT_PER_MB / mb;
        start.lines.push(format!("{mbit:.2} Mbit/s / 8 bit / {mb} MB = {rate:.3} visits begin a second at peak"));
        visits = Some(rate);
    }
    let session_s = known(site.session_s);
    let sessions = match (known(site.users), visits, session_s) {
        (Some(users), ..) => Some(users),
        (None, Some(rate), Some(length)) => {
            start
                .lines
                .push(format!("Little's law: {rate:.3} visits/s * {length} s = {:.0} sessions at peak", rate * length));
            Some(rate * length)
        }
        _ => None,
    };
    if let (Some(users), Some(length), None) = (known(site.users), session_s, visits) {
        start.lines.push(format!(
            "Little's law: {users} sessions / {length} s = {:.3} visits begin a second at peak",
            users / length
        ));
        visits = Some(users / length);
    }
    let per_server = per_server(site, sessions, visits, session_s, mbit_s, &mut start);
    let Some(sessions) = sessions else {
        start.missing.push("sessions at peak: --users, or --visits (or --gb-month with --visit-mb) and --session");
        return start;
    };
    let Some(per_server) = per_server else {
        start.missing.push(
            "what a server holds: --request-mb with --server-mb, --server-mbit with traffic, or --visit-cpu with --cores",
        );
        return start;
    };
    limits(site, sessions, per_server, session_s, &mut start);
    start
}

/// Sessions that a server holds: the least of what memory, network and processors allow.
fn per_server(
    site: &Site,
    sessions: Option<f64>,
    visits: Option<f64>,
    session_s: Option<f64>,
    mbit_s: Option<f64>,
    start: &mut Start,
) -> Option<f64> {
    let known = |value: Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0);
    let mut least: Option<(f64, &str)> = None;
    let mut allow = |count: f64, by: &'static str| {
        if least.is_none_or(|(least, _)| count < least) {
            least = Some((count, by));
        }
    };
    if let (Some(request), Some(server)) = (known(site.request_mb), known(site.server_mb)) {
        let requests = server / request;
        start.lines.push(format!("memory: {server} MB / {request} MB a request = {requests:.0} requests at a time"));
        match known(site.think_s) {
            Some(think) => {
                // A session has a request under way for about one of these seconds.
                let held = requests * (think + 1.0);
                start.lines.push(format!("a session asks every {think} s and is served within 1 s: {requests:.0} * ({think} + 1) = {held:.0} sessions"));
                allow(held, "memory");
            }
            None => allow(requests, "memory"),
        }
    }
    if let (Some(server), Some(all), Some(sessions)) = (known(site.server_mbit_s), mbit_s, sessions) {
        let each = all / sessions;
        start.lines.push(format!(
            "network: {all:.2} Mbit/s / {sessions:.0} sessions = {each:.4} each; {server} / {each:.4} = {:.0} sessions",
            server / each
        ));
        allow(server / each, "network");
    }
    if let (Some(cpu), Some(length)) = (known(site.visit_cpu_s), session_s.or(visits.zip(sessions).map(|(v, s)| s / v))) {
        let cores = known(site.cores).unwrap_or(1.0);
        let held = cores * length / cpu;
        start
            .lines
            .push(format!("processors: {cores} cores * {length:.0} s / {cpu} s of processor a visit = {held:.0} sessions"));
        allow(held, "processors");
    }
    let (held, by) = least?;
    start.lines.push(format!("a server holds {:.0} sessions, bounded by its {by}", held.max(1.0).floor()));
    Some(held.max(1.0).floor())
}

fn limits(site: &Site, sessions: f64, per_server: f64, session_s: Option<f64>, start: &mut Start) {
    let crowd = site.crowd.filter(|c| c.is_finite() && *c >= 1.0).unwrap_or(1.0);
    let peak = ((sessions + 2.0 * sessions.sqrt()) / (0.9 * per_server)).ceil().max(1.0);
    start.lines.push(format!("servers at peak: ({sessions:.0} + 2*sqrt({sessions:.0})) / (0.9 * {per_server:.0}) = {peak}"));
    let wanted = (peak * crowd * RESERVE).ceil();
    start.lines.push(format!("max: {peak} * {crowd} for a crowd * {RESERVE} in reserve, as the paper advises = {wanted}"));
    let max = wanted.min(SERVERS_MAX);
    if wanted > max {
        start.lines.push(format!("that is too much for one farm, which has {max} servers at most: divide it"));
    }
    let peak_factor = site.peak_factor.filter(|p| p.is_finite() && *p >= 1.0).unwrap_or(3.0);
    let min = (peak / peak_factor).floor().max(1.0) + 1.0;
    let min = min.min(max);
    start.lines.push(format!("min: {peak} / {peak_factor} at quiet times, and one that may fail = {min}"));
    let mut toml =
        format!("[scaler]\npolicy = \"sizing\"\nmin = {min}\nmax = {max}\nsessions_per_server = {}\n", per_server.min(1e6));
    if let Some(length) = session_s {
        let ms = (length * 1_000.0).clamp(100.0, 7.0 * 86_400_000.0) as u64;
        let _ = writeln!(toml, "session_prior = \"{}\"", farm_shared::config::format_duration_ms(ms));
    }
    if let Some(boot) = site.boot_s.filter(|b| b.is_finite() && *b > 0.0) {
        let ms = (boot * 1_000.0).clamp(100.0, 43_200_000.0) as u64;
        let _ = writeln!(toml, "boot_prior = \"{}\"", farm_shared::config::format_duration_ms(ms));
        if 2 * ms > crate::config::ScalerSpec::default().boot_deadline_ms {
            let _ = writeln!(toml, "boot_deadline = \"{}\"", farm_shared::config::format_duration_ms(2 * ms));
        }
    }
    start.toml = Some(toml);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Spec;
    use farm_shared::config::Document;
    use proptest::prelude::*;

    #[test]
    fn the_papers_examples() {
        // "2 TB a month … 6.24 Mbit/s", on average.
        let site = Site { gb_month: Some(2_048.0), peak_factor: Some(1.0), ..Site::default() };
        let line = starting_limits(&site).lines[0].clone();
        assert!(line.contains("= 6.264 Mbit/s"), "{line}");
        // "500 concurrent connections at .75 MB a visit": the paper slips and multiplies 50.
        let site = Site { visits_per_s: Some(50.0), visit_mb: Some(0.75), ..Site::default() };
        assert!(starting_limits(&site).lines[0].ends_with("= 300.0 Mbit/s at peak"));
    }

    #[test]
    fn limits_to_start_with() {
        let site = Site {
            visits_per_s: Some(5.0),
            session_s: Some(120.0),
            request_mb: Some(40.0),
            server_mb: Some(2_000.0),
            think_s: Some(3.0),
            boot_s: Some(400.0),
            crowd: Some(4.0),
            ..Site::default()
        };
        let start = starting_limits(&site);
        let expect = "[scaler]\npolicy = \"sizing\"\nmin = 2\nmax = 22\nsessions_per_server = 200\nsession_prior = \"2m\"\n\
                      boot_prior = \"6m40s\"\nboot_deadline = \"13m20s\"\n";
        assert_eq!(start.toml.as_deref(), Some(expect), "{:#?}", start.lines);
        assert_eq!(starting_limits(&Site::default()).missing.len(), 1);
        assert_eq!(starting_limits(&Site { users: Some(9.0), ..Site::default() }).toml, None);
    }

    const REST: &str =
        "hosts=['*']\n[server]\nid='d'\n[farm]\nname='m'\nkey_file='k'\n[heartbeat]\nlisten_udp=['127.0.0.1:1']\n";

    proptest! {
        /// Whatever numbers come, what is written is a configuration that stands.
        #[test]
        fn what_is_written_can_be_read(
            users in 1e-3_f64..1e9, session in 1e-3_f64..1e8, request in 1e-3_f64..1e6, server in 1e-3_f64..1e9,
            boot in proptest::num::f64::ANY, crowd in proptest::num::f64::ANY, peak in proptest::num::f64::ANY,
        ) {
            let site = Site {
                users: Some(users), session_s: Some(session), request_mb: Some(request), server_mb: Some(server),
                boot_s: Some(boot), crowd: Some(crowd), peak_factor: Some(peak), ..Site::default()
            };
            let toml = starting_limits(&site).toml.unwrap();
            let document = Document::parse("t", &format!("{REST}{toml}"));
            let _ = Spec::read(&document.root());
            prop_assert_eq!(document.finish(), vec![], "{}", toml);
        }
    }
}
