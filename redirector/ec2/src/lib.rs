//! The few EC2 calls that a farm needs, over the SDK's runtime.
//!
//! It must never decide anything: which request to send, when, and how often is the executor's in redirector-core.
#![forbid(unsafe_code)]
