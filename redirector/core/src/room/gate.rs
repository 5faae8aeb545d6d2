//! What a worker does with a visitor who has no session yet: lets him in, or tells him when to ask again.
//!
//! While nobody waits and nobody has lately, that costs two comparisons. It must never let in a newcomer while somebody waits, nor anybody
//! whose ticket was used.

use super::Waiters;
use super::forecast::{Estimate, Forecast};
use super::lanes::Lanes;
use super::ledger::Answer;
use super::pace::Pace;
use super::ticket::{COOKIE_NAME, COOKIE_NAME_SECURE, HEADER_NAME, Ticket, TicketKeys};
use crate::door::Fields;
use crate::door::unquoted;
use farm_shared::heartbeat::ROOM_LANES_MAX;
use farm_shared::time::Now;
use std::sync::Arc;

/// Tickets looked at per request: each costs a MAC.
const TRIES_MAX: usize = 2;

/// The waiting room in a snapshot.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Tickets are made and checked with these.
    pub keys: Arc<TicketKeys>,
    /// Which lane somebody waits in.
    pub rules: Arc<Lanes>,
    /// A ticket older than this is none, in milliseconds.
    pub age_ms_max: u64,
    /// Nobody has waited for so long that every ticket is stale.
    pub is_calm: bool,
    /// Somebody waits, here or at another door.
    pub is_closed: bool,
    /// By lane.
    pub lanes: [LaneGate; ROOM_LANES_MAX],
    /// How often people ask.
    pub pace: Pace,
    /// What is to come.
    pub forecast: Forecast,
}

/// One lane of the gate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneGate {
    /// Who came no later may enter, in milliseconds since the epoch.
    pub watermark_ms: u64,
    /// Who came no later and has not entered begins again at the end.
    pub stale_ms: u64,
    /// Arrivals and how many stand before and at them at all doors, as far as this door knows; both rise.
    pub ranks: Arc<[(u64, u32)]>,
    /// Of the places that come, one in so many is for this lane while all lanes wait; at least 1.
    pub turns: f64,
}

/// What of a request the gate looks at.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The values of all `Cookie` fields.
    pub cookies: &'a [&'a str],
    /// The header fields: [`super::HEADER_NAME`] is looked for while somebody waits.
    pub fields: &'a dyn Fields,
    /// Path and query.
    pub path: &'a str,
}

/// What became of a visitor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission<T> {
    /// He enters.
    Enter {
        /// What was picked for him.
        place: T,
        /// He showed a ticket: have him forget it.
        is_called: bool,
    },
    /// He waits.
    Wait(Wait),
}

/// What somebody is told who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For `Retry-After` and for the page, in seconds.
    pub retry_after_s: u32,
    /// What keeps his place; none without a waiting room, or when it is full.
    pub ticket: Option<Ticket>,
    /// About so many stand before him.
    pub before: u32,
    /// How long it will take.
    pub estimate: Estimate,
    /// Where his place comes from.
    pub whence: Whence,
}

/// Where a place in the queue comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// He has come just now.
    New,
    /// He has waited already.
    Kept,
    /// His turn was too long ago: he begins again at the end.
    Lapsed,
    /// So many wait that no places are given out.
    Full,
}

impl Wait {
    /// For a farm without a waiting room.
    pub fn plain(retry_after_s: u32) -> Self {
        Self { retry_after_s, ticket: None, before: 0, estimate: Estimate::Unknown, whence: Whence::New }
    }
}

/// A request's ticket.
enum Held {
    None,
    Good(Ticket),
    Lapsed,
}

/// Lets a visitor in, by a `pick` that finds him a place if there is one, or has him wait.
pub fn admit<T>(
    gate: &Gate,
    waiters: &(impl Waiters + ?Sized),
    asker: &Asker<'_>,
    now: Now,
    mut pick: impl FnMut() -> Option<T>,
) -> Admission<T> {
    let is_busy = gate.is_closed || waiters.is_busy();
    if !is_busy
        && gate.is_calm
        && let Some(place) = pick()
    {
        return Admission::Enter { place, is_called: false };
    }
    let mut held = gate.held(waiters, asker, now);
    if let Held::Good(ticket) = held
        && (!is_busy || gate.lane(ticket.lane).is_some_and(|lane| ticket.arrival_ms <= lane.watermark_ms))
        && let Some(place) = pick()
    {
        match waiters.enter(ticket) {
            Answer::Good | Answer::Full => return Admission::Enter { place, is_called: true },
            Answer::Used => held = Held::None,
            Answer::Stale => held = Held::Lapsed,
        }
    }
    if !is_busy
        && !matches!(held, Held::Good(_))
        && let Some(place) = pick()
    {
        return Admission::Enter { place, is_called: false };
    }
    Admission::Wait(gate.wait(waiters, asker, held, now))
}

