//! Denials made up for one name and signed at once: compact denial of existence (RFC 9824), and what proves that no name is
//! closer than a wildcard (RFC 4470).
//!
//! Nothing here speaks of any name but the one asked for, so it can never deny a name that the overlay is about to have. Whatever
//! does not fit into the buffers here is refused, never cut.

use farm_shared::time::{Mono, Wall};

use crate::dnssec::{ActiveKeys, seconds};
use crate::name::{LABEL_LEN_MAX, NAME_LEN_MAX};
use crate::name_buf::NameBuf;
use crate::online::{Kind, OnlineSigner, Refused, SIGNATURE_LEN};
use crate::zone::Rtype;

/// Signatures of one name are the same for so long, in seconds: so long they can be kept.
const STEP_S: u32 = 3_600;

/// Most types of one name.
const TYPES_MAX: usize = 64;

/// Octets of a bitmap that may come with a denial.
const BITMAP_LEN_MAX: usize = 34 * 8;

/// Highest offset a compression pointer can express.
const POINTER_MAX: usize = 0x3fff;

/// The types that a denial says a name has: sorted, each once.
#[derive(Debug)]
pub(super) struct Types {
    list: [u16; TYPES_MAX],
    count: usize,
    overflow: bool,
}

impl Types {
    /// RRSIG and NSEC, which every denial has.
    pub(super) fn new() -> Self {
        let mut types = Self { list: [0; _], count: 0, overflow: false };
        types.add(Rtype::RRSIG);
        types.add(Rtype::NSEC);
        types
    }

    pub(super) fn add(&mut self, rtype: Rtype) {
        let known = self.list.get(..self.count).unwrap_or_default();
        let Err(at) = known.binary_search(&rtype.0) else { return };
        if self.count == TYPES_MAX {
            self.overflow = true;
            return;
        }
        self.list.copy_within(at..self.count, at + 1);
        self.list[at] = rtype.0;
        self.count += 1;
    }

    pub(super) fn remove(&mut self, rtype: Rtype) {
        let known = self.list.get(..self.count).unwrap_or_default();
        if let Ok(at) = known.binary_search(&rtype.0) {
            self.list.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }

    /// Appends the bitmap (RFC 4034 section 4.1.2).
    fn write(&self, out: &mut Octets) -> Option<()> {
        if self.overflow {
            return None;
        }
        let types = self.list.get(..self.count)?;
        for of_window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
            let mut bits = [0_u8; 32];
            let mut len = 0;
            for rtype in of_window {
                let low = usize::from(rtype & 0xff);
                bits[low / 8] |= 0x80 >> (low % 8);
                len = low / 8 + 1;
            }
            out.put(&[(of_window.first()? >> 8) as u8, len as u8])?;
            out.put(bits.get(..len)?)?;
        }
        Some(())
    }
}

/// Room for what is signed: RRSIG data, owner, fixed fields, next name, bitmap.
const ROOM: usize = 18 + NAME_LEN_MAX + NAME_LEN_MAX + 10 + NAME_LEN_MAX + BITMAP_LEN_MAX;

/// Octets that are put one behind the other.
struct Octets {
    octets: [u8; ROOM],
    len: usize,
}

impl Octets {
    fn new() -> Self {
        Self { octets: [0; _], len: 0 }
    }

    fn put(&mut self, octets: &[u8]) -> Option<()> {
        self.octets.get_mut(self.len..self.len + octets.len())?.copy_from_slice(octets);
        self.len += octets.len();
        Some(())
    }

    fn get(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// Who signs, and when.
pub(super) struct Signing<'a> {
    pub(super) keys: &'a ActiveKeys,
    pub(super) signer: &'a mut OnlineSigner,
    pub(super) kind: Kind,
    pub(super) ttl_s: u32,
    /// The TTL to serve; at most `ttl_s`.
    pub(super) served_ttl_s: u32,
    pub(super) now: (Mono, Wall),
    pub(super) per_s: u32,
}

impl Signing<'_> {
    /// An NSEC record of the name itself, which stands at `at` in the message, with these types and nothing between it and the next
    /// possible name. Waits in the signer.
    pub(super) fn at_name(&mut self, name: &[u8], at: usize, types: &Types) -> Result<(), Refused> {
        let mut next = Octets::new();
        first_below(name, &mut next).or_else(|| first_behind(name, &mut next)).ok_or(Refused)?;
        let pointer = (0xc000 | at as u16).to_be_bytes();
        let shown = if at <= POINTER_MAX { &pointer } else { name };
        self.nsec(name, shown, next.get(), types)
    }

