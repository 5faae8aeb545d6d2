//! Checking: requests that came to us, and the answers to ours.
//!
//! The order of the checks is that of RFC 8945 section 5.2: key, MAC, time. What of the refusal is signed follows from it.

use super::key::{HmacAlgorithm, Keys, TsigKey};
use super::record::{Tsig, Variables, append, split, time48};
use super::sign::Signer;
use super::{NOTAUTH, error};
use crate::message::{Header, Malformed, Reader};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use farm_shared::time::Wall;
use std::fmt;
use std::sync::Arc;

/// Messages without a signature that may lie between two with one in a stream (RFC 8945 section 5.3.1).
pub const STREAM_UNSIGNED_MAX: u32 = 99;

/// Response code of a malformed request.
const FORMERR: u16 = 1;

/// A request that is its key holder's.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The request without its TSIG record.
    pub message: Vec<u8>,
    /// The key.
    pub key: Arc<TsigKey>,
    /// Signs the answers.
    pub signer: Signer,
}

/// Why a request is not believed, and what is said to its sender.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Value of the TSIG error field; 0 if the message is malformed.
    pub error: u16,
    /// The refusal, a whole message; `None` when nothing may be sent.
    pub response: Option<Vec<u8>>,
}

/// Why an answer to a request of ours is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsigError {
    /// Malformed.
    Format,
    /// It has no signature and should have one.
    Unsigned,
    /// It has another key or algorithm.
    OtherKey,
    /// Its MAC does not hold.
    BadMac,
    /// It was signed at another time.
    BadTime,
    /// The peer refused our signature, with this error.
    Refused(u16),
}

impl fmt::Display for TsigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "a malformed message",
            Self::Unsigned => "no signature",
            Self::OtherKey => "a signature with another key",
            Self::BadMac => "a signature that does not hold",
            Self::BadTime => "a signature of another time",
            Self::Refused(error::BADSIG) => "the peer says BADSIG",
            Self::Refused(error::BADKEY) => "the peer says BADKEY",
            Self::Refused(error::BADTIME) => "the peer says BADTIME",
            Self::Refused(error::BADTRUNC) => "the peer says BADTRUNC",
            Self::Refused(_) => "the peer refuses our signature",
        })
    }
}

impl std::error::Error for TsigError {}

/// Checks the signature of a request; `None` if it has none.
///
/// # Errors
/// [`Fault`], with the refusal to send.
pub fn verify(message: &[u8], keys: &Keys, now: Wall) -> Result<Option<Verified>, Fault> {
    let tsig = match split(message) {
        Ok(None) => return Ok(None),
        Ok(Some(tsig)) => tsig,
        Err(Malformed) => return Err(Fault { error: 0, response: refusal(message, FORMERR) }),
    };
    let known = keys.get(&tsig.key).filter(|key| tsig.algorithm.wire() == key.algorithm().wire());
    let Some(key) = known else { return Err(unsigned(message, &tsig, error::BADKEY)) };
    if !is_mac_len(key.algorithm(), tsig.mac.len()) {
        return Err(Fault { error: 0, response: refusal(message, FORMERR) });
    }
    let mut context = key.context();
    tsig.digest_message(&mut context, message);
    variables(&tsig).digest(&mut context, key);
    if !holds(context, tsig.mac) {
        return Err(unsigned(message, &tsig, error::BADSIG));
    }
    let mut signer = Signer::answers(Arc::clone(key), tsig.mac);
    if !in_time(&tsig, now) {
        // Signed, with the client's time and ours in the other data (RFC 8945 section 5.2.3).
        let ours = time48(now.0 / 1_000);
        let response = refusal(message, NOTAUTH).map(|mut response| {
            let stated = Variables { time_s: tsig.time_s, fudge_s: tsig.fudge_s, error: error::BADTIME, other: &ours };
            signer.sign_with(&mut response, stated);
            response
        });
        return Err(Fault { error: error::BADTIME, response });
    }
    Ok(Some(Verified { message: tsig.strip(message), key: Arc::clone(key), signer }))
}

/// Whether a MAC may have that length: whole, or truncated to no less than ten octets and half of it (RFC 8945 section 5.2.2.1).
fn is_mac_len(algorithm: HmacAlgorithm, len: usize) -> bool {
    let whole = algorithm.mac_len();
    (10.max(whole / 2)..=whole).contains(&len)
}

fn variables<'m>(tsig: &Tsig<'m>) -> Variables<'m> {
    Variables { time_s: tsig.time_s, fudge_s: tsig.fudge_s, error: tsig.error, other: tsig.other }
}

