//! Dates of the Gregorian calendar, UTC, without leap seconds. One place for the arithmetic; it must never know how a date is written.

/// Year, month from 1 and day from 1 of a count of days since 1970.
///
/// Years begin in March here, so that the leap day is the last of its year; 146,097 days make 400 years.
pub fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
