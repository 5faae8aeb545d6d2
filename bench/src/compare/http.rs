//! Why: CPU time per redirect of our front door beside nginx's `return 302`, in turns, on one core.
//! Never: no comparison of unlike work without saying so: nginx knows no backends, sets no cookie and signs nothing.

use super::http_servers::Door;
use super::machine::Machine;
use super::server::{LOAD_CORE, Scratch, find_program, pin_self};
use super::table::{Row, Sample, markdown};
use super::wrk;
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How to compare.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Seconds of one measurement.
    pub seconds: u64,
    /// Measurements of each.
    pub rounds: usize,
    /// `redirector`, by path.
    pub redirector: PathBuf,
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
    name: String,
    cookie: Option<String>,
    samples: Vec<Sample>,
}

fn measure(door: &Door, wrk: &Path, seconds: u64, cookie: Option<&str>) -> io::Result<Sample> {
    let url = format!("http://{}/inbox", door.address);
    let before = door.server.read()?;
    let began = Instant::now();
    let report = wrk::run(wrk, &url, cookie, seconds)?;
    let spent = door.server.spent_since(&before)?;
    let right = report.responses.saturating_sub(report.wrong);
    let mut sample = Sample::new(right, report.wrong, report.failed, began.elapsed().as_nanos() as u64, &spent);
    sample.p99_us = report.p99_us;
    Ok(sample)
}

/// The whole comparison. Takes about `4 * rounds * seconds`.
pub fn compare(options: &HttpOptions) -> io::Result<HttpReport> {
    let mut machine = Machine::here();
    if machine.cores <= LOAD_CORE {
        return Err(io::Error::other("two cores are needed: one for the servers, one for the load"));
    }
    let wrk = find_program("wrk").ok_or_else(|| io::Error::other("wrk is not there (Debian: apt-get install wrk)"))?;
    pin_self(LOAD_CORE)?;
    let scratch = Scratch::new()?;
    let mut doors = Vec::new();
    let mut tasks: Vec<Task> = Vec::new();
    let mut skipped = Vec::new();
    for (name, backends) in [("nginx", 0), ("redirector, 1 backend", 1), ("redirector, 100 backends", 100)] {
        let folder = scratch.folder(&format!("door-{backends}"))?;
        let door =
            if backends == 0 { Door::nginx(&folder) } else { Door::redirector(&options.redirector, &folder, backends) };
        match door {
            Ok(door) => {
                tasks.push(Task { door: doors.len(), name: name.into(), cookie: None, samples: Vec::new() });
                if backends == 100 {
                    match door.cookie() {
                        Ok(cookie) => {
                            let name = format!("{name}, returning");
                            tasks.push(Task { door: doors.len(), name, cookie: Some(cookie), samples: Vec::new() });
                        }
                        Err(error) => skipped.push(format!("{name}, returning: {error}")),
                    }
                }
                doors.push(door);
            }
            Err(error) => {
                eprintln!("SKIPPED: {name}: {error}");
                skipped.push(format!("{name}: {}", error.to_string().lines().next().unwrap_or_default()));
            }
        }
    }
    machine.versions.extend(version("nginx", find_program("nginx").as_deref(), "-v"));
    machine.versions.extend(version("redirector", Some(&options.redirector), "--version"));
    for round in 1..=options.rounds {
        for task in &mut tasks {
            let Some(door) = doors.get(task.door) else { continue };
            match measure(door, &wrk, options.seconds, task.cookie.as_deref()) {
                Ok(sample) => {
                    let us = sample.cpu_ns as f64 / 1e3 / sample.answers.max(1) as f64;
                    eprintln!("round {round}: {}: {us:.2} us, {} redirects", task.name, sample.answers);
                    task.samples.push(sample);
                }
                Err(error) => {
                    eprintln!("FAILED: {}: {error}", task.name);
                    skipped.push(format!("{}, round {round}: {error}", task.name));
                }
            }
        }
    }
    let rows = tasks.into_iter().map(|task| Row::new("redirect", &task.name, task.samples)).collect();
    Ok(HttpReport { machine, seconds: options.seconds, rounds: options.rounds, rows, skipped })
}

fn version(name: &str, program: Option<&Path>, argument: &str) -> Option<(String, String)> {
    Some((name.to_string(), super::dns_servers::version_of(program?, argument))).filter(|(_, version)| !version.is_empty())
}

impl HttpReport {
    /// As a page.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# CPU time per redirect\n\n{}\n\nEach server on core 0 with one worker, wrk on core 1 with 32 connections that stay open, over \
             loopback; {} round(s) of {} s each, in turns; medians. CPU time is the scheduler's sum over all threads and processes of a server and \
             includes, on loopback, the delivery of what it sends.\n\nnginx returns one fixed target. The redirector chooses by the weights of \
             heartbeats, which come once a second from each backend (their cost is in its number), and signs a cookie for every new session; *returning* brings its cookie and has it checked.\n\n",
            self.machine.describe(),
            self.rounds,
            self.seconds
        );
        text.push_str(&markdown(&self.rows, "redirects", &["nginx"]));
        for skipped in &self.skipped {
            let _ = writeln!(text, "\n**Not measured:** {skipped}");
        }
        text
    }
}
