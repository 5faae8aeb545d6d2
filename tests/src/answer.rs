//! Answers brought to one form, so that two servers' can be compared: what a resolver acts upon, without order or letter case.

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record, RecordType};
use std::collections::BTreeSet;

/// What of an answer must be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response code with its EDNS part.
    pub rcode: u16,
    /// AA.
    pub authoritative: bool,
    /// TC.
    pub truncated: bool,
    /// Whether there is an OPT record.
    pub edns: bool,
    /// The question as it came back.
    pub question: String,
    /// Records as text in lower case.
    pub answers: BTreeSet<String>,
    /// What says something: a referral, a denial, and the proof that a wildcard was right.
    pub authority: BTreeSet<String>,
    /// The glue of a referral.
    pub glue: BTreeSet<String>,
}

impl Answer {
    /// Reads one. Sections are left out where RFCs leave them to the server: those of a truncated answer, which a resolver must not
    /// use (RFC 2181 section 9); NS records beside an answer proper, and additional records that are no glue (RFC 1034 section
    /// 4.3.2); the choice of records for ANY (RFC 8482), of which only their presence stays.
    pub fn read(octets: &[u8]) -> Result<Self, String> {
        let message = Message::from_vec(octets).map_err(|e| format!("{e}: {octets:02x?}"))?;
        if message.metadata.message_type != MessageType::Response {
            return Err(format!("no response: {octets:02x?}"));
        }
        let any = message.queries.first().is_some_and(|query| query.query_type() == RecordType::ANY);
        let is_soa = |record: &&Record| record.record_type() == RecordType::SOA;
        let denial = message.authorities.iter().any(|record| is_soa(&record));
        let chain_only = message.answers.iter().all(|r| matches!(u16::from(r.record_type()), 5 | 39 | 46));
        let said = denial || (chain_only && (!any || message.answers.is_empty()));
        let referral = said && !denial && !message.authorities.is_empty();
        let whole = !message.metadata.truncation;
        let is = |record: &Record, rtype: u16| u16::from(record.record_type()) == rtype;
        let is_ns = |record: &Record| is(record, 2) || (is(record, 46) && record.data.to_string().starts_with("NS "));
        let authority = message.authorities.iter().filter(|record| said || !is_ns(record));
        // Beside glue signatures may be left out (RFC 4035 section 3.1.1).
        let glue = message.additionals.iter().filter(|record| !is(record, 46));
        let mut answers = if whole { set(&message.answers) } else { BTreeSet::new() };
        if any && !answers.is_empty() {
            answers = ["something".to_owned()].into();
        }
        Ok(Self {
            rcode: message.metadata.response_code.into(),
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            edns: message.edns.is_some(),
            question: message.queries.iter().map(|query| query.to_string().to_lowercase()).collect(),
            answers,
            authority: if whole { set(authority) } else { BTreeSet::new() },
            glue: if referral && whole { set(glue) } else { BTreeSet::new() },
        })
    }

    /// A number that differs if anything of two answers does; the same in every run.
    pub fn digest(&self) -> u64 {
        // FNV-1a: short, and no release of the standard library changes it.
        let step = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        format!("{self:?}").bytes().fold(0xcbf2_9ce4_8422_2325, step)
    }
}

/// The addresses that an answer proper brings along, without those that it says anyway: what RFC 1035 section 3.3.9 (MX), 3.3.11
/// (NS), RFC 2782 (SRV) and RFC 9460 section 4.1 (SVCB, HTTPS) want added for resolvers' sake. `None` for what is no answer with
/// records, is truncated, or is for ANY.
pub fn additional(octets: &[u8]) -> Option<BTreeSet<String>> {
    let message = Message::from_vec(octets).ok()?;
    let any = message.queries.iter().any(|query| query.query_type() == RecordType::ANY);
    if message.metadata.truncation || message.answers.is_empty() || any {
        return None;
    }
    let said = set(&message.answers);
    let is_address = |record: &&Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
    let added = set(message.additionals.iter().filter(is_address));
    Some(added.difference(&said).cloned().collect())
}

/// The records as text. One that comes twice, which no RRset may hold (RFC 2181 section 5), shows.
fn set<'r>(records: impl IntoIterator<Item = &'r Record>) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for record in records.into_iter().filter(|record| record.record_type() != RecordType::OPT) {
        let text = shown(record);
        if !set.insert(text.clone()) {
            set.insert(format!("{text} again"));
        }
    }
    set
}

/// A record as text, letters of names in lower case (RFC 4343 section 3); the target of a DNAME record, which is not decoded, too.
fn shown(record: &Record) -> String {
    match &record.data {
        RData::Unknown { code, rdata } if u16::from(*code) == 39 => {
            let target = String::from_utf8_lossy(&rdata.anything).to_lowercase();
            format!("{} {} dname {target:?}", record.name.to_string().to_lowercase(), record.ttl)
        }
        _ => record.to_string().to_lowercase(),
    }
}
