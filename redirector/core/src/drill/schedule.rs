//! When a drill may hit: `mon-fri 09:00-17:00` is a window, `thu 10:30` a point. Times are UTC.
//!
//! Wall clocks jump: a point must never come twice because a clock was set back, and a round must never come early because one was
//! set forward, so the distance of rounds is measured on the other clock, by the [`super::Runner`].

use farm_shared::time::Wall;
use std::fmt;
use std::str::FromStr;

const DAY_MIN: u64 = 1_440;
const MINUTE_MS: u64 = 60_000;
const ENTRIES_MAX: usize = 64;
/// A point is met when it was passed by no more than so many minutes: a clock that was set forward over it skips it.
const POINT_MINUTES: u64 = 2;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Windows and points of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Monday first.
    days: [bool; 7],
    /// Minutes of the day.
    from: u64,
    /// None: a point. At or before `from`: of the next day.
    to: Option<u64>,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSchedule(String);

impl fmt::Display for BadSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {:?}, expected [DAYS ]HH:MM[-HH:MM],… in UTC, like \"mon-fri 09:00-17:00, sun 03:30\"", self.0)
    }
}

impl std::error::Error for BadSchedule {}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let entry = |part: &str| entry(part).ok_or_else(|| BadSchedule(part.trim().chars().take(80).collect()));
        let entries: Vec<Entry> = text.split(',').take(ENTRIES_MAX + 1).map(entry).collect::<Result<_, _>>()?;
        if entries.len() > ENTRIES_MAX { Err(BadSchedule(format!("more than {ENTRIES_MAX}"))) } else { Ok(Self(entries)) }
    }
}

fn entry(text: &str) -> Option<Entry> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (days, times) = match words.as_slice() {
        [times] => ([true; 7], *times),
        [days, times] => (read_days(days)?, *times),
        _ => return None,
    };
    match times.split_once('-') {
        None => Some(Entry { days, from: minute(times)?, to: None }),
        Some((from, to)) => {
            let (from, to) = (minute(from)?, minute(to)?);
            (from != to).then_some(Entry { days, from, to: Some(to) })
        }
    }
}

fn read_days(text: &str) -> Option<[bool; 7]> {
    let number = |name: &str| DAYS.iter().position(|d| *d == name);
    if text == "daily" {
        return Some([true; 7]);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    let mut days = [false; 7];
    for step in 0..=(last + 7 - first) % 7 {
        *days.get_mut((first + step) % 7)? = true;
    }
    Some(days)
}

fn minute(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |t: &str| (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u64>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// The day of the week, Monday 0, of a day after the epoch, which was a Thursday.
fn weekday(day: u64) -> usize {
    ((day + 3) % 7) as usize
}

impl Entry {
    fn has(&self, day: u64) -> bool {
        self.days.get(weekday(day)).copied().unwrap_or(false)
    }
}

impl Schedule {
    /// Whether a window is open.
    pub fn is_open(&self, wall: Wall) -> bool {
        let minutes = wall.0 / MINUTE_MS;
        let (day, minute) = (minutes / DAY_MIN, minutes % DAY_MIN);
        self.0.iter().any(|e| match e.to {
            None => false,
            Some(to) if to > e.from => e.has(day) && (e.from..to).contains(&minute),
            Some(to) => (e.has(day) && minute >= e.from) || (day > 0 && e.has(day - 1) && minute < to),
        })
    }

    /// The point that has just come, as minutes after the epoch.
    pub fn point(&self, wall: Wall) -> Option<u64> {
        let minutes = wall.0 / MINUTE_MS;
        let is_point = |at: &u64| self.0.iter().any(|e| e.to.is_none() && e.from == at % DAY_MIN && e.has(at / DAY_MIN));
        (0..=POINT_MINUTES).filter_map(|ago| minutes.checked_sub(ago)).find(is_point)
    }

    /// The next begin of a window or point after `wall`; none within a week means never.
    pub fn next(&self, wall: Wall) -> Option<Wall> {
        let day = wall.0 / MINUTE_MS / DAY_MIN;
        let begins = |day: u64| {
            let today = self.0.iter().filter(move |e| e.has(day));
            today.map(move |e| Wall((day * DAY_MIN + e.from) * MINUTE_MS)).filter(|at| *at > wall).min()
        };
        (day..=day + 7).find_map(begins)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 2026-11-16 was a Monday.
    const MONDAY: u64 = 20_773;

    fn at(day: u64, minute: u64) -> Wall {
        Wall(((MONDAY + day) * DAY_MIN + minute) * MINUTE_MS + 30_000)
    }

    #[test]
    fn windows_and_points() {
        let check = |text: &str, day: u64, minute: u64, open: bool, point: bool| {
            let schedule: Schedule = text.parse().unwrap();
            let wall = at(day, minute);
            assert_eq!((schedule.is_open(wall), schedule.point(wall).is_some()), (open, point), "{text} {day} {minute}");
        };
        check("mon-fri 09:00-17:00", 0, 540, true, false);
        check("mon-fri 09:00-17:00", 4, 1_019, true, false);
        check("mon-fri 09:00-17:00", 4, 1_020, false, false);
        check("mon-fri 09:00-17:00", 5, 600, false, false);
        check("sat-mon 09:00-17:00", 0, 600, true, false);
        check("sat-mon 09:00-17:00", 1, 600, false, false);
        check("fri 22:00-02:00", 4, 1_439, true, false);
        check("fri 22:00-02:00", 5, 119, true, false);
        check("fri 22:00-02:00", 5, 120, false, false);
        check("fri 22:00-02:00", 4, 60, false, false);
        check("thu 10:30", 3, 630, false, true);
        check("thu 10:30", 3, 632, false, true);
        check("thu 10:30", 3, 633, false, false);
        check("thu 10:30", 2, 630, false, false);
        check("00:00", 6, 0, false, true);
        check("daily 01:00, sun 03:30-03:31", 6, 210, true, false);
        let schedule: Schedule = "tue 10:00, sun 03:00-04:00".parse().unwrap();
        assert_eq!(schedule.next(at(0, 0)), Some(Wall(at(1, 600).0 - 30_000)));
        assert_eq!(schedule.next(at(1, 600)), Some(Wall(at(6, 180).0 - 30_000)));
        assert_eq!(schedule.next(at(6, 180)), Some(Wall(at(8, 600).0 - 30_000)));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "mon", "25:00", "09:60", "9:00", "09:00-09:00", "mon-x 09:00", "mon tue 09:00", "09:00,", "+9:00"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
