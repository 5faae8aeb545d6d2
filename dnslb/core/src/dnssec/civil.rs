//! Times as DNSSEC's presentation formats write them: `YYYYMMDDHHMMSS` in UTC (RFC 4034 section 3.2).
//!
//! The proleptic Gregorian calendar, no leap seconds. Seconds are those of the Unix epoch, so that nothing here reads a clock.

/// `YYYYMMDDHHMMSS` of a time in seconds since the epoch.
pub fn compact(epoch_s: u64) -> String {
    let (days, second) = (epoch_s / 86_400, epoch_s % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// Seconds since the epoch of `YYYYMMDDHHMMSS`; `None` if it is none, or before the epoch.
pub fn from_compact(text: &str) -> Option<u64> {
    if text.len() != 14 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of(year, month, day)?;
    (date(days) == (year, month, day)).then_some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Year, month and day of a count of days since the epoch.
///
/// Years start in March here, so that the leap day is the last one; 146,097 days make 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Days since the epoch; `None` for a month or day that no month has, or before the epoch.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year) = (year / 400, year % 400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day = (153 * month + 2) / 5 + day - 1;
    (era * 146_097 + year * 365 + year / 4 - year / 100 + day).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let check = |epoch_s: u64, text: &str| {
            assert_eq!(compact(epoch_s), text);
            assert_eq!(from_compact(text), Some(epoch_s), "{text}");
        };
        check(0, "19700101000000");
        check(951_782_400, "20000229000000");
        check(1_440_021_600, "20150819220000");
        check(4_107_542_399, "21000228235959");
        check(4_107_542_400, "21000301000000");
        for bad in
            ["", "2015081922000", "20150230000000", "20151301000000", "20150100000000", "2015010124000a", "19691231235959"]
        {
            assert_eq!(from_compact(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(epoch_s in 0_u64..250_000_000_000) {
            prop_assert_eq!(from_compact(&compact(epoch_s)), Some(epoch_s));
        }
    }
}
