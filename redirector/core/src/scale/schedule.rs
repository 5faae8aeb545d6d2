//! Floors by the clock: at least so many servers on these days between these hours, because somebody knows what comes.
//!
//! Times are UTC, so that no change of a time zone's rules moves a floor.

use std::str::FromStr;

const MINUTE_MS: u64 = 60_000;
const DAY_MIN: u64 = 24 * 60;
/// 1 January 1970 was a Thursday; days are counted from Monday.
const EPOCH_WEEKDAY: u64 = 3;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// One floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// On which days it begins, Monday first.
    pub days: [bool; 7],
    /// When it begins, in minutes from midnight.
    pub from_min: u32,
    /// When it ends; at or before the beginning: on the next day.
    pub to_min: u32,
    /// Fewest servers meanwhile.
    pub servers: u32,
}

/// A day of the week as a number from Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekday(pub usize);

/// A time of day in minutes from midnight, written `07:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay(pub u32);

/// What could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl FromStr for Weekday {
    type Err = Unreadable;
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        NAMES.iter().position(|name| *name == text).map(Self).ok_or(Unreadable)
    }
}

impl FromStr for TimeOfDay {
    type Err = Unreadable;
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let part = |text: &str, below: u32| {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>().ok().filter(|n| digits && *n < below).ok_or(Unreadable)
        };
        let (hours, minutes) = text.split_once(':').ok_or(Unreadable)?;
        // 24:00 is the end of a day.
        if text == "24:00" { Ok(Self(DAY_MIN as u32)) } else { Ok(Self(part(hours, 24)? * 60 + part(minutes, 60)?)) }
    }
}

impl Floor {
    /// Whether it holds at a time, milliseconds since the epoch.
    pub fn holds(&self, wall_ms: u64) -> bool {
        let minute = wall_ms / MINUTE_MS;
        let (day, of_day) = (minute / DAY_MIN, (minute % DAY_MIN) as u32);
        let begins = |day: u64| self.days.get(((day + EPOCH_WEEKDAY) % 7) as usize).copied().unwrap_or(false);
        if self.from_min < self.to_min {
            return begins(day) && (self.from_min..self.to_min).contains(&of_day);
        }
        (begins(day) && of_day >= self.from_min) || (day > 0 && begins(day - 1) && of_day < self.to_min)
    }
}

/// The highest floor that holds now or within `lead_ms`: what is to be there by then must be launched now.
pub(super) fn floor_at(floors: &[Floor], wall_ms: u64, lead_ms: u64) -> u32 {
    let soon = wall_ms.saturating_add(lead_ms);
    floors.iter().filter(|f| f.holds(wall_ms) || f.holds(soon)).map(|f| f.servers).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Saturday 21 November 2026, 00:00 UTC.
    const SATURDAY_MS: u64 = 1_795_219_200_000;

    #[test]
    fn words() {
        let time = |text: &str| text.parse::<TimeOfDay>().map(|t| t.0);
        for (text, expect) in [("00:00", Ok(0)), ("07:30", Ok(450)), ("24:00", Ok(1_440)), ("24:01", Err(Unreadable))] {
            assert_eq!(time(text), expect, "{text}");
        }
        for text in ["", ":", "7:30", "07:3", "07:60", "+7:30", "0730", "07:30:00", "é7:30"] {
            assert_eq!(time(text), Err(Unreadable), "{text}");
        }
        assert_eq!(["mon", "sun", "Mon"].map(|d| d.parse::<Weekday>().ok()), [Some(Weekday(0)), Some(Weekday(6)), None]);
    }

    #[test]
    fn floors_hold_on_their_days_and_over_midnight() {
        let days = |names: &[&str]| {
            let mut days = [false; 7];
            for name in names {
                days[name.parse::<Weekday>().unwrap().0] = true;
            }
            days
        };
        let at = |day: u64, hour: u64, minute: u64| SATURDAY_MS + ((day * 24 + hour) * 60 + minute) * 60_000;
        let day = Floor { days: days(&["sat"]), from_min: 8 * 60, to_min: 20 * 60, servers: 5 };
        let night = Floor { days: days(&["sat"]), from_min: 22 * 60, to_min: 6 * 60, servers: 3 };
        let always = Floor { days: [true; 7], from_min: 0, to_min: 0, servers: 1 };
        for (floor, time, expect) in [
            (day, at(0, 7, 59), false),
            (day, at(0, 8, 0), true),
            (day, at(0, 19, 59), true),
            (day, at(0, 20, 0), false),
            (day, at(1, 12, 0), false),
            (day, at(7, 12, 0), true),
            (night, at(0, 5, 0), false),
            (night, at(0, 23, 0), true),
            (night, at(1, 5, 59), true),
            (night, at(1, 6, 0), false),
            (night, at(1, 23, 0), false),
            (always, at(3, 3, 3), true),
            (always, 0, true),
        ] {
            assert_eq!(floor.holds(time), expect, "{floor:?} at {time}");
        }
        let floors = [day, night];
        assert_eq!(floor_at(&floors, at(0, 7, 57), 120_000), 0);
        assert_eq!(floor_at(&floors, at(0, 7, 58), 120_000), 5, "a lead time early");
        assert_eq!(floor_at(&floors, at(0, 19, 59), 120_000), 5);
        assert_eq!(floor_at(&[], 0, 0), 0);
    }
}
