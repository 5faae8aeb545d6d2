//! Record data from presentation format to uncompressed wire format.
//!
//! The `domain` crate knows the types; this file gives it one record at a time, in ASCII, with what it lacks written out: `@`
//! for the origin, TTL units in SOA, and known types in the generic form of RFC 3597. Types that it lacks are in `fields` and `loc`. Whatever the file says, it returns
//! octets or a message.

use std::fmt::Write as _;

use bytes::Bytes;
use domain::base::ParsedName;
use domain::base::iana::{Class, Rtype as Registered};
use domain::base::name::Name as DomainName;
use domain::base::rdata::{ComposeRecordData as _, ParseAnyRecordData as _};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use super::fields;
use super::rtype::Rtype;
use super::text::Token;
use crate::name::Name;

/// What is wrong with a record's data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadData {
    pub(super) found: String,
    pub(super) expected: String,
}

pub(super) fn bad(found: impl Into<String>, expected: impl Into<String>) -> BadData {
    BadData { found: found.into(), expected: expected.into() }
}

pub(super) const LOC: Rtype = Rtype(29);

/// Longest record data, in octets.
const RDATA_LEN_MAX: usize = 65_535;

/// Reads the tokens after a record's type. Names without a final dot are relative to `origin`.
pub(super) fn scan(rtype: Rtype, source: &[u8], tokens: &[Token], origin: &Name) -> Result<Vec<u8>, BadData> {
    let token = |index: usize| tokens.get(index).map(|token| (token, source.get(token.range.clone()).unwrap_or_default()));
    if let Some((marker, br"\#")) = token(0)
        && !marker.quoted
    {
        return generic(rtype, source, tokens);
    }
    let Some((_, first)) = token(0) else {
        return Err(bad("no record data", format!("the data of a {rtype} record")));
    };
    // Addresses are most of every zone: read them without the detour.
    match (rtype, tokens.len()) {
        (Rtype::A, 1) => return address::<std::net::Ipv4Addr>(first, "IPv4").map(|a| a.octets().to_vec()),
        (Rtype::AAAA, 1) => return address::<std::net::Ipv6Addr>(first, "IPv6").map(|a| a.octets().to_vec()),
        _ => {}
    }
    let words: Vec<&[u8]> = (0..tokens.len()).filter_map(|index| token(index).map(|(_, octets)| octets)).collect();
    if rtype == LOC {
        let words: Vec<&str> = words.iter().map(|word| std::str::from_utf8(word).unwrap_or("?")).collect();
        return super::loc::loc(&words);
    }
    if let Some(data) = fields::scan(rtype, &words, origin) {
        return checked_len(data?);
    }
    let text = entry_text(rtype, source, tokens, origin)?;
    through_domain(rtype, &text, origin)
}

fn address<A: std::str::FromStr>(token: &[u8], family: &str) -> Result<A, BadData> {
    let text = String::from_utf8_lossy(token);
    text.parse().map_err(|_| bad(format!("'{text}'"), format!("an {family} address")))
}

/// Lets the `domain` crate read one record.
fn through_domain(rtype: Rtype, text: &str, origin: &Name) -> Result<Vec<u8>, BadData> {
    let fail = |found: String| bad(found, format!("the data of a {rtype} record"));
    let mut file = Zonefile::with_capacity(text.len() + 1);
    file.extend_from_slice(text.as_bytes());
    let origin = Bytes::copy_from_slice(origin.wire());
    file.set_origin(DomainName::from_octets(origin).map_err(|error| fail(error.to_string()))?);
    file.set_default_class(Class::IN);
    match file.next_entry() {
        Ok(Some(Entry::Record(record))) => {
            let mut wire = Vec::new();
            record.data().compose_rdata(&mut wire).map_err(|_| fail("data that is too long".to_owned()))?;
            checked_len(wire)
        }
        Ok(_) => Err(fail("no record data".to_owned())),
        // Its line and column are those of the text made here: they would only confuse.
        Err(error) => Err(fail(error.to_string().splitn(3, ':').last().unwrap_or_default().trim().to_owned())),
    }
}

