//! Where servers come from: one trait, and the providers that implement it.
//!
//! A provider must be idempotent by token, list everything it runs for the farm, and tell a definite refusal from an unknown fate
//! ([`ErrorKind`]). It decides nothing: the executor in redirector-core does.

mod ec2;
mod identity;
mod none;
mod process;
mod record;

pub use ec2::Ec2Provider;
pub use none::NoProvider;
pub use process::{ProcessProvider, ProcessSettings};
pub use redirector_core::scale::{ErrorKind, Instance, InstanceState, LaunchRequest, ProviderError};

use redirector_core::drill::Fault;
use redirector_core::scale::{CallOutcome, ProviderCall};
use redirector_ec2::Meters;
use std::future::Future;

/// A source of servers.
pub trait Provider: Send + Sync {
    /// Makes one call, and returns when its effect is certain or has failed. Every call is idempotent; a launch by its token.
    fn call(&self, call: &ProviderCall) -> impl Future<Output = Result<Option<Instance>, ProviderError>> + Send;
    /// All instances of the farm: complete, or an error.
    fn list(&self) -> impl Future<Output = Result<Vec<Instance>, ProviderError>> + Send;
}

/// The configured provider.
#[derive(Clone)]
pub enum AnyProvider {
    /// A static farm.
    None(NoProvider),
    /// Local processes.
    Process(ProcessProvider),
    /// Instances of EC2.
    Ec2(Ec2Provider),
}

impl AnyProvider {
    /// Makes one call of the executor.
    pub async fn call(&self, call: ProviderCall) -> CallOutcome {
        let result = match self {
            Self::None(p) => p.call(&call).await,
            Self::Process(p) => p.call(&call).await,
            Self::Ec2(p) => p.call(&call).await,
        };
        CallOutcome { call, result }
    }

    /// What a failure drill wants done to an instance; no fault: undo what cut it off. `group` is the security group that lets nothing
    /// through, where the provider needs one. Doing it twice is doing it once.
    pub async fn fault(&self, instance_id: &str, fault: Option<&Fault>, group: Option<&str>) -> Result<(), ProviderError> {
        match self {
            Self::None(_) => Err(error(ErrorKind::NotFound, format!("provider \"none\" has no instance {instance_id}"))),
            Self::Process(p) => p.fault(instance_id, fault),
            Self::Ec2(p) => p.fault(instance_id, fault, group).await,
        }
    }

    /// All instances of the farm, or why they cannot be told.
    pub async fn list(&self) -> Result<Vec<Instance>, String> {
        let listing = match self {
            Self::None(p) => p.list().await,
            Self::Process(p) => p.list().await,
            Self::Ec2(p) => p.list().await,
        };
        listing.map_err(|e| e.message)
    }

    /// What the provider must do in the background; never returns.
    pub async fn keep(&self) {
        match self {
            Self::None(_) | Self::Ec2(_) => std::future::pending().await,
            Self::Process(p) => p.keep().await,
        }
    }

    /// Calls over the network so far, where there are any.
    pub fn meters(&self) -> Meters {
        match self {
            Self::None(_) | Self::Process(_) => Meters::default(),
            Self::Ec2(p) => p.meters(),
        }
    }
}

fn error(kind: ErrorKind, message: impl Into<String>) -> ProviderError {
    ProviderError { kind, message: message.into() }
}

#[cfg(test)]
mod tests;
