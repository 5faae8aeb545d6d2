//! The loop of a drill: look, decide, ask, write down. It decides nothing itself.
//!
//! However it ends, it asks for healing before it goes; should it be killed, the redirector heals at the deadline.

use super::figure;
use super::look::{Seen, read_status};
use super::prober::{Probe, Prober};
use farm_daemon::clock::Clock;
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::Mono;
use redirector_core::drill::{
    Act, Counts, HitReport, HitRequest, Look, Order, Report, Runner, Sample, Target, Users, WoundState,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const LOOK_MS: u64 = 200;
const SAMPLE_MS: u64 = 500;
const SAMPLES_MAX: usize = 100_000;
/// Without a status for so long, the drill stops, in milliseconds.
const BLIND_MS_MAX: u64 = 5_000;
/// From the control loop's notice until the door goes by it, in milliseconds: snapshots are coalesced.
const SENT_MS: u64 = 150;

/// How the redirector is asked.
pub trait Ask {
    /// A request to the admin interface: method, path, body; the text of the answer, or why there is none or it says no.
    fn ask(&self, method: &str, path: &str, body: &str) -> impl Future<Output = Result<String, String>>;
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Drill {
    /// The order.
    pub order: Order,
    /// In words, for the report.
    pub words: String,
    /// The users.
    pub probe: Probe,
    /// Where the report goes: JSON there, and beside it `.txt` and `.svg`.
    pub report: Option<PathBuf>,
}

/// A hit that was asked for.
struct Chosen {
    why: String,
    location: String,
    at: Mono,
}

struct Running<'a, A> {
    drill: &'a Drill,
    asks: &'a A,
    clock: Clock,
    began_ms: u64,
    prober: Prober,
    report: Report,
    /// By key.
    chosen: BTreeMap<String, Chosen>,
    last_user_ms: BTreeMap<String, u64>,
    /// Failed requests before the first hit.
    errors_before: Option<u64>,
}

/// Carries a drill out. `Err`: it could not begin, or its report could not be written.
pub async fn run(
    drill: &Drill,
    asks: &impl Ask,
    clock: Clock,
    draws: Draws,
    mut say: impl FnMut(&str),
) -> Result<Report, String> {
    let mut interrupts = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut terms = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let first = look(asks).await?;
    let now = clock.now();
    let report = Report {
        v: 1,
        drill: drill.order.drill.to_string(),
        model: drill.order.model,
        farm: first.farm.clone(),
        started_wall_ms: now.wall.0,
        took_ms: 0,
        ended: String::new(),
        order: drill.words.clone(),
        hits: Vec::new(),
        refused: Vec::new(),
        users: Users::default(),
        samples: Vec::new(),
    };
    let probe = if drill.order.dry_run { Probe { users: 0, ..drill.probe.clone() } } else { drill.probe.clone() };
    let mut running = Running {
        drill,
        asks,
        clock,
        began_ms: now.mono.0,
        prober: Prober::start(&probe, clock),
        report,
        chosen: BTreeMap::new(),
        last_user_ms: BTreeMap::new(),
        errors_before: None,
    };
    let mut runner = Runner::new(drill.order.clone(), now, draws);
    let door_before = first.door;
    let mut seen = first;
    let mut seen_ms = now.mono.0;
    let mut interrupted = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        let is_interrupt = tokio::select! {
            _ = ticks.tick() => false,
            _ = interrupts.recv() => true,
            _ = terms.recv() => true,
        };
        let mut acts = Vec::new();
        if is_interrupt {
            interrupted += 1;
            if interrupted > 1 {
                running.heal().await;
                break "interrupted; what was cut off is being healed".to_owned();
            }
            acts.extend(runner.stop("interrupted (again to leave at once)".to_owned()));
        }
        match look(asks).await {
            Ok(news) => (seen, seen_ms) = (news, clock.now().mono.0),
            Err(why) if clock.now().mono.0.saturating_sub(seen_ms) > BLIND_MS_MAX => {
                acts.extend(runner.stop(format!("the redirector does not answer: {why}")));
            }
            Err(_) => {}
        }
        running.note(&seen);
        let users = running.prober.users();
        let look = Look {
            servers: seen.servers.clone(),
            hits: seen.hits.clone(),
            counts: Counts { requests: users.requests, errors: users.errors },
            door: Counts {
                requests: seen.door.requests.saturating_sub(door_before.requests),
                errors: seen.door.errors.saturating_sub(door_before.errors),
            },
        };
        acts.extend(runner.step(clock.now(), &look));
        if let Some(how) = running.carry_out(acts, &mut runner, &seen, &mut say).await {
            break how;
        }
    };
    if let Ok(news) = look(asks).await {
        running.note(&news);
    }
    running.end(ended)
}

async fn look(asks: &impl Ask) -> Result<Seen, String> {
    read_status(&asks.ask("GET", "/v1/status", "").await?)
}

