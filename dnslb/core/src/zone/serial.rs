//! Serial numbers of zones, which wrap (RFC 1982). Plain comparison of two serials is always wrong; it is done here alone.

use std::cmp::Ordering;

/// How `a` lies to `b`; `None` when they are exactly half the circle apart, where RFC 1982 section 3.2 leaves it undefined.
pub fn compare(a: u32, b: u32) -> Option<Ordering> {
    match a.wrapping_sub(b) {
        0 => Some(Ordering::Equal),
        1..=0x7fff_ffff => Some(Ordering::Greater),
        0x8000_0000 => None,
        _ => Some(Ordering::Less),
    }
}

/// Whether `serial` comes after `than`. What is undefined is not after.
pub fn is_newer(serial: u32, than: u32) -> bool {
    compare(serial, than) == Some(Ordering::Greater)
}

/// The serial after this one. It leaves out 0, which some servers take for "none".
pub fn next(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle() {
        let check = |a: u32, b: u32, expect: Option<Ordering>| assert_eq!(compare(a, b), expect, "{a} {b}");
        check(1, 1, Some(Ordering::Equal));
        check(2, 1, Some(Ordering::Greater));
        check(1, 2, Some(Ordering::Less));
        check(0, u32::MAX, Some(Ordering::Greater));
        check(u32::MAX, 0, Some(Ordering::Less));
        check(0x7fff_ffff, 0, Some(Ordering::Greater));
        check(0x8000_0000, 0, None);
        check(0, 0x8000_0000, None);
        check(0x8000_0001, 0, Some(Ordering::Less));
        assert!(is_newer(0, u32::MAX) && !is_newer(7, 7) && !is_newer(0x8000_0000, 0));
        assert_eq!((next(0), next(41), next(u32::MAX)), (1, 42, 1));
    }
}
