//! Answers brought to one form, so that two servers' can be compared: what a resolver acts upon, without order or letter case.

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Record, RecordType};
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
    /// The NS and SOA records that say something: a referral or a denial.
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
        let chain_only = message.answers.iter().all(|r| matches!(u16::from(r.record_type()), 5 | 39));
        let said = denial || (chain_only && (!any || message.answers.is_empty()));
        let referral = said && !denial && !message.authorities.is_empty();
        let whole = !message.metadata.truncation;
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
            authority: if said && whole { set(&message.authorities) } else { BTreeSet::new() },
            glue: if referral && whole { set(&message.additionals) } else { BTreeSet::new() },
        })
    }
}

/// The records as text. One that comes twice, which no RRset may hold (RFC 2181 section 5), shows.
fn set(records: &[Record]) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for record in records.iter().filter(|record| record.record_type() != RecordType::OPT) {
        let text = record.to_string().to_lowercase();
        if !set.insert(text.clone()) {
            set.insert(format!("{text} again"));
        }
    }
    set
}