impl<A: Ask> Running<'_, A> {
    fn at_ms(&self) -> u64 {
        self.clock.now().mono.0.saturating_sub(self.began_ms)
    }

    async fn heal(&self) {
        let path = format!("/v1/drill/heal?drill={}", self.drill.order.drill);
        // A redirector that does not answer heals at the deadline.
        let _ = self.asks.ask("POST", &path, "").await;
    }

    /// Does what the runner says. `Some`: the drill is over.
    async fn carry_out(
        &mut self,
        acts: Vec<Act>,
        runner: &mut Runner,
        seen: &Seen,
        say: &mut impl FnMut(&str),
    ) -> Option<String> {
        for act in acts {
            match act {
                Act::Say(text) => say(&text),
                Act::Would(member, why) => say(&format!("would hit {member} ({why})")),
                Act::Heal => self.heal().await,
                Act::End(how) => return Some(how),
                Act::Hit(hit, why) => {
                    let place = |t: &&Target| t.id == hit.member.as_str();
                    let location = seen.servers.iter().find(place).map(|t| t.location.clone()).unwrap_or_default();
                    let chosen = Chosen { why: why.clone(), location, at: self.clock.now().mono };
                    // Also one whose answer is lost may have been made: then the redirector shows it.
                    self.chosen.insert(hit.key.to_string(), chosen);
                    self.errors_before.get_or_insert(self.prober.users().errors);
                    match self.hit(&hit).await {
                        Ok(text) => say(&format!("{text}: {why}")),
                        Err(refused) => {
                            runner.refused(&hit.key);
                            self.report.refused.push(format!("{}: {refused}", hit.member));
                            say(&format!("{} is not hit: {refused}", hit.member));
                        }
                    }
                }
            }
        }
        None
    }

    async fn hit(&self, hit: &HitRequest) -> Result<String, String> {
        let body = serde_json::to_string(hit).map_err(|e| e.to_string())?;
        let answer = self.asks.ask("POST", "/v1/drill/hit", &body).await?;
        Ok(crate::text::outcome(&answer))
    }

    /// Takes over what the redirector says about our hits, and a sample.
    fn note(&mut self, seen: &Seen) {
        for status in &seen.hits {
            let Some(Chosen { why, location, at }) = self.chosen.get(&status.key) else { continue };
            // Until users are kept away, and a moment longer: what was decided before is still on its way.
            let hit_ms = at.0 + status.acted_ms.unwrap_or_default();
            if let Some(ms) = status.noticed_ms
                && let Some(sent_ms) = self.prober.last_sent_ms(location, hit_ms + ms + SENT_MS)
            {
                self.last_user_ms.entry(status.key.clone()).or_insert(sent_ms.saturating_sub(hit_ms));
            }
            let report = HitReport {
                status: status.clone(),
                at_ms: at.0.saturating_sub(self.began_ms),
                last_user_ms: self.last_user_ms.get(&status.key).copied(),
                why: why.clone(),
            };
            match self.report.hits.iter_mut().find(|h| h.status.key == status.key) {
                Some(old) => *old = report,
                None => self.report.hits.push(report),
            }
        }
        let at_ms = self.at_ms();
        let is_due = self.report.samples.last().is_none_or(|last| at_ms >= last.at_ms + SAMPLE_MS);
        if is_due && self.report.samples.len() < SAMPLES_MAX {
            let count = |is: fn(&Target) -> bool| seen.servers.iter().filter(|t| is(t)).count() as u32;
            let users = self.prober.users();
            self.report.samples.push(Sample {
                at_ms,
                healthy: count(|t| t.is_healthy),
                down: count(|t| t.is_down),
                pending: seen.pending,
                requests: users.requests,
                errors: users.errors,
            });
        }
    }

    fn end(mut self, ended: String) -> Result<Report, String> {
        self.report.took_ms = self.at_ms();
        let failed =
            self.report.hits.iter().filter(|h| h.status.state == WoundState::Failed).count() + self.report.refused.len();
        self.report.ended = if failed == 0 { ended } else { format!("{ended}; {failed} hits were not made") };
        self.report.users = self.prober.users();
        self.report.users.errors_before = self.errors_before.unwrap_or(self.report.users.errors);
        if let Some(path) = &self.drill.report {
            let json = serde_json::to_string_pretty(&self.report).map_err(|e| e.to_string())? + "\n";
            let files = [(path.clone(), json), (path.with_extension("txt"), self.report.text())];
            let svg = (path.with_extension("svg"), figure::svg(&self.report));
            let mut wrong = String::new();
            for (path, text) in files.into_iter().chain([svg]) {
                if let Err(error) = std::fs::write(&path, text) {
                    let _ = write!(wrong, "{}: {error}; ", path.display());
                }
            }
            if !wrong.is_empty() {
                return Err(format!("the report is not written: {wrong}\n{}", self.report.text()));
            }
        }
        Ok(self.report)
    }
}

/// A name for a drill that nobody used before: the time of its start.
pub fn name(wall_ms: u64) -> Result<Id, String> {
    Id::new(&format!("d{wall_ms}")).map_err(|e| e.to_string())
}
