//! A cloud on this machine: moto as the EC2 API, a proxy in front of it that adds what moto lacks and breaks what real clouds break,
//! and local processes that play the instances.
//!
//! It must never answer more kindly than EC2 does: what is not known of EC2's behaviour is an error here.

pub mod farm;
pub mod fault;
pub mod fleet;
pub mod form;
pub mod machines;
pub mod moto;
pub mod proxy;
pub mod record;
pub mod tokens;
pub mod validate;
pub mod view;
pub mod xml;
