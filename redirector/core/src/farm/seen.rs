//! What this front end remembers of a member beside the roster: its slot, its speed, whether its name is published, and since
//! when no cache may have learnt of it.

use crate::config::{Published, Spec};
use crate::route::SpeedMeter;
use farm_shared::heartbeat::{Heard, Heartbeat, Kind, Role};
use farm_shared::id::Id;
use farm_shared::member::Change;
use farm_shared::time::Mono;
use std::net::IpAddr;
use std::sync::Arc;

/// Replies that a member relays are believed for so many of its periods.
const FRESH_PERIODS: u64 = 3;
/// So many periods after a member said that it drains, replies of every dnslb that it hears know of it.
const KNOWN_PERIODS: u64 = 2;
/// Beyond all that is known of leases and TTLs before a server counts as forgotten by caches, in milliseconds.
const GATE_SLACK_MS: u64 = 2_000;

/// One member, beside the roster.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) slot: u32,
    pub(super) location: Arc<str>,
    /// When its load was reported, and the counter of dispatches then.
    pub(super) heard: Mono,
    pub(super) dispatch_base: u32,
    pub(super) meter: SpeedMeter,
    /// Sessions that were sent there between the last two reports and had not begun by the last one.
    on_the_way: u32,
    /// Incarnation, arrivals and completions as last reported.
    counted: Option<(u64, u64, u64)>,
    /// Its own name was served by every dnslb once in this incarnation.
    pub(super) published: bool,
    /// The last heartbeat that did not say it drains: until then a dnslb may have named it.
    undrained: Mono,
    /// The first one since then that says so.
    drained: Mono,
    /// Every dnslb says that no cache names it any more.
    ttl_over: bool,
    /// Since when the scaler wants it drained.
    pub(super) drain_since: Option<Mono>,
    /// Live doors, as a dnslb told it.
    pub(super) doors: u32,
    /// A scaler in another redirector, as that told it.
    pub(super) scaler: Option<Id>,
}

/// Sessions that came and went since the report before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) arrivals: u64,
    pub(super) completions: u64,
}

impl Seen {
    /// A member that was not known, or that is known from before a restart: then its name counts as published, since sessions
    /// were sent to it.
    pub(super) fn new(slot: u32, heartbeat: &Heartbeat, spec: &Spec, now: Mono, published: bool) -> Self {
        Self {
            slot,
            location: location(&spec.door.target, heartbeat),
            heard: now,
            dispatch_base: 0,
            meter: SpeedMeter::default(),
            on_the_way: 0,
            counted: None,
            published,
            undrained: now,
            drained: Mono::NEVER,
            ttl_over: false,
            drain_since: None,
            doors: 0,
            scaler: None,
        }
    }

    /// A heartbeat that the roster took.
    pub(super) fn observe(&mut self, heartbeat: &Heartbeat, spec: &Spec, dispatched: u32, doors: u32, now: Mono) -> Flow {
        let load = &heartbeat.load;
        self.meter.observe(load, now.since_ms(self.heard));
        self.heard = now;
        // Before the first report of an incarnation the counter was another server's.
        let is_counted = self.counted.is_some_and(|(inc, ..)| inc == heartbeat.inc);
        let sent = is_counted.then(|| dispatched.wrapping_sub(self.dispatch_base));
        self.dispatch_base = dispatched;
        let flow = match self.counted {
            Some((inc, arrivals, completions)) if inc == heartbeat.inc => Flow {
                arrivals: load.arrivals.saturating_sub(arrivals),
                completions: load.completions.saturating_sub(completions),
            },
            Some(_) => {
                self.published = false;
                (self.undrained, self.drained) = (now, Mono::NEVER);
                self.ttl_over = false;
                Flow { arrivals: load.arrivals, completions: load.completions }
            }
            None => Flow::default(),
        };
        // Those who arrived are first those sent before the report before; who has not come after a whole period does not come.
        let arrivals = u32::try_from(flow.arrivals).unwrap_or(u32::MAX).saturating_sub(self.on_the_way);
        self.on_the_way = sent.map_or(0, |sent| sent.saturating_mul(doors).saturating_sub(arrivals));
        self.counted = Some((heartbeat.inc, load.arrivals, load.completions));
        let fresh = |h: &&Heard| h.age_ms <= FRESH_PERIODS * heartbeat.period_ms;
        let dnslb = || heartbeat.heard.iter().filter(fresh).filter(|h| h.kind == Kind::Dnslb);
        let every = |holds: &dyn Fn(&Heard) -> bool| dnslb().next().is_some() && dnslb().all(holds);
        self.published |= every(&|h| h.serves == Some(true));
        if heartbeat.draining() {
            self.drained = self.drained.min(now);
        } else {
            (self.undrained, self.drained) = (now, Mono::NEVER);
        }
        // What a dnslb said before it knew of the drain says nothing: it may have named the member only after that.
        let since = self.drained.plus_ms(KNOWN_PERIODS * heartbeat.period_ms);
        let knew = |h: &Heard| now.0.saturating_sub(h.age_ms) >= since.0;
        self.ttl_over = heartbeat.draining() && every(&|h| h.ttl_left_ms == Some(0) && knew(h));
        self.doors = dnslb().filter_map(|h| h.doors).max().unwrap_or(0);
        let other = |h: &&Heard| h.kind == Kind::Redirector && h.scaler.as_ref().is_some_and(|s| *s != spec.id);
        self.scaler = heartbeat.heard.iter().filter(fresh).find(other).and_then(|h| h.scaler.clone());
        // A lie of one member must not drown what the others say.
        Flow { arrivals: flow.arrivals.min(1_000_000), completions: flow.completions.min(1_000_000) }
    }

