//! Domain names as the whole crate keeps them: wire format, lowercase, at most 255 octets.
//!
//! One form means that equality and hashing are byte comparisons. Nothing here may accept a name that breaks the length
//! limits of RFC 1035 section 2.3.4, and nothing may panic on text or octets from outside.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Longest name in wire format, in octets (RFC 1035 section 2.3.4).
pub const NAME_LEN_MAX: usize = 255;
/// Longest label in octets.
pub const LABEL_LEN_MAX: usize = 63;
/// Most labels a name can have, without the root label.
pub const LABELS_MAX: usize = 127;

/// Why text or octets are not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty, or a label between two dots is.
    Empty,
    /// A label exceeds 63 octets.
    LabelTooLong,
    /// The name exceeds 255 octets.
    TooLong,
    /// A backslash is not followed by a character or by three digits up to 255.
    BadEscape,
    /// The octets end early, or hold a compression pointer.
    BadWire,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty label",
            Self::LabelTooLong => "a label of more than 63 octets",
            Self::TooLong => "a name of more than 255 octets",
            Self::BadEscape => "a broken escape (\\X or \\DDD with DDD up to 255)",
            Self::BadWire => "octets that are no domain name",
        })
    }
}

impl std::error::Error for NameError {}

/// A fully qualified domain name: uncompressed wire format in lowercase, the root label included.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    wire: Box<[u8]>,
}

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self { wire: Box::new([0]) }
    }

    /// Reads presentation format (RFC 1035 section 5.1): `\X` and `\DDD` escapes; a missing final dot is added.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        Self::from_presentation(text.as_bytes(), &Self::root())
    }

    /// Reads presentation format; a name without a final dot is relative to `origin`, and `@` is `origin` itself.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn from_presentation(text: &[u8], origin: &Self) -> Result<Self, NameError> {
        let mut wire = presentation_wire(text, origin)?;
        wire.make_ascii_lowercase();
        Ok(Self { wire: wire.into_boxed_slice() })
    }

    /// Reads an uncompressed name from the start of `octets`.
    ///
    /// # Errors
    /// [`NameError::BadWire`] or [`NameError::TooLong`].
    pub fn from_wire(octets: &[u8]) -> Result<Self, NameError> {
        let mut at = 0;
        loop {
            let len = usize::from(*octets.get(at).ok_or(NameError::BadWire)?);
            if len > LABEL_LEN_MAX {
                return Err(NameError::BadWire);
            }
            at += 1 + len;
            if at > NAME_LEN_MAX {
                return Err(NameError::TooLong);
            }
            if len == 0 {
                break;
            }
        }
        let mut wire: Box<[u8]> = octets.get(..at).ok_or(NameError::BadWire)?.into();
        wire.make_ascii_lowercase();
        Ok(Self { wire })
    }

    /// The wire format, in lowercase, with the root label.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let len = usize::from(*self.wire.first()?);
        if len == 0 {
            return None;
        }
        Some(Self { wire: self.wire.get(1 + len..)?.into() })
    }

    /// The labels from the left, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.wire }
    }

    /// Number of labels, without the root label.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.wire.len() == 1
    }

    /// Whether the first label is `*` (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.wire.starts_with(b"\x01*")
    }

    /// Whether this name is `other` or below it.
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        let mut rest: &[u8] = &self.wire;
        loop {
            if rest.len() <= other.wire.len() {
                return *rest == *other.wire;
            }
            let Some(tail) = rest.first().and_then(|&len| rest.get(1 + usize::from(len)..)) else {
                return false;
            };
            rest = tail;
        }
    }

    /// This name with one more label in front.
    ///
    /// # Errors
    /// [`NameError::Empty`], [`NameError::LabelTooLong`] or [`NameError::TooLong`].
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        if label.is_empty() {
            return Err(NameError::Empty);
        }
        if label.len() > LABEL_LEN_MAX {
            return Err(NameError::LabelTooLong);
        }
        let mut wire = Vec::with_capacity(1 + label.len() + self.wire.len());
        wire.push(label.len() as u8);
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
        wire.extend_from_slice(&self.wire);
        if wire.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self { wire: wire.into_boxed_slice() })
    }
}

