//! Record data of types that the `domain` crate does not read, and of those that most zones consist of, as lists of fields.
//!
//! One table instead of a parser a type. Whatever the text, it gives octets or a message, and never reads beyond its tokens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::SecurityAlgorithm;
use domain::utils::{base16, base64};

use super::rdata::{BadData, bad};
use super::rtype::{Rtype, rtype_from_text};
use crate::name::{Name, presentation_wire, unescape};

/// One field of record data, in presentation and wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    /// The number or mnemonic of a kind of certificate (RFC 4398 section 2.1).
    CertificateType,
    /// The number or mnemonic of a DNSSEC algorithm.
    Algorithm,
    Name,
    /// Names up to the end, none allowed.
    Names,
    /// A character string.
    Text,
    /// A character string that may be left out.
    TextOptional,
    /// Character strings up to the end, at least one.
    Texts,
    /// The octets of one string, without a length.
    Octets,
    /// Hexadecimal digits up to the end, in as many words as there are.
    Hex,
    /// Likewise in Base64.
    Base64,
    /// `0x` and hexadecimal digits with dots anywhere (RFC 1706).
    Nsap,
    Ipv4,
    /// Sixteen bits four times, with colons between (RFC 6742).
    Locator,
    /// So many octets in two digits each, with hyphens between (RFC 7043).
    Eui(usize),
    /// Address prefixes up to the end (RFC 3123).
    Prefixes,
    /// Types up to the end, as a bitmap (RFC 4034 section 4.1.2).
    Types,
    /// Precedence, discovery bit, and a relay of one of four forms (RFC 8777).
    Relay,
    /// Algorithm, identity tag and key with their lengths in front (RFC 8005).
    HostIdentity,
}

/// The fields of a type; `None` where the `domain` crate knows better.
pub(super) fn fields(rtype: Rtype) -> Option<&'static [Field]> {
    use Field::{
        Algorithm, Base64, CertificateType, Eui, Hex, HostIdentity, Ipv4, Locator, Name, Names, Nsap, Octets, Prefixes,
        Relay, Text, TextOptional, Texts, Types, U8, U16, U32,
    };
    Some(match rtype.0 {
        // NS, CNAME, PTR, DNAME: read here for speed, like MX, TXT and SRV
        2 | 5 | 12 | 39 => &[Name],
        // MX, AFSDB, RT, KX, LP
        15 | 18 | 21 | 36 | 107 => &[U16, Name],
        // X25
        19 => &[Text],
        // ISDN
        20 => &[Text, TextOptional],
        22 => &[Nsap],
        // KEY
        25 => &[U16, U8, Algorithm, Base64],
        // PX
        26 => &[U16, Name, Name],
        // GPOS
        27 => &[Text, Text, Text],
        // CERT
        37 => &[CertificateType, U16, Algorithm, Base64],
        // APL
        42 => &[Prefixes],
        // DHCID
        49 => &[Base64],
        // SMIMEA
        53 => &[U8, U8, U8, Hex],
        // HIP
        55 => &[HostIdentity, Names],
        // CSYNC
        62 => &[U32, U16, Types],
        33 => &[U16, U16, U16, Name],
        // TXT, SPF, AVC, RESINFO, WALLET
        16 | 99 | 258 | 261 | 262 => &[Texts],
        // NID, L64
        104 | 106 => &[U16, Locator],
        // L32
        105 => &[U16, Ipv4],
        108 => &[Eui(6)],
        109 => &[Eui(8)],
        // URI
        256 => &[U16, U16, Octets],
        // AMTRELAY
        260 => &[Relay],
        // TA, DLV
        32_768 | 32_769 => &[U16, Algorithm, U8, Hex],
        _ => return None,
    })
}

/// The data of a record from its words; `None` for a type that is not in the table.
pub(super) fn scan(rtype: Rtype, words: &[&[u8]], origin: &Name) -> Option<Result<Vec<u8>, BadData>> {
    let fields = fields(rtype)?;
    let (mut words, mut wire) = (Words { rest: words, origin }, Vec::new());
    for field in fields {
        if words.field(*field, &mut wire).is_none() {
            let found = words.rest.first().map_or("data that ends too early".into(), |w| format!("'{}'", lossy(w)));
            return Some(Err(bad(found, format!("the data of a {rtype} record"))));
        }
    }
    Some(match words.rest.first() {
        Some(word) => Err(bad(format!("'{}'", lossy(word)), format!("the end of a {rtype} record"))),
        None => Ok(wire),
    })
}

