//! The one place where the agent reads clocks, so that the logic can be given any time at all.

use farm_shared::time::{Mono, Now, Wall};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A timer beyond this is set anew when it fires.
const FAR: Duration = Duration::from_secs(1_000);

/// Both clocks; the monotonic one counts from [`Clock::start`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let mono = Mono(millis(self.start.elapsed()));
        #[expect(clippy::disallowed_methods, reason = "this is the crate's clock module")]
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall: Wall(millis(wall)) }
    }

    /// When `mono` comes, for a timer; [`FAR`] from now at the latest.
    pub(crate) fn instant(&self, mono: Mono) -> Instant {
        let far = Instant::now() + FAR;
        self.start.checked_add(Duration::from_millis(mono.0)).map_or(far, |at| at.min(far))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
