//! What the command lines of all daemons share: exit codes (sysexits.h), the report of a configuration's problems, and the
//! hidden subcommands that packagers use.

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use farm_shared::config::{Problem, Severity, has_errors};
use std::io::{self, Write};
use std::path::PathBuf;

/// EX_UNAVAILABLE: a listener, the state directory or a peer could not be had.
pub const EXIT_UNAVAILABLE: u8 = 69;
/// EX_CONFIG: the configuration is refused. (A wrong command line ends with clap's 2.)
pub const EXIT_CONFIG: u8 = 78;

/// Hidden subcommands; flatten them into a daemon's own (`#[command(flatten)]`).
#[derive(Clone, Debug, Subcommand)]
pub enum Generate {
    /// Prints a completion script for a shell.
    #[command(hide = true)]
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Writes manual pages into a directory.
    #[command(hide = true)]
    Man {
        /// An existing directory.
        dir: PathBuf,
    },
}

impl Generate {
    /// Does it for the command line `C`, to `out` or into the directory.
    pub fn run<C: CommandFactory>(&self, out: &mut impl Write) -> io::Result<()> {
        let mut command = C::command();
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut command, name, &mut script);
                out.write_all(&script)
            }
            Self::Man { dir } => clap_mangen::generate_to(command, dir),
        }
    }
}

/// Prints all problems, one a line, and a sum. `true` if the configuration may be used.
pub fn report(problems: &[Problem], out: &mut impl Write) -> io::Result<bool> {
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
    match (errors, problems.len() - errors) {
        (0, 0) => {}
        (e, w) => writeln!(out, "{e} error{}, {w} warning{}", plural(e), plural(w))?,
    }
    Ok(!has_errors(problems))
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use clap::Parser;
    use farm_shared::config::Document;

    /// A command line.
    #[derive(Parser)]
    #[command(name = "thing")]
    struct Thing {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Subcommand)]
    enum Command {
        /// Serves.
        Serve,
        #[command(flatten)]
        Generate(Generate),
    }

    fn generate(arguments: &[&str], out: &mut Vec<u8>) {
        let Command::Generate(generate) = Thing::parse_from(arguments).command else { panic!("{arguments:?}") };
        generate.run::<Thing>(out).expect("generated");
    }

    #[test]
    fn completions_and_pages() {
        let dir = TempDir::new();
        let mut out = Vec::new();
        assert!(matches!(Thing::parse_from(["thing", "serve"]).command, Command::Serve));
        generate(&["thing", "completions", "bash"], &mut out);
        assert!(String::from_utf8_lossy(&out).contains("thing"));
        generate(&["thing", "man", dir.path().to_str().expect("text")], &mut out);
        assert!(dir.path().join("thing.1").exists());
    }

    #[test]
    fn a_report_is_one_line_each() {
        let document = Document::parse("f", "a = 1");
        document.root().warning("", "haste", "leisure");
        let mut out = Vec::new();
        assert!(!report(&document.finish(), &mut out).expect("report"));
        let text = String::from_utf8_lossy(&out);
        assert_eq!(
            text,
            "f:1: warning: found haste, expected leisure\nf:1: a: found an unknown key, expected nothing here\n1 error, 1 warning\n"
        );
        assert!(report(&[], &mut io::sink()).expect("report"));
    }
}
