//! Transfers out: what a client wants, which records that means, and how they go into messages.
//!
//! All comes from one immutable version of a zone, however long the client takes to read it.

use crate::message::{Header, Malformed, Reader};
use crate::name::Name;
use crate::zone::{Diff, Record, RecordRef, Rtype, Soa, Zone, serial};
use std::fmt;

/// Highest offset that a compression pointer can express.
const POINTER_MAX: usize = 0x3fff;

/// Our OPT record: 1,232 octets over UDP, version 0, no flags, no options.
pub const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// The UDP payload size in the OPT record of a message, if it has one and is well formed up to it.
pub fn edns_payload(message: &[u8]) -> Option<u16> {
    let header = Header::read(message).ok()?;
    let mut reader = Reader::new(message);
    let [questions, records @ ..] = header.counts;
    for _ in 0..questions {
        reader.question().ok()?;
    }
    let total: u32 = records.iter().map(|&count| u32::from(count)).sum();
    let found = (0..total).map_while(|_| reader.record().ok()).find(|record| record.rtype == Rtype::OPT);
    found.map(|record| record.class)
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The whole zone.
    Whole,
    /// What has changed since this serial.
    Since(u32),
}

/// Reads the question of a transfer and, for an incremental one, the version that the client has (RFC 1995 section 3).
///
/// # Errors
/// If the message is malformed, or an incremental one does not say.
pub fn wanted(message: &[u8]) -> Result<(Name, Wanted), Malformed> {
    let header = Header::read(message)?;
    let mut reader = Reader::new(message);
    let question = reader.question()?;
    if question.rtype == Rtype::AXFR {
        return Ok((question.name, Wanted::Whole));
    }
    let [_, answers, authority, _] = header.counts;
    if answers != 0 || authority == 0 {
        return Err(Malformed);
    }
    let record = reader.record()?;
    if record.rtype != Rtype::SOA || record.owner != question.name {
        return Err(Malformed);
    }
    let soa = Soa::from_rdata(&reader.data(&record)?).ok_or(Malformed)?;
    Ok((question.name, Wanted::Since(soa.serial)))
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version<T> {
    /// The SOA record alone: there is nothing newer.
    Same,
    /// The changes.
    Changes(T),
    /// All records.
    Whole,
}

/// Chooses what to send. `since` gives the changes from a serial, if they are known. Changes that are larger than the zone are
/// not worth sending.
pub fn choose<'d, I>(zone: &Zone, wanted: Wanted, since: impl FnOnce(u32) -> Option<I>) -> Version<Vec<&'d Diff>>
where
    I: Iterator<Item = &'d Diff>,
{
    let Wanted::Since(theirs) = wanted else { return Version::Whole };
    if !serial::is_newer(zone.serial(), theirs) {
        return Version::Same;
    }
    let Some(diffs) = since(theirs) else { return Version::Whole };
    let diffs: Vec<&Diff> = diffs.collect();
    let records: usize = diffs.iter().map(|diff| diff.removed.len() + diff.added.len()).sum();
    if diffs.is_empty() || records > zone.record_count() { Version::Whole } else { Version::Changes(diffs) }
}

/// All records of a zone, with its SOA record at both ends (RFC 5936 section 2.2).
pub fn whole(zone: &Zone) -> impl Iterator<Item = RecordRef<'_>> {
    zone.records().chain(zone.records().take(1))
}

/// Changes as they are sent: between two SOA records of the newest version, each with the old SOA record before what goes and the
/// new one before what comes (RFC 1995 section 4).
pub fn changes<'z>(zone: &'z Zone, diffs: &'z [&'z Diff]) -> impl Iterator<Item = RecordRef<'z>> {
    let soa = || zone.records().take(1);
    let parts = diffs.iter().flat_map(|diff| [&diff.removed, &diff.added]);
    soa().chain(parts.flat_map(|part| soa_first(part))).chain(soa())
}

