//! Why: what of an answer is ours, without the kernel: `respond` in a loop, timed, or counted in instructions under valgrind.
//! Never: no way round the product: the snapshot comes from a configuration through the control loop, as in the daemon.

use super::dns_servers::{Size, dnslb_config, zone_text};
use super::question::{Case, is_right};
use super::server::find_program;
use super::wait;
use dnslb_core::config;
use dnslb_core::control::{Control, Effect, Event, Saved};
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::Snapshot;
use dnslb_core::zone::Files;
use farm_shared::draw::Draws;
use farm_shared::time::{Mono, Now, Wall};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NOW: Now = Now { mono: Mono(100_000), wall: Wall(1_700_000_000_000) };
const VALGRIND_TIME_MAX: Duration = Duration::from_mins(2);

struct ZoneFile(Size);

impl Files for ZoneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(zone_text(self.0, "").into_bytes())
    }
}

/// The first whole snapshot of a configuration.
pub fn snapshot(size: Size) -> io::Result<Arc<Snapshot>> {
    let text = dnslb_config(Path::new("/bench"), (Ipv4Addr::LOCALHOST, 5_300).into(), size);
    let loaded = config::load("bench.toml", &text, &ZoneFile(size)).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        io::Error::other(lines.join("\n"))
    })?;
    let mut control = Control::new(loaded.spec, loaded.zones, Saved::default(), NOW, Draws::from_u64(1));
    let (mut effects, mut latest) = (control.flush(NOW), None);
    // Each round's builds come back in the next; there are no more than one for each family.
    for _ in 0..4 {
        let mut events = Vec::new();
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Publish(snapshot) => latest = Some(snapshot),
                Effect::Build(job) => events.push(Event::Scheduled(Box::new(job.run()))),
                _ => {}
            }
        }
        for event in events {
            effects.extend(control.step(NOW, event));
        }
        effects.extend(control.flush(NOW));
    }
    latest.ok_or_else(|| io::Error::other("nothing was published"))
}

/// Answers so many questions; a wrong answer is an error. Returns nanoseconds for all of them.
pub fn answer(snapshot: &Snapshot, case: Case, names: usize, calls: u64) -> io::Result<u64> {
    let questions = case.questions(names);
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut draws = Draws::from_u64(2);
    let mut out = [0; 4_096];
    let began = Instant::now();
    for (question, _) in questions.iter().cycle().zip(0..calls) {
        let reply = respond(snapshot, Transport::Udp, client, &question.bytes, NOW, draws.u64(), &mut out);
        let answer = reply.and_then(|reply| out.get(..reply.len)).unwrap_or_default();
        if !is_right(answer, question.expect) {
            return Err(io::Error::other(format!("a wrong answer to {question:?}: {answer:?}")));
        }
    }
    Ok(began.elapsed().as_nanos() as u64)
}

/// Instructions that valgrind counts for a run of this program with so many answers.
fn instructions(valgrind: &Path, own: &Path, case: Case, calls: u64) -> io::Result<u64> {
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    command.args(["respond-loop", "--case", case.key(), "--calls", &calls.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // What it says fits the pipe.
    if wait::until(VALGRIND_TIME_MAX, || child.try_wait().ok().flatten()).is_none() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.filter(|_| output.status.success()).ok_or_else(|| io::Error::other(format!("valgrind said: {text}")))
}

/// The table: instructions and nanoseconds for each case. Instructions are the difference of two runs, so that loading is not in
/// them; the loop, the draw and the look at the answer are, and are the same for every case.
pub fn report(own: &Path) -> io::Result<String> {
    use std::fmt::Write as _;
    const FEW: u64 = 2_000;
    const MANY: u64 = 12_000;
    const TIMED: u64 = 2_000_000;
    let valgrind = find_program("valgrind");
    if valgrind.is_none() {
        eprintln!("SKIPPED: instructions: valgrind is not there");
    }
    let snapshot = snapshot(LOOP_SIZE)?;
    let mut text = String::from("| respond() | instructions | ns |\n|---|---:|---:|\n");
    for case in Case::TABLE {
        let count = match &valgrind {
            Some(valgrind) => {
                let many = instructions(valgrind, own, case, MANY)?;
                let few = instructions(valgrind, own, case, FEW)?;
                (many.saturating_sub(few) / (MANY - FEW)).to_string()
            }
            None => "–".into(),
        };
        let rounds = (0..5).map(|_| Ok(answer(&snapshot, case, LOOP_SIZE.names, TIMED)? as f64 / TIMED as f64));
        let ns = super::table::median(rounds.collect::<io::Result<Vec<f64>>>()?);
        let _ = writeln!(text, "| {} | {count} | {ns:.0} |", case.label());
    }
    Ok(text)
}

/// What the loop serves.
pub const LOOP_SIZE: Size = Size { names: 1_000, members: 12 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_answered_right() {
        let size = Size { names: 100, members: 12 };
        let snapshot = snapshot(size).unwrap();
        for case in [Case::Static, Case::Pool, Case::Mixed, Case::NoName, Case::Spread] {
            answer(&snapshot, case, size.names, 2_000).unwrap();
        }
    }
}
