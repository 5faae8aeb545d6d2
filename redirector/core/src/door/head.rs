//! The head of a plain request, read in one go: GET or HEAD in origin form, HTTP/1.1, without content, and written as every browser
//! writes it.
//!
//! This is for speed alone, and never has the last word: whatever is not certain to be plain is left to the full parser. It must
//! never take a head that the full parser reads in another way, or one whose end another server could see elsewhere.

use super::Fields;
use memchr::memchr;

/// `Cookie` fields of a plain head.
const COOKIES_MAX: usize = 4;
/// Fields of a plain head.
const FIELDS_MAX: usize = 64;

/// A plain head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `GET` or `HEAD`.
    pub method: &'a str,
    /// The target in origin form: RFC 3986's characters of path and query, and no others.
    pub target: &'a str,
    /// The one `Host` field.
    pub host: &'a str,
    /// The connection ends with the answer.
    pub close: bool,
    /// The octets of the head, with the empty line.
    pub bytes: usize,
    /// How many fields it has.
    pub fields: usize,
    cookies: [&'a str; COOKIES_MAX],
    cookies_len: usize,
    lines: &'a [u8],
}

impl<'a> Head<'a> {
    /// The values of all `Cookie` fields.
    pub fn cookies(&self) -> &[&'a str] {
        self.cookies.get(..self.cookies_len).unwrap_or_default()
    }
}

impl Fields for Head<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut rest = self.lines;
        while let Some((found, value, next)) = field(rest) {
            if found.eq_ignore_ascii_case(name.as_bytes()) {
                return std::str::from_utf8(value).ok();
            }
            rest = next;
        }
        None
    }

    /// A head that has the field is not plain.
    fn upgrades(&self) -> bool {
        false
    }
}

/// Octets that a name or a target may hold.
const fn table(more: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = (octet as u8).is_ascii_alphanumeric();
        octet += 1;
    }
    let mut at = 0;
    while at < more.len() {
        table[more[at] as usize] = true;
        at += 1;
    }
    table
}

/// RFC 3986 3.3 and 3.4.
const TARGET: [bool; 256] = table(b"-._~!$&'()*+,;=:@%/?");
/// Of a token (RFC 9110 5.6.2), what field names are made of. `_` is none of it: some servers take it for `-`.
const NAME: [bool; 256] = table(b"-");

fn span(octets: &[u8], table: &[bool; 256]) -> usize {
    octets.iter().position(|octet| !table[usize::from(*octet)]).unwrap_or(octets.len())
}

/// The first head of what was received; `None` if it is not plain, or not all of it is there.
///
/// RFC 9112 3 and 5, without any of the leniencies that they allow.
pub fn scan(octets: &[u8]) -> Option<Head<'_>> {
    let (method, rest) = match octets.strip_prefix(b"GET ") {
        Some(rest) => ("GET", rest),
        None => ("HEAD", octets.strip_prefix(b"HEAD ")?),
    };
    let (target, rest) = rest.split_at_checked(span(rest, &TARGET))?;
    if target.first() != Some(&b'/') {
        return None;
    }
    let lines = rest.strip_prefix(b" HTTP/1.1\r\n")?;
    let mut host = None;
    let (mut cookies, mut cookies_len) = ([""; COOKIES_MAX], 0);
    let mut close = false;
    let mut rest = lines;
    let mut fields = 0;
    while let Some((name, value, next)) = field(rest) {
        rest = next;
        fields += 1;
        if fields > FIELDS_MAX || !is_printable(value) {
            return None;
        }
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"host") => {
                let is_first = host.replace(value).is_none();
                (is_first && !value.is_empty()).then_some(())?;
            }
            6 if is(b"cookie") => {
                *cookies.get_mut(cookies_len)? = std::str::from_utf8(value).ok()?;
                cookies_len += 1;
            }
            10 if is(b"connection") => {
                if value.eq_ignore_ascii_case(b"close") {
                    close = true;
                } else if !value.eq_ignore_ascii_case(b"keep-alive") {
                    return None;
                }
            }
            // Whatever says something about content, or about the connection.
            2 if is(b"te") => return None,
            6 if is(b"expect") => return None,
            7 if is(b"upgrade") || is(b"trailer") => return None,
            14 if is(b"content-length") || is(b"http2-settings") => return None,
            16 if is(b"proxy-connection") => return None,
            17 if is(b"transfer-encoding") => return None,
            _ => {}
        }
    }
    let rest = rest.strip_prefix(b"\r\n")?;
    Some(Head {
        method,
        target: std::str::from_utf8(target).ok()?,
        host: std::str::from_utf8(host?).ok()?,
        close,
        bytes: octets.len() - rest.len(),
        fields,
        cookies,
        cookies_len,
        lines,
    })
}

