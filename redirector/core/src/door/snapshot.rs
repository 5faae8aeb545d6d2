//! What the workers see of one farm: an immutable picture, replaced whole.
//!
//! It must never be changed once published; what changes between two snapshots is only the counters beside it.

use super::cookie::CookieKeys;
use crate::room::Gate;
use crate::route::Table;
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::{Mono, Now};
use std::net::IpAddr;

/// One picture of the farm.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Rises by one with every publication.
    pub generation: u64,
    /// When it was built.
    pub built: Mono,
    /// For 503, in seconds.
    pub retry_after_s: u32,
    /// Affinity cookies.
    pub cookies: CookieKeys,
    /// Every member, ordered by id.
    pub servers: Vec<Server>,
    /// Indices of `servers` by slot; `u32::MAX` where a slot is free.
    pub by_slot: Vec<u32>,
    /// Where new sessions go; it indexes `servers`.
    pub table: Table,
    /// The waiting room, if there is one.
    pub room: Option<Gate>,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its number for counters: stable while it is a member, used again afterwards.
    pub slot: u32,
    /// Its id.
    pub id: Id,
    /// Scheme and authority of its service, without a path; empty if it has no address of the kind that the target wants.
    pub location_prefix: std::sync::Arc<str>,
    /// What it announced.
    pub addrs: Vec<IpAddr>,
    /// What it is good for.
    pub standing: Standing,
    /// Whether new sessions may go there: its standing, and its name being published.
    pub takes_new: bool,
    /// When the load that the table uses was reported.
    pub heard: Mono,
    /// Its counter of dispatches at that time.
    pub dispatch_base: u32,
}

impl Snapshot {
    /// The index that [`Snapshot::by_slot`] is.
    pub fn index_slots(servers: &[Server]) -> Vec<u32> {
        let slots = servers.iter().map(|s| s.slot as usize + 1).max().unwrap_or(0);
        let mut by_slot = vec![u32::MAX; slots];
        for (at, server) in servers.iter().enumerate() {
            if let Some(entry) = by_slot.get_mut(server.slot as usize) {
                *entry = at as u32;
            }
        }
        by_slot
    }

    /// A server by id.
    pub fn server(&self, id: &str) -> Option<&Server> {
        let at = self.servers.binary_search_by(|s| s.id.as_str().cmp(id)).ok()?;
        self.servers.get(at)
    }

    /// The server that has a slot.
    pub fn server_at(&self, slot: u32) -> Option<&Server> {
        self.servers.get(*self.by_slot.get(slot as usize)? as usize)
    }

    /// The value of `Set-Cookie` that brings a session back to a backend. It is the same for all sessions of a backend in one second
    /// of wall time. The one allocation of a redirect.
    pub fn set_cookie(&self, slot: u32, secure: bool, now: Now) -> Option<String> {
        Some(self.cookies.set_cookie(&self.server_at(slot)?.id, secure, now.wall))
    }
}