fn soa_first(records: &[Record]) -> impl Iterator<Item = RecordRef<'_>> {
    let is_soa = |record: &&Record| record.rtype == Rtype::SOA;
    records
        .iter()
        .filter(is_soa)
        .take(1)
        .chain(records.iter().filter(move |record| !is_soa(record)))
        .map(|record| RecordRef { owner: &record.owner, rtype: record.rtype, ttl_s: record.ttl_s, rdata: &record.rdata })
}

/// A record that no message can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record that no message can hold")
    }
}

impl std::error::Error for TooLong {}

/// Packs records into messages. Owners are compressed against the one before and against the question.
#[derive(Debug)]
pub struct Packer<'q> {
    head: Header,
    question: &'q [u8],
    apex: Name,
    limit: usize,
    /// Whether the client knows EDNS, and so each message has an OPT record (RFC 6891 section 7).
    has_opt: bool,
    message: Vec<u8>,
    count: u16,
    /// The owner written last, and where.
    last: Option<(Name, usize)>,
}

impl<'q> Packer<'q> {
    /// For the answers to `request`, each of at most `limit` octets; `None` if it has no question.
    pub fn new(request: &'q [u8], limit: usize) -> Option<Self> {
        let asked = Header::read(request).ok()?;
        let mut reader = Reader::new(request);
        let apex = reader.question().ok()?.name;
        let question = request.get(crate::message::HEADER_LEN..reader.position())?;
        // QR and AA, with opcode and RD as asked.
        let flags = Header::QR | Header::AA | asked.flags & 0x7900;
        let head = Header { id: asked.id, flags, counts: [1, 0, 0, 0] };
        let has_opt = edns_payload(request).is_some();
        let limit = if has_opt { limit.saturating_sub(OPT.len()) } else { limit };
        let mut packer = Self { head, question, apex, limit, has_opt, message: Vec::new(), count: 0, last: None };
        packer.begin();
        Some(packer)
    }

    fn begin(&mut self) {
        self.message = Vec::with_capacity(self.limit);
        self.message.extend_from_slice(&self.head.octets());
        self.message.extend_from_slice(self.question);
        self.count = 0;
        self.last = None;
    }

    /// Adds a record; gives the message before it if that is full.
    ///
    /// # Errors
    /// If the record alone is longer than the limit.
    pub fn push(&mut self, record: RecordRef<'_>) -> Result<Option<Vec<u8>>, TooLong> {
        if self.add(record) {
            return Ok(None);
        }
        let full = (self.count > 0).then(|| self.take());
        if full.is_some() && self.add(record) { Ok(full) } else { Err(TooLong) }
    }

    /// The last message; `None` if it has no record.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        (self.count > 0).then(|| self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        if self.has_opt {
            self.message.extend_from_slice(&OPT);
        }
        let head = Header { counts: [1, self.count, 0, u16::from(self.has_opt)], ..self.head };
        if let Some(place) = self.message.first_chunk_mut() {
            *place = head.octets();
        }
        let message = std::mem::take(&mut self.message);
        self.begin();
        message
    }

    /// Whether the record fitted; nothing is written if not.
    fn add(&mut self, record: RecordRef<'_>) -> bool {
        let start = self.message.len();
        let same = self.last.as_ref().filter(|(name, _)| name == record.owner).map(|(_, at)| *at);
        if let Some(at) = same {
            self.message.extend_from_slice(&(0xc000 | at as u16).to_be_bytes());
        } else {
            let owner = record.owner.wire();
            let below = owner.strip_suffix(self.apex.wire()).filter(|_| record.owner.is_at_or_below(&self.apex));
            // The question's name is the apex and stands right behind the header.
            match below {
                Some(labels) => self.message.extend_from_slice(&[labels, &[0xc0, 0x0c]].concat()),
                None => self.message.extend_from_slice(owner),
            }
        }
        self.message.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.message.extend_from_slice(&[0, 1]);
        self.message.extend_from_slice(&record.ttl_s.to_be_bytes());
        self.message.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
        self.message.extend_from_slice(record.rdata);
        if self.message.len() > self.limit || self.count == u16::MAX {
            self.message.truncate(start);
            return false;
        }
        if same.is_none() {
            self.last = (start <= POINTER_MAX).then(|| (record.owner.clone(), start));
        }
        self.count += 1;
        true
    }
}
