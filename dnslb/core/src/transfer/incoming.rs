//! Transfers in: the answers to a request of ours, message by message, to a whole zone or to a list of changes.
//!
//! The peer is believed to own the zone and nothing else. Each message is checked when it comes, and what was taken so far is
//! bounded in records and octets; anything that is not exactly a transfer ends it with a reason, and then nothing of it is used.

use crate::message::{Header, Malformed, Reader};
use crate::name::Name;
use crate::zone::{Diff, Record, Rtype, Soa, Zone, is_well_formed, serial};
use std::fmt;
use std::sync::Arc;

/// What a transfer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records in all.
    pub records_max: usize,
    /// Octets of all messages, and of the records that they hold: compression makes little of much.
    pub octets_max: u64,
}

/// What a record costs in memory beside its names and data, in octets.
const RECORD_OVERHEAD_OCTETS: u64 = 64;

/// Why a transfer is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadTransfer {
    /// A message is malformed.
    Format,
    /// A message answers another question.
    OtherAnswer,
    /// The peer refuses, with this response code.
    Refused(u16),
    /// A message without a record.
    Empty,
    /// The transfer does not begin with the zone's SOA record.
    NoSoa,
    /// A record outside of the zone, or of another class, or of a type that no zone has.
    Foreign(Name, Rtype),
    /// Data that a record of this type cannot have.
    BadData(Name, Rtype),
    /// Serials that are no chain from our version to the newest.
    Chain,
    /// The SOA record at the end is not that of the beginning.
    OtherEnd,
    /// Records behind the end.
    Behind,
    /// More than the limits allow.
    TooMuch,
}

impl fmt::Display for BadTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("a malformed message"),
            Self::OtherAnswer => f.write_str("an answer to another question"),
            Self::Refused(rcode) => write!(f, "response code {rcode}"),
            Self::Empty => f.write_str("a message without a record"),
            Self::NoSoa => f.write_str("no SOA record at the beginning"),
            Self::Foreign(name, rtype) => write!(f, "{rtype} of {name}, which cannot be in the zone"),
            Self::BadData(name, rtype) => write!(f, "{rtype} of {name} with data that it cannot have"),
            Self::Chain => f.write_str("changes that do not lead from our version to the newest"),
            Self::OtherEnd => f.write_str("an SOA record at the end that is not that of the beginning"),
            Self::Behind => f.write_str("records behind the end"),
            Self::TooMuch => f.write_str("more than is allowed"),
        }
    }
}

impl std::error::Error for BadTransfer {}

impl From<Malformed> for BadTransfer {
    fn from(_: Malformed) -> Self {
        Self::Format
    }
}

/// What came of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing newer: the peer's serial.
    Same(u32),
    /// All records.
    Whole(Vec<Record>),
    /// Changes, the oldest first.
    Changes(Vec<Diff>),
}

/// What a primary gave, ready for the store.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// The data that is there is the newest.
    Same,
    /// All records.
    Whole(Arc<Zone>),
    /// Changes, the oldest first.
    Changes(Vec<Diff>),
}

/// Whether more has to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More messages.
    More,
    /// It is complete.
    Done,
    /// The peer says over UDP that there is more than fits: ask again over TCP.
    NeedsStream,
}

#[derive(Debug)]
enum State {
    /// Nothing has come.
    Begin,
    /// One SOA record of a newer version.
    First,
    /// A whole zone.
    Whole(Vec<Record>),
    /// Changes; the last is filled, first with what goes (`false`), then with what comes (`true`).
    Changes(Vec<Diff>, bool),
    Done(Outcome),
}

/// The answers to one request.
#[derive(Debug)]
pub struct Incoming {
    apex: Name,
    id: u16,
    /// The version that an incremental transfer starts from.
    have: Option<u32>,
    limits: Limits,
    /// The newest SOA record, as it came first.
    newest: Option<(Soa, Record)>,
    state: State,
    records: usize,
    octets: u64,
    held_octets: u64,
    messages: u32,
}

impl Incoming {
    /// For the answers to the request `id` for `apex`; `have` is the serial that an incremental request named.
    pub fn new(apex: Name, id: u16, have: Option<u32>, limits: Limits) -> Self {
        Self {
            apex,
            id,
            have,
            limits,
            newest: None,
            state: State::Begin,
            records: 0,
            octets: 0,
            held_octets: 0,
            messages: 0,
        }
    }

    /// Records that have come.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Octets that have come.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Octets of memory that the records take, about.
    pub fn held_octets(&self) -> u64 {
        self.held_octets
    }

