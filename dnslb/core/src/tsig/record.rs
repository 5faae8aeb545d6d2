//! The TSIG record as octets: found in a message, taken off, and written.

use super::key::TsigKey;
use crate::message::{HEADER_LEN, Header, Malformed, Reader};
use crate::name::Name;
use crate::zone::Rtype;
use aws_lc_rs::hmac;

/// Class ANY.
const CLASS_ANY: u16 = 255;

/// What a TSIG record says (RFC 8945 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tsig<'m> {
    /// The name of the key.
    pub key: Name,
    /// The name of the algorithm.
    pub algorithm: Name,
    /// When it was signed, in seconds since the epoch.
    pub time_s: u64,
    /// How far from that the receiver's clock may be, in seconds.
    pub fudge_s: u16,
    /// The MAC; empty in some errors.
    pub mac: &'m [u8],
    /// The message's ID when it was signed.
    pub original_id: u16,
    /// See [`super::error`].
    pub error: u16,
    /// In an error BADTIME, the server's time.
    pub other: &'m [u8],
    /// Where the record starts.
    pub(super) start: usize,
}

/// Finds the TSIG record of a message; `None` if it has none.
///
/// # Errors
/// If the message is malformed, or the record is not the last one or not alone (RFC 8945 section 5.1).
pub fn split(message: &[u8]) -> Result<Option<Tsig<'_>>, Malformed> {
    let header = Header::read(message)?;
    let mut reader = Reader::new(message);
    let [questions, records @ ..] = header.counts;
    for _ in 0..questions {
        reader.question()?;
    }
    let total: u32 = records.iter().map(|&count| u32::from(count)).sum();
    for number in 1..=total {
        let record = reader.record()?;
        if record.rtype != Rtype::TSIG {
            continue;
        }
        let in_additional = header.counts.last().is_some_and(|&count| count > 0);
        if number != total || !in_additional || record.class != CLASS_ANY || record.ttl_s != 0 || !reader.is_at_end() {
            return Err(Malformed);
        }
        return read(record.owner, record.start, reader.raw_from(record.rdata_start, record.end)).map(Some);
    }
    Ok(None)
}

fn read(key: Name, start: usize, data: &[u8]) -> Result<Tsig<'_>, Malformed> {
    let algorithm = Name::from_wire(data).map_err(|_| Malformed)?;
    let mut rest = data.get(algorithm.wire().len()..).ok_or(Malformed)?;
    let mut take = |len: usize| -> Result<&[u8], Malformed> {
        let (head, tail) = rest.split_at_checked(len).ok_or(Malformed)?;
        rest = tail;
        Ok(head)
    };
    let number = |octets: &[u8]| octets.iter().fold(0_u64, |sum, &octet| sum << 8 | u64::from(octet));
    let time_s = number(take(6)?);
    let fudge_s = number(take(2)?) as u16;
    let mac_len = number(take(2)?) as usize;
    let mac = take(mac_len)?;
    let original_id = number(take(2)?) as u16;
    let error = number(take(2)?) as u16;
    let other_len = number(take(2)?) as usize;
    let other = take(other_len)?;
    if !rest.is_empty() {
        return Err(Malformed);
    }
    Ok(Tsig { key, algorithm, time_s, fudge_s, mac, original_id, error, other, start })
}

impl Tsig<'_> {
    /// The message without this record, as it came otherwise.
    pub fn strip(&self, message: &[u8]) -> Vec<u8> {
        let mut out = message.get(..self.start).unwrap_or_default().to_vec();
        if let Some(head) = out.first_chunk_mut::<HEADER_LEN>()
            && let Ok(mut header) = Header::read(head.as_slice())
        {
            let [.., additional] = &mut header.counts;
            *additional = additional.saturating_sub(1);
            *head = header.octets();
        }
        out
    }

    /// Feeds a MAC with the message as it was before this record was added (RFC 8945 section 4.3.2).
    pub(super) fn digest_message(&self, context: &mut hmac::Context, message: &[u8]) {
        if let Ok(mut header) = Header::read(message) {
            header.id = self.original_id;
            let [.., additional] = &mut header.counts;
            *additional = additional.saturating_sub(1);
            context.update(&header.octets());
        }
        context.update(message.get(HEADER_LEN..self.start).unwrap_or_default());
    }
}

/// The fields that a MAC covers beside the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variables<'a> {
    pub(super) time_s: u64,
    pub(super) fudge_s: u16,
    pub(super) error: u16,
    pub(super) other: &'a [u8],
}

impl Variables<'_> {
    /// All of them (RFC 8945 section 4.3.3).
    pub(super) fn digest(&self, context: &mut hmac::Context, key: &TsigKey) {
        context.update(key.name().wire());
        context.update(&[0, 255, 0, 0, 0, 0]);
        context.update(key.algorithm().wire());
        self.digest_timers(context);
        context.update(&self.error.to_be_bytes());
        context.update(&(self.other.len() as u16).to_be_bytes());
        context.update(self.other);
    }

    /// Time and fudge alone: messages of a stream behind the first (RFC 8945 section 5.3.1).
    pub(super) fn digest_timers(&self, context: &mut hmac::Context) {
        context.update(&time48(self.time_s));
        context.update(&self.fudge_s.to_be_bytes());
    }
}

/// Seconds as the 48 bits that a record holds.
pub(super) fn time48(time_s: u64) -> [u8; 6] {
    let [_, _, octets @ ..] = time_s.to_be_bytes();
    octets
}

/// Appends a TSIG record to a message and counts it.
pub(super) fn append(
    message: &mut Vec<u8>,
    key: &Name,
    algorithm: &[u8],
    variables: Variables<'_>,
    original_id: u16,
    mac: &[u8],
) {
    let data_len = algorithm.len() + 16 + mac.len() + variables.other.len();
    message.extend_from_slice(key.wire());
    message.extend_from_slice(&Rtype::TSIG.0.to_be_bytes());
    message.extend_from_slice(&[0, 255, 0, 0, 0, 0]);
    message.extend_from_slice(&(data_len as u16).to_be_bytes());
    message.extend_from_slice(algorithm);
    message.extend_from_slice(&time48(variables.time_s));
    message.extend_from_slice(&variables.fudge_s.to_be_bytes());
    message.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    message.extend_from_slice(mac);
    message.extend_from_slice(&original_id.to_be_bytes());
    message.extend_from_slice(&variables.error.to_be_bytes());
    message.extend_from_slice(&(variables.other.len() as u16).to_be_bytes());
    message.extend_from_slice(variables.other);
    if let Some(head) = message.first_chunk_mut::<HEADER_LEN>()
        && let Ok(mut header) = Header::read(head.as_slice())
    {
        let [.., additional] = &mut header.counts;
        *additional = additional.saturating_add(1);
        *head = header.octets();
    }
}
