//! What can be launched, and the exact bytes that ask for it.
//!
//! The executor picks an offering and journals the bytes before the first call; a blueprint only says what they are. It must be
//! pure: the same request gives the same bytes for as long as the configuration stands.

use super::provider::{AttachRequest, LaunchRequest, Market, Offering};
use farm_shared::id::Id;
use std::fmt;

/// Where a server is to be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketChoice {
    /// The market.
    pub market: Market,
    /// Whether the other one serves when this one has no capacity.
    pub fallback: bool,
}

/// What a provider can launch.
pub trait Blueprint: Send + Sync + fmt::Debug {
    /// Offerings for the elastic part (`None`) or for a fixed role, in order of preference. Empty: the provider has no choice.
    fn offerings(&self, role: Option<&Id>) -> &[Offering];

    /// What [`LaunchRequest::body`] is to be; the rest of the request is filled in. An error stops the launch and is shown.
    fn body(&self, request: &LaunchRequest) -> Result<Vec<String>, String>;

    /// What an offering costs, in US dollars an hour, if that is known.
    fn price_usd_h(&self, offering: &Offering) -> Option<f64>;

    /// What an instance of a role is to be given once it runs; none if the role owns nothing.
    fn attach(&self, role: &Id, instance_id: &str, intent: &str) -> Option<AttachRequest>;

    /// Where the next server of the elastic part is to be bought, given how many there are on either market. None: the order of the
    /// offerings alone decides.
    fn market(&self, _on_demand: u32, _spot: u32) -> Option<MarketChoice> {
        None
    }

    /// Fixed roles that must exist. A role's id is its server's member id.
    fn roles(&self) -> &[Id] {
        &[]
    }
}

/// A provider without a choice: nothing to pick, nothing to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Blueprint for Plain {
    fn offerings(&self, _role: Option<&Id>) -> &[Offering] {
        &[]
    }

    fn body(&self, _request: &LaunchRequest) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn price_usd_h(&self, _offering: &Offering) -> Option<f64> {
        None
    }

    fn attach(&self, _role: &Id, _instance_id: &str, _intent: &str) -> Option<AttachRequest> {
        None
    }
}

/// A provider without a choice, in a farm with fixed roles.
#[derive(Clone, Debug, Default)]
pub struct PlainRoles(pub Vec<Id>);

impl Blueprint for PlainRoles {
    fn offerings(&self, _role: Option<&Id>) -> &[Offering] {
        &[]
    }

    fn body(&self, request: &LaunchRequest) -> Result<Vec<String>, String> {
        Plain.body(request)
    }

    fn price_usd_h(&self, offering: &Offering) -> Option<f64> {
        Plain.price_usd_h(offering)
    }

    fn attach(&self, role: &Id, instance_id: &str, intent: &str) -> Option<AttachRequest> {
        Plain.attach(role, instance_id, intent)
    }

    fn roles(&self) -> &[Id] {
        &self.0
    }
}
