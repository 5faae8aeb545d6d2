//! Who is connected over TCP, and who has to go when there are too many.
//!
//! The table is locked when a connection begins or ends, never per query.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The table of connections.
#[derive(Default)]
pub struct Clients {
    table: Mutex<Table>,
    /// Orders the connections by their last question: every whole question takes the next number.
    sequence: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
}

#[derive(Default)]
struct Table {
    connections: BTreeMap<u64, Arc<Entry>>,
    per_client: BTreeMap<IpAddr, usize>,
}

struct Entry {
    client: IpAddr,
    last: AtomicU64,
    evict: Notify,
}

/// A place in the table, given back when dropped.
pub struct Admitted {
    clients: Arc<Clients>,
    number: u64,
    entry: Arc<Entry>,
}

impl Clients {
    /// Takes a connection in; `None` if its client has as many as it may. Above `connections_max`, the connection whose last question is the
    /// oldest is told to end: a search over all, but only for a connection beyond the cap.
    pub fn admit(self: &Arc<Self>, client: IpAddr, connections_max: usize, per_client_max: usize) -> Option<Admitted> {
        let client = counted_as(client);
        let mut table = self.lock();
        let count = table.per_client.entry(client).or_insert(0);
        if *count >= per_client_max {
            if *count == 0 {
                table.per_client.remove(&client);
            }
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        *count += 1;
        if table.connections.len() >= connections_max {
            let oldest = table.connections.iter().min_by_key(|(_, entry)| entry.last.load(Relaxed)).map(|(n, _)| *n);
            if let Some(entry) = oldest.and_then(|number| table.connections.remove(&number)) {
                entry.evict.notify_one();
                self.evicted.fetch_add(1, Relaxed);
            }
        }
        let number = self.accepted.fetch_add(1, Relaxed);
        let last = AtomicU64::new(self.sequence.fetch_add(1, Relaxed));
        let entry = Arc::new(Entry { client, last, evict: Notify::new() });
        table.connections.insert(number, Arc::clone(&entry));
        drop(table);
        Some(Admitted { clients: Arc::clone(self), number, entry })
    }

    /// Connections that are open; accepted, refused and evicted so far.
    pub fn counts(&self) -> (usize, [u64; 3]) {
        let open = self.lock().connections.len();
        (open, [&self.accepted, &self.refused, &self.evicted].map(|counter| counter.load(Relaxed)))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// A whole question came.
    pub fn active(&self) {
        self.entry.last.store(self.clients.sequence.fetch_add(1, Relaxed), Relaxed);
    }

    /// Returns when the connection has to make room for another.
    pub async fn evicted(&self) {
        self.entry.evict.notified().await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut table = self.clients.lock();
        table.connections.remove(&self.number);
        if let Some(count) = table.per_client.get_mut(&self.entry.client) {
            *count -= 1;
            if *count == 0 {
                table.per_client.remove(&self.entry.client);
            }
        }
    }
}

/// Whom an address counts as: an IPv6 client commands a whole /64.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_share_and_gives_it_back() {
        let clients = Arc::new(Clients::default());
        let first = clients.admit(ip("2001:db8::1"), 10, 2).unwrap();
        let _second = clients.admit(ip("2001:db8::2"), 10, 2).unwrap();
        assert!(clients.admit(ip("2001:db8::3"), 10, 2).is_none());
        assert!(clients.admit(ip("2001:db8:0:1::3"), 10, 2).is_some());
        drop(first);
        assert!(clients.admit(ip("2001:db8::3"), 10, 2).is_some());
        assert!(clients.admit(ip("192.0.2.1"), 10, 0).is_none());
        assert_eq!(clients.counts(), (1, [4, 2, 0]));
        assert_eq!(clients.lock().per_client.len(), 1);
    }

    #[tokio::test]
    async fn the_longest_idle_makes_room() {
        let clients = Arc::new(Clients::default());
        let all: Vec<Admitted> = (1..=3).map(|i| clients.admit(ip(&format!("192.0.2.{i}")), 3, 1).unwrap()).collect();
        all[0].active();
        let _new = clients.admit(ip("192.0.2.9"), 3, 1).unwrap();
        all[1].evicted().await;
        assert_eq!(clients.counts(), (3, [4, 0, 1]));
        drop(all);
        assert_eq!(clients.counts().0, 1);
        assert_eq!(clients.lock().per_client.len(), 1);
    }
}
