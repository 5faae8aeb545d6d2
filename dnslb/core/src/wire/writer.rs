//! Writing an answer into a buffer of fixed length: whole RRsets or nothing.
//!
//! Room for the OPT record is kept from the start, so that truncation never costs it (RFC 6891 section 7).

use super::{HEADER_LEN, Opt, Verdict};
use crate::zone::{OWNER_POINTER, RrSet, Rtype, To};

/// Highest offset a compression pointer can express.
const POINTER_MAX: usize = 0x3fff;

/// Length in octets of an A record whose owner is a pointer.
pub(crate) const A_RECORD_LEN: usize = 16;
/// Length in octets of an AAAA record whose owner is a pointer.
pub(crate) const AAAA_RECORD_LEN: usize = 28;

/// The sections that records go into, in the order in which they must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// The owner of records to write: a name that is already in the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// Where the name is, uncompressed or ending in a pointer.
    pub(crate) at: usize,
    /// The name itself, for when `at` is beyond the reach of a pointer.
    pub(crate) wire: &'a [u8],
}

/// A place in a message that writing can go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    len: usize,
    counts: [u16; 3],
}

/// A message being written.
#[derive(Debug)]
pub(crate) struct Writer<'o> {
    out: &'o mut [u8],
    /// Records end here at the latest; the OPT record may lie behind.
    limit: usize,
    /// The message ends here at the latest.
    limit_whole: usize,
    len: usize,
    counts: [u16; 3],
}

impl<'o> Writer<'o> {
    /// A message of at most `limit` octets that starts with a header, yet empty, and the octets of a question, and keeps room
    /// for an OPT record of `opt_len` octets. `None` when `out` cannot even hold these.
    pub(crate) fn new(out: &'o mut [u8], limit: usize, question: &[u8], opt_len: usize) -> Option<Self> {
        let limit_whole = limit.min(out.len());
        let limit = limit_whole.checked_sub(opt_len)?;
        let len = HEADER_LEN + question.len();
        if len > limit {
            return None;
        }
        out.get_mut(HEADER_LEN..len)?.copy_from_slice(question);
        Some(Self { out, limit, limit_whole, len, counts: [0; 3] })
    }

    /// What is written at `range`.
    pub(crate) fn written(&self, at: usize, len: usize) -> &[u8] {
        self.out.get(at..at + len).unwrap_or_default()
    }

    fn count(&mut self, section: Section, records: u16) {
        if let Some(count) = self.counts.get_mut(section as usize) {
            *count += records;
        }
    }

    /// Appends octets that are no record of their own; `None` when they do not fit.
    fn append(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.len + octets.len();
        if end > self.limit {
            return None;
        }
        self.out.get_mut(self.len..end)?.copy_from_slice(octets);
        self.len = end;
        Some(())
    }

    /// Writes a whole RRset, its TTL lowered to `ttl_s_max`, and returns where its records start; `None`, and nothing written,
    /// when it does not fit. A place beyond the reach of pointers means that nothing may point into the set.
    pub(crate) fn set(&mut self, section: Section, owner: Owner<'_>, set: &RrSet, ttl_s_max: u32) -> Option<usize> {
        let start = self.len;
        if !set.cuts().is_empty() {
            return self.set_cut_short(section, owner, set, ttl_s_max);
        }
        if owner.at == HEADER_LEN && set.ttl_s <= ttl_s_max {
            self.append(&set.records)?;
        } else {
            self.set_with_owner(owner, set, ttl_s_max).or_else(|| {
                self.len = start;
                None
            })?;
        }
        self.count(section, set.count);
        Some(start)
    }

    /// Writes an RRset whose names end in pointers.
    fn set_cut_short(&mut self, section: Section, owner: Owner<'_>, set: &RrSet, ttl_s_max: u32) -> Option<usize> {
        let start = self.len;
        let in_reach = owner.at.max(start + set.records.len()) <= POINTER_MAX;
        let written = if in_reach {
            self.records_cut_short(owner, set, ttl_s_max)
        } else {
            self.set_with_owner(owner, set, ttl_s_max)
        };
        written.or_else(|| {
            self.len = start;
            None
        })?;
        self.count(section, set.count);
        // Written whole, names are not where those who point into the set expect them.
        Some(if in_reach { start } else { POINTER_MAX + 1 })
    }

