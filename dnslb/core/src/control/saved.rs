//! What survives a restart, as JSON.
//!
//! Written by the daemon and read back by it, but a file may be damaged or old: nothing here may trust it beyond its types.

use super::admin::Word;
use farm_shared::id::Id;
use farm_shared::member::{Forced, SavedRoster};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const VERSION: u32 = 1;

/// The state at rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The form's version: 1; 0 for nothing saved.
    pub v: u32,
    /// Members by heartbeat, by farm.
    #[serde(default)]
    pub farms: BTreeMap<Id, SavedRoster>,
    /// Static members, by pool and name.
    #[serde(default)]
    pub pools: BTreeMap<Id, BTreeMap<Id, SavedStatic>>,
    /// By whom and until when something is forced, by pool or farm and member.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<Id, BTreeMap<Id, Word>>,
}

/// A static member at rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedStatic {
    /// What an operator forced, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<(Forced, String)>,
    /// The verdict of its checks, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// The last failure, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Saved {
    /// An empty state of the current version.
    pub(super) fn empty() -> Self {
        Self { v: VERSION, ..Self::default() }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// Text that is no such JSON, or of another version.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let saved: Self = serde_json::from_slice(text).map_err(|e| format!("not a saved state: {e}"))?;
        if saved.v == VERSION { Ok(saved) } else { Err(format!("a saved state of version {}, expected {VERSION}", saved.v)) }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_saved_state_is_refused() {
        for bad in ["", "[]", "{}", "{\"v\":2}", "{\"v\":1,\"farms\":{\"UPPER\":{}}}", "{\"v\":1,\"pools\":3}"] {
            assert!(Saved::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(Saved::from_json(b"{\"v\":1}"), Ok(Saved::empty()));
        assert_eq!(Saved::from_json(&Saved::empty().to_json()), Ok(Saved::empty()));
    }
}
