//! The parts of a configuration that both daemons have, and the files that these parts name: farm keys, the admin token.
//!
//! Reading options is apart from reading files, so that the documentation and `check` can run the former alone.

use crate::admin::{AdminAddr, Token};
use crate::state_dir::read_capped;
use farm_shared::config::{Place, Problem, Section, TEXT_BYTES_MAX};
use farm_shared::heartbeat::{FarmKey, Keyring};
use farm_shared::id::Id;
use farm_shared::prefix::Prefix;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const SECRET_BYTES_MAX: u64 = 4096;

/// A configuration file's text, or the problem that it cannot be read.
pub fn read_config(path: &Path) -> Result<String, Problem> {
    let place = Place { file: path.display().to_string(), line: 1, key: String::new() };
    let expected = "a configuration file of UTF-8 text, at most 16 MiB";
    let bytes = read_capped(path, TEXT_BYTES_MAX as u64).map_err(|e| place.problem(format!("{e}"), expected))?;
    String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count();
        Place { line, ..place }.problem("octets that are no UTF-8", expected)
    })
}

/// A path of a configuration: relative ones start at the file's own directory.
pub fn resolve(config: &Path, path: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(path)
}

/// `[heartbeat]`: where heartbeats come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatListen {
    /// Datagrams.
    pub udp: Option<SocketAddr>,
    /// HTTP POST.
    pub http: Option<SocketAddr>,
    /// Messages that may wait for the control loop.
    pub queue_max: usize,
    /// HTTP connections at once.
    pub connections_max: usize,
}

impl HeartbeatListen {
    /// Reads `[heartbeat]` of the file.
    pub fn read(root: &Section) -> Self {
        let section = root.table("heartbeat", "Where heartbeats come in. Without a listener, members are static.");
        let address = "ADDRESS:PORT, like \"10.0.0.1:5300\"";
        Self {
            udp: section.optional_parsed(
                "udp",
                address,
                "Address for heartbeats as UDP datagrams. Port 0: the system chooses.",
            ),
            http: section.optional_parsed("http", address, "Address for heartbeats as HTTP POST /v1/heartbeat."),
            queue_max: section.integer(
                "queue_max",
                4096,
                1..=1_000_000,
                "Heartbeats that may wait; more are dropped and counted.",
            ) as usize,
            connections_max: section.integer("connections_max", 1024, 1..=100_000, "HTTP connections at once.") as usize,
        }
    }
}

/// `[admin]`: the admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminListen {
    /// None: no admin interface.
    pub listen: Option<AdminAddr>,
    /// Where the token of a TCP listener is.
    pub token_file: Option<PathBuf>,
    /// For problems with the file.
    pub token_place: Place,
}

impl AdminListen {
    /// Reads `[admin]` of the file at `config`.
    pub fn read(root: &Section, config: &Path) -> Self {
        let section = root.table("admin", "The admin interface: status, metrics, reload, drain.");
        let listen =
            section.optional_parsed("listen", AdminAddr::EXPECTED, "Where it listens. A Unix socket has the mode 0660.");
        let token_file = section
            .optional_string("token_file", "File with the token (`openssl rand -hex 32`) that a loopback address needs.")
            .map(|file| resolve(config, &file));
        if matches!(listen, Some(AdminAddr::Tcp(_))) && token_file.is_none() {
            section.problem("token_file", "nothing", "a file with a token, since `listen` is no Unix socket");
        }
        Self { listen, token_file, token_place: section.place("token_file") }
    }

    /// Reads the token's file, if there is one.
    pub fn token(&self, problems: &mut Vec<Problem>) -> Option<Token> {
        let text = read_secret(self.token_file.as_deref()?, &self.token_place, problems)?;
        parse_secret(Token::new(&text), &self.token_place, problems)
    }
}

/// `[[farm]]`: a farm whose members are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FarmTrust {
    /// Its name.
    pub name: Id,
    /// Where its secret is.
    pub key_file: PathBuf,
    /// Addresses that its members may announce beside their own.
    pub allowed_prefixes: Vec<Prefix>,
    /// For problems with the file.
    pub key_place: Place,
}

impl FarmTrust {
    /// Reads one `[[farm]]`; `None` with a problem noted. The daemon may read more options of the same section.
    pub fn read(section: &Section, config: &Path) -> Option<Self> {
        let label = "1 to 63 lowercase letters, digits and inner hyphens";
        let name = section.parsed("name", None, label, "The farm's name, as its members say it.");
        let key_file = section.required_string("key_file", "File with the farm's secret (`openssl rand -hex 32`).");
        let allowed_prefixes = section.list(
            "allowed_prefixes",
            &[],
            "ADDRESS/BITS",
            "Addresses that members may announce beside the one that their heartbeat comes from.",
        );
        let (key_place, key_file) = (section.place("key_file"), resolve(config, &key_file));
        Some(Self { name: name?, key_file, allowed_prefixes, key_place })
    }

