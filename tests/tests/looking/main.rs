//! What people look at: the status page in a real browser, the admin interface against its description, the command line, the logs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod access_log;
mod commands;
mod logs;
mod openapi;
mod page;
mod schema;
