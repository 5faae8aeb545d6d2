//! Names that go into keys, DNS labels, paths and metrics labels, so they are checked once and then trusted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of a backend, a door or a front end, and the name of a farm or a pool: one DNS label of lowercase letters, digits and
/// inner hyphens, 1 to 63 octets (RFC 1035 2.3.1, RFC 1123 2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Box<str>);

/// Why a text is no [`Id`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 1 to 63 lowercase letters, digits and inner hyphens")
    }
}

impl std::error::Error for BadId {}

impl Id {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ends = !text.starts_with('-') && !text.ends_with('-');
        if (1..=63).contains(&text.len()) && ends && text.bytes().all(inner) { Ok(Self(text.into())) } else { Err(BadId) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        Self::new(&text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.into()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_nothing_else() {
        for good in ["a", "b17", "i-0abc", "0", &"x".repeat(63)] {
            assert!(Id::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "ä", "a b", "a\n", &"x".repeat(64)] {
            assert!(Id::new(bad).is_err(), "{bad}");
        }
    }
}
