//! Why: the size of the crowd over time is the experiment's one input (the top line of figure 1a in seed 003).
//! Never: no clock; time is an argument, in seconds since the start.

use super::CLIENTS_MAX;

/// Longest experiment, seconds.
pub const DURATION_S_MAX: f64 = 86_400.0;
/// Most points of a profile.
pub const POINTS_MAX: usize = 1_000;

/// Live clients over time: linear between points, level before the first, over at the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile(Vec<(f64, f64)>);

impl Profile {
    /// Reads `seconds:clients,seconds:clients,…`, seconds ascending. Two points of the same second are a step.
    ///
    /// # Errors
    /// What is wrong with which point.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for pair in text.split(',').take(POINTS_MAX + 1) {
            let wrong = |expected: &str| format!("profile point {pair:?}: expected {expected}");
            let (seconds, clients) = pair.split_once(':').ok_or_else(|| wrong("SECONDS:CLIENTS"))?;
            let seconds: f64 = seconds.trim().parse().map_err(|_| wrong("seconds as a number"))?;
            let clients: f64 = clients.trim().parse().map_err(|_| wrong("clients as a number"))?;
            if !(0.0..=DURATION_S_MAX).contains(&seconds) {
                return Err(wrong("0 to 86400 seconds"));
            }
            if !(0.0..=f64::from(CLIENTS_MAX)).contains(&clients) {
                return Err(wrong("0 to 5000 clients"));
            }
            if points.last().is_some_and(|(before, _)| *before > seconds) {
                return Err(wrong("ascending seconds"));
            }
            points.push((seconds, clients));
        }
        match points.last() {
            Some((end_s, _)) if *end_s > 0.0 && points.len() <= POINTS_MAX => Ok(Self(points)),
            _ => Err(format!("profile: expected 1 to {POINTS_MAX} points, the last after 0 seconds")),
        }
    }

    /// When the experiment is over, seconds.
    pub fn duration_s(&self) -> f64 {
        self.0.last().map_or(0.0, |(seconds, _)| *seconds)
    }

    /// Clients there should be at `at_s` seconds, not rounded.
    pub fn clients(&self, at_s: f64) -> f64 {
        let next = self.0.partition_point(|(seconds, _)| *seconds <= at_s);
        let before = next.checked_sub(1).and_then(|index| self.0.get(index));
        match (before, self.0.get(next)) {
            (Some((s0, c0)), Some((s1, c1))) => c0 + (c1 - c0) * (at_s - s0) / (s1 - s0),
            (Some((_, clients)), None) | (None, Some((_, clients))) => *clients,
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn linear_between_points() {
        let check = |text: &str, at_s: f64, expect: f64| {
            let found = Profile::parse(text).map(|profile| profile.clients(at_s));
            assert_eq!(found, Ok(expect), "{text} at {at_s}");
        };
        check("0:5,30:60,120:60,150:5", 0.0, 5.0);
        check("0:5,30:60,120:60,150:5", 15.0, 32.5);
        check("0:5,30:60,120:60,150:5", 60.0, 60.0);
        check("0:5,30:60,120:60,150:5", 1_000.0, 5.0);
        check("10:4,20:8", 0.0, 4.0);
        check("0:0,10:0,10:50,20:50", 9.0, 0.0);
        check("0:0,10:0,10:50,20:50", 10.0, 50.0);
        check(" 1:2 , 3:4 ", 2.0, 3.0);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "5",
            "0:5",
            "a:1,2:2",
            "0:x,1:1",
            "5:1,4:1",
            "0:5001,1:1",
            "0:-1,1:1",
            "0:1,86401:1",
            "NaN:1",
            "0:1,1:inf",
            "1:1,",
        ] {
            assert!(Profile::parse(text).is_err(), "{text:?}");
        }
        assert!(Profile::parse(&"1:1,".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9:,.e-]{0,40}", at_s in -10.0..1e6_f64) {
            if let Ok(profile) = Profile::parse(&text) {
                let clients = profile.clients(at_s);
                prop_assert!((0.0..=f64::from(CLIENTS_MAX)).contains(&clients), "{}", clients);
            }
        }
    }
}
