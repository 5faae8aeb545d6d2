//! Why: CPU time per DNS answer of dnslb beside knot, nsd, gdnsd and a bare echo, in turns, on one core.
//! Never: no server is measured alone in a round, and one that could not be started is named in the report.

use super::dns_servers::{Kind, NameServer, Programs, Size, questions_for};
use super::load::{LoadPlan, run};
use super::machine::Machine;
use super::question::Case;
use super::server::{LOAD_CORE, Scratch, pin_self};
use super::table::{Row, Sample, markdown};
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

/// How to compare.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// Time of one measurement.
    pub time: Duration,
    /// Measurements of each server and case.
    pub rounds: usize,
    /// Sockets of the load generator.
    pub sockets: usize,
    /// Questions under way per socket.
    pub window: usize,
    /// Whether to grow pool and zone too.
    pub scaling: bool,
    /// What to start.
    pub programs: Programs,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct DnsReport {
    /// Where.
    pub machine: Machine,
    /// Seconds of one measurement.
    pub seconds: f64,
    /// Measurements of each.
    pub rounds: usize,
    /// Questions under way at any time.
    pub questions_under_way: usize,
    /// The peers, by case.
    pub peers: Vec<Row>,
    /// The same with more members and more names.
    pub scaling: Vec<Row>,
    /// Who could not be measured, and why.
    pub skipped: Vec<String>,
}

/// What one server is asked, and where its numbers belong.
struct Task {
    server: usize,
    case: Case,
    names: usize,
    group: String,
    name: String,
    samples: Vec<Sample>,
}

const TABLE_SIZE: Size = Size { names: 1_000, members: 12 };
const MEMBERS: [usize; 3] = [10, 100, 1_000];
const NAMES: [usize; 3] = [10, 10_000, 100_000];
const WARM_UP: Duration = Duration::from_millis(300);

/// Collects servers that started and reasons of those that did not.
struct Field<'a> {
    scratch: Scratch,
    programs: &'a Programs,
    servers: Vec<NameServer>,
    skipped: Vec<String>,
}

impl Field<'_> {
    fn start(&mut self, kind: Kind, size: Size, note: &str) -> Option<usize> {
        let folder = format!("{}-{}-{}", kind.label(), size.names, size.members);
        let outcome = self.scratch.folder(&folder).and_then(|folder| NameServer::start(kind, self.programs, &folder, size));
        match outcome {
            Ok(server) => {
                self.servers.push(server);
                Some(self.servers.len() - 1)
            }
            Err(error) => {
                eprintln!("SKIPPED: {}{note}: {error}", kind.label());
                let first = error.to_string().lines().next().unwrap_or_default().to_string();
                self.skipped.push(format!("{}{note}: {first}", kind.label()));
                None
            }
        }
    }

    fn measure(&self, options: &DnsOptions, task: &Task) -> io::Result<Sample> {
        let server = self.servers.get(task.server).ok_or_else(|| io::Error::other("no such server"))?;
        let questions = questions_for(server.kind, task.case, task.names);
        let mut plan = LoadPlan {
            target: server.address,
            sockets: options.sockets,
            window: options.window,
            time: WARM_UP,
            answers_max: u64::MAX,
        };
        run(&plan, &questions)?;
        plan.time = options.time;
        let before = server.server.read()?;
        let counts = run(&plan, &questions)?;
        let spent = server.server.spent_since(&before)?;
        Ok(Sample::new(counts.answers, counts.wrong, counts.lost, counts.elapsed_ns, &spent))
    }
}

fn rounds(field: &mut Field<'_>, options: &DnsOptions, mut tasks: Vec<Task>) -> Vec<Row> {
    for round in 1..=options.rounds {
        for task in &mut tasks {
            match field.measure(options, task) {
                Ok(sample) => {
                    let us = sample.cpu_ns as f64 / 1e3 / sample.answers.max(1) as f64;
                    eprintln!("round {round}: {}, {}: {us:.2} us, {} answers", task.group, task.name, sample.answers);
                    task.samples.push(sample);
                }
                Err(error) => {
                    eprintln!("FAILED: {}, {}: {error}", task.group, task.name);
                    field.skipped.push(format!("{}, {}, round {round}: {error}", task.group, task.name));
                }
            }
        }
    }
    tasks.into_iter().map(|task| Row::new(&task.group, &task.name, task.samples)).collect()
}

