//! How a message travels: the key's name and the MAC outside the JSON, the MAC over its exact bytes.
//!
//! UDP: `FARM1 <farm>/<id> <mac as 64 hex digits>\n<json>`. HTTP: headers `farm-key: <farm>/<id>` and `farm-mac: <hex>`, the
//! JSON as the body. Replies travel the same way back.

use super::message::Heartbeat;
use crate::hex;
use crate::id::Id;

/// The largest datagram that is read; a longer one is refused whole.
pub const UDP_BYTES_MAX: usize = 8 * 1024;

const MAGIC: &str = "FARM1";

/// A message that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Whose key signed it, it says.
    pub farm: Id,
    /// Which member of the farm.
    pub id: Id,
    /// HMAC-SHA256 of `body`.
    pub mac: [u8; 32],
    /// The JSON text, to the octet.
    pub body: &'a [u8],
}

/// Why a message was dropped. Every one is counted by [`Refusal::reason`].
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Not an envelope, or not the schema's JSON.
    Malformed,
    /// Longer than a message may be.
    Oversized,
    /// A farm that is not configured here.
    UnknownFarm,
    /// The MAC does not hold: forged, damaged, or another key.
    BadMac,
    /// Another version of the schema.
    UnknownVersion,
    /// Signed with the key of another member than it names.
    WrongIdentity,
    /// It announces an address that is neither its source nor allowed.
    ForeignAddress,
    /// Its clock is too far from ours: an old message, or a bad clock. Holds what it said, for the challenge.
    Stale(Box<Heartbeat>),
    /// Its sequence number was used before.
    Replayed,
    /// A later one was seen already.
    Reordered,
    /// An earlier incarnation of a member that has begun anew: two may be alive.
    OldIncarnation,
    /// The provider says that this incarnation was terminated.
    Terminated,
    /// More members than the roster may hold.
    Full,
}

impl Refusal {
    /// The label of the metric that counts it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::UnknownFarm => "unknown_farm",
            Self::BadMac => "bad_mac",
            Self::UnknownVersion => "unknown_version",
            Self::WrongIdentity => "wrong_identity",
            Self::ForeignAddress => "foreign_address",
            Self::Stale(_) => "stale",
            Self::Replayed => "replayed",
            Self::Reordered => "reordered",
            Self::OldIncarnation => "old_incarnation",
            Self::Terminated => "terminated",
            Self::Full => "full",
        }
    }

    /// All labels, for metrics that start at zero and for the documentation.
    pub const REASONS: [&'static str; 13] = [
        "malformed",
        "oversized",
        "unknown_farm",
        "bad_mac",
        "unknown_version",
        "wrong_identity",
        "foreign_address",
        "stale",
        "replayed",
        "reordered",
        "old_incarnation",
        "terminated",
        "full",
    ];
}

impl<'a> Envelope<'a> {
    /// From a datagram.
    pub fn from_datagram(datagram: &'a [u8]) -> Result<Self, Refusal> {
        if datagram.len() > UDP_BYTES_MAX {
            return Err(Refusal::Oversized);
        }
        let end = datagram.iter().take(256).position(|b| *b == b'\n').ok_or(Refusal::Malformed)?;
        let (head, body) = datagram.split_at(end);
        let head = std::str::from_utf8(head).map_err(|_| Refusal::Malformed)?;
        let mut words = head.split(' ');
        let (Some(MAGIC), Some(key), Some(mac), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(Refusal::Malformed);
        };
        Self::from_parts(key, mac, body.get(1..).unwrap_or_default())
    }

    /// From an HTTP request's two headers and its body.
    pub fn from_parts(key: &str, mac: &str, body: &'a [u8]) -> Result<Self, Refusal> {
        let (farm, id) = key.split_once('/').ok_or(Refusal::Malformed)?;
        let id_of = |text| Id::new(text).map_err(|_| Refusal::Malformed);
        let mac = hex::decode(mac).and_then(|m| m.try_into().ok()).ok_or(Refusal::Malformed)?;
        Ok(Self { farm: id_of(farm)?, id: id_of(id)?, mac, body })
    }

    /// A datagram out of its parts.
    pub fn datagram(farm: &Id, id: &Id, mac: &str, body: &[u8]) -> Vec<u8> {
        let mut datagram = format!("{MAGIC} {farm}/{id} {mac}\n").into_bytes();
        datagram.extend_from_slice(body);
        datagram
    }
}
