//! The `Date` field, written once a second for a worker instead of once for each answer (RFC 9110 5.6.7, 6.6.1).

use farm_shared::time::Wall;
use redirector_core::calendar::date;

const BYTES: usize = 29;
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAY_S: u64 = 86_400;

/// The date that was written last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Date {
    second: u64,
    text: [u8; BYTES],
}

impl Default for Date {
    fn default() -> Self {
        Self { second: 0, text: write(0) }
    }
}

impl Date {
    /// The value of `Date` now.
    pub(super) fn at(&mut self, now: Wall) -> &[u8; BYTES] {
        let second = now.0 / 1_000;
        if second != self.second {
            *self = Self { second, text: write(second) };
        }
        &self.text
    }
}

/// IMF-fixdate of seconds since 1970. Years after 9999 are written by their last four digits.
fn write(second: u64) -> [u8; BYTES] {
    let days = second / DAY_S;
    let (year, month, day) = date(days);
    let time = second % DAY_S;
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut put = |at: usize, octets: &[u8]| {
        text.iter_mut().skip(at).zip(octets).for_each(|(place, octet)| *place = *octet);
    };
    let two = |n: u64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    put(0, DAYS.get((days % 7) as usize).map_or(b"Thu", |day| *day));
    put(5, &two(day));
    put(8, MONTHS.get(month as usize - 1).map_or(b"Jan", |month| *month));
    put(12, &two(year / 100));
    put(14, &two(year));
    put(17, &two(time / 3_600));
    put(20, &two(time / 60 % 60));
    put(23, &two(time % 60));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (second, expect) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&write(second)).unwrap(), expect);
        }
        let mut date = Date::default();
        assert_eq!(date.at(Wall(784_111_777_999)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(Wall(784_111_778_000)), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
