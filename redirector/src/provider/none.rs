//! The provider of a static farm: its servers come and go by other hands, so there is nothing to list and nothing to call.

use super::{ErrorKind, Instance, LaunchRequest, Provider, ProviderError, error};

/// Refuses every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProvider;

impl Provider for NoProvider {
    async fn launch(&self, _request: LaunchRequest) -> Result<Instance, ProviderError> {
        Err(error(ErrorKind::Denied, "provider \"none\" launches nothing"))
    }

    async fn terminate(&self, instance_id: &str) -> Result<(), ProviderError> {
        Err(error(ErrorKind::NotFound, format!("provider \"none\" knows no instance {instance_id}")))
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        Ok(Vec::new())
    }
}
