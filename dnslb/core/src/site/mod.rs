//! Where clients are: from an address to the class of clients that it belongs to, by what a configuration says of sites and views.
//!
//! Everything is worked out ahead into two sorted tables of ranges, one a family, so that a look-up costs O(log n) and neither
//! allocates nor fails. Nothing here knows of pools or of health.

mod ranges;

pub use ranges::Ranges;

use farm_shared::prefix::Prefix;
use std::net::IpAddr;

/// Ranges on either side of an address that are looked at for the scope of an answer: more would make a query costly.
const NEIGHBOURS_MAX: usize = 64;

/// What is known of the clients of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientClass {
    /// Index of their site.
    pub site: Option<u16>,
    /// Index of the view that they are in.
    pub view: Option<u16>,
}

/// Which clients are told apart. Class 0 is that of clients of whom nothing is known.
#[derive(Clone, Debug)]
pub struct ClientMap {
    classes: Vec<ClientClass>,
    v4: Ranges,
    v6: Ranges,
    /// Whose client subnets are believed; none if nobody's.
    trusted: Option<(Ranges, Ranges)>,
    names: Vec<String>,
}

impl Default for ClientMap {
    fn default() -> Self {
        let (v4, v6) = (Ranges::collect(32, [(0, 0)]), Ranges::collect(128, [(0, 0)]));
        Self { classes: vec![ClientClass::default()], v4, v6, trusted: None, names: Vec::new() }
    }
}

impl ClientMap {
    /// A map of sites and views, each given as ranges of either family with the index of its site or view as the value; clients
    /// in none have [`Ranges::NOTHING`]. Client subnets (RFC 7871) are believed from resolvers in `trusted` alone.
    pub fn new(sites: (&Ranges, &Ranges), views: (&Ranges, &Ranges), trusted: Option<&[Prefix]>) -> Self {
        let mut classes = vec![ClientClass::default()];
        let some = |value: u16| (value != Ranges::NOTHING).then_some(value);
        let mut class_of = |site: u16, view: u16| {
            let class = ClientClass { site: some(site), view: some(view) };
            let known = classes.iter().position(|known| *known == class);
            known.unwrap_or_else(|| {
                classes.push(class);
                classes.len() - 1
            }) as u16
        };
        let v4 = sites.0.zip(views.0, &mut class_of);
        let v6 = sites.1.zip(views.1, &mut class_of);
        let trusted = trusted.map(|prefixes| {
            let all = prefixes.iter().map(|prefix| (*prefix, 1));
            (Ranges::of_prefixes(32, all.clone()), Ranges::of_prefixes(128, all))
        });
        Self { classes, v4, v6, trusted, names: Vec::new() }
    }

    /// The same with the names of sites by index, for counters.
    pub fn with_names(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }

    /// The name of a class' site.
    pub fn site_name(&self, class: ClientClass) -> Option<&str> {
        self.names.get(usize::from(class.site?)).map(String::as_str)
    }

    /// The classes: no more than sites plus one times views plus one.
    pub fn classes(&self) -> &[ClientClass] {
        &self.classes
    }

    /// What is known of a class.
    pub fn class(&self, class: u16) -> ClientClass {
        self.classes.get(usize::from(class)).copied().unwrap_or_default()
    }

    /// The class of an address. An IPv4 address mapped into IPv6 counts as what it is.
    #[inline]
    pub fn class_of(&self, addr: IpAddr) -> u16 {
        self.class_at(addr.to_canonical())
    }

    /// The class of an address as it stands, mapped or not.
    #[inline]
    pub fn class_at(&self, addr: IpAddr) -> u16 {
        match addr {
            IpAddr::V4(v4) => self.v4.get(u128::from(v4.to_bits())),
            IpAddr::V6(v6) => self.v6.get(v6.to_bits()),
        }
    }

    /// Whether the client subnets that this resolver sends are believed.
    #[inline]
    pub fn trusts(&self, resolver: IpAddr) -> bool {
        let Some((v4, v6)) = &self.trusted else { return false };
        let value = match resolver.to_canonical() {
            IpAddr::V4(addr) => v4.get(u128::from(addr.to_bits())),
            IpAddr::V6(addr) => v6.get(addr.to_bits()),
        };
        value != Ranges::NOTHING
    }

    /// Whether anybody's client subnets are believed: only then they are looked for.
    #[inline]
    pub fn uses_subnets(&self) -> bool {
        self.trusted.is_some()
    }

    /// The shortest prefix of `addr`, in bits, in which every address has a class that is `same`, as that of `addr` must be;
    /// found within 64 ranges on either side, and so perhaps longer than the very shortest, never shorter.
    pub fn scope(&self, addr: IpAddr, same: impl Fn(u16) -> bool) -> u8 {
        match addr {
            IpAddr::V4(v4) => self.v4.scope(u128::from(v4.to_bits()), NEIGHBOURS_MAX, same),
            IpAddr::V6(v6) => self.v6.scope(v6.to_bits(), NEIGHBOURS_MAX, same),
        }
    }

