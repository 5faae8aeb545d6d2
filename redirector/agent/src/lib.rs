//! The heartbeat sender: on each backend as the program `farm-agent`, in each door as a library ([`run`]).
//!
//! [`logic`] decides (a pure `step`), [`run`] is the shell around it, [`load`] measures. The agent must never let one front end
//! that is away delay its word to the others, and never speak for a backend whose load it cannot read.
#![forbid(unsafe_code)]

mod carrier;
pub mod certificate;
mod clock;
mod http;
pub mod imds;
mod kill;
pub mod load;
pub mod logic;
mod saved;
mod settings;
mod shell;

pub use load::{AsyncLoadSource, FromChannel, LoadError, Reading};
pub use saved::{Saved, load_saved};
pub use settings::{Carrier, Front, HttpUrl, HttpsUrl, OnLoadFailure, Profile, Settings};
pub use shell::{RunError, run};
