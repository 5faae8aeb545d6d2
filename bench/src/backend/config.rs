//! Why: one place says what a backend can be told and within which bounds.
//! Never: a value out of bounds never reaches the server; it is refused with its option's name.

/// How a request's service time is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// On the virtual cores of a processor-sharing queue: time passes, nothing is computed.
    Virtual,
    /// By computing on a real core, first come first served.
    Real,
}

/// What a backend is told.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// Its name: 1 to 64 letters, digits, `-`, `_` or `.`. It also seeds the service times.
    pub id: String,
    /// Cores, virtual or (rounded up) real: 0.01 to 1,024.
    pub cores: f64,
    /// Mean service time of a request on an idle core, milliseconds: 0 to 60,000.
    pub service_ms: f64,
    /// Virtual or real.
    pub cpu: Cpu,
    /// A session without activity for so long has ended, milliseconds.
    pub session_idle_ms: u64,
    /// Sessions at once; beyond, a log-in gets 503. Also reported as `limit`.
    pub session_limit: Option<u32>,
    /// Requests in service or waiting; beyond, 503.
    pub queue_max: usize,
    /// Connections at once; beyond, new ones wait to be accepted.
    pub connections_max: usize,
    /// Path of the load report.
    pub status_path: String,
    /// The file of all custodians' names and addresses: sessions are kept where they began, and requests for another one's are handed
    /// on to it (docs/session-custodian.md).
    pub custodians: Option<std::path::PathBuf>,
}

impl BackendConfig {
    /// A backend of one virtual core with 40 ms a request.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            cores: 1.0,
            service_ms: 40.0,
            cpu: Cpu::Virtual,
            session_idle_ms: 30_000,
            session_limit: None,
            queue_max: 1_000,
            connections_max: 4_000,
            status_path: "/farm/load".to_owned(),
            custodians: None,
        }
    }

    /// # Errors
    /// The first option that is out of bounds, with its bounds.
    pub fn check(&self) -> Result<(), String> {
        let name_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let rules = [
            (
                (1..=64).contains(&self.id.len()) && self.id.chars().all(name_like),
                "--id: 1 to 64 letters, digits, '-', '_' or '.'",
            ),
            ((0.01..=1_024.0).contains(&self.cores), "--cores: 0.01 to 1024"),
            ((0.0..=60_000.0).contains(&self.service_ms), "--service-ms: 0 to 60000"),
            ((1..=86_400_000).contains(&self.session_idle_ms), "--session-idle-s: 0.001 to 86400"),
            ((1..=100_000).contains(&self.queue_max), "--queue-max: 1 to 100000"),
            ((1..=100_000).contains(&self.connections_max), "--connections-max: 1 to 100000"),
            (
                self.status_path.starts_with('/') && self.status_path.len() <= 256,
                "--status-path: starts with '/', at most 256 bytes",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err((*rule).to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept() {
        let check = |change: fn(&mut BackendConfig), expect: Option<&str>| {
            let mut config = BackendConfig::new("b1");
            change(&mut config);
            let found = config.check().err();
            match expect {
                None => assert_eq!(found, None),
                Some(option) => assert!(found.as_deref().is_some_and(|text| text.starts_with(option)), "{found:?}"),
            }
        };
        check(|_| (), None);
        check(|c| c.id = String::new(), Some("--id"));
        check(|c| c.id = "<b>".into(), Some("--id"));
        check(|c| c.cores = f64::NAN, Some("--cores"));
        check(|c| c.service_ms = -1.0, Some("--service-ms"));
        check(|c| c.queue_max = 0, Some("--queue-max"));
        check(|c| c.status_path = "load".into(), Some("--status-path"));
    }
}
