//! One query to one answer, for every transport.
//!
//! [`respond`] is the hot path: it reads the snapshot, writes into the caller's buffer, and allocates, locks and logs nothing.
//! No query may make it panic, loop, or write past the limit of its transport.

mod denial;
mod denial_online;
mod lookup;
mod nsec3;
mod pools;
mod resolve;

use std::net::IpAddr;

use farm_shared::time::Now;

use crate::cookie::Proof;
use crate::name_buf::NameBuf;
use crate::online::OnlineSigner;
use crate::rrl::{Kind, Policy, Response};
use crate::service::Service;
use crate::snapshot::Snapshot;
use crate::wire::{self, ClientSubnet, Edns, Opt, Query, QueryFault, Question, Verdict, Writer, ede, rcode};
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// The class of the client (see [`crate::site::ClientMap`]), if the pool tells clients apart.
    pub class: u16,
    /// Whether the message is more than a plain query: a notification, an update, a transfer, or anything that is signed. What was
    /// written is what a server says that can do nothing of these; who can must not send it.
    pub special: bool,
    /// What the query's cookie says of its sender.
    pub proof: Proof,
    /// What a rate limit counts it as. Without a limit, the default.
    pub response: Response,
}

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const QR: u16 = 0x8000;
/// What a reply copies from the query: opcode and RD.
const COPIED: u16 = 0x7900;
const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;

/// Answers `query` into `out`.
///
/// `now` gives the time left that pool TTLs follow and the age of cookies, `draw` is a fresh uniform 64-bit number that picks a
/// pool's subset, and `client` is the address that asked. Returns `None` when nothing may be sent: the message is shorter than a
/// header, is an answer itself, or `out` cannot hold the question and the OPT record (1,024 octets always suffice for that).
pub fn respond<'s>(
    snapshot: &'s Snapshot,
    transport: Transport,
    client: IpAddr,
    query: &[u8],
    now: Now,
    draw: u64,
    out: &mut [u8],
) -> Option<Reply<'s>> {
    respond_signing(snapshot, transport, client, query, now, draw, None, out)
}

/// The same, with somebody who signs what has to be signed at once. Without, or when `signer` may sign no more, a client that wants
/// such a signature gets TC over UDP, so that it proves its address by coming again, and SERVFAIL over a stream.
#[expect(clippy::too_many_arguments, reason = "what an answer depends on, each of another owner")]
pub fn respond_signing<'s>(
    snapshot: &'s Snapshot,
    transport: Transport,
    client: IpAddr,
    query: &[u8],
    now: Now,
    draw: u64,
    signer: Option<&mut OnlineSigner>,
    out: &mut [u8],
) -> Option<Reply<'s>> {
    let mut name = NameBuf::new();
    let asked = wire::read(query, &mut name)?;
    let terms = Terms::new(snapshot, transport, client, &asked, now);
    let writer = terms.writer(&asked, query, out)?;
    let mut resolver = Resolver::new(snapshot, writer, client, now, draw);
    if let Some(edns) = &asked.edns {
        (resolver.dnssec, resolver.compact_ok) = (edns.dnssec_ok, edns.compact_ok);
    }
    (resolver.signer, resolver.is_stream) = (signer, transport.is_stream());
    resolver.subnet = terms.subnet;
    // A good cookie is exempt, so nothing is worked out for it.
    let policy = snapshot.service.rrl.as_ref().filter(|_| transport == Transport::Udp && terms.proof != Proof::Valid);
    let mut subject = 0;
    match terms.check(&asked) {
        Ok(question) if question.class == CLASS_IN => {
            // The name is lost on the way.
            subject = policy.map_or(0, |policy| policy.subject(name.wire()) ^ u64::from(question.rtype.0));
            resolver.resolve(&mut name, question.rtype);
        }
        Ok(question) => chaos(&mut resolver, snapshot, &name, question),
        Err((rcode, extended_error)) => (resolver.rcode, resolver.extended_error) = (rcode, extended_error),
    }
    let response = policy.map_or_else(Response::default, |policy| counted_as(&resolver, policy, subject));

    let mut flags = QR | (asked.flags & COPIED);
    if resolver.authoritative {
        flags |= AA;
    }
    if resolver.truncated {
        flags |= TC;
    }
    let verdict = Verdict {
        rcode: resolver.rcode,
        extended_error: resolver.extended_error,
        subnet_scope: resolver.subnet.map_or(0, |_| resolver.subnet_scope),
    };
    Some(Reply {
        rcode: resolver.rcode,
        truncated: resolver.truncated,
        pool: resolver.pool,
        named: resolver.named,
        class: resolver.class,
        special: asked.special,
        proof: terms.proof,
        response,
        len: resolver.writer.finish(asked.id, flags, asked.question.is_some(), terms.opt.as_ref(), verdict),
    })
}