/// The first line of some: name, value, and the lines after it. `None` at the empty line, and at whatever is not a field.
fn field(lines: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = lines.split_at_checked(span(lines, &NAME))?;
    let rest = rest.strip_prefix(b":")?;
    let (value, rest) = rest.split_at_checked(memchr(b'\r', rest)?)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    (!name.is_empty()).then(|| (name, trimmed(value), rest))
}

/// Without the spaces and tabs around it.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Visible ASCII, spaces and tabs. Without an early end, so that many octets are looked at in one instruction.
fn is_printable(value: &[u8]) -> bool {
    !value.iter().fold(false, |bad, octet| bad | !matches!(octet, b' '..=b'~' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_heads() {
        let text = b"GET /a?b=c HTTP/1.1\r\nHost: mail.example.com\r\ncookie:a=b \r\nAccept: */*\r\nCOOKIE: farm=x\r\nConnection: Close\r\n\r\nGET";
        let head = scan(text).unwrap();
        assert_eq!((head.method, head.target, head.host, head.close), ("GET", "/a?b=c", "mail.example.com", true));
        assert_eq!((head.cookies(), head.bytes), (&["a=b", "farm=x"][..], text.len() - 3));
        assert_eq!((head.get("accept"), head.get("cookie"), head.get("x")), (Some("*/*"), Some("a=b"), None));
        let head = scan(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!((head.method, head.close), ("HEAD", false));
    }

    #[test]
    fn whatever_is_not_plain_is_left() {
        let lines = [
            "Content-Length: 0",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked",
            "transfer-encoding: identity",
            "Transfer_Encoding: chunked",
            "Expect: 100-continue",
            "Upgrade: websocket",
            "Connection: upgrade",
            "Connection: keep-alive, close",
            "Connection:",
            "TE: trailers",
            "Trailer: x",
            "Host: b",
            "X : y",
            "X\t: y",
            " X: folded",
            "X: y\r\n folded",
            "X: y\r\n\tfolded",
            "X: a\nb",
            "X: a\rb",
            "X: a\0b",
            "X: a\u{7f}b",
            "X: \u{e9}",
            ": y",
            "X",
            "X(y): z",
        ];
        for line in lines {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
            assert!(scan(text.as_bytes()).is_none(), "{line:?}");
        }
        let whole = [
            "",
            "GET",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a\"b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ];
        for text in whole {
            assert!(scan(text.as_bytes()).is_none(), "{text:?}");
        }
        let many = |line: &str, n| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("{line}\r\n").repeat(n));
        for (line, most) in [("Cookie: a", COOKIES_MAX), ("X: y", FIELDS_MAX - 1)] {
            assert!(scan(many(line, most).as_bytes()).is_some(), "{line}");
            assert!(scan(many(line, most + 1).as_bytes()).is_none(), "{line}");
        }
    }

    proptest! {
        /// What comes after a head never changes how it is read, and a part of it is never taken for the whole.
        #[test]
        fn a_head_ends_where_it_ends(path in "/[a-z?=%/]{0,20}", value in "[ -~\t]{0,40}", more in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Y: {value}\r\n\r\n");
            let mut octets = text.clone().into_bytes();
            for end in 0..octets.len() {
                prop_assert!(scan(&octets[..end]).is_none());
            }
            octets.extend(more);
            let head = scan(&octets).unwrap();
            prop_assert_eq!((head.bytes, head.target), (text.len(), path.as_str()));
            prop_assert_eq!(head.get("x-y"), Some(value.trim_matches([' ', '\t'])));
        }

        #[test]
        fn nothing_panics(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(&octets);
        }
    }
}
