//! The `dnslb` command. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dnslb::cli::main()
}
