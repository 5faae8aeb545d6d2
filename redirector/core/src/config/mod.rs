//! The redirector's settings.
//!
//! A [`Spec`] is plain data that passed its check; nothing here may read a file.

mod access_log;
mod acme;
mod drill;
mod ec2;
mod farms;
mod limit;
mod listeners;
mod notices;
mod read;
mod read_door;
mod read_room;
mod read_routes;
mod read_scaler;
mod role;
mod routes;
mod spec;

pub use access_log::{AccessFormat, AccessLogSpec};
pub use acme::{AcmeSpec, ChallengeKind, OrderSpec};
pub use drill::DrillSpec;
pub use ec2::Ec2Spec;
pub use farms::OtherFarm;
pub use limit::LimitSpec;
pub use listeners::{CapsSpec, CertificateSpec, ListenSpec, TlsSpec};
pub use notices::NoticeSpec;
pub use read_room::{LaneSpec, RoomSpec};
pub use role::{RoleSpec, VolumeSpec};
pub use routes::{CorsSpec, Maintenance, RedirectStatus, RouteSpec, RouteTo};
pub use spec::{AnnounceSpec, DoorSpec, ProcessSpec, ProviderSpec, Published, STATE_DIR, ScalePolicy, ScalerSpec, Spec};

#[cfg(test)]
mod tests;