fn lossy(word: &[u8]) -> String {
    String::from_utf8_lossy(word.get(..100).unwrap_or(word)).into_owned()
}

/// What is left to read. A word is taken only when its field is good, so that the message can name the one that is not.
struct Words<'a> {
    rest: &'a [&'a [u8]],
    origin: &'a Name,
}

impl Words<'_> {
    fn word(&self) -> Option<&str> {
        std::str::from_utf8(self.rest.first()?).ok()
    }

    fn took<T>(&mut self, value: T) -> T {
        self.rest = self.rest.get(1..).unwrap_or_default();
        value
    }

    /// The next word as a number, or as whatever else its text stands for.
    fn number<N: std::str::FromStr>(&mut self, meaning: fn(&str) -> Option<N>) -> Option<N> {
        let text = self.word()?;
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let number = if plain { text.parse().ok()? } else { meaning(text)? };
        Some(self.took(number))
    }

    fn field(&mut self, field: Field, wire: &mut Vec<u8>) -> Option<()> {
        match field {
            Field::U8 => wire.push(self.number(|_| None)?),
            Field::U16 => wire.extend(self.number::<u16>(|_| None)?.to_be_bytes()),
            Field::U32 => wire.extend(self.number::<u32>(|_| None)?.to_be_bytes()),
            Field::CertificateType => wire.extend(self.number(certificate_type)?.to_be_bytes()),
            Field::Algorithm => wire
                .push(self.number(|text| SecurityAlgorithm::from_mnemonic(text.as_bytes()).map(SecurityAlgorithm::to_int))?),
            Field::Name => {
                let name = presentation_wire(self.rest.first()?, self.origin).ok()?;
                wire.extend(self.took(name));
            }
            Field::Names => {
                while !self.rest.is_empty() {
                    self.field(Field::Name, wire)?;
                }
            }
            Field::Text => {
                let text = self.octets()?;
                wire.push(u8::try_from(text.len()).ok()?);
                wire.extend(self.took(text));
            }
            Field::TextOptional if self.rest.is_empty() => {}
            Field::TextOptional => self.field(Field::Text, wire)?,
            Field::Texts => {
                self.field(Field::Text, wire)?;
                while !self.rest.is_empty() {
                    self.field(Field::Text, wire)?;
                }
            }
            Field::Octets => {
                let octets = self.octets().filter(|octets| !octets.is_empty())?;
                wire.extend(self.took(octets));
            }
            Field::Hex => wire.extend(self.joined(|text| base16::decode_vec(text).ok())?),
            Field::Base64 => wire.extend(self.joined(|text| base64::decode::<Vec<u8>>(text).ok())?),
            Field::Nsap => {
                let digits = self.word()?.strip_prefix("0x").or(self.word()?.strip_prefix("0X"))?.replace('.', "");
                wire.extend(base16::decode_vec(&digits).ok().filter(|octets| !octets.is_empty())?);
                self.took(());
            }
            Field::Ipv4 => {
                let address: Ipv4Addr = self.word()?.parse().ok()?;
                wire.extend(self.took(address).octets());
            }
            Field::Locator => {
                let parts = self.word()?.split(':').map(hex_u16).collect::<Option<Vec<_>>>();
                let parts = parts.filter(|parts| parts.len() == 4)?;
                wire.extend(self.took(parts).into_iter().flat_map(u16::to_be_bytes));
            }
            Field::Eui(len) => {
                let parts =
                    self.word()?.split('-').map(|part| hex_u16(part).filter(|_| part.len() == 2).map(|octet| octet as u8));
                let octets = parts.collect::<Option<Vec<u8>>>().filter(|octets| octets.len() == len)?;
                wire.extend(self.took(octets));
            }
            Field::Prefixes => {
                while let Some(word) = self.rest.first() {
                    wire.extend(prefix(std::str::from_utf8(word).ok()?)?);
                    self.took(());
                }
            }
            Field::Types => self.types(wire)?,
            Field::Relay => self.relay(wire)?,
            Field::HostIdentity => self.host_identity(wire)?,
        }
        Some(())
    }

    /// The next word without its escapes. It is not taken yet.
    fn octets(&self) -> Option<Vec<u8>> {
        let (mut rest, mut octets) = (*self.rest.first()?, Vec::new());
        while let Some((&octet, tail)) = rest.split_first() {
            let (octet, tail) = if octet == b'\\' { unescape(tail).ok()? } else { (octet, tail) };
            octets.push(octet);
            rest = tail;
        }
        Some(octets)
    }

    /// All words that are left as one, decoded. Something must be there.
    fn joined(&mut self, decode: fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let text = String::from_utf8(self.rest.concat()).ok().filter(|text| !text.is_empty())?;
        let octets = decode(&text)?;
        self.rest = &[];
        Some(octets)
    }

    fn types(&mut self, wire: &mut Vec<u8>) -> Option<()> {
        let mut windows = std::collections::BTreeMap::<u8, [u8; 32]>::new();
        while let Some(word) = self.rest.first() {
            let [window, low] = rtype_from_text(std::str::from_utf8(word).ok()?)?.0.to_be_bytes();
            let bits = windows.entry(window).or_default();
            *bits.get_mut(usize::from(low / 8))? |= 0x80 >> (low % 8);
            self.took(());
        }
        for (window, bits) in windows {
            let len = bits.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
            wire.extend([window, len as u8]);
            wire.extend(bits.get(..len)?);
        }
        Some(())
    }

    fn relay(&mut self, wire: &mut Vec<u8>) -> Option<()> {
        wire.push(self.number(|_| None)?);
        let discovery: u8 = self.number(|_| None).filter(|bit| *bit <= 1)?;
        let kind: u8 = self.number(|_| None)?;
        wire.push(discovery << 7 | kind);
        match kind {
            0 if self.word()? == "." => self.took(()),
            1 => return self.field(Field::Ipv4, wire),
            2 => {
                let address: Ipv6Addr = self.word()?.parse().ok()?;
                wire.extend(self.took(address).octets());
            }
            3 => return self.field(Field::Name, wire),
            _ => return None,
        }
        Some(())
    }

    fn host_identity(&mut self, wire: &mut Vec<u8>) -> Option<()> {
        let algorithm: u8 = self.number(|_| None)?;
        let tag = base16::decode_vec(self.word()?).ok()?;
        self.took(());
        let key: Vec<u8> = base64::decode(self.word()?).ok()?;
        wire.extend([u8::try_from(tag.len()).ok()?, algorithm]);
        wire.extend(u16::try_from(self.took(key.len())).ok()?.to_be_bytes());
        wire.extend(tag);
        wire.extend(key);
        Some(())
    }
}