    /// Takes the next message, without its TSIG record. `is_datagram` if it came over UDP, where there is one alone.
    ///
    /// # Errors
    /// See [`BadTransfer`]; the transfer is over then.
    pub fn take(&mut self, message: &[u8], is_datagram: bool) -> Result<Progress, BadTransfer> {
        self.octets += message.len() as u64;
        if self.octets > self.limits.octets_max {
            return Err(BadTransfer::TooMuch);
        }
        let header = Header::read(message)?;
        if header.id != self.id || !header.is_response() || header.opcode() != 0 {
            return Err(BadTransfer::OtherAnswer);
        }
        let truncated = header.flags & Header::TC != 0;
        if header.rcode() != 0 {
            return Err(BadTransfer::Refused(header.rcode()));
        }
        let [questions, answers, ..] = header.counts;
        let mut reader = Reader::new(message);
        // The first message repeats the question, later ones may (RFC 5936 section 2.2.1).
        if questions > 1 || questions == 0 && self.messages == 0 {
            return Err(BadTransfer::OtherAnswer);
        }
        if questions == 1 && reader.question()?.name != self.apex {
            return Err(BadTransfer::OtherAnswer);
        }
        if truncated {
            return if is_datagram { Ok(Progress::NeedsStream) } else { Err(BadTransfer::Format) };
        }
        if answers == 0 {
            return Err(BadTransfer::Empty);
        }
        for _ in 0..answers {
            let wire = reader.record()?;
            if wire.class != 1 || wire.rtype.is_meta() || !wire.owner.is_at_or_below(&self.apex) {
                return Err(BadTransfer::Foreign(wire.owner, wire.rtype));
            }
            let rdata = reader.data(&wire)?;
            if !is_well_formed(wire.rtype, &rdata) {
                return Err(BadTransfer::BadData(wire.owner, wire.rtype));
            }
            self.records += 1;
            self.held_octets += (wire.owner.wire().len() + rdata.len()) as u64 + RECORD_OVERHEAD_OCTETS;
            if self.records > self.limits.records_max || self.held_octets > self.limits.octets_max {
                return Err(BadTransfer::TooMuch);
            }
            self.record(Record { owner: wire.owner, rtype: wire.rtype, ttl_s: ttl(wire.ttl_s), rdata })?;
        }
        self.messages += 1;
        let first_alone = matches!(self.state, State::First) && self.messages == 1;
        Ok(match self.state {
            State::Done(_) => Progress::Done,
            // RFC 1995 section 4: over UDP, the newest SOA record alone says that the changes do not fit.
            _ if is_datagram && first_alone => Progress::NeedsStream,
            _ if is_datagram => return Err(BadTransfer::Format),
            _ => Progress::More,
        })
    }

    fn record(&mut self, record: Record) -> Result<(), BadTransfer> {
        let soa = (record.rtype == Rtype::SOA).then(|| Soa::from_rdata(&record.rdata).ok_or(BadTransfer::Format));
        let soa = soa.transpose()?;
        if soa.is_some() && record.owner != self.apex {
            return Err(BadTransfer::Foreign(record.owner, record.rtype));
        }
        let newest = self.newest.as_ref().map(|(soa, _)| soa.serial);
        let state = std::mem::replace(&mut self.state, State::Begin);
        self.state = match (state, soa) {
            (State::Begin, Some(soa)) => {
                let nothing_newer = self.have.is_some_and(|have| !serial::is_newer(soa.serial, have));
                let state = if nothing_newer { State::Done(Outcome::Same(soa.serial)) } else { State::First };
                self.newest = Some((soa, record));
                state
            }
            (State::Begin, None) => return Err(BadTransfer::NoSoa),
            (State::First, Some(soa)) if Some(soa.serial) == self.have => {
                State::Changes(vec![Diff { removed: vec![record], added: Vec::new() }], false)
            }
            // A zone of nothing but its SOA record.
            (State::First, Some(_)) => State::Done(self.end(Vec::new(), &record)?),
            (State::First, None) => State::Whole(vec![record]),
            (State::Whole(records), Some(_)) => State::Done(self.end(records, &record)?),
            (State::Whole(mut records), None) => {
                records.push(record);
                State::Whole(records)
            }
            (State::Changes(diffs, comes), soa) => Self::change(diffs, comes, record, soa, newest)?,
            (State::Done(_), _) => return Err(BadTransfer::Behind),
        };
        Ok(())
    }

    /// A whole zone, if the record at the end is that of the beginning.
    fn end(&self, mut records: Vec<Record>, last: &Record) -> Result<Outcome, BadTransfer> {
        let Some((_, first)) = &self.newest else { return Err(BadTransfer::NoSoa) };
        if first.rdata != last.rdata {
            return Err(BadTransfer::OtherEnd);
        }
        records.insert(0, first.clone());
        Ok(Outcome::Whole(records))
    }

    fn change(
        mut diffs: Vec<Diff>,
        comes: bool,
        record: Record,
        soa: Option<Soa>,
        newest: Option<u32>,
    ) -> Result<State, BadTransfer> {
        let to = diffs.last().and_then(|diff| diff.added.first()).and_then(|soa| Soa::from_rdata(&soa.rdata));
        let Some(last) = diffs.last_mut() else { return Err(BadTransfer::Chain) };
        Ok(match (soa, comes) {
            (None, false) => {
                last.removed.push(record);
                State::Changes(diffs, false)
            }
            (None, true) | (Some(_), false) => {
                last.added.push(record);
                State::Changes(diffs, true)
            }
            (Some(soa), true) => {
                if to.map(|to| to.serial) != Some(soa.serial) {
                    return Err(BadTransfer::Chain);
                }
                if Some(soa.serial) == newest {
                    State::Done(Outcome::Changes(diffs))
                } else {
                    diffs.push(Diff { removed: vec![record], added: Vec::new() });
                    State::Changes(diffs, false)
                }
            }
        })
    }

    /// The serial of the newest version, once it has come.
    pub fn newest(&self) -> Option<u32> {
        self.newest.as_ref().map(|(soa, _)| soa.serial)
    }

    /// What came of it; `None` while it is not complete.
    pub fn finish(self) -> Option<Outcome> {
        if let State::Done(outcome) = self.state { Some(outcome) } else { None }
    }
}

/// A TTL whose highest bit is set counts as 0 (RFC 2181 section 8).
fn ttl(ttl_s: u32) -> u32 {
    if ttl_s > i32::MAX as u32 { 0 } else { ttl_s }
}
