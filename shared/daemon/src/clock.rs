//! The one place that reads clocks and asks the operating system for randomness. What a decision was given can be recorded
//! because nothing else does.

use farm_shared::draw::Draws;
use farm_shared::time::{Mono, Now, Wall};
use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks; the monotonic one counts from the clock's making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic time is 0 now. One per process, copied to whoever needs it.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// One reading of both.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Self::wall() }
    }

    /// The monotonic clock alone.
    pub fn mono(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The wall clock alone; 0 if it stands before 1970.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
    fn wall() -> Wall {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant of a monotonic time, for timers. `None` if it is too far away to come.
    pub fn instant(&self, mono: Mono) -> Option<Instant> {
        self.start.checked_add(std::time::Duration::from_millis(mono.0))
    }
}

/// The root of all draws of a process, seeded by the operating system.
pub fn draws_from_os() -> io::Result<Draws> {
    secret_from_os().map(Draws::from_seed)
}

/// Octets that nobody can guess: a private key.
pub fn secret_from_os() -> io::Result<[u8; 32]> {
    let mut octets = [0; 32];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| io::Error::other("the operating system gave no random octets"))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward_from_where_they_should() {
        let clock = Clock::start();
        let (a, b) = (clock.now(), clock.now());
        assert!(b.mono >= a.mono && a.mono.0 < 60_000);
        assert!(a.wall.0 > 1_600_000_000_000);
        assert!(clock.instant(Mono::NEVER).is_none_or(|i| i > clock.start));
    }

    #[test]
    fn two_seeds_differ() {
        assert_ne!(draws_from_os().expect("seed").u64(), draws_from_os().expect("seed").u64());
    }
}