fn hex_u16(part: &str) -> Option<u16> {
    let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u16::from_str_radix(part, 16).ok())?
}

fn certificate_type(mnemonic: &str) -> Option<u16> {
    const NAMES: [&str; 8] = ["PKIX", "SPKI", "PGP", "IPKIX", "ISPKI", "IPGP", "ACPKIX", "IACPKIX"];
    match mnemonic {
        "URI" => Some(253),
        "OID" => Some(254),
        _ => NAMES.iter().position(|name| *name == mnemonic).map(|at| at as u16 + 1),
    }
}

/// `[!]family:address/length`: the octets of the address without the zeros at its end.
fn prefix(text: &str) -> Option<Vec<u8>> {
    let (negated, text) = text.strip_prefix('!').map_or((0, text), |rest| (0x80, rest));
    let (family, text) = text.split_once(':')?;
    let (address, len) = text.split_once('/')?;
    let (octets, len): (Vec<u8>, u8) = match (family, address.parse().ok()?, len.parse().ok()?) {
        ("1", IpAddr::V4(address), len @ 0..=32) => (address.octets().into(), len),
        ("2", IpAddr::V6(address), len @ 0..=128) => (address.octets().into(), len),
        _ => return None,
    };
    let used = octets.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
    let mut wire = vec![0, family.parse().ok()?, len, negated | used as u8];
    wire.extend(octets.get(..used)?);
    Some(wire)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Option<String> {
        let (rtype, data) = text.split_once(' ').unwrap();
        let words: Vec<&[u8]> = data.split(' ').map(str::as_bytes).collect();
        let wire = scan(rtype_from_text(rtype).unwrap(), &words, &Name::from_text("z").unwrap()).unwrap().ok()?;
        Some(farm_shared::hex::encode(&wire))
    }

    /// The octets are dnspython's for the same text; most texts are the examples of the RFCs.
    #[test]
    fn data() {
        let check = |text: &str, expect: &str| assert_eq!(read(text).as_deref(), Some(expect), "{text}");
        check("AFSDB 1 Afs.example.", "000103416673076578616d706c6500");
        check("KX 10 kx", "000a026b78017a00");
        check("X25 311061700956", "0c333131303631373030393536");
        check("ISDN 150862028003217 004", "0f31353038363230323830303332313703303034");
        check("ISDN 1", "0131");
        check("NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00", "47000580005a0000000001e133ffffff00016100");
        check("KEY 256 3 RSASHA256 AQ ID", "01000308010203");
        check("PX 10 map822. mapx400.", "000a066d617038323200076d61707834303000");
        check("GPOS -32.6882 116.8652 10.0", "082d33322e36383832083131362e383635320431302e30");
        check("CERT PGP 0 0 AQID", "0003000000010203");
        check("CERT 1 12345 8 AQIDBA==", "000130390801020304");
        check("APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:FF00::/8", "00011503c0a82000011c83c0a82600020801ff");
        check("DHCID AAIBY2/AuCccgoJbsaxc", "000201636fc0b8271c82825bb1ac5c");
        check("SMIMEA 3 1 1 8cb0 fc6c", "0301018cb0fc6c");
        check("HIP 2 200100107B1A74DF AQID rvs. rw.", "08020003200100107b1a74df010203037276730002727700");
        check("CSYNC 66 3 A NS AAAA", "000000420003000460000008");
        check("CSYNC 66 3 TYPE1234", "000000420003041b000000000000000000000000000000000000000000000000000020");
        check("SPF v=spf1 a\\032b", "06763d7370663103612062");
        check("NID 10 0014:4fff:ff20:ee64", "000a00144fffff20ee64");
        check("L64 10 2001:0DB8:1140:1000", "000a20010db811401000");
        check("L32 10 10.1.2.0", "000a0a010200");
        check("EUI48 00-00-5e-00-53-2a", "00005e00532a");
        check("EUI64 00-00-5e-ef-10-00-00-2a", "00005eef1000002a");
        check("URI 10 1 ftp://a/", "000a00016674703a2f2f612f");
        check("AMTRELAY 10 0 1 203.0.113.15", "0a01cb00710f");
        check("AMTRELAY 10 1 3 relay.example.", "0a830572656c6179076578616d706c6500");
        check("AMTRELAY 10 0 2 2001:db8::15", "0a0220010db8000000000000000000000015");
        check("AMTRELAY 0 0 0 .", "0000");
        check("DLV 60485 5 1 2BB183AF", "ec4505012bb183af");
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "AFSDB 65536 a.",
            "AFSDB 1",
            "AFSDB 1 a. b.",
            "AFSDB +1 a.",
            "X25 a\\256",
            "NSAP 47",
            "NSAP 0x",
            "NSAP 0x123",
            "KEY 256 3 NOALG AQID",
            "CERT NOTYPE 0 0 AQID",
            "CERT 1 0 0 A",
            "APL 1:192.0.2.0/33",
            "APL 3:192.0.2.0/1",
            "APL 1:::/1",
            "SMIMEA 3 1 1 abc",
            "SMIMEA 3 1 1",
            "NID 10 0:0:0",
            "NID 10 0:0:0:0:0",
            "NID 10 00000:0:0:0",
            "NID 10 +1:0:0:0",
            "L32 10 ::1",
            "EUI48 00-00-5e-00-53",
            "EUI48 00-00-5e-00-53-+a",
            "URI 1 1 ",
            "AMTRELAY 1 2 0 .",
            "AMTRELAY 1 0 4 .",
            "AMTRELAY 1 0 0 a",
            "CSYNC 1 1 NOTYPE",
            "HIP 2 20 AQID a..b",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
