//! The files that a configuration names and both daemons read alike: the configuration itself, secrets, the admin token.
//!
//! What an option means is [`farm_shared::settings`]' business; here its file is opened. The content of a secret never shows in a
//! problem.

use crate::admin::Token;
use crate::state_dir::{read_capped, write_atomically};
use farm_shared::config::{Document, Place, Problem, TEXT_BYTES_MAX};
use farm_shared::draw::Draws;
use farm_shared::settings::AdminListen;
use std::fs::Permissions;
use std::io;
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

/// `[admin]` of the file at `config`, and nothing else of it: an operator's command must not need to read keys. `state_dir` is what
/// the daemon takes if the file names none.
///
/// # Errors
/// That the file cannot be read. What is wrong with its options is the daemon's to say.
pub fn read_admin(config: &Path, state_dir: Option<&str>) -> Result<AdminListen, Problem> {
    let document = Document::parse(&config.display().to_string(), &read_config(config)?);
    let root = document.root();
    let configured = root.table("server", "").optional_string("state_dir", "");
    Ok(AdminListen::read(&root, configured.as_deref().or(state_dir)))
}

/// Warns of a secret that others than its owner may read. A file that is not there is not this function's business.
pub fn warn_if_open(secret: &Path, place: &Place) -> Option<Problem> {
    let mode = std::fs::metadata(secret).map_or(0, |m| m.permissions().mode());
    let found = || format!("{} with the mode {:04o}", secret.display(), mode & 0o7777);
    (mode & 0o077 != 0).then(|| place.warning(found(), "a secret that only its owner reads (chmod 0600)"))
}

/// Where the admin token is: `admin.token_file`, resolved. `None` if there is no loopback listener.
pub fn token_path(admin: &AdminListen, config: &Path) -> Option<PathBuf> {
    admin.token_file.as_deref().map(|file| resolve(config, file))
}

/// What is wrong with the admin token's file. One that is not there yet is good: [`token`] makes it.
pub fn check_token(admin: &AdminListen, config: &Path) -> Option<Problem> {
    let path = token_path(admin, config)?;
    match read_token(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Some(admin.token_place.problem(format!("{}: {error}", path.display()), "a readable file with a token"))
        }
        _ => warn_if_open(&path, &admin.token_place),
    }
}

/// Reads the admin token, or makes one in a file that only this user reads.
///
/// # Errors
/// What the system says, or what is wrong with the file's text.
pub fn token(path: &Path, mut draws: Draws) -> io::Result<Token> {
    match read_token(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let text = [(); 4].map(|()| format!("{:016x}", draws.u64())).concat();
    write_atomically(path, text.as_bytes())?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    tracing::info!(file = %path.display(), "made an admin token");
    Token::new(&text).map_err(io::Error::other)
}

/// Reads the admin token.
///
/// # Errors
/// What the system says, or what is wrong with the file's text.
pub fn read_token(path: &Path) -> io::Result<Token> {
    let bytes = read_capped(path, SECRET_BYTES_MAX)?;
    Token::new(&String::from_utf8_lossy(&bytes)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use farm_shared::config::has_errors;

    #[test]
    fn a_token_is_made_once_and_looked_at() {
        let dir = TempDir::new();
        let config = dir.path().join("f.toml");
        let document = Document::parse("f", "admin.listen = '127.0.0.1:1'");
        let admin = AdminListen::read(&document.root(), Some("."));
        let path = token_path(&admin, &config).expect("a token's path");
        assert!(check_token(&admin, &config).is_none());
        let draws = || Draws::from_seed([7; 32]);
        let first = token(&path, draws().child("a", 0)).expect("made");
        let second = token(&path, draws().child("b", 0)).expect("read");
        assert_eq!((first.as_str(), first.as_str().len()), (second.as_str(), 64));
        assert!(check_token(&admin, &config).is_none());
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        assert!(check_token(&admin, &config).is_some_and(|p| !has_errors(&[p])));
        std::fs::write(&path, "x y").expect("file");
        assert!(check_token(&admin, &config).is_some_and(|p| has_errors(&[p])));
        assert!(token(&path, draws()).is_err());
    }

    #[test]
    fn a_command_needs_no_more_than_the_way_in() {
        let dir = TempDir::new();
        let config = dir.path().join("f.toml");
        std::fs::write(&config, "no = 'sense'\n[server]\nstate_dir = 's'\n[admin]\nlisten = '127.0.0.1:1'").expect("file");
        let admin = read_admin(&config, Some("other")).expect("read");
        assert_eq!(token_path(&admin, &config), Some(dir.path().join("s/admin.token")));
        assert!(read_admin(&dir.path().join("none"), None).is_err());
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