    fn records_cut_short(&mut self, owner: Owner<'_>, set: &RrSet, ttl_s_max: u32) -> Option<()> {
        let mut cuts = set.cuts();
        let start = self.len;
        let [owner_high, owner_low] = (0xc000 | owner.at as u16).to_be_bytes();
        let [t0, t1, t2, t3] = set.ttl_s.min(ttl_s_max).to_be_bytes();
        let owner_end = owner.at + owner.wire.len();
        let mut at = 0;
        while let Some(&[_, _, k0, k1, c0, c1, _, _, _, _, len_high, len_low]) =
            set.records.get(at..).and_then(|rest| rest.first_chunk::<12>())
        {
            let head_at = self.len;
            self.append(&[owner_high, owner_low, k0, k1, c0, c1, t0, t1, t2, t3, len_high, len_low])?;
            at += 12;
            let end = at + usize::from(u16::from_be_bytes([len_high, len_low]));
            while let Some((cut, rest)) = cuts.split_first().filter(|(cut, _)| usize::from(cut.at) < end) {
                self.append(set.records.get(at..usize::from(cut.at))?)?;
                let target = match cut.to {
                    To::OwnerEnd(len) => owner_end.checked_sub(usize::from(len))?,
                    To::Set(offset) => start + usize::from(offset),
                };
                self.append(&(0xc000 | target as u16).to_be_bytes())?;
                at = usize::from(cut.at) + usize::from(cut.len);
                cuts = rest;
            }
            self.append(set.records.get(at..end)?)?;
            at = end;
            let rdata_len = (self.len - head_at - 12) as u16;
            self.out.get_mut(head_at + 10..head_at + 12)?.copy_from_slice(&rdata_len.to_be_bytes());
        }
        Some(())
    }

    /// Writes prepared records below `prefix`, the first labels of their owner, with this TTL; `None`, and nothing written, when
    /// they do not fit.
    pub(crate) fn prepared(
        &mut self,
        section: Section,
        (prefix, owner): (&[u8], Owner<'_>),
        (records, count): (&[u8], u16),
        ttl_s: u32,
    ) -> Option<usize> {
        let start = self.len;
        self.records_with_owner(prefix, owner, records, ttl_s).or_else(|| {
            self.len = start;
            None
        })?;
        self.count(section, count);
        Some(start)
    }

    /// Appends whole records; `None`, and nothing written, when they do not fit.
    pub(crate) fn whole(&mut self, section: Section, records: &[u8], count: u16) -> Option<()> {
        self.append(records)?;
        self.count(section, count);
        Some(())
    }

    /// Where writing has come to, for [`Writer::rewind`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { len: self.len, counts: self.counts }
    }

