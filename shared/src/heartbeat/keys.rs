//! Keys per member, derived from one secret of the farm, and the one door through which a message comes in.
//!
//! A stolen backend can speak for itself only: its key is `HMAC-SHA256(farm key, purpose, farm, id)`, so nobody has to
//! hand out or store a key per backend.

use super::envelope::{Envelope, Refusal};
use super::message::{Heartbeat, VERSION};
use super::reply::{Reply, Tombstone};
use crate::hex;
use crate::id::Id;
use crate::prefix::Prefix;
use crate::time::Wall;
use aws_lc_rs::hmac;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How far a sender's clock may be from ours, in milliseconds, before it gets a challenge with our time.
pub const SKEW_MS_MAX: u64 = 30_000;

const BODY_BYTES_MAX: usize = 16 * 1024;
const REPLY_LABEL: &[u8] = b"farm reply 1\n";

/// A farm's secret. Shown by no `Debug`.
#[derive(Clone)]
pub struct FarmKey(hmac::Key);

/// One member's secret, for its heartbeats and the replies to them.
#[derive(Clone)]
pub struct MemberKey {
    key: hmac::Key,
    bytes: [u8; 32],
}

impl std::fmt::Debug for FarmKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FarmKey(…)")
    }
}

impl std::fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberKey(…)")
    }
}

impl FarmKey {
    /// From the text of a key file: 32 octets or more as hexadecimal digits (`openssl rand -hex 32`).
    pub fn from_hex(text: &str) -> Result<Self, &'static str> {
        let bytes = hex::decode(text.trim()).ok_or("expected hexadecimal digits, as `openssl rand -hex 32` prints them")?;
        if bytes.len() < 32 {
            return Err("expected 32 octets (64 hexadecimal digits) or more");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A key for one purpose: what is signed with it can pass for nothing else.
    pub fn derive(&self, purpose: &str, farm: &Id, id: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [purpose, farm.as_str(), id] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    /// The key of one member.
    pub fn member(&self, farm: &Id, id: &Id) -> MemberKey {
        MemberKey::from_bytes(self.derive("heartbeat", farm, id.as_str()))
    }

    /// Signs that every incarnation of `id` up to `inc` was terminated.
    pub fn bury(&self, farm: &Id, id: &Id, inc: u64, now: Wall) -> Tombstone {
        let mac = hex::encode(hmac::sign(&self.grave(farm), &Tombstone::text(farm, id, inc, now.0)).as_ref());
        Tombstone { id: id.clone(), inc, time_ms: now.0, mac }
    }

    /// Whether this farm's redirector signed it.
    pub fn is_buried(&self, farm: &Id, stone: &Tombstone) -> bool {
        let Some(mac) = hex::decode(&stone.mac) else { return false };
        hmac::verify(&self.grave(farm), &Tombstone::text(farm, &stone.id, stone.inc, stone.time_ms), &mac).is_ok()
    }

    fn grave(&self, farm: &Id) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive("tombstone", farm, ""))
    }
}

impl MemberKey {
    /// From the 32 octets themselves.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), bytes }
    }

    /// From the text that `redirector key --id ID` prints.
    pub fn from_hex(text: &str) -> Result<Self, &'static str> {
        let bytes = hex::decode(text.trim()).and_then(|b| b.try_into().ok());
        bytes.map(Self::from_bytes).ok_or("expected 64 hexadecimal digits, as `redirector key --id ID` prints them")
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.bytes)
    }

    /// The MAC of a heartbeat's exact bytes, as hexadecimal digits.
    pub fn sign(&self, body: &[u8]) -> String {
        hex::encode(hmac::sign(&self.key, body).as_ref())
    }

    /// The MAC of a reply's exact bytes. Labelled, so that a reply cannot be sent back as a heartbeat.
    pub fn sign_reply(&self, body: &[u8]) -> String {
        hex::encode(hmac::sign(&self.key, &[REPLY_LABEL, body].concat()).as_ref())
    }

    /// The MAC of a message of another kind than heartbeats, as hexadecimal digits. Labelled with its purpose, so that it can pass for
    /// nothing else.
    pub fn sign_for(&self, purpose: &str, body: &[u8]) -> String {
        hex::encode(hmac::sign(&self.key, &labelled(purpose, body)).as_ref())
    }

    /// Whether a MAC of [`Self::sign_for`] holds.
    pub fn is_signed_for(&self, purpose: &str, body: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.key, &labelled(purpose, body), mac).is_ok()
    }

    /// A reply to this member, if its MAC holds and it is one.
    pub fn open_reply(&self, mac: &[u8], body: &[u8]) -> Result<Reply, Refusal> {
        hmac::verify(&self.key, &[REPLY_LABEL, body].concat(), mac).map_err(|_| Refusal::BadMac)?;
        let reply: Reply = serde_json::from_slice(body).map_err(|_| Refusal::Malformed)?;
        if reply.v == VERSION { Ok(reply) } else { Err(Refusal::UnknownVersion) }
    }
}

/// The farms that a front end listens to.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    farms: BTreeMap<Id, FarmTrust>,
}

/// One farm: its secret, and whose addresses its members may announce beside their own.
#[derive(Clone, Debug)]
struct FarmTrust {
    key: FarmKey,
    allowed: Vec<Prefix>,
}

impl Keyring {
    /// Adds a farm or replaces it.
    pub fn insert(&mut self, farm: Id, key: FarmKey, allowed: Vec<Prefix>) {
        self.farms.insert(farm, FarmTrust { key, allowed });
    }

    /// The secret of a farm.
    pub fn farm(&self, farm: &Id) -> Option<&FarmKey> {
        self.farms.get(farm).map(|t| &t.key)
    }

    /// Checks everything about a message that needs no memory of earlier ones: size, farm, MAC, version, schema, identity,
    /// addresses, time. The order of sequence numbers is [`crate::member::Roster`]'s part.
    pub fn open(&self, envelope: &Envelope<'_>, source: IpAddr, now: Wall) -> Result<Heartbeat, Refusal> {
        if envelope.body.len() > BODY_BYTES_MAX {
            return Err(Refusal::Oversized);
        }
        let trust = self.farms.get(&envelope.farm).ok_or(Refusal::UnknownFarm)?;
        let key = trust.key.member(&envelope.farm, &envelope.id);
        hmac::verify(&key.key, envelope.body, &envelope.mac).map_err(|_| Refusal::BadMac)?;
        let heartbeat = parse(envelope.body)?;
        if heartbeat.farm != envelope.farm || heartbeat.id != envelope.id {
            return Err(Refusal::WrongIdentity);
        }
        if heartbeat.foreign_address(source, &trust.allowed).is_some() {
            return Err(Refusal::ForeignAddress);
        }
        if Wall(heartbeat.time_ms).distance_ms(now) > SKEW_MS_MAX {
            return Err(Refusal::Stale(Box::new(heartbeat)));
        }
        Ok(heartbeat)
    }
}

fn labelled(purpose: &str, body: &[u8]) -> Vec<u8> {
    [b"farm ", purpose.as_bytes(), b" 1\n", body].concat()
}

fn parse(body: &[u8]) -> Result<Heartbeat, Refusal> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let heartbeat: Heartbeat = serde_json::from_slice(body).map_err(|_| match serde_json::from_slice(body) {
        Ok(Version { v }) if v != VERSION => Refusal::UnknownVersion,
        _ => Refusal::Malformed,
    })?;
    if heartbeat.v != VERSION {
        return Err(Refusal::UnknownVersion);
    }
    heartbeat.check().map_err(|_| Refusal::Malformed)?;
    Ok(heartbeat)
}
