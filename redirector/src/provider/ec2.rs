//! Instances of EC2, or of whatever speaks its API: settings in, calls through.
//!
//! The calls themselves are redirector-ec2's. Nothing here may decide, repeat or remember anything.

use super::{ErrorKind, Instance, Provider, ProviderError, error};
use farm_daemon::clock::Clock;
use farm_shared::id::Id;
use redirector_core::config::Ec2Spec;
use redirector_core::drill::Fault;
use redirector_core::scale::{InstanceRequest, ProviderCall};
use redirector_ec2::{Ec2, Limits, Meters, Settings};
use std::sync::Arc;
use std::time::Duration;

/// A page of so many instances has about one megabyte.
const PAGE_ITEMS: u16 = 200;

/// The provider. Clones share connections, pace and counters.
#[derive(Clone, Debug)]
pub struct Ec2Provider(Ec2);

impl Ec2Provider {
    /// Nothing is asked, and no credentials are looked for, before the first call.
    pub fn new(farm: Id, spec: &Ec2Spec, clock: Clock) -> Self {
        let settings = Settings {
            region: spec.region.clone(),
            endpoint: spec.endpoint.clone(),
            call_timeout: Duration::from_millis(spec.call_timeout_ms),
            connect_timeout: Duration::from_millis(spec.connect_timeout_ms),
            clock: Arc::new(move || clock.now()),
            keys: None,
        };
        let limits = Limits {
            calls_max: spec.calls_max,
            reads_per_s: spec.reads_per_s,
            writes_per_s: spec.writes_per_s,
            status_period_ms: spec.status_period_ms,
            page_items: PAGE_ITEMS,
        };
        Self(Ec2::new(settings, farm, limits))
    }

    /// The calls themselves, for what is no business of the executor: sizes of types, zones of subnets, security groups.
    pub fn api(&self) -> &Ec2 {
        &self.0
    }

    /// What a failure drill does to an instance: it is terminated, or put into `group` and back.
    pub async fn fault(&self, instance_id: &str, fault: Option<&Fault>, group: Option<&str>) -> Result<(), ProviderError> {
        match (fault, group) {
            (Some(Fault::Kill), _) => {
                let request = InstanceRequest { intent: "drill".to_owned(), instance_id: instance_id.to_owned() };
                self.0.call(&ProviderCall::Terminate(request)).await.map(drop)
            }
            (Some(Fault::Isolate), Some(group)) => self.0.isolate(instance_id, group).await,
            (Some(Fault::Isolate), None) => Err(error(ErrorKind::Denied, "drill.isolate_group is not set")),
            (Some(Fault::KillProcess(_)), _) => Err(error(ErrorKind::Denied, "processes are ended by their agent")),
            (None, _) => self.0.rejoin(instance_id).await,
        }
    }

    /// Calls so far.
    pub fn meters(&self) -> Meters {
        self.0.meters()
    }
}

impl Provider for Ec2Provider {
    async fn call(&self, call: &ProviderCall) -> Result<Option<Instance>, ProviderError> {
        self.0.call(call).await
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        self.0.list().await
    }
}
