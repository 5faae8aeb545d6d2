//! Transfers out, and notifications that come in.
//!
//! A transfer is sent from one version of the zone, however long its reader takes, and in its reader's pace: it must never hold more
//! messages than its queue. What has begun and cannot go on ends with a response code, never in silence.

use dnslb_core::message::{HEADER_LEN, Header, Reader};
use dnslb_core::name::Name;
use dnslb_core::respond::{MESSAGE_LEN_MAX, Transport};
use dnslb_core::transfer::{Packer, TooLong, Version, Wanted, changes, choose, wanted, whole};
use dnslb_core::wire::rcode;
use dnslb_core::zone::{Hosted, RecordRef, Rtype, Soa};
use std::net::IpAddr;

use super::counters::Transferred;
use super::handle::{Asked, Out, response, udp_limit};
use super::{Inner, Refused, Rules};

/// The zone is not ours, or not to be had this way (RFC 2136 section 2.2).
const NOTAUTH: u16 = 9;

/// A primary says that a zone has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// The zone.
    pub apex: Name,
    /// Its serial there, if it was told.
    pub serial: Option<u32>,
    /// Who says so.
    pub from: IpAddr,
}

impl Inner {
    pub(super) async fn transfer(&self, mut asked: Asked, out: &Out) {
        let Ok((apex, wanted)) = wanted(&asked.message) else { return self.say(asked, rcode::FORMERR, out).await };
        let hosted = self.published.load().snapshot.zones.hosted_at(&apex).cloned();
        let Some(hosted) = hosted else { return self.say(asked, NOTAUTH, out).await };
        let may_have = |rules: &Rules| rules.may_have(&apex, asked.key(), asked.client);
        if !may_have(&self.rules.load()) && !may_have(&self.members.load()) {
            self.counters.refused(Refused::Denied);
            return self.say(asked, rcode::REFUSED, out).await;
        }
        if hosted.expired {
            return self.say(asked, rcode::SERVFAIL, out).await;
        }
        let is_datagram = asked.transport == Transport::Udp;
        if is_datagram && wanted == Wanted::Whole {
            // RFC 5936 section 4.2: there is none over UDP.
            return self.say(asked, rcode::FORMERR, out).await;
        }
        let Ok(_place) = self.transfers.try_acquire() else {
            self.counters.refused(Refused::Busy);
            return self.say(asked, rcode::SERVFAIL, out).await;
        };
        let request = asked.message.clone();
        let diffs = choose(&hosted.zone, wanted, |serial| hosted.history.since(serial));
        let sent = match &diffs {
            Version::Changes(diffs) => {
                self.send_records(&mut asked, &request, changes(&hosted.zone, diffs), &hosted, out).await
            }
            Version::Whole if !is_datagram => {
                self.send_records(&mut asked, &request, whole(&hosted.zone), &hosted, out).await
            }
            // The newest SOA record alone: nothing is newer, or what is does not fit a datagram.
            _ => self.send_records(&mut asked, &request, hosted.zone.records().take(1), &hosted, out).await,
        };
        self.counters.transferred(match (sent, &diffs) {
            (false, _) => Transferred::Broken,
            (true, Version::Same) => Transferred::Same,
            (true, Version::Changes(_)) => Transferred::Changes,
            (true, Version::Whole) => Transferred::Whole,
        });
        tracing::info!(zone = %apex, client = %asked.client, key = ?asked.key(), serial = hosted.zone.serial(), ?wanted, sent, "transfer");
    }

    /// Sends records in as many messages as they take; whether all were taken.
    async fn send_records<'z>(
        &self,
        asked: &mut Asked,
        request: &[u8],
        records: impl Iterator<Item = RecordRef<'z>> + Send,
        hosted: &'z Hosted,
        out: &Out,
    ) -> bool {
        let is_datagram = asked.transport == Transport::Udp;
        let limit = if is_datagram { udp_limit(request) } else { MESSAGE_LEN_MAX };
        let limit = limit.saturating_sub(asked.room());
        let Some(mut packer) = Packer::new(request, limit) else { return false };
        for record in records {
            match packer.push(record) {
                Ok(None) => {}
                Ok(Some(message)) if !is_datagram => {
                    if !self.send(asked, message, out).await {
                        return false;
                    }
                }
                Ok(Some(_)) => {
                    // Changes that do not fit a datagram: the newest SOA record alone (RFC 1995 section 2).
                    let Some(mut alone) = Packer::new(request, limit) else { return false };
                    let fits = hosted.zone.records().take(1).all(|soa| alone.push(soa).is_ok());
                    let message = alone.finish().filter(|_| fits);
                    return match message {
                        Some(message) => self.send(asked, message, out).await,
                        None => false,
                    };
                }
                Err(TooLong) => {
                    if let Some(message) = response(request, rcode::SERVFAIL, false) {
                        self.send(asked, message, out).await;
                    }
                    return false;
                }
            }
        }
        match packer.finish() {
            Some(message) => self.send(asked, message, out).await,
            None => false,
        }
    }

    /// A notification (RFC 1996 section 3.7 to 3.11).
    pub(super) async fn notification(&self, mut asked: Asked, out: &Out) {
        let Ok(question) = Reader::new(&asked.message).question() else { return self.say(asked, rcode::FORMERR, out).await };
        if question.rtype != Rtype::SOA || question.class != 1 {
            return self.say(asked, rcode::FORMERR, out).await;
        }
        let apex = question.name;
        let may_notify = |rules: &Rules| rules.may_notify(&apex, asked.key(), asked.client);
        match may_notify(&self.rules.load()).or_else(|| may_notify(&self.members.load())) {
            None => return self.say(asked, NOTAUTH, out).await,
            Some(false) => {
                self.counters.refused(Refused::Denied);
                return self.say(asked, rcode::REFUSED, out).await;
            }
            Some(true) => {}
        }
        let notified = Notified { serial: told_serial(&asked.message, &apex), apex, from: asked.client };
        // What cannot be taken is not acknowledged, so that the primary says it again (RFC 1996 section 3.6).
        if let Some(queue) = self.notified.get()
            && queue.try_send(notified).is_err()
        {
            return self.counters.refused(Refused::Busy);
        }
        let Some(message) = response(&asked.message, rcode::NOERROR, true) else { return };
        self.send(&mut asked, message, out).await;
    }
}

/// The serial of the SOA record that a notification may have in its answer section.
fn told_serial(message: &[u8], apex: &Name) -> Option<u32> {
    let header = Header::read(message).ok()?;
    let [_, answers, ..] = header.counts;
    let mut reader = Reader::new(message);
    reader.question().ok()?;
    if answers == 0 || message.len() <= HEADER_LEN {
        return None;
    }
    let record = reader.record().ok().filter(|record| record.rtype == Rtype::SOA && record.owner == *apex)?;
    Soa::from_rdata(&reader.data(&record).ok()?).map(|soa| soa.serial)
}
