//! Why: one place says what a crowd can be told and within which bounds.
//! Never: a value out of bounds never reaches the experiment; it is refused with its option's name.

use super::place::{Names, Place};
use super::profile::Profile;

/// What the profile's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// So many clients are there; one that has finished is replaced. Slow servers slow the crowd down.
    Closed,
    /// Sessions begin as a Poisson stream whose rate gives so many clients when nothing is slow. Slow servers pile them up.
    Open,
}

/// What a crowd is told.
#[derive(Debug, Clone)]
pub struct CrowdConfig {
    /// The front door's log-in.
    pub door: Place,
    /// `Host` sent to the door; the URL's own authority when `None`.
    pub host: Option<String>,
    /// Addresses of names in redirects.
    pub names: Names,
    /// Clients over time.
    pub profile: Profile,
    /// Closed or open.
    pub kind: Loop,
    /// Mean session time from the log-in's answer to the log-out, milliseconds (exponential).
    pub session_ms: f64,
    /// Mean think time before each request, milliseconds (exponential).
    pub think_ms: f64,
    /// Time for one request, connecting included, milliseconds.
    pub timeout_ms: u64,
    /// A session with a request above this is *delayed*, milliseconds.
    pub slow_ms: u64,
    /// Longest wait for one `Retry-After`, milliseconds.
    pub wait_ms_max: u64,
    /// Waits at the door before a client gives up.
    pub retries: u32,
    /// Pause of a client whose session was aborted before it is replaced, milliseconds.
    pub away_ms: u64,
    /// Numbers of features to choose from.
    pub features: u32,
    /// Time between two reports, milliseconds.
    pub every_ms: u64,
    /// Seed of every random number.
    pub seed: u64,
}

impl CrowdConfig {
    /// A closed-loop crowd with sessions of 20 s, think times of 500 ms and time-outs of 4 s.
    pub fn new(door: Place, profile: Profile) -> Self {
        Self {
            door,
            host: None,
            names: Names::default(),
            profile,
            kind: Loop::Closed,
            session_ms: 20_000.0,
            think_ms: 500.0,
            timeout_ms: 4_000,
            slow_ms: 1_000,
            wait_ms_max: 30_000,
            retries: 20,
            away_ms: 1_000,
            features: 10,
            every_ms: 5_000,
            seed: 1,
        }
    }

    /// # Errors
    /// The first option that is out of bounds, with its bounds.
    pub fn check(&self) -> Result<(), String> {
        const DAY_MS: u64 = 86_400_000;
        let host_like = |host: &String| (1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
        let rules = [
            (self.host.as_ref().is_none_or(host_like), "--host: 1 to 255 visible ASCII characters"),
            ((0.0..=DAY_MS as f64).contains(&self.session_ms), "--session-s: 0 to 86400"),
            // Without think time a session would be a busy loop.
            ((1.0..=DAY_MS as f64).contains(&self.think_ms), "--think-ms: 1 to 86400000"),
            ((1..=600_000).contains(&self.timeout_ms), "--timeout-ms: 1 to 600000"),
            ((1..=DAY_MS).contains(&self.slow_ms), "--slow-ms: 1 to 86400000"),
            (self.wait_ms_max <= 3_600_000, "--wait-ms-max: 0 to 3600000"),
            (self.retries <= 1_000, "--retries: 0 to 1000"),
            ((100..=DAY_MS).contains(&self.away_ms), "--away-ms: 100 to 86400000"),
            (self.features >= 1, "--features: at least 1"),
            ((100..=DAY_MS).contains(&self.every_ms), "--every-s: 0.1 to 86400"),
            (self.kind == Loop::Closed || self.session_ms >= 1.0, "--loop open: needs --session-s of at least 0.001"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err((*rule).to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bounds_are_kept() {
        let check = |change: fn(&mut CrowdConfig), expect: Option<&str>| {
            let door = Names::default().place("http://127.0.0.1:8080/login").unwrap();
            let mut config = CrowdConfig::new(door, Profile::parse("0:1,1:1").unwrap());
            change(&mut config);
            let found = config.check().err();
            match expect {
                None => assert_eq!(found, None),
                Some(option) => assert!(found.as_deref().is_some_and(|text| text.starts_with(option)), "{found:?}"),
            }
        };
        check(|_| (), None);
        check(|c| c.host = Some("mail.example.com".into()), None);
        check(|c| c.host = Some("a b".into()), Some("--host"));
        check(|c| c.host = Some("a\r\nb".into()), Some("--host"));
        check(|c| c.session_ms = f64::NAN, Some("--session-s"));
        check(|c| c.think_ms = 0.0, Some("--think-ms"));
        check(|c| c.timeout_ms = 0, Some("--timeout-ms"));
        check(|c| c.features = 0, Some("--features"));
        check(|c| (c.kind, c.session_ms) = (Loop::Open, 0.0), Some("--loop"));
    }
}
