//! The OPT record of a reply (RFC 6891): how long it will be, known before the first record is written, and its octets.
//!
//! Its room is kept from the start, so that truncation never costs it. Only an extended error and padding are added when
//! there is room left, since nobody depends on them.

use super::options::code;
use crate::cookie::COOKIE_LEN;
use crate::zone::Rtype;

/// Length of an OPT record without options, in octets.
const FIXED_LEN: usize = 11;
/// Length of an option's code and length, in octets.
const OPTION_HEAD_LEN: usize = 4;
/// Padded answers are a multiple of so many octets (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 468;

/// What goes into the OPT record of a reply.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opt<'a> {
    /// Our longest UDP answer, in octets.
    pub(crate) udp_len_max: u16,
    /// DO, as it came.
    pub(crate) dnssec_ok: bool,
    /// Whether any of the following is there: most queries have none of them.
    pub(crate) has_options: bool,
    /// Client and server cookie.
    pub(crate) cookie: Option<[u8; COOKIE_LEN]>,
    /// Who we are.
    pub(crate) nsid: Option<&'a [u8]>,
    /// How long a connection may be idle, in units of 100 milliseconds.
    pub(crate) keepalive_100ms: Option<u16>,
    /// The client subnet of the query, to be repeated with a scope.
    pub(crate) subnet: Option<&'a [u8]>,
    /// Whether the message gets a length that tells nothing.
    pub(crate) is_padded: bool,
}

/// What is known of the OPT record only when the records are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Verdict {
    /// Response code, of which OPT holds the upper eight bits.
    pub(crate) rcode: u16,
    /// Extended error (RFC 8914), if any.
    pub(crate) extended_error: Option<u16>,
    /// For how long a prefix of the client subnet the answer holds, in bits.
    pub(crate) subnet_scope: u8,
}

impl Opt<'_> {
    /// Octets that it needs at least.
    pub(crate) fn len(&self) -> usize {
        if !self.has_options {
            return FIXED_LEN;
        }
        let option = |len: Option<usize>| len.map_or(0, |len| OPTION_HEAD_LEN + len);
        FIXED_LEN
            + option(self.cookie.map(|cookie| cookie.len()))
            + option(self.nsid.map(<[u8]>::len))
            + option(self.keepalive_100ms.map(|_| 2))
            + option(self.subnet.map(<[u8]>::len))
    }

    /// Writes it to the start of `out`, which ends where the message must, `before` octets behind the message's start; returns its
    /// length. 0, and nothing of use written, if `out` is shorter than [`Self::len`].
    pub(super) fn write(&self, out: &mut [u8], before: usize, verdict: Verdict) -> usize {
        let [size_high, size_low] = self.udp_len_max.to_be_bytes();
        let [type_high, type_low] = Rtype::OPT.0.to_be_bytes();
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        let Some(fixed) = out.first_chunk_mut::<FIXED_LEN>() else { return 0 };
        *fixed = [0, type_high, type_low, size_high, size_low, (verdict.rcode >> 4) as u8, 0, flags, 0, 0, 0];
        if !self.has_options && verdict.extended_error.is_none() {
            return FIXED_LEN;
        }
        let mut at = Cursor { out, len: FIXED_LEN };
        let written = self.write_options(&mut at, verdict);
        if written.is_none() {
            return 0;
        }
        if let Some(error) = verdict.extended_error {
            // Too little room is no reason to fail.
            let _ = at.option(code::EXTENDED_ERROR, &error.to_be_bytes());
        }
        if self.is_padded {
            at.pad(before);
        }
        let len = at.len;
        let rdata_len = ((len - FIXED_LEN) as u16).to_be_bytes();
        if let Some(field) = out.get_mut(FIXED_LEN - 2..FIXED_LEN) {
            field.copy_from_slice(&rdata_len);
        }
        len
    }

    fn write_options(&self, at: &mut Cursor<'_>, verdict: Verdict) -> Option<()> {
        if let Some(cookie) = &self.cookie {
            at.option(code::COOKIE, cookie)?;
        }
        if let Some(nsid) = self.nsid {
            at.option(code::NSID, nsid)?;
        }
        if let Some(timeout) = self.keepalive_100ms {
            at.option(code::TCP_KEEPALIVE, &timeout.to_be_bytes())?;
        }
        if let Some(subnet) = self.subnet {
            let start = at.len + OPTION_HEAD_LEN;
            at.option(code::CLIENT_SUBNET, subnet)?;
            *at.out.get_mut(start + 3)? = verdict.subnet_scope;
        }
        Some(())
    }
}

struct Cursor<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Cursor<'_> {
    fn option(&mut self, code: u16, data: &[u8]) -> Option<()> {
        let option = self.out.get_mut(self.len..)?.get_mut(..OPTION_HEAD_LEN + data.len())?;
        let (head, body) = option.split_first_chunk_mut::<OPTION_HEAD_LEN>()?;
        let ([code_high, code_low], [len_high, len_low]) = (code.to_be_bytes(), (data.len() as u16).to_be_bytes());
        *head = [code_high, code_low, len_high, len_low];
        body.copy_from_slice(data);
        self.len += OPTION_HEAD_LEN + data.len();
        Some(())
    }

    /// Fills the message up to the next whole block, or to its limit.
    fn pad(&mut self, before: usize) {
        let needed = before + self.len + OPTION_HEAD_LEN;
        let end = needed.next_multiple_of(PADDING_BLOCK).min(before + self.out.len());
        let Some(zeros) = end.checked_sub(needed) else { return };
        let start = self.len;
        if self.option(code::PADDING, &[]).is_some()
            && let Some(room) = self.out.get_mut(self.len..self.len + zeros)
        {
            room.fill(0);
            self.len += zeros;
            if let Some(field) = self.out.get_mut(start + 2..start + 4) {
                field.copy_from_slice(&(zeros as u16).to_be_bytes());
            }
        }
    }
}
