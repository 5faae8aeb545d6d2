//! Catalog zones (RFC 9432): a zone whose records say which zones a secondary has.
//!
//! Two steps, both pure: what one version of a catalog says, and what several of them say together. A catalog that is broken
//! changes nothing, and no zone goes from one catalog to another unless the first one lets it.

use crate::name::Name;
use crate::zone::{RrSet, Rtype, Zone};
use std::collections::BTreeMap;
use std::fmt;

/// Zones of one catalog.
pub const MEMBERS_MAX: usize = 100_000;

/// What a catalog says of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The label that stands for this life of the zone: with another one it begins anew (RFC 9432 section 5.4).
    pub unique: Box<[u8]>,
    /// The groups that it is in (section 4.3.2).
    pub groups: Vec<String>,
    /// The catalog that it may go to (section 4.3.1).
    pub coo: Option<Name>,
}

/// Why a zone is no catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokenCatalog {
    /// No `version` record, or more than one, or one that is not "2".
    Version,
    /// A member's name has other than one PTR record.
    Member(Name),
    /// A zone comes twice.
    Twice(Name),
    /// More than [`MEMBERS_MAX`] zones.
    TooMany,
}

impl fmt::Display for BrokenCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("no version \"2\""),
            Self::Member(name) => write!(f, "other than one PTR record at {name}"),
            Self::Twice(name) => write!(f, "the zone {name} twice"),
            Self::TooMany => write!(f, "more than {MEMBERS_MAX} zones"),
        }
    }
}

impl std::error::Error for BrokenCatalog {}

/// The zones of a catalog.
///
/// # Errors
/// See [`BrokenCatalog`]; nothing of it may be used then.
pub fn members(catalog: &Zone) -> Result<BTreeMap<Name, Member>, BrokenCatalog> {
    let apex = catalog.apex();
    let below = |labels: &[&[u8]]| labels.iter().rev().try_fold(apex.clone(), |name, label| name.child(label).ok());
    let version = below(&[b"version"]).map(|name| texts(catalog, &name)).unwrap_or_default();
    if version != ["2"] {
        return Err(BrokenCatalog::Version);
    }
    let Some(zones) = below(&[b"zones"]) else { return Err(BrokenCatalog::Version) };
    let mut found = BTreeMap::new();
    for name in catalog.names().filter(|name| name.name().parent().as_ref() == Some(&zones)) {
        let owner = name.name();
        let targets = pointers(catalog, owner);
        if targets.is_empty() && name.is_empty() {
            // Properties of a member that is not there.
            continue;
        }
        let [target] = targets.as_slice() else { return Err(BrokenCatalog::Member(owner.clone())) };
        let Some(unique) = owner.labels().next() else { continue };
        let property = |label: &[u8]| owner.child(label).ok();
        let coo = property(b"coo").map(|name| pointers(catalog, &name)).unwrap_or_default();
        let groups = property(b"group").map(|name| texts(catalog, &name)).unwrap_or_default();
        // More than one of them is as if there were none (section 4.3.1).
        let coo = if let [coo] = coo.as_slice() { Some(coo.clone()) } else { None };
        if found.insert(target.clone(), Member { unique: unique.into(), groups, coo }).is_some() {
            return Err(BrokenCatalog::Twice(target.clone()));
        }
        if found.len() > MEMBERS_MAX {
            return Err(BrokenCatalog::TooMany);
        }
    }
    Ok(found)
}

fn pointers(zone: &Zone, name: &Name) -> Vec<Name> {
    let set = zone.rrset(name, Rtype::PTR);
    set.into_iter().flat_map(RrSet::rdata).filter_map(|rdata| Name::from_wire(rdata).ok()).collect()
}

