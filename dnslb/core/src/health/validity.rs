//! Until when a certificate is valid: the one thing about X.509 that a check and a metric need to know.
//!
//! It reads the few fields on the way to the dates (RFC 5280 4.1) and judges none of them. Octets from a stranger: never a panic.

use farm_shared::time::Wall;

const SEQUENCE: u8 = 0x30;
/// The explicit tag of the version.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const DAY_S: i64 = 86_400;

/// The end of a certificate's validity, from its DER form; `None` if it is no certificate. A date before 1970 is 1970.
pub fn not_after(certificate: &[u8]) -> Option<Wall> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (signed, _) = value(certificate, SEQUENCE)?;
    let mut rest = signed;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (validity, _) = value(rest, SEQUENCE)?;
    let (_, _, end) = any(validity)?;
    let (tag, text, _) = any(end)?;
    let seconds = time_s(tag, text)?;
    Some(Wall(u64::try_from(seconds.max(0)).ok()?.saturating_mul(1_000)))
}

/// Whole days from `now` to `end`; negative once it is over.
pub fn days_left(end: Wall, now: Wall) -> i64 {
    (end.0 as i64).saturating_sub(now.0 as i64).div_euclid(DAY_S * 1_000)
}

/// The value of the element that `der` begins with, which must have this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = any(der)?;
    (found == tag).then_some((value, rest))
}

/// Tag and value of the element that `der` begins with, and what follows it.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first & 0x80 != 0 {
        let octets = usize::from(first & 0x7f);
        if octets == 0 || octets > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(octets)?;
        len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        rest = after;
    }
    let (value, rest) = rest.split_at_checked(len)?;
    Some((tag, value, rest))
}

/// Seconds since 1970 of a time in the form that RFC 5280 4.1.2.5 prescribes: seconds present, in UTC.
fn time_s(tag: u8, text: &[u8]) -> Option<i64> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (digits, rest) = text.split_at_checked(2)?;
            let year = number(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (digits, rest) = text.split_at_checked(4)?;
            (number(digits)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 11 || rest.last() != Some(&b'Z') {
        return None;
    }
    let mut parts = rest.chunks_exact(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    in_range.then(|| days_since_1970(year, month, day) * DAY_S + hour * 3_600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, with years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn element(tag: u8, value: &[u8]) -> Vec<u8> {
        let len = value.len();
        let head = if len < 128 { vec![tag, len as u8] } else { vec![tag, 0x82, (len >> 8) as u8, len as u8] };
        [head, value.to_vec()].concat()
    }

    fn certificate(version: bool, tag: u8, end: &[u8]) -> Vec<u8> {
        let validity = element(SEQUENCE, &[element(UTC_TIME, b"700101000000Z"), element(tag, end)].concat());
        let version = if version { element(VERSION, &[2, 1, 2]) } else { Vec::new() };
        let fields = [version, element(2, &[1]), element(SEQUENCE, &[]), element(SEQUENCE, &[0; 200]), validity].concat();
        element(SEQUENCE, &element(SEQUENCE, &fields))
    }

    #[test]
    fn ends_of_validity() {
        let check = |tag, text: &[u8], expect: Option<u64>| {
            for version in [true, false] {
                let found = not_after(&certificate(version, tag, text));
                assert_eq!(found, expect.map(|s| Wall(s * 1_000)), "{}", String::from_utf8_lossy(text));
            }
        };
        check(UTC_TIME, b"700102000000Z", Some(86_400));
        check(UTC_TIME, b"491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, b"500101000000Z", Some(0));
        check(GENERALIZED_TIME, b"20240229120001Z", Some(1_709_208_001));
        check(GENERALIZED_TIME, b"99991231235959Z", Some(253_402_300_799));
        check(GENERALIZED_TIME, b"20240229120001", None);
        check(GENERALIZED_TIME, b"20241329120001Z", None);
        check(UTC_TIME, b"2402291200Z", None);
        check(4, b"240229120001Z", None);
    }

    #[test]
    fn days_are_whole() {
        let day = 86_400_000;
        for (end, now, expect) in [(day, 0, 1), (day, 1, 0), (0, 1, -1), (10 * day, 0, 10), (0, 2 * day, -2)] {
            assert_eq!(days_left(Wall(end), Wall(now)), expect);
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(mut octets: Vec<u8>, at: usize, with: u8) {
            let _ = not_after(&octets);
            octets = certificate(true, UTC_TIME, b"700102000000Z");
            let len = octets.len();
            octets[at % len] = with;
            let _ = not_after(&octets);
            octets.truncate(at % len);
            prop_assert_eq!(not_after(&octets), None);
        }
    }
}
