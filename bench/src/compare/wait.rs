//! Why: waiting for a server to start or to end, and the wall clock that heartbeats carry, in one place.
//! Never: no unbounded wait; whoever waits gives a deadline and learns that it passed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Asks `probe` every 5 ms until it gives something; `None` once `deadline` has passed.
pub fn until<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if began.elapsed() >= deadline {
            return None;
        }
        pause();
    }
}

#[allow(clippy::disallowed_methods, reason = "the one pause between two looks at a condition")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Milliseconds since the epoch.
#[allow(clippy::disallowed_methods, reason = "the one look at the wall clock in the comparisons")]
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
