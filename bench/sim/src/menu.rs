//! What the simulated cloud offers: instance types in zones, on demand and as spot.

use farm_shared::id::Id;
use redirector_core::scale::{AttachRequest, Blueprint, LaunchRequest, Market, Offering};

/// Offerings in order of preference.
#[derive(Clone, Debug)]
pub(crate) struct Menu {
    offerings: Vec<Offering>,
}

impl Menu {
    /// Two types and both markets in each zone.
    pub(crate) fn new(zones: usize) -> Self {
        let mut offerings = Vec::new();
        for (instance_type, market) in [("large", Market::Spot), ("large", Market::OnDemand), ("small", Market::OnDemand)] {
            for zone in 0..zones {
                offerings.push(Offering { instance_type: instance_type.into(), zone: format!("z{zone}"), market });
            }
        }
        Self { offerings }
    }
}

impl Blueprint for Menu {
    fn offerings(&self, _role: Option<&Id>) -> &[Offering] {
        &self.offerings
    }

    fn body(&self, request: &LaunchRequest) -> Result<Vec<String>, String> {
        let offering = request.offering.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(vec![format!("launch {} as {} of {offering}", request.token, request.member_id)])
    }

    fn price_usd_h(&self, offering: &Offering) -> Option<f64> {
        let on_demand = if offering.instance_type == "large" { 0.20 } else { 0.10 };
        Some(if offering.market == Market::Spot { on_demand * 0.4 } else { on_demand })
    }

    fn attach(&self, _role: &Id, _instance_id: &str, _intent: &str) -> Option<AttachRequest> {
        None
    }
}
