//! Why: one user's visit, from the door to the log-out, as seed 003 (section 4.1) describes it.
//! Never: the door's cookies go to the door alone and a backend's to that backend; no answer makes a visit endless.

use super::config::CrowdConfig;
use super::cookies::Jar;
use super::http::{Link, Reply};
use super::place::Place;
use super::stats::{Outcome, Reason, Stats};
use crate::draws::Draws;
use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER, SET_COOKIE};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Redirects in a row that are followed.
const HOPS_MAX: u32 = 5;
/// Session and think times are cut here, milliseconds, so that they always fit a timer.
const WAIT_MS_MAX: f64 = 1e10;

/// One visit.
pub(super) struct Session {
    config: Arc<CrowdConfig>,
    stats: Arc<Mutex<Stats>>,
    draws: Draws,
    /// True when the experiment is over: log out at once.
    over: watch::Receiver<bool>,
    door_jar: Jar,
    backend_jar: Jar,
    backend: Option<String>,
    is_delayed: bool,
    is_counted: bool,
}

impl Session {
    /// A visit that begins now; `draws` are its own.
    pub(super) fn new(
        config: Arc<CrowdConfig>,
        stats: Arc<Mutex<Stats>>,
        draws: Draws,
        over: watch::Receiver<bool>,
    ) -> Self {
        lock(&stats).begin();
        Self {
            config,
            stats,
            draws,
            over,
            door_jar: Jar::default(),
            backend_jar: Jar::default(),
            backend: None,
            is_delayed: false,
            is_counted: false,
        }
    }

    /// The whole visit; a client whose visit was aborted stays away for a while before this returns.
    pub(super) async fn run(mut self) {
        let visited = self.visit().await;
        let outcome = match visited {
            Ok(()) if self.is_delayed => Outcome::Delayed,
            Ok(()) => Outcome::Completed,
            Err(outcome) => outcome,
        };
        self.is_counted = true;
        lock(&self.stats).end(outcome, self.backend.as_deref());
        if visited.is_err() {
            let away = Duration::from_millis(self.config.away_ms);
            self.pause(away).await;
        }
    }

    async fn visit(&mut self) -> Result<(), Outcome> {
        let (mut link, mut place) = self.enter().await?;
        let host = place.authority.clone();
        let session_ms = self.draws.exponential(self.config.session_ms).min(WAIT_MS_MAX);
        let end = Instant::now() + Duration::from_secs_f64(session_ms / 1_000.0);
        loop {
            let think_ms = self.draws.exponential(self.config.think_ms).min(WAIT_MS_MAX);
            let left = end.saturating_duration_since(Instant::now());
            let think = Duration::from_secs_f64(think_ms / 1_000.0);
            self.pause(think.min(left)).await;
            if think >= left || *self.over.borrow() {
                break;
            }
            place.path = format!("/feature/{}", self.draws.below(self.config.features));
            let reply = self.get(&mut link, &place, &host, false).await?;
            accept(&reply)?;
        }
        "/logout".clone_into(&mut place.path);
        let reply = self.get(&mut link, &place, &host, false).await?;
        Ok(accept(&reply)?)
    }

    /// From the door to a log-in at a backend: follows redirects, waits when the door says so.
    async fn enter(&mut self) -> Result<(Link, Place), Outcome> {
        let config = self.config.clone();
        let mut place = config.door.clone();
        let mut link = Link::new(place.address);
        let (mut hops, mut waits) = (0, 0);
        loop {
            let at_door = place.authority == config.door.authority;
            let host = match &config.host {
                Some(host) if at_door => host.clone(),
                _ => place.authority.clone(),
            };
            if !at_door {
                self.backend = Some(place.authority.clone());
            }
            let reply = self.get(&mut link, &place, &host, at_door).await?;
            match reply.status {
                301 | 302 | 303 | 307 | 308 => {
                    hops += 1;
                    if hops > HOPS_MAX {
                        return Err(Reason::Protocol.into());
                    }
                    let next = text(&reply.headers, LOCATION).ok_or(Reason::Protocol)?;
                    let next = config.names.place(next).map_err(|_| Reason::Protocol)?;
                    if next.authority != place.authority && next.authority != config.door.authority {
                        self.backend_jar = Jar::default();
                    }
                    if link.address() != next.address {
                        link = Link::new(next.address);
                    }
                    place = next;
                }
                503 if at_door => {
                    let wait_s = text(&reply.headers, RETRY_AFTER).ok_or(Reason::ServerError)?;
                    if waits >= config.retries {
                        return Err(Reason::GaveUp.into());
                    }
                    waits += 1;
                    hops = 0;
                    self.is_delayed = true;
                    lock(&self.stats).wait();
                    // A date instead of a number, or nonsense: as if the door had said one second.
                    let wait_ms = wait_s.trim().parse::<u64>().unwrap_or(1).saturating_mul(1_000);
                    self.pause(Duration::from_millis(wait_ms.min(config.wait_ms_max))).await;
                    if *self.over.borrow() {
                        return Err(Outcome::Unfinished);
                    }
                }
                200..=299 if !at_door => return Ok((link, place)),
                500.. => return Err(Reason::ServerError.into()),
                _ => return Err(Reason::Protocol.into()),
            }
        }
    }

    /// One request, counted, with the cookies of the side it goes to.
    async fn get(&mut self, link: &mut Link, place: &Place, host: &str, at_door: bool) -> Result<Reply, Reason> {
        let jar = if at_door { &mut self.door_jar } else { &mut self.backend_jar };
        let begun = Instant::now();
        let limit = Duration::from_millis(self.config.timeout_ms);
        let reply = link.get(place, host, jar.header().as_deref(), limit).await;
        let spent = begun.elapsed();
        if let Ok(reply) = &reply {
            reply
                .headers
                .get_all(SET_COOKIE)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .for_each(|cookie| jar.take(cookie));
        }
        self.is_delayed |= spent > Duration::from_millis(self.config.slow_ms);
        lock(&self.stats).request(at_door, u64::try_from(spent.as_micros()).unwrap_or(u64::MAX));
        reply
    }

    /// Waits, but not beyond the end of the experiment.
    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            () = sleep(time) => (),
            _ = self.over.wait_for(|over| *over) => (),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_counted {
            lock(&self.stats).end(Outcome::Unfinished, self.backend.as_deref());
        }
    }
}

/// Every change leaves the counts whole, so a panic elsewhere does not make them unusable.
pub(super) fn lock(stats: &Mutex<Stats>) -> MutexGuard<'_, Stats> {
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(reply: &Reply) -> Result<(), Reason> {
    match reply.status {
        200..=299 => Ok(()),
        401 => Err(Reason::SessionLost),
        500.. => Err(Reason::ServerError),
        _ => Err(Reason::Protocol),
    }
}

fn text(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
