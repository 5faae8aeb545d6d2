//! A whole farm.
