//! Somebody who asks the name server and knocks at the door all the time, and remembers what came back.
//!
//! A silent server is no mistake here (it may be down for a restart), a wrong answer is: what is neither a full answer nor a redirect is
//! kept in words.

use crate::farm::{Farm, POOL, full_answer, knock, target};
use crate::{dns, wait};
use hickory_proto::rr::RecordType;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Full answers.
    pub answers: u64,
    /// Redirects.
    pub redirects: u64,
    /// Questions and knocks without an answer.
    pub silences: u64,
    /// Answers that nobody should get.
    pub wrong: Vec<String>,
    /// When each backend was named last.
    pub named: BTreeMap<IpAddr, Instant>,
    /// When each backend got each of its new sessions.
    pub entered: BTreeMap<IpAddr, Vec<Instant>>,
}

impl Seen {
    /// When a backend was last named or given a session.
    pub fn last(&self, addr: IpAddr) -> Option<Instant> {
        self.named.get(&addr).copied().max(self.entered.get(&addr).and_then(|all| all.last()).copied())
    }
}

/// The one who asks. Stops when dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins to ask the farm's name server and its first door, each on a thread of its own.
    pub fn start(farm: &Farm) -> Self {
        let mut watch = Self { seen: Arc::default(), over: Arc::default(), threads: Vec::new() };
        let (dns, door) = (farm.dns(), farm.door_addr(0));
        watch.repeat(move || ask(dns), |seen, addr| _ = seen.named.insert(addr, Instant::now()), |seen| &mut seen.answers);
        let enter = |seen: &mut Seen, addr| seen.entered.entry(addr).or_default().push(Instant::now());
        watch.repeat(move || enter_by(door), enter, |seen| &mut seen.redirects);
        watch
    }

    fn repeat(
        &mut self,
        ask: impl Fn() -> Option<Result<Vec<IpAddr>, String>> + Send + 'static,
        note: impl Fn(&mut Seen, IpAddr) + Send + 'static,
        count: impl Fn(&mut Seen) -> &mut u64 + Send + 'static,
    ) {
        let (seen, over) = (Arc::clone(&self.seen), Arc::clone(&self.over));
        self.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let answer = ask();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match answer {
                    None => seen.silences += 1,
                    Some(Err(wrong)) => seen.wrong.push(wrong),
                    Some(Ok(addrs)) => {
                        *count(&mut seen) += 1;
                        for addr in addrs {
                            note(&mut seen, addr);
                        }
                    }
                }
                drop(seen);
                wait::pause();
            }
        }));
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many more answers and redirects came, and checks that none was wrong.
    pub fn goes_on(&self, more: u64) {
        let Seen { answers, redirects, .. } = *self.seen();
        wait::until("more answers and redirects", crate::daemon::SOON, || {
            let seen = self.seen();
            assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
            (seen.answers >= answers + more && seen.redirects >= redirects + more).then_some(())
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

fn ask(server: SocketAddr) -> Option<Result<Vec<IpAddr>, String>> {
    let answer = dns::udp(server, &dns::query(POOL, RecordType::A)).ok()?;
    Some(full_answer(&answer).map_err(|what| format!("{POOL}: {what}")))
}

fn enter_by(door: SocketAddr) -> Option<Result<Vec<IpAddr>, String>> {
    let response = knock(door, "").ok()?;
    Some(target(&response).map(|addr| vec![addr]).ok_or_else(|| format!("the door: {response:?}")))
}
