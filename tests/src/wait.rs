//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

/// Asks every 5 ms until `probe` gives something; panics with `what` after `deadline`.
pub fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        pause();
    }
}

/// Holds the condition for a span: `probe` must stay true. Returns how often it was asked.
pub fn while_holds(what: &str, span: Duration, mut probe: impl FnMut() -> bool) -> usize {
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < span {
        assert!(probe(), "{what} (after {:?})", began.elapsed());
        asked += 1;
        pause();
    }
    asked
}

#[allow(clippy::disallowed_methods, reason = "the one pause between two looks at a condition")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
