//! The ticket: `v1.<lane>.<arrival>.<nonce>.<mac>`, which keeps a visitor's place.
//!
//! The MAC (HMAC-SHA256 cut to 16 octets, base64url) covers all before it, under a key derived from the farm's secret for this purpose alone, so
//! nobody can make an arrival up. Checking one must never allocate, and its length is bounded before anything looks at it.

use crate::farm::Keys;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farm_shared::heartbeat::ROOM_LANES_MAX;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::io::Write as _;

/// The cookie that holds a ticket on plain HTTP.
pub const COOKIE_NAME: &str = "farm-room";
/// The cookie that holds a ticket on TLS: bound to this host and to TLS (RFC 6265bis 4.1.3.2).
pub const COOKIE_NAME_SECURE: &str = "__Host-farm-room";
/// The field that holds a ticket for clients without cookies, in requests and answers; lower case.
pub const HEADER_NAME: &str = "farm-ticket";
/// A ticket's text is at most this long.
pub const TICKET_BYTES_MAX: usize = 72;

const MAC_BYTES: usize = 16;
/// Doors whose clocks differ honour each other's tickets.
const SKEW_MS: u64 = 60_000;

/// A place in the queue. Ordered as those who wait are served: by lane, arrival, and, for two within a millisecond, by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Its lane.
    pub lane: u8,
    /// When its holder came, by the clock of the door he came to, in milliseconds since the epoch.
    pub arrival_ms: u64,
    /// Tells it from others.
    pub nonce: u64,
}

/// A ticket as text.
#[derive(Clone, Copy)]
pub struct TicketText {
    bytes: [u8; TICKET_BYTES_MAX],
    len: usize,
}

impl TicketText {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
    }
}

impl std::fmt::Debug for TicketText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketText(…)")
    }
}

/// The keys, newest first.
#[derive(Clone)]
pub struct TicketKeys(Vec<hmac::Key>);

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

impl TicketKeys {
    /// From the farm's secrets: the current one signs, the former ones are honoured.
    pub fn new(farm: &Id, keys: &Keys) -> Self {
        let all = std::iter::once(&keys.current).chain(&keys.former);
        Self(all.map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key.derive("room", farm, ""))).collect())
    }

    /// The ticket's text.
    pub fn text(&self, ticket: &Ticket) -> TicketText {
        let mut text = TicketText { bytes: [0; TICKET_BYTES_MAX], len: 0 };
        let mut rest = text.bytes.as_mut_slice();
        let _ = write!(rest, "v1.{}.{}.{:x}", ticket.lane, ticket.arrival_ms, ticket.nonce);
        let signed_len = TICKET_BYTES_MAX - rest.len();
        if let (Some(key), Some((signed, rest))) = (self.0.first(), text.bytes.split_at_mut_checked(signed_len))
            && let Some((dot, rest)) = rest.split_first_mut()
        {
            let mac = hmac::sign(key, signed);
            *dot = b'.';
            let mac_len = URL_SAFE_NO_PAD.encode_slice(mac.as_ref().get(..MAC_BYTES).unwrap_or_default(), rest).unwrap_or(0);
            text.len = signed_len + 1 + mac_len;
        }
        text
    }

    /// What a door signed, if it did and if it can be from one: not from the future, not older than `age_ms_max`.
    pub fn check(&self, text: &str, now: Wall, age_ms_max: u64) -> Option<Ticket> {
        if text.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (signed, mac) = text.rsplit_once('.')?;
        let mut words = signed.split('.');
        let (Some("v1"), Some(lane), Some(arrival), Some(nonce), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        let lane: u8 = lane.parse().ok().filter(|lane| usize::from(*lane) < ROOM_LANES_MAX)?;
        let arrival_ms: u64 = arrival.parse().ok()?;
        let nonce = u64::from_str_radix(nonce, 16).ok()?;
        let mut bytes = [0_u8; MAC_BYTES + 8];
        let len = URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes).ok()?;
        let mac = bytes.get(..len).filter(|m| m.len() == MAC_BYTES)?;
        let holds = |key: &hmac::Key| {
            let tag = hmac::sign(key, signed.as_bytes());
            tag.as_ref().get(..MAC_BYTES).is_some_and(|ours| constant_time::verify_slices_are_equal(ours, mac).is_ok())
        };
        let is_of_time = arrival_ms <= now.0.saturating_add(SKEW_MS) && now.0.saturating_sub(arrival_ms) <= age_ms_max;
        (is_of_time && self.0.iter().any(holds)).then_some(Ticket { lane, arrival_ms, nonce })
    }
}
