//! The provider of a static farm: its servers come and go by other hands, so there is nothing to list and nothing to call.

use super::{ErrorKind, Instance, Provider, ProviderError, error};
use redirector_core::scale::ProviderCall;

/// Refuses every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProvider;

impl Provider for NoProvider {
    async fn call(&self, call: &ProviderCall) -> Result<Option<Instance>, ProviderError> {
        match call.instance_id() {
            None => Err(error(ErrorKind::Denied, "provider \"none\" launches nothing")),
            Some(id) => Err(error(ErrorKind::NotFound, format!("provider \"none\" knows no instance {id}"))),
        }
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        Ok(Vec::new())
    }
}