    /// An NSEC record that covers the suffix of `depth` labels and what is below it, and nothing else.
    pub(super) fn around(&mut self, name: &NameBuf, depth: usize) -> Result<(), Refused> {
        let (mut before, mut behind) = (Octets::new(), Octets::new());
        last_before(name.suffix(depth), &mut before).ok_or(Refused)?;
        first_behind(name.suffix(depth), &mut behind).ok_or(Refused)?;
        self.nsec(before.get(), before.get(), behind.get(), &Types::new())
    }

    fn nsec(&mut self, owner: &[u8], shown: &[u8], next: &[u8], types: &Types) -> Result<(), Refused> {
        let mut rdata = Octets::new();
        rdata.put(next).and_then(|()| types.write(&mut rdata)).ok_or(Refused)?;
        self.show(shown, Rtype::NSEC, &[rdata.get()]);
        let (inception_s, expiration_s) = self.window(owner);
        for key in self.keys.signers(Rtype::NSEC) {
            let mut signed = Octets::new();
            let [covered_high, covered_low] = Rtype::NSEC.0.to_be_bytes();
            let head = [covered_high, covered_low, key.algorithm().number(), signed_labels(owner)];
            let parts: [&[u8]; 11] = [
                &head,
                &self.ttl_s.to_be_bytes(),
                &expiration_s.to_be_bytes(),
                &inception_s.to_be_bytes(),
                &key.tag().to_be_bytes(),
                self.keys.apex.wire(),
                owner,
                &[covered_high, covered_low, 0, 1],
                &self.ttl_s.to_be_bytes(),
                &(rdata.len as u16).to_be_bytes(),
                rdata.get(),
            ];
            parts.iter().try_for_each(|part| signed.put(part)).ok_or(Refused)?;
            let signature = self.signer.sign(key, signed.get(), self.kind, self.now.0, self.per_s)?;
            let fields = signed.get().get(..18 + self.keys.apex.wire().len()).ok_or(Refused)?;
            self.show(shown, Rtype::RRSIG, &[fields, &signature]);
        }
        Ok(())
    }

    /// Appends a record to those that wait.
    fn show(&mut self, owner: &[u8], rtype: Rtype, rdata: &[&[u8]]) {
        const _: () = assert!(ROOM + SIGNATURE_LEN < 65_536, "a length of data has two octets");
        let len: usize = rdata.iter().map(|part| part.len()).sum();
        let out = &mut self.signer.pending;
        out.extend_from_slice(owner);
        out.extend_from_slice(&rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&self.served_ttl_s.to_be_bytes());
        out.extend_from_slice(&(len as u16).to_be_bytes());
        for part in rdata {
            out.extend_from_slice(part);
        }
        self.signer.pending_count += 1;
    }

    /// The same for each name for [`STEP_S`], and at another second for each.
    fn window(&self, owner: &[u8]) -> (u32, u32) {
        let spread = owner.iter().fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
        let now_s = seconds(self.now.1);
        let start_s = now_s.wrapping_sub(now_s.wrapping_add(spread % STEP_S) % STEP_S);
        let validity = &self.keys.validity;
        let jitter_s = spread.checked_rem(validity.jitter_s).unwrap_or(0);
        let lifetime_s = validity.lifetime_s.saturating_sub(jitter_s);
        (start_s.wrapping_sub(validity.backdate_s), start_s.wrapping_add(lifetime_s))
    }
}

/// Labels as RRSIG counts them: without the root and a leading asterisk (RFC 4034 section 3.1.3).
fn signed_labels(name: &[u8]) -> u8 {
    let (mut at, mut count) = (0, 0);
    while let Some(&len) = name.get(at).filter(|len| **len > 0) {
        at += 1 + usize::from(len);
        count += 1;
    }
    count - u8::from(name.starts_with(b"\x01*"))
}

/// The first name that can follow: `\000` below this one. `None` if that is too long.
fn first_below(name: &[u8], out: &mut Octets) -> Option<()> {
    (name.len() + 2 <= NAME_LEN_MAX).then_some(())?;
    out.put(&[1, 0])?;
    out.put(name)
}

/// The first name behind this one and all below it: one with `\000` at the end of the first label, or with a greater octet there.
fn first_behind(name: &[u8], out: &mut Octets) -> Option<()> {
    let (len, label, rest) = split(name)?;
    if len < LABEL_LEN_MAX && name.len() < NAME_LEN_MAX {
        out.put(&[len as u8 + 1])?;
        out.put(label)?;
        out.put(&[0])?;
        return out.put(rest);
    }
    let at = label.iter().rposition(|octet| *octet < 0xff)?;
    let octet = match label.get(at)? + 1 {
        // Capitals are no octets of their own.
        b'A'..=b'Z' => b'Z' + 1,
        octet => octet,
    };
    out.put(&[at as u8 + 1])?;
    out.put(label.get(..at)?)?;
    out.put(&[octet])?;
    out.put(rest)
}

