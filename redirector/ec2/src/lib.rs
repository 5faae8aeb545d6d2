//! The few EC2 calls that a farm needs, over the SDK's runtime.
//!
//! It must never decide anything: which request to send, when, and how often is the executor's in redirector-core.
#![forbid(unsafe_code)]

pub mod ask;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod ec2;
mod failure;
mod form;
#[cfg(feature = "client")]
mod meters;
#[cfg(feature = "client")]
mod pace;
pub mod read;
pub mod xml;

#[cfg(feature = "client")]
pub use client::{ANSWER_BYTES_MAX, Client, Clock, Keys, Settings};
#[cfg(feature = "client")]
pub use ec2::{Ec2, Limits};
pub use failure::CallError;
pub use form::Form;
#[cfg(feature = "client")]
pub use meters::{CallMeter, Meters};
#[cfg(feature = "client")]
pub use pace::Pace;
