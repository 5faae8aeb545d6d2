//! The peers beside us.
