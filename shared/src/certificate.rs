//! How a backend asks a front door for the farm's certificate: one POST over TLS each way, both signed with the member's key.
//!
//! The key of the certificate travels in it: neither side may speak without TLS, and none may act on a message whose MAC does not hold.

use crate::heartbeat::{FarmKey, SKEW_MS_MAX};
use crate::id::Id;
use crate::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where it is asked for.
pub const PATH: &str = "/v1/certificate";
/// What the MAC of a question is labelled with.
pub const ASKING: &str = "certificate question";
/// What the MAC of an answer is labelled with.
pub const ANSWERING: &str = "certificate answer";
/// Octets of a question.
pub const ASK_BYTES_MAX: usize = 1_024;
/// Octets of an answer.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

const NONCE_LEN: usize = 32;
/// Questions of one member within the time that clocks may differ by.
const ASKS_MAX: usize = 32;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The farm.
    pub farm: Id,
    /// Who asks.
    pub id: Id,
    /// When, by its clock, in milliseconds since the epoch.
    pub time_ms: u64,
    /// 32 hexadecimal digits that it never used before.
    pub nonce: String,
    /// Which certificate; the first that backends may have unless given.
    #[serde(default)]
    pub certificate: Option<Id>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's.
    pub nonce: String,
    /// The door's clock, in milliseconds since the epoch.
    pub time_ms: u64,
    /// The certificate; none if the question's time was too far from it, or if there is none yet.
    #[serde(default)]
    pub pair: Option<Pair>,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Its id in the door's configuration.
    pub id: Id,
    /// The certificate and those that signed it, in PEM form.
    pub fullchain: String,
    /// The private key, in PEM form.
    pub key: String,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({}, {:?})", self.nonce, self.pair.as_ref().map(|pair| &pair.id))
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({})", self.id)
    }
}

/// Why a question gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Not a question.
    Malformed,
    /// Another farm, or a MAC that does not hold.
    BadMac,
    /// Its clock is too far from ours: it may be told the time.
    Stale(Ask),
    /// It was asked before.
    Replayed,
    /// This member asks too often.
    TooMany,
}

/// What was asked lately: no question is answered twice. Bounded by what members of the farm can sign.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    seen: BTreeMap<Id, Vec<(u64, String)>>,
}

impl Gate {
    /// Checks a question. `name` is the key's, `farm/id`, as it came beside it.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn open(&mut self, farm: &Id, key: &FarmKey, name: &str, mac: &[u8], body: &[u8], now: Wall) -> Result<Ask, Denied> {
        if body.len() > ASK_BYTES_MAX {
            return Err(Denied::Malformed);
        }
        let (of, id) = name.split_once('/').ok_or(Denied::Malformed)?;
        let id = Id::new(id).map_err(|_| Denied::Malformed)?;
        if of != farm.as_str() || !key.member(farm, &id).is_signed_for(ASKING, body, mac) {
            return Err(Denied::BadMac);
        }
        let ask: Ask = serde_json::from_slice(body).map_err(|_| Denied::Malformed)?;
        let is_nonce = ask.nonce.len() == NONCE_LEN && ask.nonce.bytes().all(|b| b.is_ascii_hexdigit());
        if ask.farm != *farm || ask.id != id || !is_nonce {
            return Err(Denied::Malformed);
        }
        if Wall(ask.time_ms).distance_ms(now) > SKEW_MS_MAX {
            return Err(Denied::Stale(ask));
        }
        // What is older than this would be stale by itself.
        for seen in self.seen.values_mut() {
            seen.retain(|(time_ms, _)| Wall(*time_ms).distance_ms(now) <= SKEW_MS_MAX);
        }
        self.seen.retain(|_, seen| !seen.is_empty());
        let seen = self.seen.entry(id).or_default();
        if seen.iter().any(|(_, nonce)| *nonce == ask.nonce) {
            return Err(Denied::Replayed);
        }
        if seen.len() >= ASKS_MAX {
            return Err(Denied::TooMany);
        }
        seen.push((ask.time_ms, ask.nonce.clone()));
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(id: &str, time_ms: u64, nonce: u32) -> Ask {
        let [farm, id] = ["mail", id].map(|text| Id::new(text).unwrap());
        Ask { farm, id, time_ms, nonce: format!("{nonce:032x}"), certificate: None }
    }

    #[test]
    fn only_members_once_and_in_time() {
        let farm = Id::new("mail").unwrap();
        let key = FarmKey::from_hex(&"5a".repeat(32)).unwrap();
        let other = FarmKey::from_hex(&"5b".repeat(32)).unwrap();
        let mut gate = Gate::default();
        let now = Wall(1_000_000);
        let mut open = |key_of: &FarmKey, name: &str, ask: &Ask| {
            let body = serde_json::to_vec(ask).unwrap();
            let id = Id::new(name.split('/').next_back().unwrap()).unwrap();
            let mac = crate::hex::decode(&key_of.member(&farm, &id).sign_for(ASKING, &body)).unwrap();
            gate.open(&farm, &key, name, &mac, &body, now).err()
        };
        assert_eq!(open(&key, "mail/b1", &ask("b1", now.0, 1)), None);
        assert_eq!(open(&key, "mail/b1", &ask("b1", now.0, 1)), Some(Denied::Replayed));
        assert_eq!(open(&other, "mail/b1", &ask("b1", now.0, 2)), Some(Denied::BadMac));
        assert_eq!(open(&key, "news/b1", &ask("b1", now.0, 2)), Some(Denied::BadMac));
        assert_eq!(open(&key, "mail/b2", &ask("b1", now.0, 2)), Some(Denied::Malformed), "in another's name");
        let late = ask("b1", now.0 - SKEW_MS_MAX - 1, 3);
        assert_eq!(open(&key, "mail/b1", &late), Some(Denied::Stale(late.clone())));
        let outcomes: Vec<_> = (10..60).map(|n| open(&key, "mail/b1", &ask("b1", now.0, n))).collect();
        assert!(outcomes.contains(&Some(Denied::TooMany)), "one member cannot fill the memory");
        assert_eq!(open(&key, "mail/b2", &ask("b2", now.0, 1)), None, "nor keep out another");
    }

    #[test]
    fn a_heartbeat_is_no_question() {
        let farm = Id::new("mail").unwrap();
        let key = FarmKey::from_hex(&"5a".repeat(32)).unwrap();
        let ask = ask("b1", 5, 1);
        let body = serde_json::to_vec(&ask).unwrap();
        let mac = crate::hex::decode(&key.member(&farm, &ask.id).sign(&body)).unwrap();
        assert_eq!(Gate::default().open(&farm, &key, "mail/b1", &mac, &body, Wall(5)), Err(Denied::BadMac));
    }
}
