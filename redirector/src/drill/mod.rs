//! `redirector chaos`, carried out: what redirector-core's [`Runner`](redirector_core::drill::Runner) says, asked of the running
//! redirector, with users of its own who tell what the drill did to them.
//!
//! This side is not to be trusted with the farm's life: the redirector checks every hit again, and heals by itself what is cut off.

mod figure;
mod look;
mod prober;
mod run;

pub use look::{Seen, read_status};
pub use prober::{Probe, Prober};
pub use run::{Ask, Drill, name, run};
