//! The few EC2 calls that a farm needs, over the SDK's runtime.
//!
//! It must never decide anything: which request to send, when, and how often is the executor's in redirector-core.
#![forbid(unsafe_code)]

pub mod ask;
mod client;
mod ec2;
mod failure;
mod form;
mod meters;
mod pace;
pub mod read;
pub mod xml;

pub use client::{ANSWER_BYTES_MAX, Client, Clock, Keys, Settings};
pub use ec2::{Ec2, Limits};
pub use failure::CallError;
pub use form::{Form, VERSION, value_of};
pub use meters::{CallMeter, Meters};
pub use pace::Pace;
