//! When each key of a zone comes and goes (RFC 7583): made once, kept in one file, followed by every node of the zone.
//!
//! A schedule holds absolute times. The one node that makes keys writes them ahead ([`step`]), everybody reads off it what to
//! publish and to sign with now ([`Schedule::view`]), so that nodes agree without a word to each other. Public keys stand in the
//! schedule itself: a node that still lacks a private key publishes the key with all others and goes on to sign with those that it
//! has ([`Schedule::usable`]); it never invents one.
//!
//! A ZSK is rolled by pre-publication; a KSK or CSK by a double signature of the DNSKEY set, the DS set at the parent swapped while
//! both are there. What the parent shows is an observation, never an assumption: nothing that a DS record may still point to goes.

mod follow;
mod plan;

pub use follow::{Follower, JUMP_MS, Tick};
pub use plan::{Effect, Event, KeyRules, NewKey, Timing, step};

use std::fmt;

use serde::{Deserialize, Serialize};

use super::key::{Algorithm, Dnskey};
use crate::name::Name;

/// Octets of a schedule file at most.
pub const SCHEDULE_LEN_MAX: usize = 1 << 20;
/// Keys that a schedule keeps, the long gone among them.
pub const KEYS_MAX: usize = 64;
/// The version of the file's form.
const FORMAT: u32 = 1;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It signs everything, and the parent knows it.
    Csk,
    /// It signs the DNSKEY set, and the parent knows it.
    Ksk,
    /// It signs everything else.
    Zsk,
}

impl Role {
    /// Whether the parent has a DS record of it.
    pub fn is_entry(self) -> bool {
        self != Self::Zsk
    }

    /// Whether it signs the zone's data.
    pub fn signs_zone(self) -> bool {
        self != Self::Ksk
    }

    /// The flags of its DNSKEY.
    pub fn flags(self) -> u16 {
        use super::key::{FLAG_SEP, FLAG_ZONE};
        if self.is_entry() { FLAG_ZONE | FLAG_SEP } else { FLAG_ZONE }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csk => "csk",
            Self::Ksk => "ksk",
            Self::Zsk => "zsk",
        })
    }
}

/// A key's life. Times are seconds since the epoch; none has not been decided yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPlan {
    /// Its key tag: no two keys of a zone share one.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// What it is for.
    pub role: Role,
    /// The data of its DNSKEY record in hexadecimal digits.
    pub dnskey: String,
    /// When it was made.
    pub created_s: u64,
    /// Its DNSKEY record appears, and it signs the DNSKEY set if it is one for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_s: Option<u64>,
    /// It starts to sign the zone's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_s: Option<u64>,
    /// It stops to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsign_s: Option<u64>,
    /// CDS and CDNSKEY records ask the parent for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish_s: Option<u64>,
    /// They stop to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwish_s: Option<u64>,
    /// Its DNSKEY record goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_s: Option<u64>,
    /// All servers of the parent were seen with its DS record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ds_seen_s: Option<u64>,
    /// All were seen without, after it was asked for no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ds_gone_s: Option<u64>,
}

/// Whether `at_s` lies from `from` on and before `to`.
fn within(from: Option<u64>, to: Option<u64>, at_s: u64) -> bool {
    from.is_some_and(|from| from <= at_s) && to.is_none_or(|to| at_s < to)
}

impl KeyPlan {
    /// Its public key.
    pub fn public(&self) -> Option<Dnskey> {
        Dnskey::from_rdata(&farm_shared::hex::decode(&self.dnskey)?)
    }

    /// Whether its DNSKEY record is to be in the zone.
    pub fn is_published(&self, at_s: u64) -> bool {
        within(self.publish_s, self.remove_s, at_s)
    }

    /// Whether it is to sign the DNSKEY set.
    pub fn signs_keys(&self, at_s: u64) -> bool {
        self.role.is_entry() && self.is_published(at_s)
    }

    /// Whether it is to sign the zone's data.
    pub fn signs_zone(&self, at_s: u64) -> bool {
        within(self.sign_s, self.unsign_s, at_s)
    }

    /// Whether the parent is asked for its DS record.
    pub fn is_wished(&self, at_s: u64) -> bool {
        within(self.wish_s, self.unwish_s, at_s)
    }

    fn times(&self) -> impl Iterator<Item = u64> {
        [self.publish_s, self.sign_s, self.unsign_s, self.wish_s, self.unwish_s, self.remove_s].into_iter().flatten()
    }
}

/// All keys of a zone, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The version of this form.
    format: u32,
    /// Drawn once, when the schedule was made: two schedules of one zone are two makers, and one too many.
    pub id: String,
    /// Counts changes; a copy with a lower one is old.
    pub revision: u64,
    /// The zone.
    pub zone: String,
    /// Its keys.
    pub keys: Vec<KeyPlan>,
    /// Rollovers that an operator has asked for and that have not begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Role>,
}

/// What is to be in the zone at a time, by key tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// DNSKEY records.
    pub published: Vec<u16>,
    /// Keys that sign the DNSKEY set.
    pub entry: Vec<u16>,
    /// Keys that sign everything else.
    pub zone: Vec<u16>,
    /// CDS and CDNSKEY records.
    pub wished: Vec<u16>,
}

