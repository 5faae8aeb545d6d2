//! What a front end answers: its own wish, and what it knows that the others should hear.

use super::drill::KillWish;
use super::envelope::Envelope;
use super::keys::MemberKey;
use super::message::{Heartbeat, Kind, VERSION};
use super::room::RoomWord;
use crate::id::Id;
use crate::time::Wall;
use serde::{Deserialize, Serialize};

/// The answer to one heartbeat. `farm`, `to`, `re_inc` and `re_seq` echo it, so an old reply cannot pass for a new one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The schema's version.
    pub v: u32,
    /// The front end that answers.
    pub from: Id,
    /// What it is.
    pub kind: Kind,
    /// The farm of the heartbeat.
    pub farm: Id,
    /// The member that is answered.
    pub to: Id,
    /// The heartbeat's incarnation.
    pub re_inc: u64,
    /// The heartbeat's sequence number.
    pub re_seq: u64,
    /// The front end's wall clock, milliseconds since the epoch.
    pub time_ms: u64,
    /// The heartbeat was refused because its time is off: correct the clock by `time_ms` and send again.
    #[serde(default)]
    pub challenge: bool,
    /// This front end wants the member drained. A level: it says so in every reply while it does.
    #[serde(default)]
    pub drain: bool,
    /// How long this front end believes a heartbeat, in milliseconds.
    #[serde(default)]
    pub lease_ms: u64,
    /// See [`super::Heard::serves`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<bool>,
    /// See [`super::Heard::ttl_left_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_left_ms: Option<u64>,
    /// See [`super::Heard::doors`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doors: Option<u32>,
    /// See [`super::Heard::scaler`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler: Option<Id>,
    /// See [`super::Heard::room`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomWord>,
    /// Members that the provider says are terminated, for the agent to carry to every dnslb.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<Tombstone>,
    /// A process that a failure drill wants ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<KillWish>,
}

/// "The provider terminated every incarnation of `id` up to `inc`", signed with a key that no member has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The terminated member.
    pub id: Id,
    /// Its last incarnation.
    pub inc: u64,
    /// When it was signed, milliseconds since the epoch.
    pub time_ms: u64,
    /// HMAC-SHA256 as hexadecimal digits.
    pub mac: String,
}

impl Tombstone {
    pub(super) fn text(farm: &Id, id: &Id, inc: u64, time_ms: u64) -> Vec<u8> {
        format!("{farm}/{id}/{inc}/{time_ms}").into_bytes()
    }
}

impl Reply {
    /// A reply that says nothing yet but who answers what.
    pub fn new(from: &Id, kind: Kind, heartbeat: &Heartbeat, now: Wall) -> Self {
        Self {
            v: VERSION,
            from: from.clone(),
            kind,
            farm: heartbeat.farm.clone(),
            to: heartbeat.id.clone(),
            re_inc: heartbeat.inc,
            re_seq: heartbeat.seq,
            time_ms: now.0,
            challenge: false,
            drain: false,
            lease_ms: 0,
            serves: None,
            ttl_left_ms: None,
            doors: None,
            scaler: None,
            room: None,
            tombstones: Vec::new(),
            kill: None,
        }
    }

    /// The JSON text and its MAC as hexadecimal digits.
    pub fn seal(&self, key: &MemberKey) -> (Vec<u8>, String) {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mac = key.sign_reply(&body);
        (body, mac)
    }

    /// As one datagram.
    pub fn datagram(&self, key: &MemberKey) -> Vec<u8> {
        let (body, mac) = self.seal(key);
        Envelope::datagram(&self.farm, &self.to, &mac, &body)
    }
}
