//! One request: whose it is, what it wants, and its answers.
//!
//! The signature comes first. A request that is signed wrongly gets what RFC 8945 says and nothing else, whatever it asks.

use dnslb_core::message::{HEADER_LEN, Header, Reader, opcode};
use dnslb_core::name::Name;
use dnslb_core::respond::{MESSAGE_LEN_MAX, Transport, UDP_LEN_PLAIN};
use dnslb_core::transfer::{OPT, edns_payload};
use dnslb_core::tsig::{self, Fault, Signer, Verified};
use dnslb_core::wire::rcode;
use dnslb_core::zone::Rtype;
use std::net::IpAddr;
use std::sync::PoisonError;
use tokio::sync::{mpsc, oneshot};

use super::{Inner, Refused, Request, Update};
use crate::answering::Answered;

/// Where the messages of an answer go.
pub(super) type Out = mpsc::Sender<Vec<u8>>;

/// A request whose signature holds, or that has none.
pub(super) struct Asked {
    pub(super) transport: Transport,
    pub(super) client: IpAddr,
    /// Without its TSIG record.
    pub(super) message: Vec<u8>,
    /// Signs the answers, if it was signed.
    pub(super) signer: Option<Signer>,
}

impl Asked {
    /// The key that signed it.
    pub(super) fn key(&self) -> Option<&Name> {
        self.signer.as_ref().map(|signer| signer.key().name())
    }

    /// Octets that signing adds to an answer.
    pub(super) fn room(&self) -> usize {
        self.signer.as_ref().map_or(0, |signer| signer.key().record_len_max())
    }
}

impl Inner {
    pub(super) async fn handle(&self, request: Request, out: &Out) {
        let Request { transport, client, message } = request;
        let now = self.clock.now();
        let verified = tsig::verify(&message, &self.rules.load().keys, now.wall);
        let asked = match verified {
            Ok(None) => Asked { transport, client, message, signer: None },
            Ok(Some(Verified { message, signer, .. })) => Asked { transport, client, message, signer: Some(signer) },
            Err(Fault { error, response }) => {
                self.counters.refused(match error {
                    tsig::error::BADKEY => Refused::BadKey,
                    tsig::error::BADSIG => Refused::BadSig,
                    tsig::error::BADTIME => Refused::BadTime,
                    _ => Refused::Malformed,
                });
                if let Some(response) = response {
                    let _ = out.send(response).await;
                }
                return;
            }
        };
        let Ok(header) = Header::read(&asked.message) else { return };
        let question = (header.counts.first() == Some(&1)).then(|| Reader::new(&asked.message).question().ok()).flatten();
        match (header.opcode(), question) {
            (_, None) => self.say(asked, rcode::FORMERR, out).await,
            (opcode::QUERY, Some(question)) if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) => {
                self.transfer(asked, out).await;
            }
            (opcode::NOTIFY, _) => self.notification(asked, out).await,
            (opcode::QUERY, _) => self.query(asked, out).await,
            (opcode::UPDATE, _) => self.update(asked, out).await,
            _ => self.say(asked, rcode::NOTIMP, out).await,
        }
    }

    /// A plain query that is signed: answered as all are, then signed.
    async fn query(&self, mut asked: Asked, out: &Out) {
        let mut message = vec![0; MESSAGE_LEN_MAX];
        let limit = match asked.transport {
            Transport::Udp => udp_limit(&asked.message),
            _ => MESSAGE_LEN_MAX,
        };
        let room = asked.room();
        let answered = {
            let mut answerer = self.answerer.lock().unwrap_or_else(PoisonError::into_inner);
            let place = message.get_mut(..limit.saturating_sub(room)).unwrap_or_default();
            answerer.round().answer(asked.transport, asked.client, &asked.message, place)
        };
        let Answered::Whole(len) = answered else { return };
        message.truncate(len);
        self.send(&mut asked, message, out).await;
    }

    async fn update(&self, asked: Asked, out: &Out) {
        let Some(updates) = &self.updates else { return self.say(asked, rcode::NOTIMP, out).await };
        let (reply, replied) = oneshot::channel();
        let key = asked.key().cloned();
        let update = Update { message: asked.message.clone(), key, client: asked.client, reply };
        let rcode = match updates.send(update).await {
            Ok(()) => replied.await.unwrap_or(rcode::SERVFAIL),
            Err(_) => rcode::SERVFAIL,
        };
        self.say(asked, rcode, out).await;
    }

    /// A response without records.
    pub(super) async fn say(&self, mut asked: Asked, rcode: u16, out: &Out) {
        let Some(message) = response(&asked.message, rcode, false) else { return };
        self.send(&mut asked, message, out).await;
    }

    /// Signs a message if the request was signed, and sends it; whether it was taken.
    pub(super) async fn send(&self, asked: &mut Asked, mut message: Vec<u8>, out: &Out) -> bool {
        if let Some(signer) = &mut asked.signer {
            signer.sign(&mut message, self.clock.now().wall);
        }
        out.send(message).await.is_ok()
    }
}

/// The longest answer that the sender of a datagram takes, in octets: its EDNS size up to 1,232, else 512.
pub(super) fn udp_limit(message: &[u8]) -> usize {
    edns_payload(message).map_or(UDP_LEN_PLAIN, |size| usize::from(size).clamp(UDP_LEN_PLAIN, 1_232))
}

/// A response with the request's question and, if it has one, an OPT record; `None` if the request has no header.
pub(super) fn response(request: &[u8], rcode: u16, authoritative: bool) -> Option<Vec<u8>> {
    let header = Header::read(request).ok()?;
    let mut reader = Reader::new(request);
    let has_question = header.counts.first() == Some(&1) && reader.question().is_ok();
    let end = if has_question { reader.position() } else { HEADER_LEN };
    let flags = Header::QR | header.flags & 0x7900 | if authoritative { Header::AA } else { 0 } | rcode & 0xf;
    let opt: &[u8] = if edns_payload(request).is_some() { &OPT } else { &[] };
    let head = Header { id: header.id, flags, counts: [u16::from(has_question), 0, 0, u16::from(!opt.is_empty())] };
    Some([&head.octets()[..], request.get(HEADER_LEN..end)?, opt].concat())
}
