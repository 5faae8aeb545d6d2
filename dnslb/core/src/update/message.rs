//! The UPDATE message (RFC 2136 section 2) as data, or FORMERR.
//!
//! Names in record data are decompressed and the data of every type that we know is checked here, so that nothing malformed can
//! come into a zone. Bounded by the message: 65,535 octets hold at most some 5,000 records.

use bytes::Bytes;
use domain::base::iana::{Class, Rtype as Registered};
use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::{Message, ParsedName, ParsedRecord};
use domain::rdata::AllRecordData;

use crate::name::Name;
use crate::wire::rcode;
use crate::zone::Rtype;

/// What the class field of a record means in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateClass {
    /// The zone's class: this record.
    Zone,
    /// ANY: whatever is there.
    Any,
    /// NONE: not this.
    None,
}

/// A record of the prerequisite or the update section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its owner.
    pub owner: Name,
    /// Its type; may be ANY.
    pub rtype: Rtype,
    /// What is meant with it.
    pub class: UpdateClass,
    /// Its TTL in seconds, as sent.
    pub ttl_s: u32,
    /// Its data, uncompressed; empty where only owner and type count.
    pub rdata: Vec<u8>,
}

/// An update that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The zone to update.
    pub zone: Name,
    /// What must hold for it.
    pub prerequisites: Vec<Item>,
    /// What is to be done, in this order.
    pub updates: Vec<Item>,
}

/// Reads a message of opcode UPDATE; TSIG and other additional records are passed over.
///
/// # Errors
/// The response code: FORMERR, or NOTAUTH for a zone of another class.
pub fn read(message: &[u8]) -> Result<Update, u16> {
    read_message(message).ok_or(rcode::FORMERR).and_then(|(update, class)| {
        // No zone of another class is served (RFC 2136 section 3.1.1).
        if class == Class::IN { Ok(update) } else { Err(rcode::NOTAUTH) }
    })
}

fn read_message(octets: &[u8]) -> Option<(Update, Class)> {
    let message = Message::from_octets(Bytes::copy_from_slice(octets)).ok()?;
    let zone = message.sole_question().ok()?;
    if zone.qtype() != Registered::SOA {
        return None;
    }
    let class = zone.qclass();
    let mut section = message.answer().ok()?;
    let mut prerequisites = Vec::new();
    for record in section.by_ref() {
        let item = item(&record.ok()?, class)?;
        // RFC 2136 section 3.2: a TTL has no place in a prerequisite, nor data in one about what is there or not.
        if item.ttl_s != 0 || (item.class != UpdateClass::Zone && !item.rdata.is_empty()) {
            return None;
        }
        if item.rtype.is_meta() && (item.rtype != Rtype::ANY || item.class == UpdateClass::Zone) {
            return None;
        }
        prerequisites.push(item);
    }
    let mut section = message.authority().ok()?;
    let mut updates = Vec::new();
    for record in section.by_ref() {
        let item = item(&record.ok()?, class)?;
        // RFC 2136 section 3.4.1.3.
        let fits = match item.class {
            UpdateClass::Zone => !item.rtype.is_meta(),
            UpdateClass::Any => {
                item.ttl_s == 0 && item.rdata.is_empty() && (!item.rtype.is_meta() || item.rtype == Rtype::ANY)
            }
            UpdateClass::None => item.ttl_s == 0 && !item.rtype.is_meta(),
        };
        if !fits {
            return None;
        }
        updates.push(item);
    }
    for record in message.additional().ok()? {
        record.ok()?;
    }
    Some((Update { zone: name(zone.qname())?, prerequisites, updates }, class))
}

fn name(name: &ParsedName<Bytes>) -> Option<Name> {
    Name::from_wire(name.to_vec().as_slice()).ok()
}

fn item(record: &ParsedRecord<'_, Bytes>, zone_class: Class) -> Option<Item> {
    let class = match record.class() {
        Class::ANY => UpdateClass::Any,
        Class::NONE => UpdateClass::None,
        class if class == zone_class => UpdateClass::Zone,
        _ => return None,
    };
    let rtype = Rtype(record.rtype().to_int());
    let has_data = class == UpdateClass::Zone || (class == UpdateClass::None && record.rdlen() > 0);
    let rdata = if has_data { rdata(record)? } else { vec![0; usize::from(record.rdlen() > 0)] };
    let owner = Name::from_wire(record.owner().to_vec().as_slice()).ok()?;
    Some(Item { owner, rtype, class, ttl_s: record.ttl().as_secs(), rdata })
}

/// Lengths of the data of types that the `domain` crate takes for unknown.
const FIXED: [(u16, usize); 5] = [(29, 16), (105, 10), (106, 10), (108, 6), (109, 8)];

fn rdata(record: &ParsedRecord<'_, Bytes>) -> Option<Vec<u8>> {
    let parsed = record.to_any_record::<AllRecordData<_, ParsedName<_>>>().ok()?;
    let mut rdata = Vec::new();
    parsed.data().compose_rdata(&mut rdata).ok()?;
    let rtype = record.rtype().to_int();
    let fits = FIXED.iter().all(|(fixed, len)| *fixed != rtype || rdata.len() == *len);
    (fits && rdata.len() <= 65_535).then_some(rdata)
}
