//! What the configuration says about requests, in the form that a decision can use at once.
//!
//! Nothing here may depend on a farm's state; that stands in its snapshot.

use super::host::Hosts;
use crate::config::Spec;

/// The rules of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The names that this door answers to.
    pub hosts: Hosts,
    /// A request target may be this long, in octets.
    pub url_bytes_max: usize,
}

impl Rules {
    /// From a checked configuration.
    pub fn new(spec: &Spec) -> Self {
        Self { hosts: Hosts::new(spec), url_bytes_max: spec.door.url_bytes_max }
    }

    /// A host name to send people to who came by a backend's own name; none if any host is served.
    pub fn front_host(&self) -> Option<&str> {
        self.hosts.first()
    }
}
