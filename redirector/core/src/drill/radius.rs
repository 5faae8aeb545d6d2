//! The blast radius: how much of a farm may be down at once, and that one healthy server always stays.
//!
//! A hard limit: what is doubtful counts as down, and a share that does not allow a whole server allows none.

use std::fmt;
use std::str::FromStr;

/// The largest share of the farm's servers that may be down at once, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Radius(f64);

/// A farm, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Servers that get new sessions and were not hit.
    pub healthy: usize,
    /// Servers that are silent, forced down, or hit and not replaced yet.
    pub down: usize,
}

impl FromStr for Radius {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let percent = text.strip_suffix('%').and_then(|p| p.trim().parse::<f64>().ok());
        percent.and_then(|p| Self::new(p / 100.0)).ok_or("expected a percentage from 0% to 100%, like 25%")
    }
}

impl fmt::Display for Radius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 10_000.0).round() / 100.0)
    }
}

impl Radius {
    /// A quarter.
    pub const DEFAULT: Self = Self(0.25);

    /// A share of 0 to 1; none if it is no such number.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// Servers that may be down at once in a farm of so many.
    pub fn servers(self, total: usize) -> usize {
        // 0.29 * 100 is 28.999…: what a person calls 29 servers must not become 28.
        (self.0 * total as f64 + 1e-9).floor() as usize
    }

    /// Whether one more may go down; why not, if it may not.
    pub fn allows_one_more(self, census: Census) -> Result<(), String> {
        let Census { healthy, down } = census;
        let total = healthy + down;
        if healthy < 2 {
            return Err(format!("{healthy} healthy of {total}: the last healthy server is never hit"));
        }
        let allowed = self.servers(total);
        if down < allowed {
            return Ok(());
        }
        let needed = ((down + 1) as f64 / total as f64 * 100.0).ceil();
        Err(format!(
            "{down} of {total} are down and the blast radius {self} allows {allowed}; one more would take {needed}%"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares() {
        for (text, healthy, down, expect) in [
            ("25%", 4, 0, true),
            ("25%", 3, 0, false),
            ("34%", 3, 0, true),
            ("34%", 2, 1, false),
            ("100%", 2, 5, true),
            ("100%", 1, 0, false),
            ("100%", 0, 0, false),
            ("0%", 1000, 0, false),
            ("29%", 72, 28, true),
            ("29%", 71, 29, false),
        ] {
            let radius: Radius = text.parse().unwrap();
            assert_eq!(radius.allows_one_more(Census { healthy, down }).is_ok(), expect, "{text} {healthy} {down}");
        }
        let told = "34%".parse::<Radius>().unwrap().allows_one_more(Census { healthy: 2, down: 1 }).unwrap_err();
        assert_eq!(told, "1 of 3 are down and the blast radius 34% allows 1; one more would take 67%");
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "25", "-1%", "101%", "NaN%", "inf%", "x%"] {
            assert!(text.parse::<Radius>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_above_it_and_never_the_last(healthy in 0_usize..300, down in 0_usize..300, share in 0.0_f64..=1.0) {
            let radius = Radius::new(share).unwrap();
            if radius.allows_one_more(Census { healthy, down }).is_ok() {
                prop_assert!(healthy > 1);
                prop_assert!((down + 1) as f64 <= share * (healthy + down) as f64 + 1e-6);
            }
        }
    }
}