/// A name shortly before this one (RFC 4470 section 4, RFC 4471 section 3.2): its first label with a smaller last octet, filled up
/// with the greatest. `None` for a label that ends with the smallest: what comes before that may exist, with types of its own.
fn last_before(name: &[u8], out: &mut Octets) -> Option<()> {
    let (len, label, rest) = split(name)?;
    let (&last, front) = label.split_last().filter(|(last, _)| **last > 0)?;
    let smaller = match last - 1 {
        b'A'..=b'Z' => b'A' - 1,
        octet => octet,
    };
    let filled = LABEL_LEN_MAX.min(len + NAME_LEN_MAX - name.len());
    out.put(&[filled as u8])?;
    out.put(front)?;
    out.put(&[smaller])?;
    out.put([0xff; LABEL_LEN_MAX].get(..filled - len)?)?;
    out.put(rest)
}

/// The length of the first label, the label, and the labels behind it; `None` for the root.
fn split(name: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (&len, tail) = name.split_first()?;
    let len = usize::from(len);
    let (label, rest) = tail.split_at_checked(len)?;
    (len > 0).then_some((len, label, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::name::Name;
    use proptest::prelude::*;

    fn made(make: impl Fn(&[u8], &mut Octets) -> Option<()>, name: &Name) -> Option<Name> {
        let mut out = Octets::new();
        make(name.wire(), &mut out)?;
        Some(Name::from_wire(out.get()).unwrap())
    }

    #[test]
    fn neighbours() {
        let check = |name: &str, before: &str, behind: &str, below: &str| {
            let name = Name::from_text(name).unwrap();
            let filled = |front: &str| format!("{front}{}.example", r"\255".repeat(LABEL_LEN_MAX - front.len()));
            let before = (!before.is_empty()).then(|| Name::from_text(&filled(before)).unwrap());
            assert_eq!(made(last_before, &name), before, "{name}");
            assert_eq!(made(first_behind, &name).unwrap(), Name::from_text(behind).unwrap(), "{name}");
            assert_eq!(made(first_below, &name).unwrap(), Name::from_text(below).unwrap(), "{name}");
        };
        check("foo.example", "fon", r"foo\000.example", r"\000.foo.example");
        check(r"fo\000.example", "", r"fo\000\000.example", r"\000.fo\000.example");
        check(r"\000.example", "", r"\000\000.example", r"\000.\000.example");
        check("[.example", "@", r"[\000.example", r"\000.[.example");
    }

    #[test]
    fn types_are_sorted_and_written_by_window() {
        let mut types = Types::new();
        for rtype in [Rtype::MX, Rtype::A, Rtype(1_234), Rtype::A] {
            types.add(rtype);
        }
        let mut out = Octets::new();
        types.write(&mut out).unwrap();
        // RFC 4034 section 4.3.
        let mut expect = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 0x1b];
        expect.extend_from_slice(&[0; 26]);
        expect.push(0x20);
        assert_eq!(out.get(), expect);
        types.remove(Rtype(1_234));
        types.remove(Rtype::AAAA);
        let mut out = Octets::new();
        types.write(&mut out).unwrap();
        assert_eq!(out.get(), [0, 6, 0x40, 1, 0, 0, 0, 3]);
        for number in 0..80 {
            types.add(Rtype(number));
        }
        assert_eq!(types.write(&mut Octets::new()), None, "a type that is left out would be denied");
    }

    proptest! {
        #[test]
        fn neighbours_enclose_the_name_alone(
            labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..=63), 1..5),
            other in proptest::collection::vec(any::<u8>(), 1..=63),
        ) {
            let mut name = Name::root();
            for label in &labels {
                let Ok(longer) = name.child(label) else { break };
                name = longer;
            }
            prop_assume!(!name.is_root());
            if let Some(before) = made(last_before, &name) {
                prop_assert!(before < name, "{before} {name}");
                prop_assert_eq!(before.parent(), name.parent());
            }
            if let Some(behind) = made(first_behind, &name) {
                prop_assert!(name < behind, "{name} {behind}");
                prop_assert_eq!(behind.parent(), name.parent());
                if let Ok(child) = name.child(&other) {
                    prop_assert!(child < behind, "{child} {behind}");
                }
            }
            if let Some(below) = made(first_below, &name) {
                prop_assert!(name < below);
                if let Ok(child) = name.child(&other) {
                    prop_assert!(below <= child);
                }
            }
        }
    }
}