    /// Takes back what was written since the mark.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        (self.len, self.counts) = (mark.len, mark.counts);
    }

    fn set_with_owner(&mut self, owner: Owner<'_>, set: &RrSet, ttl_s_max: u32) -> Option<()> {
        self.records_with_owner(&[], owner, &set.records, set.ttl_s.min(ttl_s_max))
    }

    fn records_with_owner(&mut self, prefix: &[u8], owner: Owner<'_>, mut rest: &[u8], ttl_s: u32) -> Option<()> {
        let pointer = (owner.at <= POINTER_MAX).then(|| (0xc000 | owner.at as u16).to_be_bytes());
        let ttl = ttl_s.to_be_bytes();
        while let Some(len) = rest.get(10..).and_then(|tail| tail.first_chunk::<2>()) {
            let (record, tail) = rest.split_at_checked(12 + usize::from(u16::from_be_bytes(*len)))?;
            self.append(prefix)?;
            match &pointer {
                Some(pointer) => self.append(pointer)?,
                None => self.append(owner.wire)?,
            }
            self.append(record.get(2..6)?)?;
            self.append(&ttl)?;
            self.append(record.get(10..)?)?;
            rest = tail;
        }
        Some(())
    }

    /// Writes prebuilt A or AAAA records as one RRset with this TTL; `None`, and nothing written, when they do not fit.
    #[inline]
    pub(crate) fn prebuilt(&mut self, owner_at: usize, records: &[u8], rtype: Rtype, ttl_s: u32) -> Option<()> {
        if owner_at > POINTER_MAX {
            return None;
        }
        let start = self.len;
        self.append(records)?;
        let owner = (0xc000 | owner_at as u16).to_be_bytes();
        let records = self.out.get_mut(start..self.len)?;
        let count = match rtype {
            Rtype::A => patch::<A_RECORD_LEN>(records, owner, ttl_s),
            _ => patch::<AAAA_RECORD_LEN>(records, owner, ttl_s),
        };
        self.count(Section::Answer, count);
        Some(())
    }

    /// Writes prebuilt records of any type as one RRset with this TTL and returns where they start; `None`, and nothing written,
    /// when they do not fit.
    pub(crate) fn prebuilt_any(&mut self, owner_at: usize, records: &[u8], ttl_s: u32) -> Option<usize> {
        let start = self.len;
        self.patched(Section::Answer, records, ttl_s, |_| Some(owner_at))?;
        Some(start)
    }

    /// Writes the additional records of a prebuilt section that starts at `start`, all or none: the owner of each is at so many
    /// octets from there as its first two octets say, or at `owner_at` for 0.
    pub(crate) fn prebuilt_extra(&mut self, owner_at: usize, start: usize, records: &[u8], ttl_s: u32) {
        let at = |offset: usize| if offset == 0 { Some(owner_at) } else { start.checked_add(offset) };
        self.patched(Section::Additional, records, ttl_s, at);
    }

    fn patched(
        &mut self,
        section: Section,
        records: &[u8],
        ttl_s: u32,
        owner_at: impl Fn(usize) -> Option<usize>,
    ) -> Option<()> {
        let start = self.len;
        self.append(records)?;
        let mut rest = self.out.get_mut(start..self.len)?;
        let mut count = 0;
        while let Some(len) = rest.get(10..).and_then(|tail| tail.first_chunk::<2>()) {
            let (record, tail) = rest.split_at_mut_checked(12 + usize::from(u16::from_be_bytes(*len)))?;
            let owner = record.first_chunk::<2>().map(|owner| usize::from(u16::from_be_bytes(*owner)));
            let Some(at) = owner.and_then(&owner_at).filter(|at| *at <= POINTER_MAX) else {
                self.len = start;
                return None;
            };
            record.get_mut(..2)?.copy_from_slice(&(0xc000 | at as u16).to_be_bytes());
            record.get_mut(6..10)?.copy_from_slice(&ttl_s.to_be_bytes());
            count += 1;
            rest = tail;
        }
        self.count(section, count);
        Some(())
    }

    /// Writes one record and returns where its data starts; `None`, and nothing written, when it does not fit.
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner_at: usize,
        rtype: u16,
        ttl_s: u32,
        rdata: &[u8],
    ) -> Option<usize> {
        let start = self.len;
        self.record_parts(owner_at, rtype, ttl_s, rdata).or_else(|| {
            self.len = start;
            None
        })?;
        self.count(section, 1);
        Some(start + 12)
    }

    /// Writes a TXT record of class CH about the server itself, at the question's name with TTL 0; `None`, and nothing written,
    /// when it does not fit.
    pub(crate) fn chaos_text(&mut self, rdata: &[u8]) -> Option<()> {
        let [type_high, type_low] = Rtype::TXT.0.to_be_bytes();
        let [len_high, len_low] = (rdata.len() as u16).to_be_bytes();
        let [pointer_high, pointer_low] = OWNER_POINTER;
        let head = [pointer_high, pointer_low, type_high, type_low, 0, 3, 0, 0, 0, 0, len_high, len_low];
        let start = self.len;
        self.append(&head).and_then(|()| self.append(rdata)).or_else(|| {
            self.len = start;
            None
        })?;
        self.count(Section::Answer, 1);
        Some(())
    }

    fn record_parts(&mut self, owner_at: usize, rtype: u16, ttl_s: u32, rdata: &[u8]) -> Option<()> {
        if owner_at > POINTER_MAX {
            return None;
        }
        self.append(&(0xc000 | owner_at as u16).to_be_bytes())?;
        self.append(&rtype.to_be_bytes())?;
        self.append(&[0, 1])?;
        self.append(&ttl_s.to_be_bytes())?;
        self.append(&(rdata.len() as u16).to_be_bytes())?;
        self.append(rdata)
    }

    /// Number of records in the answer section so far.
    pub(crate) fn answers(&self) -> u16 {
        self.counts[Section::Answer as usize]
    }

    /// Writes the header and the OPT record, if there is one; returns the message's length.
    pub(crate) fn finish(
        mut self,
        id: [u8; 2],
        flags: u16,
        has_question: bool,
        opt: Option<&Opt<'_>>,
        verdict: Verdict,
    ) -> usize {
        let mut additional = self.counts[Section::Additional as usize];
        if let Some(opt) = opt
            && let Some(room) = self.out.get_mut(self.len..self.limit_whole)
        {
            let written = opt.write(room, self.len, verdict);
            self.len += written;
            additional += u16::from(written > 0);
        }
        let [flags_high, flags_low] = (flags | (verdict.rcode & 0xf)).to_be_bytes();
        let [answers_high, answers_low] = self.counts[Section::Answer as usize].to_be_bytes();
        let [authority_high, authority_low] = self.counts[Section::Authority as usize].to_be_bytes();
        let [additional_high, additional_low] = additional.to_be_bytes();
        if let Some(header) = self.out.first_chunk_mut() {
            *header = [
                id[0],
                id[1],
                flags_high,
                flags_low,
                0,
                u8::from(has_question),
                answers_high,
                answers_low,
                authority_high,
                authority_low,
                additional_high,
                additional_low,
            ];
        }
        self.len
    }
}

/// Gives records of `N` octets their owner and TTL; returns how many they are.
fn patch<const N: usize>(records: &mut [u8], owner: [u8; 2], ttl_s: u32) -> u16 {
    let (records, _) = records.as_chunks_mut::<N>();
    for record in &mut *records {
        record[..2].copy_from_slice(&owner);
        record[6..10].copy_from_slice(&ttl_s.to_be_bytes());
    }
    records.len() as u16
}

const _: () = assert!(OWNER_POINTER[1] as usize == HEADER_LEN);
