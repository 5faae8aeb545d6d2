//! Who may update what: patterns of names and types, by key or by address.
//!
//! What is not granted is refused. A grant without types leaves out what changes who serves the zone or what others sign.

use std::net::IpAddr;
use std::str::FromStr;

use farm_shared::prefix::Prefix;

use crate::name::Name;
use crate::zone::{Rtype, rtype_from_text};

/// `[[zone.update]]`: what one key, or the clients of some prefixes, may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The TSIG key that must have signed the message; none to go by prefixes alone.
    pub key: Option<Name>,
    /// Addresses from which it may come; empty for all.
    pub prefixes: Vec<Prefix>,
    /// The names; empty for all of the zone.
    pub names: Vec<NamePattern>,
    /// The types; empty for all but NS, SOA and those of signatures and denial.
    pub types: Vec<TypePattern>,
}

/// Who sent an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requestor {
    /// The key whose signature was verified.
    pub key: Option<Name>,
    /// The address that it came from.
    pub from: IpAddr,
}

/// A pattern of names: labels, of which `*` stands for any one but that of a wildcard, and `**` for any number of them, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(Vec<LabelPattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelPattern {
    Exact(Box<[u8]>),
    One,
    Any,
}

/// Labels of a pattern that may be `**`: each of them multiplies the work of a match by the labels of a name.
const ANY_LABELS_MAX: usize = 2;

impl FromStr for NamePattern {
    type Err = &'static str;

    /// `www.example.com`, `_acme-challenge.*.example.com`, `**.dyn.example.com`. The label `*` of a wildcard name is written `\*`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.strip_suffix('.').unwrap_or(text);
        // Patterns are told apart in the text, where an escaped asterisk still shows.
        let words = plain.split('.').map(|word| match word {
            "*" => LabelPattern::One,
            "**" => LabelPattern::Any,
            _ => LabelPattern::Exact(Box::default()),
        });
        let mut pattern: Vec<LabelPattern> = words.collect();
        let stand_in = plain.split('.').map(|word| if matches!(word, "*" | "**") { "x" } else { word });
        let name = Name::from_text(&stand_in.collect::<Vec<_>>().join("."))
            .map_err(|_| "a domain name, with * or ** for labels")?;
        // An escaped dot would shift the labels.
        if name.label_count() != pattern.len() {
            return Err("a domain name without escaped dots, with * or ** for labels");
        }
        for (slot, label) in pattern.iter_mut().zip(name.labels()) {
            if let LabelPattern::Exact(exact) = slot {
                *exact = label.into();
            }
        }
        if pattern.iter().filter(|label| **label == LabelPattern::Any).count() > ANY_LABELS_MAX {
            return Err("a domain name with ** at most twice");
        }
        Ok(Self(pattern))
    }
}

impl NamePattern {
    /// Whether `name` is one of those meant.
    pub fn matches(&self, name: &Name) -> bool {
        fn go(pattern: &[LabelPattern], labels: &[&[u8]]) -> bool {
            match (pattern.split_first(), labels.split_first()) {
                (None, rest) => rest.is_none(),
                (Some((LabelPattern::Any, rest)), _) => {
                    (0..=labels.len()).any(|skip| labels.get(skip..).is_some_and(|labels| go(rest, labels)))
                }
                (Some(_), None) => false,
                // A wildcard answers for names at any depth: it must be meant.
                (Some((LabelPattern::One, rest)), Some((label, labels))) => **label != *b"*" && go(rest, labels),
                (Some((LabelPattern::Exact(exact), rest)), Some((label, labels))) => **exact == **label && go(rest, labels),
            }
        }
        go(&self.0, &name.labels().collect::<Vec<_>>())
    }
}

/// A pattern of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypePattern {
    /// This one.
    Only(Rtype),
    /// All that may be updated.
    Any,
}

impl FromStr for TypePattern {
    type Err = &'static str;

    /// `TXT`, or `ANY` for all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match rtype_from_text(text) {
            Some(Rtype::ANY) => Ok(Self::Any),
            Some(rtype) if !rtype.is_meta() && !is_made_by_signing(rtype) => Ok(Self::Only(rtype)),
            _ => Err("a record type that can be updated"),
        }
    }
}

/// Types that only signing makes: never updated, whoever asks.
pub(super) fn is_made_by_signing(rtype: Rtype) -> bool {
    // RRSIG, NSEC, NSEC3, NSEC3PARAM
    matches!(rtype.0, 46 | 47 | 50 | 51)
}

impl Grant {
    /// Whether it speaks of this requestor at all.
    pub fn is_for(&self, requestor: &Requestor) -> bool {
        let signed = self.key.as_ref().is_none_or(|key| requestor.key.as_ref() == Some(key));
        // Nobody is trusted for nothing: without key and prefixes a grant is for nobody.
        let near = self.prefixes.iter().any(|prefix| prefix.contains(requestor.from));
        signed && (near || (self.prefixes.is_empty() && self.key.is_some()))
    }

    /// Whether it allows changing this set.
    pub fn covers(&self, name: &Name, rtype: Rtype) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(name));
        let typed = if self.types.is_empty() {
            !matches!(rtype, Rtype::NS | Rtype::SOA)
        } else {
            self.types.iter().any(|pattern| matches!(pattern, TypePattern::Any) || *pattern == TypePattern::Only(rtype))
        };
        named && typed && !is_made_by_signing(rtype)
    }
}

/// Whether the requestor may try at all: others are refused before a prerequisite tells them what the zone holds.
pub fn may_try(grants: &[Grant], requestor: &Requestor) -> bool {
    grants.iter().any(|grant| grant.is_for(requestor))
}
