//! Why: one experiment needs both ends of a farm, a backend to play with and a crowd that comes through the front door
//! (seed 003, section 4.1), and both must be testable without a process of their own. The binaries only read options.
//! Never: nothing here is part of the product; no product crate may depend on this one.
#![forbid(unsafe_code)]

pub mod backend;
pub mod compare;
pub mod crowd;
pub mod draws;
pub mod limits;
