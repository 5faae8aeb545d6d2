//! How many requests a second each source may make at the door.
//!
//! A [`Limit`] is what the configuration says; [`Debts`] is what the sources owe, in memory that is fixed. It must never refuse a
//! source for what others did, and it must never allocate, lock or wait.

mod debts;
mod rule;

pub use debts::Debts;
pub use rule::Limit;

#[cfg(test)]
mod tests;
