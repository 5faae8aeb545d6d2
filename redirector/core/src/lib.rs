//! The redirector's decisions: request to redirect, observation to plan.
//!
//! Everything here is a function of data, `now` and draws: this crate must never open a socket or a file, read a clock, start a
//! process or call a provider. The daemon around it does what [`farm::Effect`]s say and reports what came of it as
//! [`farm::Event`]s; simulator, replayer and tests run the very same code.
//!
//! * [`door`]: one request, one [`door::Decision`], without an allocation.
//! * [`room`]: the waiting room: who enters next while no server has a place.
//! * [`limit`]: how many requests a source may make.
//! * [`route`]: which backend gets the next new session (DESIGN 4.3).
//! * [`farm`]: the control loop; the one owner of mutable state.
//! * [`scale`]: how many servers there should be (DESIGN 4.4), and the executor that makes it so (DESIGN 4.5).
//! * [`whatif`]: scenarios and journals played against a policy.
//! * [`drill`]: failure drills: whom to hit, when, and when to stop.
//! * [`acme`]: when a certificate is asked for and renewed.
//! * [`config`]: the daemon's settings.
//! * [`calendar`]: dates from counts of days.
#![forbid(unsafe_code)]

pub mod acme;
pub mod calendar;
pub mod cloud;
pub mod config;
pub mod door;
pub mod drill;
pub mod farm;
pub mod limit;
pub mod room;
pub mod route;
pub mod scale;
pub mod whatif;
