//! The two clocks. Leases and timers use [`Mono`], signatures and MACs use [`Wall`].
//!
//! A wall clock may jump; a monotonic one does not survive a restart. Keeping them apart in types keeps a jump from
//! expiring every lease of a farm at once. Nothing here reads a clock: a daemon's shell does, once per event.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds on a clock that never goes backwards; its origin is the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Milliseconds since the Unix epoch, as the operating system tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For leases and timers.
    pub mono: Mono,
    /// For signatures, MACs and what is written to disk.
    pub wall: Wall,
}

impl Mono {
    /// A time that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time and `ms` more; saturates at [`Mono::NEVER`].
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        self.plus_ms(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Sub for Mono {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_millis(self.since_ms(rhs))
    }
}

impl Wall {
    /// Milliseconds between two readings, whichever is the later.
    pub fn distance_ms(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

impl Now {
    /// Both clocks `ms` later: what virtual time does in tests and simulations.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self { mono: self.mono.plus_ms(ms), wall: Wall(self.wall.0.saturating_add(ms)) }
    }
}