fn checked_len(wire: Vec<u8>) -> Result<Vec<u8>, BadData> {
    if wire.len() > RDATA_LEN_MAX {
        return Err(bad(format!("{} octets of record data", wire.len()), "at most 65535"));
    }
    Ok(wire)
}

/// Which tokens of a record's data are domain names.
fn name_positions(rtype: Rtype) -> &'static [usize] {
    match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME, NSEC
        2..=5 | 7..=9 | 12 | 39 | 47 => &[0],
        // SOA, MINFO, RP
        6 | 14 | 17 => &[0, 1],
        // MX, SVCB, HTTPS
        15 | 64 | 65 => &[1],
        // SRV, IPSECKEY
        33 | 45 => &[3],
        // NAPTR
        35 => &[5],
        // RRSIG
        46 => &[7],
        _ => &[],
    }
}

/// The record as one line of ASCII with the root as its owner.
fn entry_text(rtype: Rtype, source: &[u8], tokens: &[Token], origin: &Name) -> Result<String, BadData> {
    let mut text = format!(". 0 IN {rtype}");
    for (index, token) in tokens.iter().enumerate() {
        let octets = source.get(token.range.clone()).unwrap_or_default();
        if !token.glued {
            text.push(' ');
        }
        if octets == b"@" && !token.quoted && name_positions(rtype).contains(&index) {
            let _ = write!(text, "{origin}");
            continue;
        }
        if rtype == Rtype::SOA && (3..7).contains(&index) && !token.quoted {
            let seconds = super::reader::parse_ttl(octets)
                .ok_or_else(|| bad(format!("'{}'", String::from_utf8_lossy(octets)), "seconds, or a time such as 1h30m"))?;
            let _ = write!(text, "{seconds}");
            continue;
        }
        if token.quoted {
            text.push('"');
        }
        for &octet in octets {
            match octet {
                b' '..=b'~' => text.push(char::from(octet)),
                _ => {
                    let _ = write!(text, "\\{octet:03}");
                }
            }
        }
        if token.quoted {
            text.push('"');
        }
    }
    text.push('\n');
    Ok(text)
}

/// Whether data is of the form that its type has; data of an unknown type always is (RFC 3597). Names in it must be uncompressed.
pub fn is_well_formed(rtype: Rtype, rdata: &[u8]) -> bool {
    let mut parser = Parser::from_ref(rdata);
    let parsed = AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(Registered::from_int(rtype.0), &mut parser);
    parsed.is_ok() && parser.remaining() == 0
}

/// `\# length hex…` (RFC 3597 section 5). Data of a known type must still be of its form.
fn generic(rtype: Rtype, source: &[u8], tokens: &[Token]) -> Result<Vec<u8>, BadData> {
    let mut rest = tokens.iter().skip(1).map(|token| source.get(token.range.clone()).unwrap_or_default());
    let len = rest
        .next()
        .and_then(|octets| std::str::from_utf8(octets).ok()?.parse::<u16>().ok())
        .ok_or_else(|| bad(r"'\#' without a length", r"\# and a length in octets"))?;
    let mut digits = rest.flatten().map(|&octet| char::from(octet).to_digit(16));
    let mut wire = Vec::with_capacity(usize::from(len));
    while let Some(high) = digits.next() {
        let (Some(high), Some(Some(low))) = (high, digits.next()) else {
            return Err(bad(
                r"data after '\#' that is not whole octets of hexadecimal digits",
                "an even number of hexadecimal digits",
            ));
        };
        wire.push((high * 16 + low) as u8);
    }
    if wire.len() != usize::from(len) {
        return Err(bad(format!("{} octets of data", wire.len()), format!("the {len} octets announced")));
    }
    let mut parser = Parser::from_ref(wire.as_slice());
    let malformed = || bad(r"data after '\#' that is malformed", format!("the data of a {rtype} record"));
    let parsed = AllRecordData::parse_any_rdata(Registered::from_int(rtype.0), &mut parser).map_err(|_| malformed())?;
    if parser.remaining() > 0 {
        return Err(malformed());
    }
    let mut composed = Vec::new();
    parsed.compose_rdata(&mut composed).map_err(|_| malformed())?;
    checked_len(composed)
}
