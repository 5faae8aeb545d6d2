//! The few EC2 calls that a farm needs, over the SDK's runtime.
//!
//! It must never decide anything: which request to send, when, and how often is the executor's in redirector-core.
#![forbid(unsafe_code)]

mod client;
mod failure;
mod form;
mod pace;
mod xml;

pub use client::{ANSWER_BYTES_MAX, Client, Clock, Settings};
pub use failure::CallError;
pub use form::{Form, VERSION, value_of};
pub use pace::Pace;
pub use xml::{BadXml, DEPTH_MAX, ELEMENTS_MAX, Element};
