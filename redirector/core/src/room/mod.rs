//! The waiting room: new sessions wait their turn while no server has a place, so that running sessions keep theirs.
//!
//! *Who is before whom* is decided by the arrival in a signed [`Ticket`] that the visitor keeps. A door needs no memory of it, so a
//! place survives restarts and holds at every door; a [`Ledger`] only remembers who has asked lately, because those who left must
//! not hold up the others, and which tickets were used.
//!
//! *Who may enter* is a [`Gate`] in the snapshot: the control loop ([`Room::step`]) counts the free places of the farm and moves
//! each lane's watermark to the arrival of the last waiter for whom there is one. Doors tell each other a few points of the
//! distribution of their waiters' arrivals, and every door places its watermark by all of them; so no door has a share of the places to
//! itself, and an idle one holds nothing back. Between two ticks a door only compares two numbers.
//!
//! *How often* visitors ask follows from their place: about half the time until their turn, between bounds, and never more than a
//! door wants to answer in a second. Asking early changes nothing.
//!
//! What may be out of order: two visitors whose arrivals at two doors differ by less than what these doors' clocks do; who was told to come
//! back later than his turn; and, after a restart, those who come back within the first moments. Nothing else: a newcomer never
//! passes anybody who waits, even if a place is free that moment.
//!
//! This module must never let in more than the servers have places for (the picker has the last word), never turn away a running
//! session, and never believe an arrival that no door has signed.

mod forecast;
mod gate;
mod lanes;
mod ledger;
mod pace;
mod page;
mod step;
mod ticket;
mod words;

pub use forecast::{Estimate, Forecast, Launch};
pub use gate::{Admission, Asker, Gate, LaneGate, Wait, Whence, admit};
pub use lanes::{Lanes, lane_key};
pub use ledger::{Answer, Digest, LaneDigest, Ledger, Totals};
pub use pace::Pace;
pub use page::{Pages, Reader};
pub use step::{Input, LaneStatus, Room, RoomStatus, SavedRoom};
pub use ticket::{COOKIE_NAME, COOKIE_NAME_SECURE, HEADER_NAME, TICKET_BYTES_MAX, Ticket, TicketKeys, TicketText};

#[cfg(test)]
mod tests;

use farm_shared::time::Mono;

/// What the shell tells the control loop with every tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Who waits at this door.
    pub digest: Digest,
    /// Free places on all servers, by what they reported and what this door has sent them since.
    pub free: u32,
}

/// Who waits at this door, as the workers share it. The shell guards a [`Ledger`] with it; it stands beside the snapshot like the
/// counters of dispatches.
pub trait Waiters {
    /// Somebody waits here: newcomers must not pass, whatever the snapshot says that is older.
    fn is_busy(&self) -> bool;
    /// A ticket is used up, if it was good still.
    fn enter(&self, ticket: Ticket) -> Answer;
    /// Somebody asks whether it is his turn, and it is not; he is told to be back at `due`.
    fn ask(&self, ticket: Ticket, is_new: bool, now: Mono, due: Mono) -> Answer;
    /// A number that no other ticket of this door has.
    fn nonce(&self) -> u64;
    /// A ticket was shown that no door has signed, or that says what no door says.
    fn forged(&self);
}

/// Nobody waits, and nobody can: for tests and where there is no waiting room.
impl Waiters for () {
    fn is_busy(&self) -> bool {
        false
    }

    fn enter(&self, _ticket: Ticket) -> Answer {
        Answer::Used
    }

    fn ask(&self, _ticket: Ticket, _is_new: bool, _now: Mono, _due: Mono) -> Answer {
        Answer::Full
    }

    fn nonce(&self) -> u64 {
        0
    }

    fn forged(&self) {}
}
