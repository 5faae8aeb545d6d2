//! The sampled query log: one in N questions, off by default.
//!
//! Answering threads must never wait for it. They copy a sampled question into a bounded channel, or count it as lost when that is
//! full; a thread of its own writes the lines.

use dnslb_core::respond::{Reply, Transport};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Samples that may wait for the writer.
const WAITING_MAX: usize = 256;

/// A question's octets that are kept: header, the longest name, type and class.
const OCTETS_MAX: usize = 12 + 255 + 4;

struct Sample {
    client: IpAddr,
    transport: Transport,
    rcode: u16,
    answer_len: usize,
    len: usize,
    octets: [u8; OCTETS_MAX],
}

/// The sampling end, one per answering thread.
#[derive(Clone)]
pub struct QueryLog {
    one_in: u64,
    sender: Option<SyncSender<Sample>>,
    lost: Arc<AtomicU64>,
}

impl QueryLog {
    /// A log of one question in `one_in`; none at all for 0. The writer ends when the last clone is dropped.
    pub fn start(one_in: u64) -> std::io::Result<Self> {
        if one_in == 0 {
            return Ok(Self::off());
        }
        let (sender, receiver) = sync_channel::<Sample>(WAITING_MAX);
        std::thread::Builder::new().name("query-log".into()).spawn(move || {
            for sample in receiver {
                sample.write();
            }
        })?;
        Ok(Self { one_in, sender: Some(sender), lost: Arc::default() })
    }

    /// A log of nothing.
    pub fn off() -> Self {
        Self { one_in: 0, sender: None, lost: Arc::default() }
    }

    /// Takes a question into the sample if the draw says so.
    pub fn offer(&self, draw: u64, client: IpAddr, transport: Transport, query: &[u8], reply: &Reply<'_>) {
        let Some(sender) = &self.sender else { return };
        // The high bits of the draw choose among answers; the low ones choose the sample.
        if !draw.is_multiple_of(self.one_in) {
            return;
        }
        let len = query.len().min(OCTETS_MAX);
        let mut octets = [0; OCTETS_MAX];
        for (to, from) in octets.iter_mut().zip(query) {
            *to = *from;
        }
        let sample = Sample { client, transport, rcode: reply.rcode, answer_len: reply.len, len, octets };
        if sender.try_send(sample).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Samples that were lost so far because the writer was behind.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl Sample {
    fn write(&self) {
        let (name, qtype) = question(self.octets.get(..self.len).unwrap_or_default());
        let transport = self.transport.label();
        tracing::info!(
            target: "dnslb::query",
            client = %self.client, transport, name, qtype, rcode = self.rcode, answer_octets = self.answer_len,
            "query"
        );
    }
}

/// The name and the type of the first question, for a reader: octets that could mislead a terminal are escaped.
fn question(octets: &[u8]) -> (String, u16) {
    let mut name = String::new();
    let mut rest = octets.get(12..).unwrap_or_default();
    while let Some((&len, tail)) = rest.split_first() {
        let len = usize::from(len);
        let (Some(label), Some(tail_after)) = (tail.get(..len), tail.get(len..)) else { return (name, 0) };
        if len == 0 {
            rest = tail_after;
            break;
        }
        for &octet in label {
            if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'*') {
                name.push(char::from(octet));
            } else {
                let _ = write!(name, "\\{octet:03}");
            }
        }
        name.push('.');
        rest = tail_after;
    }
    if name.is_empty() {
        name.push('.');
    }
    let qtype = rest.first_chunk::<2>().map_or(0, |octets| u16::from_be_bytes(*octets));
    (name, qtype)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_question_is_readable() {
        let check = |tail: &[u8], expect: (&str, u16)| {
            let octets = [&[0; 12][..], tail].concat();
            assert_eq!(question(&octets), (expect.0.to_owned(), expect.1), "{tail:?}");
        };
        check(b"\x03wWw\x07exa mpl\x00\x00\x1c\x00\x01", ("wWw.exa\\032mpl.", 28));
        check(b"\x00\x00\x06\x00\x01", (".", 6));
        check(b"\x03ww", ("", 0));
        check(b"\xc0\x0c", ("", 0));
        check(b"\x02a\x1b\x00", ("a\\027.", 0));
        check(b"", (".", 0));
    }

    #[test]
    fn a_full_log_loses_samples_and_does_not_wait() {
        let (sender, receiver) = sync_channel(1);
        let log = QueryLog { one_in: 2, sender: Some(sender), lost: Arc::default() };
        let reply = Reply { len: 12, rcode: 0, truncated: false, ..Reply::default() };
        let client = "192.0.2.1".parse().unwrap();
        for draw in 0..5 {
            log.offer(draw, client, Transport::Udp, &[0; 600], &reply);
        }
        assert_eq!((receiver.try_iter().count(), log.lost()), (1, 2));
        QueryLog::start(0).unwrap().offer(0, client, Transport::Udp, &[], &reply);
    }
}