/// Writes what a client gets instead of an answer that a rate limit holds back: BADCOOKIE with a good cookie if it knows cookies,
/// so that it can prove its address, and TC otherwise, so that it turns to TCP. Never longer than question and OPT record.
pub fn respond_limited<'s>(
    snapshot: &'s Snapshot,
    client: IpAddr,
    query: &[u8],
    now: Now,
    out: &mut [u8],
) -> Option<Reply<'s>> {
    let mut name = NameBuf::new();
    let asked = wire::read(query, &mut name)?;
    let terms = Terms::new(snapshot, Transport::Udp, client, &asked, now);
    let writer = terms.writer(&asked, query, out)?;
    let truncated = terms.proof == Proof::None;
    let rcode = if truncated { rcode::NOERROR } else { rcode::BADCOOKIE };
    let flags = QR | (asked.flags & COPIED) | if truncated { TC } else { 0 };
    let verdict = Verdict { rcode, ..Verdict::default() };
    let len = writer.finish(asked.id, flags, asked.question.is_some(), terms.opt.as_ref(), verdict);
    Some(Reply { len, rcode, truncated, proof: terms.proof, ..Reply::default() })
}

/// What a query's transport and OPT record make of the reply, before anything is looked up.
struct Terms<'a> {
    /// Longest reply, in octets.
    limit: usize,
    opt: Option<Opt<'a>>,
    proof: Proof,
    /// The network that the query was asked for, if such are looked at.
    subnet: Option<ClientSubnet>,
    /// An option that we look at is malformed.
    bad_option: bool,
}

impl<'a> Terms<'a> {
    #[inline]
    fn new(snapshot: &'a Snapshot, transport: Transport, client: IpAddr, asked: &Query<'a>, now: Now) -> Self {
        let udp_len_max = snapshot.limits.udp_len_max.max(UDP_LEN_PLAIN as u16);
        let limit = match transport {
            Transport::Udp => asked.edns.map_or(UDP_LEN_PLAIN, |edns| usize::from(edns.udp_len_max.min(udp_len_max))),
            _ => MESSAGE_LEN_MAX,
        };
        let mut terms = Self { limit, opt: None, proof: Proof::None, subnet: None, bad_option: false };
        if let Some(edns) = &asked.edns {
            terms.opt = Some(Opt { udp_len_max, dnssec_ok: edns.dnssec_ok, ..Opt::default() });
            if edns.has_options {
                terms.take_options(snapshot, transport, client, edns, now);
            }
        }
        terms
    }

