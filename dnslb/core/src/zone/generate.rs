//! `$GENERATE`: one template, many records, as BIND reads it (ARM, "Master File Directive: the $GENERATE directive").
//!
//! A line of a file must never become an unbounded number of records: a range is refused beyond [`STEPS_MAX`].

use std::fmt::Write as _;

/// Most records that one directive makes: as many as there are addresses behind a /16.
pub(super) const STEPS_MAX: u32 = 65_536;
/// Widest padding of a number, in characters: a name holds no more.
const WIDTH_MAX: usize = 255;

/// `start-stop[/step]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

impl Range {
    /// `None` if it is not of that form, empty, or of more than [`STEPS_MAX`] steps.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = range.split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        let range = Self { start: number(start)?, stop: number(stop)?, step: number(step)? };
        let fits = range.step > 0 && range.start <= range.stop && i32::try_from(range.stop).is_ok();
        (fits && (range.stop - range.start) / range.step < STEPS_MAX).then_some(range)
    }

    /// The numbers, in order.
    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

/// The template with `$` and `${offset[,width[,base]]}` filled in; `\$` and `$$` stand for a dollar sign.
///
/// # Errors
/// What of the template cannot be filled in.
pub(super) fn expand(template: &[u8], number: u32, out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = template;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match (octet, tail.first()) {
            (b'\\' | b'$', Some(b'$')) => {
                out.push(b'$');
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'\\', Some(&escaped)) => {
                out.extend_from_slice(&[b'\\', escaped]);
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'$', Some(b'{')) => {
                let end = tail.iter().position(|&b| b == b'}').ok_or("'${' without its '}'")?;
                let modifier = String::from_utf8_lossy(tail.get(1..end).unwrap_or_default()).into_owned();
                out.extend_from_slice(modified(&modifier, number).ok_or(format!("'${{{modifier}}}'"))?.as_bytes());
                rest = tail.get(end + 1..).unwrap_or_default();
            }
            (b'$', _) => out.extend_from_slice(number.to_string().as_bytes()),
            _ => out.push(octet),
        }
    }
    Ok(())
}

/// `offset[,width[,base]]` applied to a number: bases d, o, x, X, and n, N for nibbles as in ip6.arpa.
fn modified(modifier: &str, number: u32) -> Option<String> {
    let mut parts = modifier.split(',');
    let offset: i64 = parts.next()?.trim().parse().ok()?;
    let width: usize = parts.next().map_or(Some(0), |width| width.trim().parse().ok()).filter(|&w| w <= WIDTH_MAX)?;
    let base = parts.next().map_or("d", str::trim);
    let value = u32::try_from(i64::from(number) + offset).ok().filter(|_| parts.next().is_none())?;
    Some(match base {
        "d" => format!("{value:0width$}"),
        "o" => format!("{value:0width$o}"),
        "x" => format!("{value:0width$x}"),
        "X" => format!("{value:0width$X}"),
        "n" => nibbles(value, width),
        "N" => nibbles(value, width).to_ascii_uppercase(),
        _ => return None,
    })
}

/// Hexadecimal digits from the lowest up, with dots between; dots count for the width.
fn nibbles(mut value: u32, width: usize) -> String {
    let mut text = String::new();
    loop {
        let _ = write!(text, "{:x}", value & 0xf);
        value >>= 4;
        if value == 0 && text.len() >= width {
            return text;
        }
        text.push('.');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges() {
        let check = |text: &str, expect: Option<&[u32]>| {
            let found = Range::parse(text.as_bytes()).map(|range| range.numbers().collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check("1-3", Some(&[1, 2, 3]));
        check("0-10/5", Some(&[0, 5, 10]));
        check("7-7", Some(&[7]));
        check("3-1", None);
        check("1-3/0", None);
        check("1", None);
        check("-1-3", None);
        check("a-b", None);
        check("0-4294967295", None);
        check("0-2147483648/2147483648", None);
        assert_eq!(Range::parse(b"0-65535").unwrap().numbers().count(), 65_536);
        assert_eq!(Range::parse(b"0-65536"), None);
    }

    #[test]
    fn templates() {
        let check = |template: &str, number: u32, expect: Result<&str, &str>| {
            let mut out = Vec::new();
            let found = expand(template.as_bytes(), number, &mut out).map(|()| String::from_utf8(out).unwrap());
            assert_eq!(found.as_deref().map_err(String::as_str), expect, "{template}");
        };
        check("host-$", 7, Ok("host-7"));
        check("$.$", 7, Ok("7.7"));
        check(r"\$a$$b\\$", 7, Ok(r"$a$b\\7"));
        check("${10}", 7, Ok("17"));
        check("${-7,3}", 7, Ok("000"));
        check("${0,4,x}${0,0,X}${1,3,o}", 250, Ok("00faFA373"));
        check("${0,7,n}", 0x1a, Ok("a.1.0.0"));
        check("${0,0,N}", 0x1a, Ok("A.1"));
        check("${-8}", 7, Err("'${-8}'"));
        check("${0,3,q}", 7, Err("'${0,3,q}'"));
        check("${0,3,d,1}", 7, Err("'${0,3,d,1}'"));
        check("${0,256}", 7, Err("'${0,256}'"));
        check("${0", 7, Err("'${' without its '}'"));
    }
}