/// Writes the length octet of the label that started at `start`.
fn close_label(wire: &mut [u8], start: usize) -> Result<(), NameError> {
    let len = wire.len() - start - 1;
    if len == 0 {
        return Err(NameError::Empty);
    }
    if len > LABEL_LEN_MAX {
        return Err(NameError::LabelTooLong);
    }
    if let Some(octet) = wire.get_mut(start) {
        *octet = len as u8;
    }
    Ok(())
}

/// The uncompressed wire format of a name in presentation format, in the case it is written in: names in record data keep it.
pub(crate) fn presentation_wire(text: &[u8], origin: &Name) -> Result<Vec<u8>, NameError> {
    match text {
        b"" => return Err(NameError::Empty),
        b"@" => return Ok(origin.wire.to_vec()),
        b"." => return Ok(vec![0]),
        _ => {}
    }
    let mut wire = Vec::with_capacity(text.len() + 2);
    let mut start = 0;
    wire.push(0);
    let mut rest = text;
    let mut absolute = false;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        absolute = false;
        match octet {
            b'.' => {
                close_label(&mut wire, start)?;
                start = wire.len();
                wire.push(0);
                absolute = true;
            }
            b'\\' => {
                let (octet, tail) = unescape(rest)?;
                rest = tail;
                wire.push(octet);
            }
            _ => wire.push(octet),
        }
        if wire.len() > NAME_LEN_MAX + 1 {
            let label_len = wire.len() - start;
            return Err(if label_len > LABEL_LEN_MAX + 1 { NameError::LabelTooLong } else { NameError::TooLong });
        }
    }
    if !absolute {
        close_label(&mut wire, start)?;
        wire.extend_from_slice(&origin.wire);
    }
    if wire.len() > NAME_LEN_MAX { Err(NameError::TooLong) } else { Ok(wire) }
}

/// Reads what follows a backslash: one octet, and the rest of the text.
pub(crate) fn unescape(rest: &[u8]) -> Result<(u8, &[u8]), NameError> {
    match rest {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..] => {
            let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
            Ok((u8::try_from(value).map_err(|_| NameError::BadEscape)?, tail))
        }
        [b'0'..=b'9', ..] | [] => Err(NameError::BadEscape),
        [octet, tail @ ..] => Ok((*octet, tail)),
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::from_text(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(&self.wire, f)
    }
}

/// Writes an uncompressed name in presentation format, in the case it is in.
pub(crate) fn write_name(wire: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    if wire.len() <= 1 {
        return out.write_char('.');
    }
    for label in Labels::of(wire) {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(out, "\\{}", char::from(octet))?,
                0x21..=0x7e => out.write_char(char::from(octet))?,
                _ => write!(out, "\\{octet:03}")?,
            }
        }
        out.write_char('.')?;
    }
    Ok(())
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Canonical order (RFC 4034 section 6.1): labels compared from the right, as octet strings.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        canonical_cmp(&self.wire, &other.wire)
    }
}

/// Compares two lowercase names in wire format in canonical order, without an allocation.
pub(crate) fn canonical_cmp(a: &[u8], b: &[u8]) -> Ordering {
    let (mut starts_a, mut starts_b) = ([0; LABELS_MAX], [0; LABELS_MAX]);
    let labels = label_starts(a, &mut starts_a).iter().rev().map(|start| label_at(a, *start));
    labels.cmp(label_starts(b, &mut starts_b).iter().rev().map(|start| label_at(b, *start)))
}