fn holds(context: hmac::Context, mac: &[u8]) -> bool {
    let tag = context.sign();
    tag.as_ref().get(..mac.len()).is_some_and(|ours| verify_slices_are_equal(ours, mac).is_ok())
}

fn in_time(tsig: &Tsig<'_>, now: Wall) -> bool {
    (now.0 / 1_000).abs_diff(tsig.time_s) <= u64::from(tsig.fudge_s)
}

/// A response with the request's question alone; `None` for what is itself a response.
fn refusal(request: &[u8], rcode: u16) -> Option<Vec<u8>> {
    let header = Header::read(request).ok().filter(|header| !header.is_response())?;
    let mut reader = Reader::new(request);
    let question = (header.counts.first() == Some(&1) && reader.question().is_ok()).then(|| reader.position());
    let end = question.unwrap_or(crate::message::HEADER_LEN);
    let flags = Header::QR | header.flags & 0x7900 | rcode;
    let head = Header { id: header.id, flags, counts: [u16::from(question.is_some()), 0, 0, 0] };
    let mut out = head.octets().to_vec();
    out.extend_from_slice(request.get(crate::message::HEADER_LEN..end)?);
    Some(out)
}

/// A refusal without a MAC: there is nothing that both sides could sign with (RFC 8945 sections 5.2.1 and 5.2.2).
fn unsigned(request: &[u8], tsig: &Tsig<'_>, error: u16) -> Fault {
    let response = refusal(request, NOTAUTH).map(|mut response| {
        let stated = Variables { error, other: &[], ..variables(tsig) };
        append(&mut response, &tsig.key, tsig.algorithm.wire(), stated, tsig.original_id, &[]);
        response
    });
    Fault { error, response }
}

/// Checks the answers to one request of ours, one after the other.
#[derive(Clone)]
pub struct Checker {
    key: Arc<TsigKey>,
    /// Has the MAC before, and the messages since then that had none.
    context: hmac::Context,
    later: bool,
    unsigned: u32,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checker({:?}, {} unsigned)", self.key, self.unsigned)
    }
}

impl Checker {
    pub(super) fn new(key: Arc<TsigKey>, mac: Vec<u8>) -> Self {
        let context = after(&key, &mac);
        Self { key, context, later: false, unsigned: 0 }
    }

    /// Checks the next answer and gives it without its TSIG record. In a stream some may have none: they are believed only when
    /// a later one holds, so nothing may be acted on before [`Checker::finish`] says so.
    ///
    /// # Errors
    /// See [`TsigError`]; the stream is of no use then.
    pub fn check(&mut self, message: &[u8], now: Wall) -> Result<Vec<u8>, TsigError> {
        let Some(tsig) = split(message).map_err(|Malformed| TsigError::Format)? else {
            if !self.later || self.unsigned >= STREAM_UNSIGNED_MAX {
                return Err(TsigError::Unsigned);
            }
            self.unsigned += 1;
            self.context.update(message);
            return Ok(message.to_vec());
        };
        if tsig.key != *self.key.name() || tsig.algorithm.wire() != self.key.algorithm().wire() {
            return Err(TsigError::OtherKey);
        }
        if matches!(tsig.error, error::BADKEY | error::BADSIG) {
            return Err(TsigError::Refused(tsig.error));
        }
        if !is_mac_len(self.key.algorithm(), tsig.mac.len()) {
            return Err(TsigError::BadMac);
        }
        let mut context = self.context.clone();
        tsig.digest_message(&mut context, message);
        if self.later {
            variables(&tsig).digest_timers(&mut context);
        } else {
            variables(&tsig).digest(&mut context, &self.key);
        }
        if !holds(context, tsig.mac) {
            return Err(TsigError::BadMac);
        }
        if tsig.error != 0 {
            return Err(TsigError::Refused(tsig.error));
        }
        if !in_time(&tsig, now) {
            return Err(TsigError::BadTime);
        }
        self.context = after(&self.key, tsig.mac);
        self.later = true;
        self.unsigned = 0;
        Ok(tsig.strip(message))
    }

    /// Whether everything so far is signed for: the last message of a stream must be.
    ///
    /// # Errors
    /// [`TsigError::Unsigned`].
    pub fn finish(&self) -> Result<(), TsigError> {
        if self.later && self.unsigned == 0 { Ok(()) } else { Err(TsigError::Unsigned) }
    }
}

/// A MAC that begins with the one before.
fn after(key: &TsigKey, mac: &[u8]) -> hmac::Context {
    let mut context = key.context();
    context.update(&(mac.len() as u16).to_be_bytes());
    context.update(mac);
    context
}
