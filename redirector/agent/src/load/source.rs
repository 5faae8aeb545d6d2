//! The source that a configuration names: one of the four, with sessions from the kernel or from the application.

use super::cgroup::Cgroup;
use super::gauge::Gauge;
use super::pid::Tree;
use super::proc::Machine;
use super::procfs::established;
use super::{AsyncLoadSource, LoadError, Reading, url};
use crate::clock::Clock;
use crate::settings::HttpUrl;
use farm_shared::heartbeat::Load;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The first reading compares two looks that are so far apart.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const MACHINE_EVERY: Duration = Duration::from_millis(100);
/// Looking at every thread costs more.
const THREADS_EVERY: Duration = Duration::from_millis(250);
const QUEUE_MAX: f64 = 1e6;
const CORES_MAX: f64 = 4_096.0;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadSpec {
    /// The whole machine: `proc`.
    Proc,
    /// A control group of version 2: `cgroup:PATH`.
    Cgroup(PathBuf),
    /// A process and what it started: `pid:N`.
    Pid(u32),
    /// The application's own report: `url:http://HOST:PORT/PATH`.
    Url(HttpUrl),
}

impl FromStr for LoadSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("found {text:?}, expected proc, cgroup:PATH, pid:N or url:http://HOST:PORT/PATH");
        match text.split_once(':') {
            None if text == "proc" => Ok(Self::Proc),
            Some(("cgroup", path)) if !path.is_empty() && !path.contains("..") => Ok(Self::Cgroup(path.into())),
            Some(("pid", pid)) => pid.parse().ok().filter(|p| *p > 0).map(Self::Pid).ok_or_else(bad),
            Some(("url", url)) => url.parse().map(Self::Url),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for LoadSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proc => f.write_str("proc"),
            Self::Cgroup(path) => write!(f, "cgroup:{}", path.display()),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Url(url) => write!(f, "url:{url}"),
        }
    }
}

/// A measuring source. Needs a tokio runtime.
pub struct Source {
    kind: Kind,
    sessions: Sessions,
    cores: Option<f64>,
    clock: Clock,
}

enum Kind {
    Kernel { gauge: Box<dyn Gauge>, every: Duration },
    Application(HttpUrl),
}

enum Sessions {
    /// Established connections of the service's port, in the tables of this `/proc` folder.
    Connections { net: PathBuf, port: u16 },
    /// The application's own report.
    Application(HttpUrl),
    /// Part of the load report.
    Included,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

impl Source {
    /// `port` is the service's, whose connections count as sessions unless `sessions_url` tells them; `cores` overrides what
    /// the source finds.
    pub fn new(spec: &LoadSpec, port: u16, sessions_url: Option<HttpUrl>, cores: Option<f64>) -> Self {
        let connections = |net: String| {
            sessions_url.clone().map_or(Sessions::Connections { net: net.into(), port }, Sessions::Application)
        };
        let (kind, sessions) = match spec {
            LoadSpec::Proc => {
                let gauge = Box::new(Machine::new("/proc"));
                (Kind::Kernel { gauge, every: MACHINE_EVERY }, connections("/proc/net".to_owned()))
            }
            LoadSpec::Cgroup(path) => {
                let gauge = Box::new(Cgroup::new(path, "/proc"));
                (Kind::Kernel { gauge, every: THREADS_EVERY }, connections("/proc/net".to_owned()))
            }
            LoadSpec::Pid(pid) => {
                let gauge = Box::new(Tree::new(*pid, "/proc"));
                (Kind::Kernel { gauge, every: THREADS_EVERY }, connections(format!("/proc/{pid}/net")))
            }
            LoadSpec::Url(url) => {
                (Kind::Application(url.clone()), sessions_url.map_or(Sessions::Included, Sessions::Application))
            }
        };
        Self { kind, sessions, cores, clock: Clock::start() }
    }
}

impl AsyncLoadSource for Source {
    async fn read(&mut self) -> Result<Reading, LoadError> {
        let mut reading = match &mut self.kind {
            Kind::Application(url) => url::ask(url).await?.reading()?,
            Kind::Kernel { gauge, .. } => {
                let mut usage = gauge.take(self.clock.now().mono)?;
                if usage.is_none() {
                    gauge.sample();
                    tokio::time::sleep(FIRST_LOOK).await;
                    usage = gauge.take(self.clock.now().mono)?;
                }
                let usage = usage.ok_or_else(|| LoadError("the kernel's counters stand still".to_owned()))?;
                let load = Load { queue: usage.queue, cores: usage.cores, busy: usage.busy, ..Load::default() };
                Reading { load, draining: false }
            }
        };
        match &self.sessions {
            Sessions::Included => {}
            Sessions::Application(url) => url::ask(url).await?.tell_sessions(&mut reading),
            Sessions::Connections { net, port } => {
                let (net, port) = (net.clone(), *port);
                let counted = tokio::task::spawn_blocking(move || connections(&net, port)).await;
                reading.load.sessions =
                    counted.map_err(|e| LoadError(e.to_string()))?.map_err(|e| LoadError(e.to_string()))?;
            }
        }
        reading.load.cores = self.cores.unwrap_or(reading.load.cores);
        bounded(reading)
    }

