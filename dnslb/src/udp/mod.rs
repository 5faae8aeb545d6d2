//! Questions over UDP: the kernel's batch calls and the threads that answer.
//!
//! Nothing here may allocate, lock or log per query.

pub mod mmsg;
pub mod worker;