/// What a node can do at a time with the private keys that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// What it does.
    pub view: View,
    /// Keys of the schedule that are due and that it lacks: it does not advance to them.
    pub lacking: Vec<u16>,
}

impl Schedule {
    /// A schedule without a key. `draw` makes it different from all others.
    pub fn new(zone: &Name, draw: u64) -> Self {
        let id = format!("{draw:016x}");
        Self { format: FORMAT, id, revision: 0, zone: zone.to_string(), keys: Vec::new(), asked: Vec::new() }
    }

    /// Reads a schedule file of `zone`.
    ///
    /// # Errors
    /// What was found and what is expected, in words.
    pub fn from_json(text: &[u8], zone: &Name) -> Result<Self, String> {
        if text.len() > SCHEDULE_LEN_MAX {
            return Err(format!("found {} octets; expected at most {SCHEDULE_LEN_MAX}", text.len()));
        }
        let read: Self = serde_json::from_slice(text).map_err(|error| format!("found {error}; expected a key schedule"))?;
        if read.format != FORMAT {
            return Err(format!("found a key schedule of form {}; expected form {FORMAT}", read.format));
        }
        if Name::from_text(&read.zone).ok().as_ref() != Some(zone) {
            return Err(format!("found the key schedule of {:?}; expected that of {zone}", read.zone));
        }
        if read.keys.len() > KEYS_MAX {
            return Err(format!("found {} keys; expected at most {KEYS_MAX}", read.keys.len()));
        }
        for (at, key) in read.keys.iter().enumerate() {
            let fits = |dnskey: &Dnskey| {
                dnskey.tag() == key.tag
                    && dnskey.algorithm_number() == key.algorithm.number()
                    && dnskey.public().len() == key.algorithm.public_len()
                    && dnskey.flags() == key.role.flags()
            };
            if !key.public().is_some_and(|dnskey| fits(&dnskey)) {
                return Err(format!("found key {} with other data; expected its DNSKEY", key.tag));
            }
            if read.keys.iter().take(at).any(|other| other.tag == key.tag) {
                return Err(format!("found key tag {} twice; expected it once", key.tag));
            }
        }
        Ok(read)
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The key of a tag.
    pub fn key(&self, tag: u16) -> Option<&KeyPlan> {
        self.keys.iter().find(|key| key.tag == tag)
    }

    /// When the zone was signed first, or is to be.
    pub fn first_s(&self) -> Option<u64> {
        self.keys.iter().filter_map(|key| key.sign_s).min()
    }

    /// What is to be in the zone at `at_s`. Before the zone was signed first nothing is different from then: a clock that was set
    /// back un-signs nothing.
    pub fn view(&self, at_s: u64) -> View {
        let at_s = at_s.max(self.first_s().unwrap_or(0));
        let tags = |is: &dyn Fn(&KeyPlan) -> bool| self.keys.iter().filter(|key| is(key)).map(|key| key.tag).collect();
        View {
            published: tags(&|key| key.is_published(at_s)),
            entry: tags(&|key| key.signs_keys(at_s)),
            zone: tags(&|key| key.signs_zone(at_s)),
            wished: tags(&|key| key.is_wished(at_s)),
        }
    }

    /// What a node does at `at_s` that has the private keys that `has` says: where it lacks all that should sign, it stays with the
    /// last ones before that it has. `None` if it has none at all.
    pub fn usable(&self, at_s: u64, has: &dyn Fn(u16) -> bool) -> Option<Usable> {
        let mut view = self.view(at_s);
        let mut lacking: Vec<u16> = view.entry.iter().chain(&view.zone).copied().filter(|tag| !has(*tag)).collect();
        lacking.sort_unstable();
        lacking.dedup();
        let mut times: Vec<u64> = self.keys.iter().flat_map(KeyPlan::times).filter(|time| *time <= at_s).collect();
        times.sort_unstable();
        let signers = |of: &dyn Fn(&View) -> Vec<u16>| {
            let at = std::iter::once(at_s).chain(times.iter().rev().copied());
            let own = at.map(|at| of(&self.view(at)).into_iter().filter(|tag| has(*tag)).collect::<Vec<u16>>());
            own.into_iter().find(|own| !own.is_empty())
        };
        view.entry = signers(&|view| view.entry.clone())?;
        view.zone = signers(&|view| view.zone.clone())?;
        for tag in view.entry.iter().chain(&view.zone) {
            if !view.published.contains(tag) {
                view.published.push(*tag);
            }
        }
        Some(Usable { view, lacking })
    }

    /// The first time after `at_s` at which something changes.
    pub fn next_change_s(&self, at_s: u64) -> Option<u64> {
        self.keys.iter().flat_map(KeyPlan::times).filter(|time| *time > at_s).min()
    }

    /// Whether this is a later or the same state of the schedule `known`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn follows(&self, known: &Self) -> Result<(), String> {
        if self.id != known.id {
            let (found, expected) = (&self.id, &known.id);
            return Err(format!("found schedule {found}, by another maker of keys; expected schedule {expected}"));
        }
        if self.revision < known.revision {
            return Err(format!("found revision {}; expected {} or a later one", self.revision, known.revision));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