    /// Reads every `[[farm]]` of the file and refuses names that come twice.
    pub fn read_all(root: &Section, config: &Path) -> Vec<Self> {
        let mut farms: Vec<Self> = Vec::new();
        for section in root.tables("farm", "A farm whose members are believed.") {
            let Some(farm) = Self::read(&section, config) else { continue };
            if farms.iter().any(|f| f.name == farm.name) {
                section.problem("name", format!("\"{}\" again", farm.name), "a name of its own for each farm");
            } else {
                farms.push(farm);
            }
        }
        farms
    }

    /// Reads the farm's secret; `None` with a problem noted.
    pub fn key(&self, problems: &mut Vec<Problem>) -> Option<FarmKey> {
        let text = read_secret(&self.key_file, &self.key_place, problems)?;
        parse_secret(FarmKey::from_hex(&text), &self.key_place, problems)
    }
}

/// The keys of all farms. Farms whose file cannot be used are left out, with a problem each.
pub fn load_keyring(farms: &[FarmTrust], problems: &mut Vec<Problem>) -> Keyring {
    let mut keyring = Keyring::default();
    for farm in farms {
        if let Some(key) = farm.key(problems) {
            keyring.insert(farm.name.clone(), key, farm.allowed_prefixes.clone());
        }
    }
    keyring
}

fn read_secret(path: &Path, place: &Place, problems: &mut Vec<Problem>) -> Option<String> {
    let shown = path.display();
    let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode());
    if mode & 0o077 != 0 {
        let found = format!("{shown} with the mode {:04o}", mode & 0o7777);
        problems.push(place.warning(found, "a secret that only its owner reads (chmod 0600)"));
    }
    let bytes = match read_capped(path, SECRET_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(place.problem(format!("{shown}: {error}"), "a readable file with a secret"));
            return None;
        }
    };
    String::from_utf8(bytes).ok().or_else(|| {
        problems.push(place.problem(format!("{shown} with octets that are no text"), "a file with a secret"));
        None
    })
}

fn parse_secret<T>(parsed: Result<T, &'static str>, place: &Place, problems: &mut Vec<Problem>) -> Option<T> {
    parsed
        .map_err(|why| problems.push(place.problem("something else in the file", why.trim_start_matches("expected "))))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use farm_shared::config::{Document, has_errors};

    fn check(text: &str, expect: &[&str]) {
        let document = Document::parse("f", text);
        let root = document.root();
        let config = Path::new("/etc/dnslb/f");
        let _ = (HeartbeatListen::read(&root), AdminListen::read(&root, config), FarmTrust::read_all(&root, config));
        let problems: Vec<_> = document.finish().iter().map(ToString::to_string).collect();
        assert_eq!(problems, expect, "{text}");
    }

    #[test]
    fn what_is_refused() {
        check("", &[]);
        check("admin.listen = 'unix:/run/x'", &[]);
        check("admin.listen = '127.0.0.1:1'\nadmin.token_file = 't'", &[]);
        check(
            "admin.listen = '127.0.0.1:1'",
            &["f:1: admin.token_file: found nothing, expected a file with a token, since `listen` is no Unix socket"],
        );
        check(
            "admin.listen = '10.0.0.1:1'",
            &["f:1: admin.listen: found \"10.0.0.1:1\", expected \"unix:/PATH\" or a loopback \"ADDRESS:PORT\""],
        );
        check("heartbeat.udp = 'x'", &["f:1: heartbeat.udp: found \"x\", expected ADDRESS:PORT, like \"10.0.0.1:5300\""]);
        check(
            "[[farm]]\nname='a'\nkey_file='k'\n[[farm]]\nname='a'\nkey_file='k'",
            &["f:5: farm[1].name: found \"a\" again, expected a name of its own for each farm"],
        );
    }

    #[test]
    fn secrets_are_read_and_their_modes_looked_at() {
        let dir = TempDir::new();
        let config = dir.path().join("f.toml");
        let document = Document::parse(
            "f",
            "[[farm]]\nname = 'a'\nkey_file = 'good'\n[[farm]]\nname = 'b'\nkey_file = 'bad'\n[[farm]]\nname = 'c'\nkey_file = 'none'",
        );
        let farms = FarmTrust::read_all(&document.root(), &config);
        for (name, text, mode) in [("good", "5a".repeat(32), 0o644), ("bad", "xyz".into(), 0o600)] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        }
        let mut problems = Vec::new();
        let keyring = load_keyring(&farms, &mut problems);
        let known = ["a", "b", "c"].map(|f| keyring.farm(&Id::new(f).expect("id")).is_some());
        assert_eq!(known, [true, false, false]);
        let lines: Vec<_> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [3, 6, 9], "{problems:?}");
        assert!(!has_errors(&problems[..1]) && has_errors(&problems[1..2]) && has_errors(&problems[2..]));
    }

    #[test]
    fn unreadable_configurations_are_problems() {
        let dir = TempDir::new();
        let path = dir.path().join("f");
        assert!(read_config(&path).is_err());
        std::fs::write(&path, b"a = 1\n\xff").expect("file");
        assert_eq!(read_config(&path).expect_err("no text").line, 2);
    }
}
