//! LOC record data (RFC 1876), which the `domain` crate does not read.
//!
//! Numbers are read as decimal integers, never as floats: two servers must give the same octets for the same text.

use super::rdata::{BadData, bad};

/// Sizes that are left out, in centimetres (RFC 1876 section 3): 1 m, 10 km, 10 m.
const DEFAULT_CM: [u64; 3] = [100, 1_000_000, 1_000];
/// Largest size or precision: 90,000 km.
const SIZE_CM_MAX: u64 = 9_000_000_000;
/// The equator and the prime meridian, in thousandths of a second of arc.
const ORIGIN: u32 = 1 << 31;
/// Altitudes are counted from 100 km below the WGS 84 ellipsoid, in centimetres.
const ALTITUDE_BASE_CM: i64 = 10_000_000;

/// `d1 [m1 [s1]] {N|S} d2 [m2 [s2]] {E|W} alt["m"] [size["m"] [hp["m"] [vp["m"]]]]`.
pub(super) fn loc(words: &[&str]) -> Result<Vec<u8>, BadData> {
    read(words).ok_or_else(|| {
        bad(
            format!("'{}'", words.join(" ").chars().take(100).collect::<String>()),
            "latitude, longitude, altitude and perhaps size and precisions, as in 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m (RFC 1876)",
        )
    })
}

fn read(words: &[&str]) -> Option<Vec<u8>> {
    let mut words = words.iter().copied();
    let latitude = angle(&mut words, ["N", "S"], 90)?;
    let longitude = angle(&mut words, ["E", "W"], 180)?;
    let altitude_cm = centimetres(words.next()?)?.checked_add(ALTITUDE_BASE_CM)?;
    let mut wire = vec![0];
    for default_cm in DEFAULT_CM {
        let cm = words.next().map_or(Some(default_cm), |word| u64::try_from(centimetres(word)?).ok())?;
        wire.push(size(cm)?);
    }
    wire.extend_from_slice(&latitude.to_be_bytes());
    wire.extend_from_slice(&longitude.to_be_bytes());
    wire.extend_from_slice(&u32::try_from(altitude_cm).ok()?.to_be_bytes());
    words.next().is_none().then_some(wire)
}

/// The text of LOC data; `None` if it is not of the one known version and length.
pub(super) fn text(rdata: &[u8]) -> Option<String> {
    let ([0, size, horizontal, vertical], rest) = rdata.split_first_chunk()? else { return None };
    let (&[latitude, longitude, altitude_cm], []) = rest.as_chunks::<4>() else { return None };
    let angle = |octets: [u8; 4], halves: [char; 2]| {
        let value = u32::from_be_bytes(octets);
        let half = halves[usize::from(value < ORIGIN)];
        let thousandths = value.abs_diff(ORIGIN);
        let (degrees, minutes) = (thousandths / 3_600_000, thousandths / 60_000 % 60);
        format!("{degrees} {minutes} {}.{:03} {half}", thousandths / 1_000 % 60, thousandths % 1_000)
    };
    let metres = |cm: u64| format!("{}.{:02}m", cm / 100, cm % 100);
    let sphere = |octet: &u8| Some(metres(u64::from(octet >> 4) * 10_u64.checked_pow(u32::from(octet & 0xf))?));
    let altitude_cm = i64::from(u32::from_be_bytes(altitude_cm)) - ALTITUDE_BASE_CM;
    Some(format!(
        "{} {} {}{} {} {} {}",
        angle(latitude, ['N', 'S']),
        angle(longitude, ['E', 'W']),
        if altitude_cm < 0 { "-" } else { "" },
        metres(altitude_cm.unsigned_abs()),
        sphere(size)?,
        sphere(horizontal)?,
        sphere(vertical)?,
    ))
}

/// Degrees, minutes and seconds up to the letter that says which half of the globe.
fn angle<'a>(words: &mut impl Iterator<Item = &'a str>, halves: [&str; 2], degrees_max: u64) -> Option<u32> {
    let mut thousandths = 0;
    for (place, unit) in [3_600_000, 60_000, 1_000, 0].into_iter().enumerate() {
        let word = words.next()?;
        if let Some(half) = halves.iter().position(|half| word.eq_ignore_ascii_case(half)) {
            let fits = place > 0 && thousandths <= degrees_max * 3_600_000;
            let thousandths = u32::try_from(thousandths).ok().filter(|_| fits)?;
            return if half == 0 { ORIGIN.checked_add(thousandths) } else { ORIGIN.checked_sub(thousandths) };
        }
        thousandths += match place {
            0 => whole(word).filter(|&degrees| degrees <= degrees_max)? * unit,
            1 => whole(word).filter(|&minutes| minutes < 60)? * unit,
            2 => decimal(word, 3).filter(|&part| part < 60_000)?,
            _ => return None,
        };
    }
    None
}

/// Metres with at most two decimals and perhaps an `m`, in centimetres.
fn centimetres(word: &str) -> Option<i64> {
    let number = word.strip_suffix(['m', 'M']).unwrap_or(word);
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |rest| (-1, rest));
    Some(sign * i64::try_from(decimal(number, 2)?).ok()?)
}

fn whole(text: &str) -> Option<u64> {
    (!text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A decimal number with at most so many decimals, in units of the last of them.
fn decimal(text: &str, decimals: usize) -> Option<u64> {
    let (before, after) = text.split_once('.').unwrap_or((text, ""));
    if after.len() > decimals || (before.is_empty() && after.is_empty()) {
        return None;
    }
    let padded = format!("{before}{after:0<decimals$}");
    whole(&padded)
}

/// One digit and a power of ten of centimetres, each in half an octet; what lies between is cut off.
fn size(cm: u64) -> Option<u8> {
    let (mut mantissa, mut exponent) = (cm, 0);
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    (cm <= SIZE_CM_MAX).then_some((mantissa as u8) << 4 | exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |text: &str, expect: Option<&str>| {
            let words: Vec<&str> = text.split(' ').collect();
            let hex = read(&words).map(|wire| farm_shared::hex::encode(&wire));
            assert_eq!(hex.as_deref(), expect, "{text}");
        };
        // Checked with BIND and dnspython, which agree.
        check("42 21 54 N 71 06 18 W -24m 30m", Some("0033161389172dd070be15f000988d20"));
        check("60 9 N 24 39 E 10 20 2000 20", Some("002325238ce82360854a10a000989a68"));
        check("0 N 0 E 0", Some("00121613800000008000000000989680"));
        check("90 S 180 w -100000.00m 0.01M", Some("001016136cb0270059604e0000000000"));
        check(
            "1 N 2 E 42849672.95m 1234.56m 90000000 0",
            Some("00159900 8036ee80 806ddd00 ffffffff".replace(' ', "").as_str()),
        );
        check("91 N 0 E 0", None);
        check("90 0 0.001 N 0 E 0", None);
        check("1 60 N 0 E 0", None);
        check("1 2 3 4 N 0 E 0", None);
        check("N 0 E 0", None);
        check("1 N 2 E", None);
        check("1 N 2 E 0 1 1 1 1", None);
        check("1 N 2 E -100000.01m", None);
        check("1 N 2 E 42849672.96m", None);
        check("1 2 3.1234 N 2 E 0", None);
        check("1 N 2 E 0 90000000.01", None);
    }
}