/// The whole comparison. Takes about `rounds * (20 + 9) * time`.
pub fn compare(options: &DnsOptions) -> io::Result<DnsReport> {
    let mut machine = Machine::here();
    if machine.cores <= LOAD_CORE {
        return Err(io::Error::other("two cores are needed: one for the servers, one for the load"));
    }
    pin_self(LOAD_CORE)?;
    let scratch = Scratch::new()?;
    let mut field = Field { scratch, programs: &options.programs, servers: Vec::new(), skipped: Vec::new() };
    let started: Vec<(Kind, usize)> =
        Kind::ALL.iter().filter_map(|kind| Some((*kind, field.start(*kind, TABLE_SIZE, "")?))).collect();
    for server in field.servers.iter().filter(|server| !server.version.is_empty()) {
        machine.versions.insert(server.kind.label().into(), server.version.clone());
    }
    let task = |server, case: Case, names, group: String, name: String| Task {
        server,
        case,
        names,
        group,
        name,
        samples: Vec::new(),
    };
    let table = Case::TABLE.iter().flat_map(|case| {
        let of = |(kind, server): &(Kind, usize)| {
            task(*server, *case, TABLE_SIZE.names, case.label().into(), kind.label().into())
        };
        started.iter().map(of).collect::<Vec<_>>()
    });
    let table = table.collect();
    let peers = rounds(&mut field, options, table);
    let scaling = if options.scaling { grow(&mut field, options, task) } else { Vec::new() };
    Ok(DnsReport {
        machine,
        seconds: options.time.as_secs_f64(),
        rounds: options.rounds,
        questions_under_way: options.sockets * options.window,
        peers,
        scaling,
        skipped: field.skipped,
    })
}

/// More members for dnslb, more names for dnslb and knot.
fn grow(field: &mut Field<'_>, options: &DnsOptions, task: impl Fn(usize, Case, usize, String, String) -> Task) -> Vec<Row> {
    let mut tasks = Vec::new();
    for members in MEMBERS {
        if let Some(server) = field.start(Kind::Dnslb, Size { names: 10, members }, &format!(" with {members} members")) {
            tasks.push(task(server, Case::Pool, 10, "dnslb, members of the pool".into(), members.to_string()));
        }
    }
    for kind in [Kind::Dnslb, Kind::Knot] {
        for names in NAMES {
            if let Some(server) = field.start(kind, Size { names, members: 12 }, &format!(" with {names} names")) {
                tasks.push(task(
                    server,
                    Case::Spread,
                    names,
                    format!("{}, names in the zone", kind.label()),
                    names.to_string(),
                ));
            }
        }
    }
    rounds(field, options, tasks)
}

impl DnsReport {
    /// As a page.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# CPU time per DNS answer\n\n{}\n\nEach server answers on core 0, one thread; the load generator runs on core 1: a closed loop with {} \
             questions under way, EDNS with 1232 octets, over loopback. {} round(s) of {} s for each server and case, in turns; medians. CPU time is the \
             scheduler's sum over all threads and processes of a server. On loopback it includes the delivery of the answers to the asker's socket (a \
             network card's interrupt elsewhere), and the delivery of the questions is at the asker's cost; both are alike for all.\n\n\
             * `echo` receives and sends back in batches of 32 and reads nothing: the floor.\n\
             * three addresses: a static RRset for knot and nsd, multifo for gdnsd, 3 of 12 members for dnslb.\n\
             * mixed: 60 % static names, 20 % three addresses, 10 % NODATA, 10 % NXDOMAIN.\n\
             * core idle: far from 0 the load generator was the limit, and batches were smaller than they could be.\n\n",
            self.machine.describe(),
            self.questions_under_way,
            self.rounds,
            self.seconds
        );
        text.push_str(&markdown(&self.peers, "answers", &["echo", "knot"]));
        if !self.scaling.is_empty() {
            text.push_str("\n## With the size\n\n");
            text.push_str(&markdown(&self.scaling, "answers", &["10"]));
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "\n**Not measured:** {skipped}");
        }
        text
    }
}
