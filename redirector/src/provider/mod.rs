//! Where servers come from: one trait, and the providers that implement it.
//!
//! A provider must be idempotent by token, list everything it runs for the farm, and tell a definite refusal from an unknown fate
//! ([`ErrorKind`]). It decides nothing: the executor in redirector-core does.

mod identity;
mod none;
mod process;
mod record;

pub use none::NoProvider;
pub use process::{ProcessProvider, ProcessSettings};
pub use redirector_core::scale::{ErrorKind, Instance, InstanceState, LaunchRequest, ProviderError};

use redirector_core::scale::{CallOutcome, ProviderCall};
use std::future::Future;

/// A source of servers.
pub trait Provider: Send + Sync {
    /// Starts one instance; the same token again gives the same instance.
    fn launch(&self, request: LaunchRequest) -> impl Future<Output = Result<Instance, ProviderError>> + Send;
    /// Stops one instance, and returns when it is gone or certain to go.
    fn terminate(&self, instance_id: &str) -> impl Future<Output = Result<(), ProviderError>> + Send;
    /// All instances of the farm.
    fn list(&self) -> impl Future<Output = Result<Vec<Instance>, ProviderError>> + Send;
}

/// The configured provider.
#[derive(Clone)]
pub enum AnyProvider {
    /// A static farm.
    None(NoProvider),
    /// Local processes.
    Process(ProcessProvider),
}

impl AnyProvider {
    /// Makes one call of the executor.
    pub async fn call(&self, call: ProviderCall) -> CallOutcome {
        let result = match (self, &call) {
            (Self::None(p), ProviderCall::Launch(r)) => p.launch(r.clone()).await.map(Some),
            (Self::None(p), ProviderCall::Terminate(r)) => p.terminate(&r.instance_id).await.map(|()| None),
            (Self::Process(p), ProviderCall::Launch(r)) => p.launch(r.clone()).await.map(Some),
            (Self::Process(p), ProviderCall::Terminate(r)) => p.terminate(&r.instance_id).await.map(|()| None),
        };
        CallOutcome { call, result }
    }

    /// All instances of the farm, or why they cannot be told.
    pub async fn list(&self) -> Result<Vec<Instance>, String> {
        let listing = match self {
            Self::None(p) => p.list().await,
            Self::Process(p) => p.list().await,
        };
        listing.map_err(|e| e.message)
    }

    /// What the provider must do in the background; never returns.
    pub async fn keep(&self) {
        match self {
            Self::None(_) => std::future::pending().await,
            Self::Process(p) => p.keep().await,
        }
    }
}

fn error(kind: ErrorKind, message: impl Into<String>) -> ProviderError {
    ProviderError { kind, message: message.into() }
}

#[cfg(test)]
mod tests;