/// The TXT records of a name, each as one text.
fn texts(zone: &Zone, name: &Name) -> Vec<String> {
    let text = |mut rdata: &[u8]| {
        let mut out = Vec::new();
        while let Some((&len, rest)) = rdata.split_first() {
            let (part, rest) = rest.split_at_checked(usize::from(len))?;
            out.extend_from_slice(part);
            rdata = rest;
        }
        String::from_utf8(out).ok()
    };
    zone.rrset(name, Rtype::TXT).into_iter().flat_map(RrSet::rdata).filter_map(text).collect()
}

/// Which catalog a zone came from, and its life there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The catalog.
    pub catalog: Name,
    /// What it says.
    pub member: Member,
}

/// What became of the zones of all catalogs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assigned {
    /// All of them.
    pub zones: BTreeMap<Name, Owned>,
    /// Those whose data begins anew: they are new, or have another unique label or catalog.
    pub reset: Vec<Name>,
    /// Zones that a catalog wants and cannot have: they are configured, or another catalog's.
    pub clashes: Vec<(Name, Name)>,
}

/// Assigns zones to catalogs. `catalogs` are those that hold now, in the order of the configuration; one that is missing or broken
/// is in `kept`, and keeps what it had. A zone that `is_configured` is no catalog's.
pub fn assign(
    before: &BTreeMap<Name, Owned>,
    catalogs: &[(Name, BTreeMap<Name, Member>)],
    kept: &[Name],
    is_configured: impl Fn(&Name) -> bool,
) -> Assigned {
    let mut assigned = Assigned::default();
    for (name, owned) in before.iter().filter(|(_, owned)| kept.contains(&owned.catalog)) {
        assigned.zones.insert(name.clone(), owned.clone());
    }
    // Whoever has a zone keeps it, unless it lets it go to a catalog that wants it.
    let mut goes = BTreeMap::new();
    for (name, owned) in before {
        let of =
            |catalog: &Name| catalogs.iter().find(|(apex, _)| apex == catalog).and_then(|(_, members)| members.get(name));
        let Some(still) = of(&owned.catalog) else { continue };
        if let Some(coo) = still.coo.as_ref().filter(|coo| **coo != owned.catalog && of(coo).is_some()) {
            goes.insert(name, coo);
        } else if !is_configured(name) {
            let owned = Owned { catalog: owned.catalog.clone(), member: still.clone() };
            assigned.zones.insert(name.clone(), owned);
        }
    }
    for (catalog, members) in catalogs {
        for (name, member) in members {
            let is_free = match assigned.zones.get(name) {
                Some(owned) if owned.catalog == *catalog => continue,
                Some(_) => false,
                None => !is_configured(name) && goes.get(name).is_none_or(|to| *to == catalog),
            };
            if is_free {
                let owned = Owned { catalog: catalog.clone(), member: member.clone() };
                assigned.zones.insert(name.clone(), owned);
            } else if before.get(name).is_none_or(|had| had.catalog != *catalog) {
                assigned.clashes.push((name.clone(), catalog.clone()));
            }
        }
    }
    let is_new = |(name, owned): &(&Name, &Owned)| {
        // A change of ownership with the same unique label keeps the data (section 5.3).
        before.get(*name).is_none_or(|had| had.member.unique != owned.member.unique)
    };
    assigned.reset = assigned.zones.iter().filter(is_new).map(|(name, _)| name.clone()).collect();
    assigned
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::zone::{Files, load};

    struct Text(String);

    impl Files for Text {
        fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
            Ok(self.0.clone().into_bytes())
        }
    }

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn catalog(records: &str) -> Zone {
        let text = format!("@ 0 SOA invalid. invalid. 1 60 60 600 0\n@ 0 NS invalid.\n{records}");
        load(&name("cat.example"), &Text(text), "c").unwrap().zone
    }

    fn member(unique: &str, coo: Option<&str>) -> Member {
        Member { unique: unique.as_bytes().into(), groups: Vec::new(), coo: coo.map(name) }
    }

    #[test]
    fn what_a_catalog_says() {
        let zone = catalog(
            "version 0 TXT 2\nu1.zones 0 PTR example.com.\nu2.zones 0 PTR example.net.\ncoo.u2.zones 0 PTR other.example.\n\
             group.u2.zones 0 TXT \"nodes\"\ngroup.u2.zones 0 TXT \"signed\"\ncoo.gone.zones 0 PTR x.\nxyz.ext 0 TXT any\n",
        );
        let got = members(&zone).unwrap();
        assert_eq!(got.keys().map(ToString::to_string).collect::<Vec<_>>(), ["example.com.", "example.net."]);
        assert_eq!(got[&name("example.com")], member("u1", None));
        let mut groups = got[&name("example.net")].groups.clone();
        groups.sort();
        assert_eq!(
            (groups, got[&name("example.net")].coo.clone()),
            (vec!["nodes".into(), "signed".into()], Some(name("other.example")))
        );
    }

    #[test]
    fn broken_catalogs() {
        let check = |records: &str, expect: BrokenCatalog| assert_eq!(members(&catalog(records)), Err(expect), "{records}");
        check("", BrokenCatalog::Version);
        check("version 0 TXT 1\n", BrokenCatalog::Version);
        check("version 0 TXT 2\nversion 0 TXT 3\n", BrokenCatalog::Version);
        let two = "version 0 TXT 2\nu.zones 0 PTR a.\nu.zones 0 PTR b.\n";
        check(two, BrokenCatalog::Member(name("u.zones.cat.example")));
        check("version 0 TXT 2\nu.zones 0 TXT a\n", BrokenCatalog::Member(name("u.zones.cat.example")));
        check("version 0 TXT 2\nu.zones 0 PTR a.\nv.zones 0 PTR a.\n", BrokenCatalog::Twice(name("a")));
    }

    #[test]
    fn zones_come_go_begin_anew_and_change_owners() {
        type Says<'a> = &'a [(&'a str, Member)];
        let says = |catalog: &str, members: Says<'_>| {
            (name(catalog), members.iter().map(|(zone, member)| (name(zone), member.clone())).collect::<BTreeMap<_, _>>())
        };
        let owners = |assigned: &Assigned| {
            let one = |(zone, owned): (&Name, &Owned)| format!("{zone}{}", owned.catalog);
            assigned.zones.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let none = |_: &Name| false;
        let first = assign(&BTreeMap::new(), &[says("a", &[("x", member("1", None)), ("y", member("2", None))])], &[], none);
        assert_eq!((owners(&first).as_str(), first.reset.len()), ("x.a. y.a.", 2));
        let same = assign(&first.zones, &[says("a", &[("x", member("1", None)), ("y", member("3", None))])], &[], none);
        assert_eq!((owners(&same).as_str(), same.reset), ("x.a. y.a.", vec![name("y")]));
        let gone = assign(&first.zones, &[says("a", &[("x", member("1", None))])], &[], none);
        assert_eq!((owners(&gone).as_str(), gone.reset.len()), ("x.a.", 0));
        // A broken catalog keeps what it had.
        let broken = assign(&first.zones, &[], &[name("a")], none);
        assert_eq!((owners(&broken).as_str(), broken.reset.len()), ("x.a. y.a.", 0));
        // Another catalog cannot take a zone, unless its owner lets it go there.
        let both = |coo: Option<&str>| [says("a", &[("x", member("1", coo))]), says("b", &[("x", member("1", None))])];
        let kept = assign(&gone.zones, &both(None), &[], none);
        assert_eq!((owners(&kept).as_str(), kept.clashes), ("x.a.", vec![(name("x"), name("b"))]));
        let given = assign(&gone.zones, &both(Some("b")), &[], none);
        assert_eq!((owners(&given).as_str(), given.reset.len()), ("x.b.", 0), "the same life goes on");
        let elsewhere = assign(&gone.zones, &both(Some("c")), &[], none);
        assert_eq!(owners(&elsewhere), "x.a.");
        let configured = assign(&BTreeMap::new(), &both(None), &[], |zone| *zone == name("x"));
        assert_eq!((owners(&configured).as_str(), configured.clashes.len()), ("", 2));
    }
}
