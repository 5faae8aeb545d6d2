//! Where members and clients are: sites, views, and what was worked out of them once for all queries.
//!
//! Plain data. Which site is near which never changes at run time.

use crate::site::ClientMap;
use farm_shared::id::Id;
use farm_shared::prefix::Prefix;
use std::net::IpAddr;
use std::sync::Arc;

/// A rank that no other site has: that of members whose place says nothing.
const FAR: u16 = u16::MAX;

/// Sites and views.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Sites, by index.
    pub sites: Vec<SiteSpec>,
    /// Views, by index.
    pub views: Vec<ViewSpec>,
    /// Clients by address.
    pub clients: Arc<ClientMap>,
    /// For each client's site the rank of each member's site, 0 for the nearest.
    pub ranks: Vec<Vec<u16>>,
}

/// `[[site]]`
#[derive(Clone, Debug, Default)]
pub struct SiteSpec {
    /// Its name.
    pub name: Option<Id>,
    /// Addresses that are there.
    pub prefixes: Vec<Prefix>,
    /// Failure domains, as heartbeats name them, that are there.
    pub zones: Vec<Id>,
    /// The sites that are tried after it, in this order.
    pub near: Vec<Id>,
    /// Countries whose clients are there (ISO 3166, two letters).
    pub countries: Vec<String>,
    /// Continents whose clients are there (two letters, as MaxMind has them).
    pub continents: Vec<String>,
    /// Autonomous systems whose clients are there.
    pub asns: Vec<u32>,
    /// Latitude and longitude in degrees.
    pub at: Option<(f64, f64)>,
}

/// `[[view]]`
#[derive(Clone, Debug)]
pub struct ViewSpec {
    /// Its name.
    pub name: Id,
    /// Its clients.
    pub prefixes: Vec<Prefix>,
}

impl Places {
    /// The index of a site.
    pub fn site(&self, name: &Id) -> Option<u16> {
        self.sites.iter().position(|site| site.name.as_ref() == Some(name)).map(|index| index as u16)
    }

    /// The name of a site.
    pub fn site_name(&self, index: u16) -> Option<&Id> {
        self.sites.get(usize::from(index))?.name.as_ref()
    }

    /// The site of a member: that of its failure domain, or else that of its address.
    pub fn site_of(&self, zone: Option<&Id>, addr: Option<IpAddr>) -> Option<u16> {
        let by_zone = zone.and_then(|zone| self.sites.iter().position(|site| site.zones.contains(zone)));
        match by_zone {
            Some(index) => Some(index as u16),
            None => self.clients.class(self.clients.class_of(addr?)).site,
        }
    }

    /// How near a member's site is to a client's: 0 for the nearest. Without a client's site all are alike.
    pub fn rank(&self, client: Option<u16>, member: Option<u16>) -> u16 {
        let Some(client) = client else { return 0 };
        let ranks = self.ranks.get(usize::from(client));
        member.and_then(|member| ranks?.get(usize::from(member)).copied()).unwrap_or(FAR)
    }

    /// Works the ranks out: the site itself, those that it calls near, those that have a place on earth by their distance, all
    /// others alike.
    pub fn rank_all(sites: &[SiteSpec]) -> Vec<Vec<u16>> {
        let rank = |client: &SiteSpec, member: &SiteSpec| -> (u8, u64) {
            if client.name == member.name {
                return (0, 0);
            }
            if let Some(at) = client.near.iter().position(|near| member.name.as_ref() == Some(near)) {
                return (1, at as u64);
            }
            match (client.at, member.at) {
                (Some(from), Some(to)) => (2, distance_km(from, to) as u64),
                _ => (3, 0),
            }
        };
        let row = |client: &SiteSpec| {
            let keys: Vec<_> = sites.iter().map(|member| rank(client, member)).collect();
            let mut order = keys.clone();
            order.sort_unstable();
            order.dedup();
            keys.iter().map(|key| order.partition_point(|other| other < key) as u16).collect()
        };
        sites.iter().map(row).collect()
    }
}

/// The great-circle distance of two places, given in degrees, by the haversine formula.
pub(super) fn distance_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (lat, lat_to) = (from.0.to_radians(), to.0.to_radians());
    let (across, along) = ((lat_to - lat) / 2.0, (to.1 - from.1).to_radians() / 2.0);
    let h = across.sin().powi(2) + lat.cos() * lat_to.cos() * along.sin().powi(2);
    2.0 * 6_371.0 * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_nearest_sites_come_first() {
        let id = |name: &str| Id::new(name).unwrap();
        let site = |name: &str, near: &[&str], at| SiteSpec {
            name: Some(id(name)),
            near: near.iter().map(|name| id(name)).collect(),
            at,
            ..SiteSpec::default()
        };
        let (vienna, zurich, tokyo) = ((48.2, 16.4), (47.4, 8.5), (35.7, 139.7));
        let sites = [
            site("vienna", &[], Some(vienna)),
            site("tokyo", &["moon"], Some(tokyo)),
            site("zurich", &[], Some(zurich)),
            site("moon", &[], None),
        ];
        let ranks = Places::rank_all(&sites);
        assert_eq!(ranks, [[0, 2, 1, 3], [2, 0, 3, 1], [1, 2, 0, 3], [1, 1, 1, 0]]);
        assert!((distance_km(vienna, zurich) - 595.0).abs() < 10.0);
        assert!((distance_km(vienna, tokyo) - 9_140.0).abs() < 60.0);
        let places = Places { ranks, sites: sites.to_vec(), ..Places::default() };
        assert_eq!([places.rank(None, Some(1)), places.rank(Some(0), None), places.rank(Some(0), Some(1))], [0, FAR, 2]);
    }
}
