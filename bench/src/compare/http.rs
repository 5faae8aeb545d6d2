//! Why: CPU time per redirect of our front door beside nginx's and HAProxy's, in turns, on one core.
//! Never: no comparison of unlike work without saying so: neither peer weighs its servers by load, nor signs what it sets.

use super::http_cases::{Case, Generators};
use super::http_servers::{Door, Pair};
use super::machine::Machine;
use super::server::{LOAD_CORE, Scratch, find_program, pin_self};
use super::table::{Row, Sample, markdown};
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Servers behind our door. Ours come from heartbeats, one a second from each.
const BACKENDS: u32 = 1_000;
/// Servers in the peers' files: `split_clients` looks at one after the other, so that few are the harder peer.
const PEER_SERVERS: u32 = 10;

/// How to compare.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Seconds of one measurement.
    pub seconds: u64,
    /// Measurements of each.
    pub rounds: usize,
    /// `redirector`, by path.
    pub redirector: PathBuf,
    /// Only cases whose names hold this.
    pub only: String,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct HttpReport {
    /// Where.
    pub machine: Machine,
    /// Seconds of one measurement.
    pub seconds: u64,
    /// Measurements of each.
    pub rounds: usize,
    /// The doors.
    pub rows: Vec<Row>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

struct Task {
    door: usize,
    case: Case,
    samples: Vec<Sample>,
}

fn measure(door: &Door, generators: &Generators, case: Case, cookie: Option<&str>, seconds: u64) -> io::Result<Sample> {
    let before = door.server.read()?;
    let began = Instant::now();
    let report = generators.run(case, door, cookie, seconds)?;
    let spent = door.server.spent_since(&before)?;
    let right = report.responses.saturating_sub(report.wrong);
    let mut sample = Sample::new(right, report.wrong, report.failed, began.elapsed().as_nanos() as u64, &spent);
    sample.p99_us = report.p99_us;
    Ok(sample)
}

/// The doors that start, by name, each with the cookie of a session; and what is missing.
fn doors(
    options: &HttpOptions,
    scratch: &Scratch,
    skipped: &mut Vec<String>,
) -> io::Result<Vec<(&'static str, Door, String)>> {
    let pair = Pair::new(&scratch.folder("pair")?)?;
    let mut doors = Vec::new();
    for name in ["nginx", "haproxy", "redirector"] {
        let folder = scratch.folder(name)?;
        let door = match name {
            "nginx" => Door::nginx(&folder, &pair, PEER_SERVERS),
            "haproxy" => Door::haproxy(&folder, &pair, PEER_SERVERS),
            // One that knows no TLS is measured without.
            _ => Door::redirector(&options.redirector, &folder, Some(&pair), BACKENDS).or_else(|error| {
                eprintln!("SKIPPED: redirector over TLS: {error}");
                skipped.push("redirector over TLS: it did not start so".into());
                Door::redirector(&options.redirector, &folder, None, BACKENDS)
            }),
        };
        match door.and_then(|door| door.cookie().map(|cookie| (door, cookie))) {
            Ok((door, cookie)) => doors.push((name, door, cookie)),
            Err(error) => {
                eprintln!("SKIPPED: {name}: {error}");
                skipped.push(format!("{name}: {}", error.to_string().lines().next().unwrap_or_default()));
            }
        }
    }
    Ok(doors)
}

/// The whole comparison. Takes about `42 * rounds * seconds`.
pub fn compare(options: &HttpOptions) -> io::Result<HttpReport> {
    let mut machine = Machine::here();
    if machine.cores <= LOAD_CORE {
        return Err(io::Error::other("two cores are needed: one for the servers, one for the load"));
    }
    pin_self(LOAD_CORE)?;
    let scratch = Scratch::new()?;
    let generators = Generators::find(&scratch.folder("load")?)?;
    let mut skipped = Vec::new();
    let doors = doors(options, &scratch, &mut skipped)?;
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| case.name().contains(&options.only)).collect();
    let tasks = cases.iter().flat_map(|case| (0..doors.len()).map(|door| Task { door, case: *case, samples: Vec::new() }));
    let mut tasks: Vec<Task> = tasks.collect();
    machine.versions.extend(version("nginx", find_program("nginx").as_deref(), "-v"));
    machine.versions.extend(version("haproxy", find_program("haproxy").as_deref(), "-v"));
    machine.versions.extend(version("redirector", Some(&options.redirector), "--version"));
    for round in 1..=options.rounds {
        for task in &mut tasks {
            let Some((name, door, cookie)) = doors.get(task.door) else { continue };
            let cookie = task.case.returning.then_some(cookie.as_str());
            match measure(door, &generators, task.case, cookie, options.seconds) {
                Ok(sample) => {
                    let us = sample.cpu_ns as f64 / 1e3 / sample.answers.max(1) as f64;
                    eprintln!("round {round}: {}: {name}: {us:.2} us, {} redirects", task.case.name(), sample.answers);
                    task.samples.push(sample);
                }
                Err(error) => {
                    eprintln!("FAILED: {}: {name}: {error}", task.case.name());
                    skipped.push(format!("{}, {name}, round {round}: {error}", task.case.name()));
                }
            }
        }
    }
    let row = |task: Task| {
        let name = doors.get(task.door).map_or("", |(name, ..)| name);
        Row::new(&task.case.name(), name, task.samples)
    };
    let rows = tasks.into_iter().map(row).collect();
    Ok(HttpReport { machine, seconds: options.seconds, rounds: options.rounds, rows, skipped })
}

fn version(name: &str, program: Option<&Path>, argument: &str) -> Option<(String, String)> {
    Some((name.to_string(), super::dns_servers::version_of(program?, argument))).filter(|(_, version)| !version.is_empty())
}

impl HttpReport {
    /// As a page.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# CPU time per redirect\n\n{}\n\nEach door on core 0 with one worker, wrk (h2load for HTTP/2) on core 1, over loopback; {} round(s) of {} s each, \
             in turns; medians. CPU time is the scheduler's sum over all threads and processes of a door and includes, on loopback, the delivery of what it sends, but \
             not that of what it receives. TLS is 1.3 with an ECDSA key on P-256, AES-128-GCM and X25519; no session is resumed.\n\n\
             **What each does.** nginx (`bench/peers/nginx.conf`) draws one of {PEER_SERVERS} servers by `split_clients` or keeps the one that a cookie names (`map`), and sets an unsigned \
             cookie; HAProxy (`bench/peers/haproxy.cfg`) does the same by `rand` and maps, and sends no `Date`. Neither keeps counters by server or writes a log. The redirector \
             draws one of {BACKENDS} by weights that its own dispatches change with every draw, counts, and signs a cookie, or checks one (*returning*). Its {BACKENDS} \
             heartbeats a second, and the pictures of the farm that they make, are in its number, and weigh the more the fewer redirects there are in a second.\n\n",
            self.machine.describe(),
            self.rounds,
            self.seconds
        );
        text.push_str(&markdown(&self.rows, "redirects", &["nginx", "haproxy"]));
        for skipped in &self.skipped {
            let _ = writeln!(text, "\n**Not measured:** {skipped}");
        }
        text
    }
}
