//! The redirector: a front door that sends each new session to one server of a farm, and grows and shrinks the farm.
//!
//! This crate is the shell around redirector-core: sockets, clocks, files, processes. It decides nothing about redirects or scaling.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod acme;
pub mod admin;
pub mod announce;
pub mod certificates;
pub mod door;
pub mod drill;
pub mod farms;
pub mod history;
pub mod journal;
pub mod lead;
pub mod load;
pub mod metrics;
pub mod page;
pub mod profiles;
pub mod provider;
pub mod serve;
pub mod shell;
pub mod text;
pub mod view;
