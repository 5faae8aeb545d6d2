//! Records and zones to presentation format: what is written is read again as the same octets (RFC 1035 section 5, RFC 3597).
//!
//! Whatever has no text form, or one that would be read differently, is written in the generic form. So a file that is written
//! here always holds the zone that it was written from.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype as Registered;
use domain::base::rdata::ParseAnyRecordData as _;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;

use super::data::Zone;
use super::record::{Record, RecordRef};
use super::rtype::Rtype;
use super::text::Splitter;
use super::{canonical, fields_text, loc, rdata};
use crate::name::{Name, write_name};

impl Zone {
    /// Writes the whole zone as a file that needs no origin: the SOA record first, one record a line, full names.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, out: &mut impl Write) -> fmt::Result {
        self.records().try_for_each(|record| writeln!(out, "{record}"))
    }
}

/// `owner TTL IN type data`, with full names.
impl fmt::Display for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} IN {} ", self.owner, self.ttl_s, self.rtype)?;
        write_rdata(self.rtype, self.rdata, f)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, rtype, ttl_s, rdata } = self;
        RecordRef { owner, rtype: *rtype, ttl_s: *ttl_s, rdata }.fmt(f)
    }
}

/// Writes record data in presentation format.
///
/// # Errors
/// Those of `out`.
pub fn write_rdata(rtype: Rtype, rdata: &[u8], out: &mut impl Write) -> fmt::Result {
    // Most records of most zones, without a second look.
    match (rtype, rdata) {
        (Rtype::A, rdata) if let Ok(octets) = <[u8; 4]>::try_from(rdata) => {
            return write!(out, "{}", Ipv4Addr::from(octets));
        }
        (Rtype::AAAA, rdata) if let Ok(octets) = <[u8; 16]>::try_from(rdata) => {
            return write!(out, "{}", Ipv6Addr::from(octets));
        }
        _ => {}
    }
    match plain(rtype, rdata).or_else(|| special(rtype, rdata)) {
        Some(text) => out.write_str(&text),
        None => generic(rdata, out),
    }
}

/// Numbers of 16 bits and names, of which most types with names consist.
fn plain(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let mut names = canonical::name_ranges(rtype, rdata);
    let first = names.next()?;
    let last = names.last().unwrap_or(first.clone());
    let mut text = String::new();
    match rtype.0 {
        2..=5 | 7..=9 | 12 | 14 | 15 | 17 | 33 | 39 if last.end == rdata.len() => {
            for number in rdata.get(..first.start)?.as_chunks().0 {
                write!(text, "{} ", u16::from_be_bytes(*number)).ok()?;
            }
        }
        6 if last.end + 20 == rdata.len() => {}
        _ => return None,
    }
    write_name(rdata.get(first.clone())?, &mut text).ok()?;
    if last != first {
        text.push(' ');
        write_name(rdata.get(last.clone())?, &mut text).ok()?;
    }
    for number in rdata.get(last.end..)?.as_chunks().0 {
        write!(text, " {}", u32::from_be_bytes(*number)).ok()?;
    }
    Some(text)
}

/// The other types that have a text form, if it is read as the same octets.
fn special(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let text = match rtype {
        rdata::LOC => loc::text(rdata)?,
        Rtype::TXT => texts(rdata)?,
        _ => fields_text::print(rtype, rdata).or_else(|| through_domain(rtype, rdata))?,
    };
    let entry = Splitter::new(text.as_bytes()).next_entry().ok()??;
    let read = rdata::scan(rtype, text.as_bytes(), &entry.tokens, &Name::root()).ok()?;
    (read == rdata).then_some(text)
}

fn texts(mut rdata: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((&len, rest)) = rdata.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(len))?;
        if !text.is_empty() {
            text.push(' ');
        }
        write_quoted(string, &mut text).ok()?;
        rdata = rest;
    }
    (!text.is_empty()).then_some(text)
}

/// A character string in quotes.
pub(super) fn write_quoted(string: &[u8], out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for &octet in string {
        match octet {
            b'"' | b'\\' => write!(out, "\\{}", char::from(octet))?,
            b' '..=b'~' => out.write_char(char::from(octet))?,
            _ => write!(out, "\\{octet:03}")?,
        }
    }
    out.write_char('"')
}

fn through_domain(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let mut parser = Parser::from_ref(rdata);
    let data = AllRecordData::parse_any_rdata(Registered::from_int(rtype.0), &mut parser).ok()?;
    if matches!(data, AllRecordData::Unknown(_)) {
        return None;
    }
    let mut text = String::new();
    write!(text, "{}", data.display_zonefile(DisplayKind::Simple)).ok()?;
    Some(text)
}

/// `\# length hex` (RFC 3597 section 5).
fn generic(rdata: &[u8], out: &mut impl Write) -> fmt::Result {
    write!(out, "\\# {}", rdata.len())?;
    if !rdata.is_empty() {
        out.write_char(' ')?;
    }
    rdata.iter().try_for_each(|octet| write!(out, "{octet:02x}"))
}
