//! Why: the redirector and the scaler need something real to send sessions to: a web service with log-in, features and
//! log-out whose capacity is known, and cheap enough that thirty of them fit two cores (seed 003, section 4.1).
//! Never: it knows nothing of heartbeats or front ends; an agent reads its load from a URL like any application's.

pub mod config;
pub mod custodian;
pub mod load;
pub mod ps_queue;
pub mod server;
pub mod sessions;
mod work;

pub use config::{BackendConfig, Cpu};
pub use load::LoadReport;
pub use server::Backend;
