//! Zones signed by BIND's tools, for servers that only serve them. What is signed here is judged by others than its server.

use crate::daemon::Scratch;
use crate::peer::installed;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How absence is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// NSEC.
    Nsec,
    /// NSEC3 as RFC 9276 wants it: no salt, no additional iterations.
    Nsec3,
    /// NSEC3 with a salt, additional iterations, and spans that leave unsigned delegations out.
    OptOut,
}

impl Denial {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nsec, Self::Nsec3, Self::OptOut];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Nsec => &[],
            Self::Nsec3 => &["-3", "-", "-H", "0"],
            Self::OptOut => &["-3", "5a17", "-H", "5", "-A"],
        }
    }
}

/// A zone that was signed.
pub struct Signed {
    /// The zone's name, without the last dot.
    pub name: String,
    /// The zone file with signatures.
    pub file: PathBuf,
    /// The key that signs the keys: a trust anchor as BIND configures it.
    pub anchor: String,
}

/// Signs a zone with two new P-256 keys. Where zones below were signed in the same folder, their DS records go into it, in the place of
/// those that it has; else its own stay as they are. `None`, said loudly, if the tools are missing.
pub fn sign(scratch: &Scratch, name: &str, zone: &Path, denial: Denial) -> Option<Signed> {
    let (keygen, signzone) = (installed("dnssec-keygen")?, installed("dnssec-signzone")?);
    let folder = scratch.path();
    let key = |flags: &[&str]| {
        let made =
            run(Command::new(&keygen).args(["-q", "-a", "ECDSAP256SHA256"]).args(flags).arg(name).current_dir(folder));
        folder.join(format!("{}.key", made.trim()))
    };
    let signs_keys = key(&["-f", "KSK"]);
    key(&[]);
    let file = folder.join(format!("{name}.signed"));
    let mut sign = Command::new(&signzone);
    // `-g` takes DS records away that it has no keys for.
    let below = format!(".{name}.");
    let is_below = |file: &str| file.starts_with("dsset-") && file.ends_with(&below);
    let mut files = std::fs::read_dir(folder).expect("the folder").flatten();
    let has_below = files.any(|entry| entry.file_name().to_str().is_some_and(is_below));
    sign.args(["-q", "-S", "-K", ".", "-d", "."]).args(has_below.then_some("-g"));
    sign.args(["-x", "-o", name, "-f"]).arg(&file).args(denial.arguments());
    run(sign.arg(zone).current_dir(folder));
    let record = std::fs::read_to_string(&signs_keys).expect("a key file");
    let record = record.lines().find(|line| !line.starts_with(';')).expect("a DNSKEY record");
    let (_, data) = record.split_once("DNSKEY").expect("a DNSKEY record");
    let [flags, protocol, algorithm, key] =
        *data.split_ascii_whitespace().collect::<Vec<_>>().as_slice().first_chunk().expect("four fields");
    let rest: String = data.split_ascii_whitespace().skip(4).collect();
    let anchor = format!("trust-anchors {{ {name}. static-key {flags} {protocol} {algorithm} \"{key}{rest}\"; }};\n");
    Some(Signed { name: name.to_owned(), file, anchor })
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
