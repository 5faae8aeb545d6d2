//! The directory of private keys: key pairs found, read, made and written.
//!
//! A private file is 0600 from its first octet on, never replaced by another key, and its content shows in no message.

use dnslb_core::dnssec::{Algorithm, KEY_FILE_LEN_MAX, KeyFile, KeyTimes, SigningKey, base_name};
use dnslb_core::name::Name;
use farm_daemon::clock::secret_from_os;
use farm_daemon::state_dir::read_capped;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Most keys of one zone that are looked at.
const KEYS_MAX: usize = 200;

/// The keys of a zone that lie in a directory, and what keeps others from being used.
#[derive(Debug, Default)]
pub struct Found {
    /// Keys with both files, by file name.
    pub keys: Vec<(PathBuf, KeyFile)>,
    /// Files that cannot be used, with the reason.
    pub problems: Vec<(PathBuf, String)>,
    /// Private files that others than their owner can read, with the mode.
    pub open: Vec<(PathBuf, String)>,
}

/// Reads every key pair of `zone` in `dir`. Files of other algorithms than ours are problems, files of other zones are not looked
/// at.
///
/// # Errors
/// The directory cannot be read.
pub fn read(dir: &Path, zone: &Name) -> io::Result<Found> {
    let mut found = Found::default();
    let prefix = base_name(zone, 0, 0);
    let prefix = prefix.strip_suffix("000+00000").unwrap_or(&prefix);
    let mut names: Vec<String> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix) && name.ends_with(".private"))
        .take(KEYS_MAX)
        .collect();
    names.sort_unstable();
    for name in names {
        let path = dir.join(&name);
        if let Some(mode) = open_mode(&path) {
            found.open.push((path.clone(), mode));
        }
        match read_pair(&path) {
            Ok(key) if key.owner == *zone => found.keys.push((path, key)),
            Ok(key) => found.problems.push((path, format!("found a key of {}; expected one of {zone}", key.owner))),
            Err(why) => found.problems.push((path, why)),
        }
    }
    Ok(found)
}

/// Reads the pair of files of which `path` is one.
///
/// # Errors
/// What is wrong, in words.
pub fn read_pair(path: &Path) -> Result<KeyFile, String> {
    let text = |extension: &str| {
        let path = path.with_extension(extension);
        let octets = read_capped(&path, KEY_FILE_LEN_MAX as u64).map_err(|error| format!("{}: {error}", path.display()))?;
        String::from_utf8(octets).map_err(|_| format!("{}: octets that are no UTF-8", path.display()))
    };
    let (public, private) = (text("key")?, text("private")?);
    KeyFile::read(&public, &private).map_err(|error| error.to_string())
}

/// A new key of the operating system's randomness, none of whose tag is among `taken`.
///
/// # Errors
/// There is no randomness, or no key comes of it.
pub fn make(
    owner: &Name,
    algorithm: Algorithm,
    flags: u16,
    times: KeyTimes,
    taken: &dyn Fn(u16) -> bool,
) -> io::Result<KeyFile> {
    for _ in 0..100 {
        // P-256 refuses one secret in 2^32.
        let Ok(key) = SigningKey::from_private(algorithm, flags, &secret_from_os()?) else { continue };
        if !taken(key.tag()) && !taken(key.tag() ^ 0x80) {
            return Ok(KeyFile { owner: owner.clone(), key, times });
        }
    }
    Err(io::Error::other("no key with a tag of its own"))
}

/// Writes both files of a key, the private one first, and returns the path of the public one.
///
/// # Errors
/// One of them is there already, or the disk refuses.
pub fn write(dir: &Path, key: &KeyFile) -> io::Result<PathBuf> {
    let base = dir.join(key.base_name());
    let public = PathBuf::from(format!("{}.key", base.display()));
    let private = PathBuf::from(format!("{}.private", base.display()));
    let create = |path: &Path, mode: u32, text: &str| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    create(&private, 0o600, &key.private_text())?;
    if let Err(error) = create(&public, 0o644, &key.public_text()) {
        let _ = fs::remove_file(&private);
        return Err(error);
    }
    File::open(dir)?.sync_all()?;
    Ok(public)
}

/// The mode of a file that others than its owner can read.
fn open_mode(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then(|| format!("the mode {mode:04o} of uid {}", metadata.uid()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn keys_there_and_back() {
        let dir = TestFolder::new("keys");
        let zone = Name::from_text("Example.test").unwrap();
        let other = Name::from_text("a.example.test").unwrap();
        for (owner, algorithm) in
            [(&zone, Algorithm::EcdsaP256Sha256), (&zone, Algorithm::Ed25519), (&other, Algorithm::Ed25519)]
        {
            let key = make(owner, algorithm, 257, KeyTimes::default(), &|_| false).unwrap();
            let path = write(dir.path(), &key).unwrap();
            assert_eq!(write(dir.path(), &key).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "no key is lost");
            let mode = |extension: &str| fs::metadata(path.with_extension(extension)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode("private"), 0o600);
        }
        let found = read(dir.path(), &zone).unwrap();
        assert_eq!(found.keys.iter().map(|(_, key)| key.key.algorithm().number()).collect::<Vec<_>>(), [13, 15]);
        assert!(found.problems.is_empty() && found.open.is_empty(), "{found:?}");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let dir = TestFolder::new("keys");
        let zone = Name::from_text("example").unwrap();
        let key = make(&zone, Algorithm::Ed25519, 257, KeyTimes::default(), &|_| false).unwrap();
        let path = write(dir.path(), &key).unwrap();
        let private = path.with_extension("private");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).unwrap();
        let found = read(dir.path(), &zone).unwrap();
        assert_eq!(found.keys.len(), 1);
        assert!(found.open.first().unwrap().1.starts_with("the mode 0640 of uid "), "{found:?}");
        fs::write(&path, "example. DNSKEY 257 3 8 AwEAAQ==").unwrap();
        let found = read(dir.path(), &zone).unwrap();
        assert!(found.keys.is_empty());
        assert!(found.problems.first().unwrap().1.contains("algorithm 13"), "{found:?}");
        assert!(read(&dir.path().join("none"), &zone).is_err());
    }

    #[test]
    fn a_tag_is_never_used_twice() {
        let zone = Name::root();
        let tries = std::cell::Cell::new(0);
        let taken = |_: u16| {
            tries.set(tries.get() + 1);
            tries.get() < 5
        };
        assert!(make(&zone, Algorithm::Ed25519, 257, KeyTimes::default(), &taken).is_ok());
        assert!(make(&zone, Algorithm::Ed25519, 257, KeyTimes::default(), &|_| true).is_err());
    }
}