/// Where the labels of a name start, without the root label.
fn label_starts<'s>(wire: &[u8], starts: &'s mut [u8; LABELS_MAX]) -> &'s [u8] {
    let (mut at, mut count) = (0, 0);
    while let Some(&len) = wire.get(at).filter(|len| **len > 0)
        && let Some(start) = starts.get_mut(count)
    {
        *start = at as u8;
        at += 1 + usize::from(len);
        count += 1;
    }
    starts.get(..count).unwrap_or_default()
}

fn label_at(wire: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    let len = wire.get(start).map_or(0, |len| usize::from(*len));
    wire.get(start + 1..start + 1 + len).unwrap_or_default()
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The labels of a [`Name`] from the left, without length octets and without the root label.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Labels<'a> {
    /// The labels of a name in wire format.
    pub(crate) fn of(wire: &'a [u8]) -> Self {
        Self { rest: wire }
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, tail) = self.rest.split_first()?;
        if len == 0 {
            return None;
        }
        let (label, rest) = tail.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(label)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_to_wire_to_text() {
        let check = |text: &str, expect: &str| assert_eq!(Name::from_text(text).unwrap().to_string(), expect, "{text}");
        check("Example.COM", "example.com.");
        check("example.com.", "example.com.");
        check(".", ".");
        check(r"a\.b.c", r"a\.b.c.");
        check(r"\065b.c", "ab.c.");
        check(r"\000.c", r"\000.c.");
        check(r"\@.c", r"\@.c.");
        check("*.c", "*.c.");
        check("ü.c", r"\195\188.c.");
    }

    #[test]
    fn bad_text_is_named() {
        let check = |text: &str, expect: NameError| assert_eq!(Name::from_text(text), Err(expect), "{text}");
        check("", NameError::Empty);
        check("a..b", NameError::Empty);
        check(".a", NameError::Empty);
        check(r"a\", NameError::BadEscape);
        check(r"a\25", NameError::BadEscape);
        check(r"a\256", NameError::BadEscape);
        check(&"a".repeat(64), NameError::LabelTooLong);
        check(&"a".repeat(1000), NameError::LabelTooLong);
        check(&format!("{}.", "a".repeat(63)).repeat(4), NameError::TooLong);
        check(&"a.".repeat(128), NameError::TooLong);
        assert!(Name::from_text(&"a.".repeat(127)).is_ok());
    }

    #[test]
    fn relative_names_take_the_origin() {
        let origin = Name::from_text("example.com").unwrap();
        let check = |text: &str, expect: &str| {
            assert_eq!(Name::from_presentation(text.as_bytes(), &origin).unwrap().to_string(), expect);
        };
        check("@", "example.com.");
        check("www", "www.example.com.");
        check("www.", "www.");
        check(r"\@", r"\@.example.com.");
        check(r"a\.", r"a\..example.com.");
    }

    #[test]
    fn canonical_order_is_that_of_rfc_4034() {
        let sorted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            r"\001.z.example.",
            "*.z.example.",
            r"\200.z.example.",
        ];
        let names: Vec<Name> = sorted.iter().map(|text| Name::from_text(text).unwrap()).collect();
        let mut shuffled = names.clone();
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, names);
    }

    #[test]
    fn suffixes() {
        let name = Name::from_text("a.bb.ccc").unwrap();
        assert_eq!(name.parent().unwrap().to_string(), "bb.ccc.");
        assert_eq!(name.label_count(), 3);
        let check =
            |other: &str, expect: bool| assert_eq!(name.is_at_or_below(&Name::from_text(other).unwrap()), expect, "{other}");
        check("a.bb.ccc", true);
        check("bb.ccc", true);
        check(".", true);
        check("b.ccc", false);
        check("x.a.bb.ccc", false);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = Name::from_wire(&octets) {
                prop_assert_eq!(Name::from_text(&name.to_string()).unwrap(), name);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,300}") {
            if let Ok(name) = Name::from_text(&text) {
                prop_assert!(name.wire().len() <= NAME_LEN_MAX);
                prop_assert_eq!(Name::from_wire(name.wire()).unwrap(), name);
            }
        }
    }
}
