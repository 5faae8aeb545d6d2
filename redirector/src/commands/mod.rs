//! Commands that are more than one question to the redirector. Each reads its options whole before it does anything.

pub(crate) mod chaos;
