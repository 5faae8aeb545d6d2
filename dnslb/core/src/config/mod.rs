//! What a configuration says: [`Spec`], complete and checked.
//!
//! Files stay with the daemon: a spec holds paths, and gets keys and zones from whoever read them. `dnslb check`, start and
//! reload must all run this same code.

mod spec;

pub use spec::{AdminSpec, FarmSpec, HeartbeatSpec, PoolSpec, ServerSpec, Spec, StaticMember, WeightRule, ZoneSpec};
