//! One line of the access log. Whatever a client sent is cut, and escaped so that it can neither begin a line nor command a terminal.

use farm_shared::time::Wall;
use redirector_core::calendar::date;
use redirector_core::config::{AccessFormat, AccessLogSpec};
use redirector_core::door::Request;
use std::io::Write as _;

const METHOD_BYTES_MAX: usize = 32;
const TARGET_BYTES_MAX: usize = 1_024;
const FIELD_BYTES_MAX: usize = 256;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(super) fn write(
    out: &mut Vec<u8>,
    spec: &AccessLogSpec,
    request: &Request<'_>,
    status: u16,
    location: Option<&str>,
    wall: Wall,
) {
    let target = if spec.query { request.target } else { request.target.split(['?', '#']).next().unwrap_or_default() };
    let addr = spec.shown(request.source);
    let field = |name: &str| request.fields.get(name).unwrap_or("-");
    let time = Time::of(wall);
    // Writing to a vector cannot fail.
    let _ = match spec.format {
        AccessFormat::Combined => write!(
            out,
            "{addr} - - [{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000] \"",
            time.day, time.month_name, time.year, time.hour, time.minute, time.second
        ),
        AccessFormat::Json => write!(
            out,
            "{{\"time\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z\",\"source\":\"{addr}\",\"secure\":{},\"status\":{status}",
            time.year, time.month, time.day, time.hour, time.minute, time.second, time.millisecond, request.secure
        ),
    };
    match spec.format {
        AccessFormat::Combined => {
            escaped(out, request.method, METHOD_BYTES_MAX, false);
            out.push(b' ');
            escaped(out, target, TARGET_BYTES_MAX, false);
            // The transport's version is not known here; what is answered is HTTP in any case.
            let _ = write!(out, " HTTP\" {status} - \"");
            escaped(out, field("referer"), FIELD_BYTES_MAX, false);
            out.extend_from_slice(b"\" \"");
            escaped(out, field("user-agent"), FIELD_BYTES_MAX, false);
            out.extend_from_slice(b"\"\n");
        }
        AccessFormat::Json => {
            let pairs = [
                ("method", Some(request.method), METHOD_BYTES_MAX),
                ("host", request.host, FIELD_BYTES_MAX),
                ("target", Some(target), TARGET_BYTES_MAX),
                ("server", location, FIELD_BYTES_MAX),
                ("referer", request.fields.get("referer"), FIELD_BYTES_MAX),
                ("user_agent", request.fields.get("user-agent"), FIELD_BYTES_MAX),
            ];
            for (name, value, bytes_max) in pairs {
                let Some(value) = value else { continue };
                let _ = write!(out, ",\"{name}\":\"");
                escaped(out, value, bytes_max, true);
                out.push(b'"');
            }
            out.extend_from_slice(b"}\n");
        }
    }
}

/// At most `bytes_max` octets of a text, as printable ASCII.
fn escaped(out: &mut Vec<u8>, text: &str, bytes_max: usize, json: bool) {
    let mut used = 0;
    for c in text.chars() {
        used += c.len_utf8();
        if used > bytes_max {
            out.extend_from_slice(b"...");
            return;
        }
        match c {
            '"' | '\\' => out.extend([b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            c if json => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => {
                let mut octets = [0; 4];
                for octet in c.encode_utf8(&mut octets).bytes() {
                    let _ = write!(out, "\\x{octet:02x}");
                }
            }
        }
    }
}

/// A time of the calendar, UTC.
struct Time {
    year: u64,
    month: u64,
    month_name: &'static str,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u64,
}

impl Time {
    fn of(wall: Wall) -> Self {
        let (days, of_day) = (wall.0 / 86_400_000, wall.0 % 86_400_000);
        let (year, month, day) = date(days);
        Self {
            year,
            month,
            month_name: MONTHS.get(month as usize - 1).copied().unwrap_or_default(),
            day,
            hour: of_day / 3_600_000,
            minute: of_day / 60_000 % 60,
            second: of_day / 1_000 % 60,
            millisecond: of_day % 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expect) in [
            (0, (1970, 1, 1, 0)),
            (951_782_400, (2000, 2, 29, 0)),
            (951_868_800, (2000, 3, 1, 0)),
            (1_709_251_199, (2024, 2, 29, 59)),
            (1_735_689_599, (2024, 12, 31, 59)),
            (4_107_542_400, (2100, 3, 1, 0)),
        ] {
            let time = Time::of(Wall(seconds * 1_000));
            assert_eq!((time.year, time.month, time.day, time.second), expect, "{seconds}");
        }
    }
}