impl Gate {
    fn lane(&self, lane: u8) -> Option<&LaneGate> {
        self.lanes.get(usize::from(lane))
    }

    /// The ticket that a request shows, if it can still be good.
    fn held(&self, waiters: &(impl Waiters + ?Sized), asker: &Asker<'_>, now: Now) -> Held {
        let pairs = asker.cookies.iter().flat_map(|field| field.split(';')).filter_map(|p| p.trim_ascii().split_once('='));
        let cookies =
            pairs.filter(|(name, _)| *name == COOKIE_NAME || *name == COOKIE_NAME_SECURE).map(|(_, value)| unquoted(value));
        let mut held = Held::None;
        for text in asker.fields.get(HEADER_NAME).into_iter().chain(cookies).take(TRIES_MAX) {
            match self.keys.check(text, now.wall, self.age_ms_max) {
                Some(t) if self.lane(t.lane).is_some_and(|lane| t.arrival_ms > lane.stale_ms) => return Held::Good(t),
                Some(_) => held = Held::Lapsed,
                None => waiters.forged(),
            }
        }
        held
    }

    fn wait(&self, waiters: &(impl Waiters + ?Sized), asker: &Asker<'_>, held: Held, now: Now) -> Wait {
        if let Held::Good(ticket) = held {
            match self.told(waiters, ticket, false, now) {
                Ok(wait) => return Wait { whence: Whence::Kept, ..wait },
                Err(Answer::Stale) => return self.begin(waiters, asker, Whence::Lapsed, now),
                Err(_) => {}
            }
        }
        let whence = if matches!(held, Held::Lapsed) { Whence::Lapsed } else { Whence::New };
        self.begin(waiters, asker, whence, now)
    }

    /// A new place at the end.
    fn begin(&self, waiters: &(impl Waiters + ?Sized), asker: &Asker<'_>, whence: Whence, now: Now) -> Wait {
        let lane = self.rules.of(asker.cookies, asker.path, now.wall);
        let ticket = Ticket { lane, arrival_ms: now.wall.0, nonce: waiters.nonce() };
        if let Ok(wait) = self.told(waiters, ticket, true, now) {
            Wait { whence, ..wait }
        } else {
            let before = self.before(&ticket);
            let retry_after_s = self.pace.retry_after_s(before, &ticket);
            Wait { retry_after_s, ticket: None, before, estimate: self.forecast.wait(before), whence: Whence::Full }
        }
    }

    fn told(&self, waiters: &(impl Waiters + ?Sized), ticket: Ticket, is_new: bool, now: Now) -> Result<Wait, Answer> {
        let before = self.before(&ticket);
        let retry_after_s = self.pace.retry_after_s(before, &ticket);
        let due = now.mono.plus_ms(u64::from(retry_after_s) * 1_000);
        match waiters.ask(ticket, is_new, now.mono, due) {
            Answer::Good => {
                let estimate = self.forecast.wait(before);
                Ok(Wait { retry_after_s, ticket: Some(ticket), before, estimate, whence: Whence::New })
            }
            refused => Err(refused),
        }
    }

    /// About how many enter before a ticket's holder.
    fn before(&self, ticket: &Ticket) -> u32 {
        let Some(lane) = self.lane(ticket.lane) else { return 0 };
        let at = lane.ranks.partition_point(|(arrival_ms, _)| *arrival_ms < ticket.arrival_ms);
        let in_lane = at.checked_sub(1).and_then(|at| lane.ranks.get(at)).map_or(0, |(_, n)| *n);
        // Other lanes take their turns in between, as far as they have anybody.
        let all = self.lanes.iter().filter_map(|l| l.ranks.last()).fold(0_u32, |sum, (_, n)| sum.saturating_add(*n));
        let others = all.saturating_sub(lane.ranks.last().map_or(0, |(_, n)| *n));
        in_lane.saturating_add((f64::from(in_lane) * (lane.turns - 1.0).max(0.0)).min(f64::from(others)) as u32)
    }
}