    /// Ranges in both tables.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether all clients are alike.
    pub fn is_empty(&self) -> bool {
        self.classes.len() == 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn map(sites: &[(&str, u16)], views: &[(&str, u16)], trusted: Option<&[&str]>) -> ClientMap {
        let ranges = |list: &[(&str, u16)]| {
            let list: Vec<(Prefix, u16)> = list.iter().map(|(prefix, value)| (prefix.parse().unwrap(), *value)).collect();
            (Ranges::of_prefixes(32, list.iter().copied()), Ranges::of_prefixes(128, list.iter().copied()))
        };
        let (sites, views) = (ranges(sites), ranges(views));
        let trusted: Option<Vec<Prefix>> = trusted.map(|list| list.iter().map(|p| p.parse().unwrap()).collect());
        ClientMap::new((&sites.0, &sites.1), (&views.0, &views.1), trusted.as_deref())
    }

    #[test]
    fn the_longest_prefix_tells_the_site() {
        let map = map(
            &[("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.1.2.0/24", 0), ("2001:db8::/32", 2)],
            &[("10.1.2.3", 0), ("::/0", 1)],
            Some(&["192.0.2.53", "2001:db8::/33"]),
        );
        let check = |addr: &str, site: Option<u16>, view: Option<u16>| {
            let class = map.class(map.class_of(addr.parse().unwrap()));
            assert_eq!(class, ClientClass { site, view }, "{addr}");
        };
        check("9.255.255.255", None, None);
        check("10.0.0.0", Some(0), None);
        check("10.1.1.255", Some(1), None);
        check("10.1.2.2", Some(0), None);
        check("10.1.2.3", Some(0), Some(0));
        check("10.1.3.0", Some(1), None);
        check("10.255.255.255", Some(0), None);
        check("11.0.0.0", None, None);
        check("::ffff:10.1.1.1", Some(1), None);
        check("2001:db8::1", Some(2), Some(1));
        check("2001:db9::1", None, Some(1));
        for (addr, expect) in
            [("192.0.2.53", true), ("192.0.2.54", false), ("2001:db8:1::", true), ("2001:db8:8000::", false)]
        {
            assert_eq!(map.trusts(addr.parse().unwrap()), expect, "{addr}");
        }
        assert!(ClientMap::default().is_empty() && !ClientMap::default().uses_subnets());
        assert_eq!(ClientMap::default().class_of("192.0.2.1".parse().unwrap()), 0);
    }

    #[test]
    fn a_scope_is_as_short_as_the_answer_allows() {
        let map = map(&[("10.0.0.0/8", 0), ("10.1.0.0/16", 1)], &[], None);
        let scope = |addr: &str, alike: &[u16]| {
            let addr = addr.parse().unwrap();
            let class = map.class_of(addr);
            map.scope(addr, |other| other == class || (alike.contains(&other) && alike.contains(&class)))
        };
        assert_eq!(scope("10.1.2.3", &[]), 16);
        assert_eq!(scope("10.128.0.1", &[]), 9);
        assert_eq!(scope("10.0.0.1", &[]), 16);
        assert_eq!(scope("192.0.2.1", &[]), 1);
        assert_eq!(scope("10.1.2.3", &[0, 1, 2]), 0);
        let (ten, one) = (map.class_of("10.0.0.1".parse().unwrap()), map.class_of("10.1.0.1".parse().unwrap()));
        assert_eq!(scope("10.1.2.3", &[ten, one]), 8);
        assert_eq!(scope("2001:db8::1", &[]), 0);
    }

    proptest! {
        #[test]
        fn all_clients_of_a_scope_are_of_one_class(
            prefixes in proptest::collection::vec((any::<u32>(), 0_u8..=32, 0_u16..4), 0..40),
            addr: u32, others in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let prefixes: Vec<(Prefix, u16)> = prefixes.into_iter().map(|(addr, bits, site)| {
                let addr = addr & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                (Prefix::new(IpAddr::V4(addr.into()), bits).unwrap(), site)
            }).collect();
            let sites = Ranges::of_prefixes(32, prefixes.iter().copied());
            let none = (Ranges::whole(32), Ranges::whole(128));
            let map = ClientMap::new((&sites, &none.1), (&none.0, &none.1), None);
            let at = |bits: u32| IpAddr::V4(bits.into());
            // Longest match, by the definition.
            for addr in others.iter().chain([&addr]) {
                let longest = prefixes.iter().filter(|(prefix, _)| prefix.contains(at(*addr))).max_by_key(|(prefix, _)| prefix.bits());
                prop_assert_eq!(map.class(map.class_of(at(*addr))).site, longest.map(|(_, site)| *site));
            }
            let class = map.class_of(at(addr));
            let scope = u32::from(map.scope(at(addr), |other| other == class));
            let host = u32::MAX.checked_shr(scope).unwrap_or(0);
            for other in others {
                prop_assert_eq!(map.class_of(at((addr & !host) | (other & host))), class);
            }
            // And a shorter one would hold another class.
            if scope > 0 && prefixes.len() <= 30 {
                let host = u32::MAX.checked_shr(scope - 1).unwrap_or(0);
                let low = addr & !host;
                let edges = prefixes.iter().flat_map(|(prefix, _)| prefix.bounds()).map(|edge| edge as u32);
                let all = [low, low | host].into_iter().chain(edges.flat_map(|edge| [edge, edge.wrapping_sub(1), edge.wrapping_add(1)]));
                let differs = |other: u32| other & !host == low && map.class_of(at(other)) != class;
                prop_assert!(all.into_iter().any(differs));
            }
        }
    }
}
