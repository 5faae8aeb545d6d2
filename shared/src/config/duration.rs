//! Durations as people write them: `250ms`, `3s`, `1m30s`, `2h`, `1d`. A bare number is refused: its unit would be a guess.

use std::fmt::Write as _;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds of a text like `1m30s`: whole numbers with units, the larger units first, each at most once.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(total_ms)
}

/// The shortest such text.
pub fn format_duration_ms(duration_ms: u64) -> String {
    let mut text = String::new();
    let mut left_ms = duration_ms;
    for (unit, unit_ms) in UNITS {
        if left_ms >= unit_ms {
            let _ = write!(text, "{}{unit}", left_ms / unit_ms);
            left_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}
