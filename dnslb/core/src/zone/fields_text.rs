//! The way back of `fields`: record data as text, field by field. Data that does not fit its fields has no text.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::utils::{base16, base64};

use super::fields::{Field, fields};
use super::rtype::Rtype;
use super::write::write_quoted;
use crate::name::write_name;

/// The text of record data; `None` for a type that is not in the table and for data that is not of its form.
pub(super) fn print(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let mut printer = Printer { rest: rdata, words: Vec::new() };
    for field in fields(rtype)? {
        printer.field(*field)?;
    }
    printer.rest.is_empty().then(|| printer.words.join(" "))
}

struct Printer<'a> {
    rest: &'a [u8],
    words: Vec<String>,
}

impl<'a> Printer<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
    }

    fn word(&mut self, word: impl ToString) {
        self.words.push(word.to_string());
    }

    /// Every further field of a kind that ends with the data.
    fn until_end(&mut self, field: Field) -> Option<()> {
        while !self.rest.is_empty() {
            self.field(field)?;
        }
        Some(())
    }

    fn field(&mut self, field: Field) -> Option<()> {
        match field {
            Field::U8 | Field::Algorithm => self.u8().map(|number| self.word(number)),
            Field::U16 | Field::CertificateType => self.u16().map(|number| self.word(number)),
            Field::U32 => self.take(4)?.first_chunk().map(|octets| self.word(u32::from_be_bytes(*octets))),
            Field::Name => {
                let mut len = 0;
                while let label @ 1..=63 = *self.rest.get(len)? {
                    len += 1 + usize::from(label);
                }
                let mut text = String::new();
                write_name(self.take(len + 1)?, &mut text).ok()?;
                self.words.push(text);
                Some(())
            }
            Field::Names => self.until_end(Field::Name),
            Field::Text => {
                let len = self.u8()?;
                let string = self.take(usize::from(len))?;
                self.quoted(string)
            }
            Field::TextOptional | Field::Texts => self.until_end(Field::Text),
            Field::Octets => {
                let octets = self.take(self.rest.len())?;
                self.quoted(octets)
            }
            Field::Hex => self.take(self.rest.len()).map(|octets| self.word(base16::encode_string(octets))),
            Field::Base64 => self.take(self.rest.len()).map(|octets| self.word(base64::encode_string(octets))),
            Field::Nsap => {
                self.take(self.rest.len()).map(|octets| self.word(format_args!("0x{}", base16::encode_string(octets))))
            }
            Field::Ipv4 => self.take(4)?.first_chunk().map(|octets| self.word(Ipv4Addr::from(*octets))),
            Field::Locator => {
                let groups = self.take(8)?.as_chunks().0.iter().map(|octets| format!("{:x}", u16::from_be_bytes(*octets)));
                let text = groups.collect::<Vec<_>>().join(":");
                self.words.push(text);
                Some(())
            }
            Field::Eui(len) => {
                let text = self.take(len)?.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join("-");
                self.words.push(text);
                Some(())
            }
            Field::Prefixes => {
                while !self.rest.is_empty() {
                    self.prefix()?;
                }
                Some(())
            }
            Field::Types => self.types(),
            Field::Relay => self.relay(),
            Field::HostIdentity => {
                let (tag_len, algorithm, key_len) = (self.u8()?, self.u8()?, self.u16()?);
                let (tag, key) = (self.take(usize::from(tag_len))?, self.take(usize::from(key_len))?);
                self.word(algorithm);
                self.word(base16::encode_string(tag));
                self.word(base64::encode_string(key));
                Some(())
            }
        }
    }

    fn quoted(&mut self, string: &[u8]) -> Option<()> {
        let mut text = String::new();
        write_quoted(string, &mut text).ok()?;
        self.words.push(text);
        Some(())
    }

    fn prefix(&mut self) -> Option<()> {
        let (family, prefix_len, flags) = (self.u16()?, self.u8()?, self.u8()?);
        let octets = self.take(usize::from(flags & 0x7f))?;
        let mut address = [0; 16];
        address.get_mut(..octets.len())?.copy_from_slice(octets);
        let negation = if flags & 0x80 == 0 { "" } else { "!" };
        match family {
            1 => self.word(format_args!("{negation}1:{}/{prefix_len}", Ipv4Addr::from(*address.first_chunk()?))),
            2 => self.word(format_args!("{negation}2:{}/{prefix_len}", Ipv6Addr::from(address))),
            _ => return None,
        }
        Some(())
    }

    fn types(&mut self) -> Option<()> {
        while !self.rest.is_empty() {
            let (window, len) = (self.u8()?, self.u8()?);
            for (at, octet) in self.take(usize::from(len))?.iter().enumerate() {
                for bit in (0..8).filter(|bit| octet & 0x80 >> bit != 0) {
                    self.word(Rtype(u16::from(window) << 8 | (at as u16 * 8 + bit)));
                }
            }
        }
        Some(())
    }

    fn relay(&mut self) -> Option<()> {
        let (precedence, kind) = (self.u8()?, self.u8()?);
        let mut numbers = String::new();
        write!(numbers, "{precedence} {} {}", kind >> 7, kind & 0x7f).ok()?;
        self.words.push(numbers);
        match kind & 0x7f {
            0 => self.word("."),
            1 => self.field(Field::Ipv4)?,
            2 => {
                let address = self.take(16)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))?;
                self.word(address);
            }
            3 => self.field(Field::Name)?,
            _ => return None,
        }
        Some(())
    }
}
