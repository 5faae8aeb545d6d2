//! What a configuration says: [`Spec`], complete and checked, with its zones and keys.
//!
//! Files are read through [`crate::zone::Files`], so nothing here touches a disk. `dnslb check`, start and reload all call
//! [`load`], and there must be no other way from a text to a [`Spec`].

mod load;
mod places;
mod read;
mod read_dnssec;
mod read_encrypted;
mod read_pool;
mod read_site;
mod read_srv;
mod read_viewpoint;
mod read_zone;
mod service;
mod spec;

pub use load::{Loaded, load, options};
pub use places::{Places, SiteSpec, ViewSpec};
pub use service::{RrlSpec, ServiceSpec};
pub use spec::{
    CatalogGroup, CatalogSpec, EncryptedSpec, FarmSpec, HttpsSpec, KeySpec, NestedPool, NotifySpec, PoolSpec, PrimarySpec,
    ServerSpec, Spec, SrvSpec, StaticMember, ViewpointSpec, ViewpointsSpec, WeightRule, ZoneDnssec, ZoneKind, ZoneSpec,
};

#[cfg(test)]
mod tests;