    fn sample_every(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Kernel { every, .. } => Some(*every),
            Kind::Application(_) => None,
        }
    }

    fn sample(&mut self) {
        if let Kind::Kernel { gauge, .. } = &mut self.kind {
            gauge.sample();
        }
    }
}

/// What front ends would refuse is refused here, where the log can say why.
fn bounded(mut reading: Reading) -> Result<Reading, LoadError> {
    let load = &mut reading.load;
    let check = |ok: bool, what: &str, found: f64| {
        if ok { Ok(()) } else { Err(LoadError(format!("found {what} {found}, which cannot be"))) }
    };
    check((0.0..=QUEUE_MAX).contains(&load.queue), "queue", load.queue)?;
    check(load.cores > 0.0 && load.cores <= CORES_MAX, "cores", load.cores)?;
    check((0.0..=1.01).contains(&load.busy), "busy", load.busy)?;
    load.busy = load.busy.min(1.0);
    Ok(reading)
}

fn connections(net: &std::path::Path, port: u16) -> io::Result<u32> {
    let v4 = established(BufReader::new(File::open(net.join("tcp"))?), port)?;
    // A kernel without IPv6 has no such table.
    let v6 = File::open(net.join("tcp6")).map_or(Ok(0), |table| established(BufReader::new(table), port))?;
    Ok(v4.saturating_add(v6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications() {
        for text in ["proc", "cgroup:/system.slice/app.service", "pid:12", "url:http://127.0.1.11:8080/farm/load"] {
            assert_eq!(text.parse::<LoadSpec>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "procs", "proc:", "cgroup:", "cgroup:../x", "pid:0", "pid:-1", "pid:x", "url:ftp://x/", "url:"] {
            assert!(text.parse::<LoadSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (queue, cores, busy, expect) in [
            (0.0, 1.0, 0.0, true),
            (2.0, 0.5, 1.005, true),
            (-1.0, 1.0, 0.0, false),
            (f64::NAN, 1.0, 0.0, false),
            (1e9, 1.0, 0.0, false),
            (0.0, 0.0, 0.0, false),
            (0.0, 1e9, 0.0, false),
            (0.0, 1.0, 1.5, false),
        ] {
            let reading = Reading { load: Load { queue, cores, busy, ..Load::default() }, draining: false };
            let found = bounded(reading);
            assert_eq!(found.is_ok(), expect, "{queue} {cores} {busy}");
            assert!(found.is_err() || found.is_ok_and(|r| r.load.busy <= 1.0));
        }
    }

    #[tokio::test]
    async fn connections_of_a_real_port() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = tokio::net::TcpStream::connect(address).await.unwrap();
        let _served = listener.accept().await.unwrap();
        let mut source = Source::new(&LoadSpec::Proc, address.port(), None, Some(3.0));
        let load = source.read().await.unwrap().load;
        assert_eq!((load.sessions, load.cores), (1, 3.0));
    }
}