    fn take_options(&mut self, snapshot: &'a Snapshot, transport: Transport, client: IpAddr, edns: &Edns<'a>, now: Now) {
        let service: &Service = &snapshot.service;
        let (Some(opt), options) = (&mut self.opt, &edns.options) else { return };
        opt.has_options = true;
        self.bad_option = options.bad_cookie;
        let cookie = options.cookie.zip(service.cookies.as_ref());
        if let Some((cookie, proof)) = cookie.and_then(|(cookie, secrets)| secrets.answer(cookie, client, now.wall)) {
            (opt.cookie, self.proof) = (Some(cookie), proof);
        }
        if options.nsid {
            opt.nsid = service.nsid.as_deref();
        }
        // Over QUIC and HTTPS the transport has timeouts of its own (RFC 9250 section 5.5.2).
        if options.keepalive && matches!(transport, Transport::Tcp | Transport::Tls) {
            opt.keepalive_100ms = Some(service.keepalive_100ms);
        }
        opt.is_padded = options.padding && transport.is_encrypted();
        if service.client_subnet
            && snapshot.clients.trusts(client)
            && let Some(subnet) = options.subnet
        {
            self.subnet = ClientSubnet::read(subnet);
            self.bad_option |= self.subnet.is_none();
            opt.subnet = self.subnet.map(|_| subnet);
        }
    }

    fn writer<'o>(&self, asked: &Query<'_>, query: &[u8], out: &'o mut [u8]) -> Option<Writer<'o>> {
        let question_len = asked.question.map_or(0, |question| question.len);
        let question = query.get(wire::HEADER_LEN..)?.get(..question_len)?;
        Writer::new(out, self.limit, question, self.opt.as_ref().map_or(0, Opt::len))
    }

    /// The question to answer, or the response code and extended error of a query that has no answer proper.
    #[inline]
    fn check(&self, asked: &Query<'_>) -> Result<Question, (u16, Option<u16>)> {
        let refused = |reason| Err((rcode::REFUSED, Some(reason)));
        match (asked.fault, asked.question, &asked.edns) {
            (Some(QueryFault::Opcode), _, _) => Err((rcode::NOTIMP, Some(ede::NOT_SUPPORTED))),
            (Some(QueryFault::Format), _, _) => Err((rcode::FORMERR, None)),
            (None, _, Some(edns)) if edns.version > 0 => Err((rcode::BADVERS, None)),
            _ if self.bad_option => Err((rcode::FORMERR, None)),
            // A cookie alone is asked for or tried (RFC 7873 section 5.4).
            (None, None, _) if self.proof == Proof::Invalid => Err((rcode::BADCOOKIE, None)),
            (None, None, _) => Err((rcode::NOERROR, None)),
            (None, Some(question), _) => match question.class {
                CLASS_IN if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) => refused(ede::PROHIBITED),
                CLASS_IN | CLASS_CH => Ok(question),
                _ => refused(ede::NOT_SUPPORTED),
            },
        }
    }
}

/// Answers a question of class CH: who we are, if that is told.
fn chaos(resolver: &mut Resolver<'_, '_, '_>, snapshot: &Snapshot, name: &NameBuf, question: Question) {
    let told = snapshot.service.chaos(name.wire()).filter(|_| matches!(question.rtype, Rtype::TXT | Rtype::ANY));
    let Some(text) = told else {
        (resolver.rcode, resolver.extended_error) = (rcode::REFUSED, Some(ede::PROHIBITED));
        return;
    };
    resolver.authoritative = true;
    resolver.truncated = resolver.writer.chaos_text(text).is_none();
}

/// The kind of a response, and its subject: the question for records at its name, the zone for what random names can ask for.
fn counted_as(resolver: &Resolver<'_, '_, '_>, policy: &Policy, question: u64) -> Response {
    let kind = match resolver.rcode {
        rcode::NOERROR if resolver.writer.answers() > 0 || resolver.truncated => Kind::Answer,
        rcode::NOERROR if !resolver.authoritative => Kind::Referral,
        rcode::NOERROR => Kind::NoData,
        rcode::NXDOMAIN => Kind::NxDomain,
        _ => return Response { kind: Kind::Error, subject: 0 },
    };
    let subject = match resolver.zone {
        Some(zone) if kind != Kind::Answer || resolver.synthesized => policy.subject(zone.apex().wire()),
        _ => question,
    };
    Response { kind, subject }
}

#[cfg(test)]
mod tests;
