//! Logs go to stderr, as text for people or JSON for machines. `RUST_LOG` decides what, `--log-format` how.

use clap::ValueEnum;
use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the process's logger. `default` is used when `RUST_LOG` is absent or empty, in its syntax (`info,hyper=warn`).
/// An error if the filter is no filter or a logger is installed already.
pub fn init(format: LogFormat, default: &str) -> io::Result<()> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|w| !w.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default)).map_err(io::Error::other)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let result = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(io::Error::other)
}
