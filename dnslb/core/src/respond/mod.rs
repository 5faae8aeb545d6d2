//! One query to one answer, for every transport.
//!
//! [`respond`] is the hot path: it reads the snapshot, writes into the caller's buffer, and allocates, locks and logs nothing.
//! No query may make it panic, loop, or write past the limit of its transport.

mod denial;
mod lookup;
mod nsec3;
mod pools;
mod resolve;

use std::net::IpAddr;

use farm_shared::time::Now;

use crate::name_buf::NameBuf;
use crate::snapshot::Snapshot;
use crate::wire::{self, QueryFault, Writer, rcode};
use crate::zone::Rtype;
use resolve::Resolver;

/// How a query came; it bounds the answer's length, and some EDNS options belong to some of them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram: the client's EDNS size or 512 octets, at most [`crate::snapshot::Limits::udp_len_max`].
    Udp,
    /// DNS over TCP (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https, Self::Quic];

    /// Whether answers may have 65,535 octets, and the client's address is proven.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether lengths are all that a listener sees, so that answers are padded (RFC 8467).
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }

    /// The name in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }
}

/// Longest DNS message, in octets.
pub const MESSAGE_LEN_MAX: usize = 65_535;

/// Longest UDP message that a client without EDNS takes, in octets (RFC 1035 section 4.2.1).
pub const UDP_LEN_PLAIN: usize = 512;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'s> {
    /// Octets written to the buffer.
    pub len: usize,
    /// Response code, the extended part included; see [`crate::wire::rcode`].
    pub rcode: u16,
    /// Whether TC is set.
    pub truncated: bool,
    /// Index of the pool that was asked, even if it had nobody to name.
    pub pool: Option<u32>,
    /// Slots of the pool's members named in the answer; empty when the answer was truncated.
    pub named: &'s [u32],
    /// Which of the pool's answers: see [`crate::snapshot::PoolAnswers::variant`].
    pub variant: u16,
    /// Whether the message is more than a plain query: a notification, an update, a transfer, or anything that is signed. What was
    /// written is what a server says that can do nothing of these; who can must not send it.
    pub special: bool,
}

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const QR: u16 = 0x8000;
/// What a reply copies from the query: opcode and RD.
const COPIED: u16 = 0x7900;
const CLASS_IN: u16 = 1;

/// Answers `query` into `out`.
///
/// `now` gives the time left that pool TTLs follow, `draw` is a fresh uniform 64-bit number that picks a pool's subset, and
/// `client` is the address that asked. Returns `None` when nothing may be sent: the message is shorter than a header, is an
/// answer itself, or `out` cannot hold the question (12 + 259 + 11 octets always suffice for that).
pub fn respond<'s>(
    snapshot: &'s Snapshot,
    transport: Transport,
    client: IpAddr,
    query: &[u8],
    now: Now,
    draw: u64,
    out: &mut [u8],
) -> Option<Reply<'s>> {
    let mut name = NameBuf::new();
    let read = wire::read(query, &mut name)?;
    let udp_len_max = snapshot.limits.udp_len_max.max(UDP_LEN_PLAIN as u16);
    let limit = match transport {
        Transport::Udp => read.edns.map_or(UDP_LEN_PLAIN, |edns| usize::from(edns.udp_len_max.min(udp_len_max))),
        _ => MESSAGE_LEN_MAX,
    };
    let question_len = read.question.map_or(0, |question| question.len);
    let writer = Writer::new(out, limit, query.get(wire::HEADER_LEN..)?.get(..question_len)?, read.edns.is_some())?;
    let mut resolver = Resolver::new(snapshot, writer, client, now, draw);
    resolver.dnssec = read.edns.is_some_and(|edns| edns.dnssec_ok);
    resolver.rcode = match (read.fault, read.question, read.edns) {
        (Some(QueryFault::Opcode), _, _) => rcode::NOTIMP,
        (Some(QueryFault::Format), _, _) | (None, None, _) => rcode::FORMERR,
        (None, Some(_), Some(edns)) if edns.version > 0 => rcode::BADVERS,
        (None, Some(question), _) if question.class != CLASS_IN || matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) => {
            rcode::REFUSED
        }
        (None, Some(_), _) => rcode::NOERROR,
    };
    let has_question = read.question.is_some();
    if resolver.rcode == rcode::NOERROR
        && let Some(question) = read.question
    {
        resolver.resolve(&mut name, question.rtype);
    }

    let mut flags = QR | (read.flags & COPIED);
    if resolver.authoritative {
        flags |= AA;
    }
    if resolver.truncated {
        flags |= TC;
    }
    Some(Reply {
        rcode: resolver.rcode,
        truncated: resolver.truncated,
        pool: resolver.pool,
        named: resolver.named,
        variant: resolver.variant,
        special: read.special,
        len: resolver.writer.finish(read.id, flags, has_question, read.edns, resolver.rcode, udp_len_max),
    })
}

#[cfg(test)]
mod tests;