    /// Sessions that were sent there and are in no report yet, beside those sent since the last one: who is redirected needs a
    /// moment to arrive, and a place must not be given to two.
    pub(super) fn on_the_way(&self) -> u32 {
        self.on_the_way
    }

    /// Its address changed, if it did.
    pub(super) fn moved_if(&mut self, changes: &[Change], heartbeat: &Heartbeat, spec: &Spec) {
        if changes.contains(&Change::Moved) {
            self.moved(heartbeat, spec);
        }
    }

    /// Where its sessions go now.
    pub(super) fn moved(&mut self, heartbeat: &Heartbeat, spec: &Spec) {
        self.location = location(&spec.door.target, heartbeat);
    }

    /// Why it gets no new sessions although it stands well, if so.
    pub(super) fn hindrance(&self, heartbeat: &Heartbeat, spec: &Spec) -> Option<&'static str> {
        if heartbeat.role != Role::Backend {
            return Some("it is a door");
        }
        if self.location.is_empty() {
            return Some("it has no address of the kind that door.target wants");
        }
        let gated = spec.door.target.contains("{id}") && spec.door.published == Published::Require;
        (gated && !self.published).then_some("its name is not served by every dnslb yet")
    }

    /// For how long it has drained because the scaler wants it, as far as it said itself, in milliseconds: a deadline for its sessions
    /// must not run while it does not know.
    pub(super) fn draining_ms(&self, now: Mono) -> Option<u64> {
        self.drain_since.map(|at| now.since_ms(at.max(self.undrained)))
    }

    /// Milliseconds until no cache can hold an answer that names it (DESIGN 3): counted from the last heartbeat that did not
    /// drain, on our own clock; what dnslb says through the agent can only shorten it.
    pub(super) fn ttl_left_ms(&self, lease_ms: u64, spec: &Spec, now: Mono) -> u64 {
        if self.ttl_over {
            return 0;
        }
        self.undrained.plus_ms(lease_ms + spec.scaler.dns_ttl_max_ms + GATE_SLACK_MS).since_ms(now)
    }

    /// Whether what it relays is still news.
    pub(super) fn is_fresh(&self, period_ms: u64, now: Mono) -> bool {
        now.since_ms(self.heard) <= FRESH_PERIODS * period_ms
    }
}

/// Scheme and authority, from the template and what the member announced; empty if it has no address of the kind that is wanted.
fn location(target: &str, heartbeat: &Heartbeat) -> Arc<str> {
    let mut filled = target.replace("{id}", heartbeat.id.as_str());
    let addrs = || heartbeat.addrs.iter();
    let kinds =
        [("{ip}", addrs().next()), ("{ipv4}", addrs().find(|a| a.is_ipv4())), ("{ipv6}", addrs().find(|a| a.is_ipv6()))];
    for (name, addr) in kinds {
        if filled.contains(name) {
            let text = match addr {
                Some(IpAddr::V6(v6)) => format!("[{v6}]"),
                Some(v4) => v4.to_string(),
                None => return "".into(),
            };
            filled = filled.replace(name, &text);
        }
    }
    filled.replace("{port}", &heartbeat.port.to_string()).into()
}
