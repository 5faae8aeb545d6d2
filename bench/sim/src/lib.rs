//! The simulated world: virtual time, one seed, and the production code inside.
//!
//! It must never read a clock or draw from anything but its seed.
#![forbid(unsafe_code)]
