//! What the instance metadata service's documents say, as data.
//!
//! Pure: text in, a notice or a reason out. It must never guess: a document that cannot be read is an error, not "no notice".
//! The documents are those of the EC2 user guide (spot instance interruption notices, rebalance recommendations, scheduled events).

use farm_shared::heartbeat::{Notice, NoticeKind};
use serde::Deserialize;

/// Events that end an instance, or the service on it for a while.
const MAINTENANCE_CODES: [&str; 5] =
    ["instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"];
/// More than an instance ever has.
const EVENTS_MAX: usize = 64;

#[derive(Deserialize)]
struct Action {
    action: String,
    time: String,
}

#[derive(Deserialize)]
struct Recommendation {
    #[serde(rename = "noticeTime")]
    notice_time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scheduled {
    not_before: String,
    code: String,
    #[serde(default)]
    state: String,
}

/// `spot/instance-action`: `{"action": "terminate", "time": "2026-09-18T08:22:00Z"}`. `stop` and `hibernate` end sessions as well.
pub(super) fn interruption(text: &str) -> Result<Notice, String> {
    let action: Action = serde_json::from_str(text).map_err(|e| format!("spot/instance-action: {e}"))?;
    let at_ms = utc_ms(&action.time)
        .ok_or_else(|| format!("spot/instance-action: found time {:?} of {:?}", action.time, action.action))?;
    Ok(Notice { kind: NoticeKind::Interruption, at_ms })
}

/// `events/recommendations/rebalance`: `{"noticeTime": "2026-10-27T08:22:00Z"}`.
pub(super) fn rebalance(text: &str) -> Result<Notice, String> {
    let told: Recommendation = serde_json::from_str(text).map_err(|e| format!("rebalance: {e}"))?;
    let at_ms = utc_ms(&told.notice_time).ok_or_else(|| format!("rebalance: found noticeTime {:?}", told.notice_time))?;
    Ok(Notice { kind: NoticeKind::Rebalance, at_ms })
}

/// `events/maintenance/scheduled`: a list of events; the earliest that is not over counts.
pub(super) fn maintenance(text: &str) -> Result<Option<Notice>, String> {
    let events: Vec<Scheduled> = serde_json::from_str(text).map_err(|e| format!("scheduled events: {e}"))?;
    let mut earliest: Option<Notice> = None;
    for event in events.iter().take(EVENTS_MAX) {
        if !MAINTENANCE_CODES.contains(&event.code.as_str()) || !matches!(event.state.as_str(), "" | "active") {
            continue;
        }
        let at_ms = gmt_ms(&event.not_before)
            .ok_or_else(|| format!("scheduled events: found NotBefore {:?} of {:?}", event.not_before, event.code))?;
        let notice = Notice { kind: NoticeKind::Maintenance, at_ms };
        earliest = Some(earliest.map_or(notice, |e| e.min(notice)));
    }
    Ok(earliest)
}

/// `2026-09-18T08:22:00Z` (RFC 3339, UTC only; a fraction of a second is cut off) in milliseconds since the epoch.
fn utc_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    parts.next().is_none().then(|| ms(year, month, day, time))?
}

/// `21 Jan 2026 09:00:43 GMT` in milliseconds since the epoch.
fn gmt_ms(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).take(6).collect();
    let &[day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|m| *m == month)? as u64 + 1;
    ms(number(year, 4)?, month, number(day, day.len().clamp(1, 2))?, time)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The time since the epoch of a date of the Gregorian calendar, 1970 and later.
fn ms(year: u64, month: u64, day: u64, time: &str) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let mut parts = time.split(':');
    let (h, m, s) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    // A leap second counts as the second after it.
    if parts.next().is_some() || !(1..=length).contains(&day) || year < 1970 || h > 23 || m > 59 || s > 60 {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let months: u64 = lengths.iter().take(month as usize - 1).sum();
    let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + months + day - 1;
    Some(((days * 24 + h) * 3_600 + m * 60 + s) * 1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (text, expect) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2017-09-18T08:22:00Z", Some(1_505_722_920_000)),
            ("2000-02-29T23:59:59.250Z", Some(951_868_799_000)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400_000)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-09-18T24:00:00Z", None),
            ("2026-09-18T08:22:00+02:00", None),
            ("2026-09-18 08:22:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("", None),
        ] {
            assert_eq!(utc_ms(text), expect, "{text}");
        }
        assert_eq!(gmt_ms("21 Jan 2019 09:00:43 GMT"), Some(1_548_061_243_000));
        assert_eq!(gmt_ms("1 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in ["21 Jan 2019 09:00:43", "21 Jon 2019 09:00:43 GMT", "121 Jan 2019 09:00:43 GMT", "Jan 2019"] {
            assert_eq!(gmt_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn documents() {
        let at = |kind, at_ms| Notice { kind, at_ms };
        let action = r#"{"action": "stop", "time": "2017-09-18T08:22:00Z"}"#;
        assert_eq!(interruption(action), Ok(at(NoticeKind::Interruption, 1_505_722_920_000)));
        assert_eq!(rebalance(r#"{"noticeTime":"1970-01-01T00:00:01Z"}"#), Ok(at(NoticeKind::Rebalance, 1_000)));
        let event = |code: &str, day: u32, state: &str| {
            format!(
                r#"{{"NotBefore": "{day} Jan 1970 00:00:00 GMT", "Code": "{code}", "Description": "d", "EventId": "e",
                    "NotAfter": "9 Jan 1970 00:00:00 GMT", "State": "{state}"}}"#
            )
        };
        let day_ms = 86_400_000;
        for (events, expect) in [
            (vec![], None),
            (vec![event("system-reboot", 4, "active")], Some(3 * day_ms)),
            (vec![event("system-reboot", 4, "active"), event("instance-stop", 2, "active")], Some(day_ms)),
            (vec![event("system-reboot", 4, "completed"), event("other", 2, "active")], None),
        ] {
            let text = format!("[{}]", events.join(","));
            assert_eq!(maintenance(&text), Ok(expect.map(|at_ms| at(NoticeKind::Maintenance, at_ms))), "{text}");
        }
        for bad in ["", "{}", "[]", "<html>", r#"{"action":"stop","time":"soon"}"#] {
            assert!(interruption(bad).is_err() && rebalance(bad).is_err(), "{bad}");
        }
        assert!(maintenance(r#"[{"NotBefore":"soon","Code":"system-reboot"}]"#).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}", a in 0_u64..99_999, b in 0_u64..99) {
            let _ = (interruption(&text), rebalance(&text), maintenance(&text), utc_ms(&text), gmt_ms(&text));
            let _ = (utc_ms(&format!("{a:04}-{b:02}-{b:02}T{b:02}:{b:02}:{b:02}Z")), gmt_ms(&format!("{b} Feb {a} {text} GMT")));
        }
    }
}
