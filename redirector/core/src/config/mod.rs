//! The redirector's settings.
//!
//! A [`Spec`] is plain data that passed its check; nothing here may read a file.

mod spec;

pub use spec::{AnnounceSpec, DoorSpec, ProcessSpec, Published, ProviderSpec, ScalePolicy, ScalerSpec, Spec};
