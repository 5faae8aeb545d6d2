//! The files of zones that change, in `state_dir/zones`: one checkpoint and one journal a zone.
//!
//! An append that failed leaves the journal as long as it was, or makes the next append shorten it first: half a frame must never
//! have a whole one behind it. Calls block on the disk.

use dnslb_core::name::Name;
use dnslb_core::store::{Stored, generation_of};
use farm_daemon::state_dir::{read_capped, write_atomically};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Octets of one checkpoint or journal.
const FILE_OCTETS_MAX: u64 = 4 << 30;

/// The directory.
#[derive(Debug, Clone)]
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// The zones' directory below `state_dir`; it is made with the first file.
    pub fn below(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("zones") }
    }

    /// What is stored of a zone.
    pub fn read(&self, apex: &Name) -> io::Result<Stored> {
        let checkpoint = absent_is_none(read_capped(&self.checkpoint(apex), FILE_OCTETS_MAX))?;
        let generation = match &checkpoint {
            Some(octets) => generation_of(octets),
            // A journal without a checkpoint is an error further up, which must not be taken for a zone that was never updated.
            None => self.generations(apex)?.into_iter().max(),
        };
        let journal = generation.map(|generation| read_capped(&self.journal(apex, generation), FILE_OCTETS_MAX));
        Ok(Stored { checkpoint, journal: journal.map(absent_is_none).transpose()?.flatten() })
    }

    /// Writes at the end of a journal that is `at` octets long, durable when this returns.
    pub fn append(&self, apex: &Name, generation: u64, at: u64, octets: &[u8]) -> io::Result<()> {
        let path = self.journal(apex, generation);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let write = |file: &mut File| {
            // What stands behind `at` is a write that nobody was told of.
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(octets)?;
            file.sync_data()
        };
        let result = write(&mut file).and_then(|()| if at == 0 { File::open(&self.dir)?.sync_all() } else { Ok(()) });
        if result.is_err() {
            let _ = file.set_len(at);
        }
        result
    }

    /// Puts a checkpoint in the place of the last one, and removes journals that do not go on from it.
    pub fn checkpoint_write(&self, apex: &Name, generation: u64, octets: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // One of this generation would be from a checkpoint that was never put in place.
        let _ = fs::remove_file(self.journal(apex, generation));
        write_atomically(&self.checkpoint(apex), octets)?;
        // From here on nothing may fail: to go on with the old journal would lose what is written there. One that stays is never read
        // again, since a checkpoint names its journal.
        for old in self.generations(apex).unwrap_or_default().into_iter().filter(|old| *old != generation) {
            let _ = fs::remove_file(self.journal(apex, old));
        }
        Ok(())
    }

    /// Removes what is stored of a zone: the journals first, so that none is left without its checkpoint.
    pub fn remove(&self, apex: &Name) -> io::Result<()> {
        for generation in self.generations(apex)? {
            absent_is_none(fs::remove_file(self.journal(apex, generation)))?;
        }
        absent_is_none(fs::remove_file(self.checkpoint(apex))).map(|_| ())
    }

    fn checkpoint(&self, apex: &Name) -> PathBuf {
        self.dir.join(format!("{}.zone", stem(apex)))
    }

    fn journal(&self, apex: &Name, generation: u64) -> PathBuf {
        self.dir.join(format!("{}+{generation}.journal", stem(apex)))
    }

    /// Generations of the journals that are there.
    fn generations(&self, apex: &Name) -> io::Result<Vec<u64>> {
        let Some(entries) = absent_is_none(fs::read_dir(&self.dir))? else { return Ok(Vec::new()) };
        let prefix = format!("{}+", stem(apex));
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".journal")?.parse().ok());
            found.extend(number);
        }
        Ok(found)
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The file name of a zone: its name without the last dot, whatever is not a letter, digit, dot, underscore or hyphen in
/// hexadecimal. A name that would be too long for a file is cut and told apart by a digest.
fn stem(apex: &Name) -> String {
    let mut stem = String::new();
    for (index, label) in apex.labels().enumerate() {
        if index > 0 {
            stem.push('.');
        }
        for &octet in label {
            match octet {
                b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => stem.push(char::from(octet)),
                _ => {
                    let _ = write!(stem, "%{octet:02x}");
                }
            }
        }
    }
    if stem.is_empty() {
        return "%root".to_owned();
    }
    if stem.len() > 200 {
        // FNV-1a over the whole name: two zones whose first 180 characters are alike.
        let hash = apex
            .wire()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3));
        stem.truncate(180);
        let _ = write!(stem, "%{hash:016x}");
    }
    stem
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn zones_have_files_of_their_own() {
        let check = |name: &str, expect: &str| assert_eq!(stem(&name.parse().unwrap()), expect);
        check("Example.COM", "example.com");
        check(".", "%root");
        check(r"a/b.\000x", "a%2fb.%00x");
        check(r"a\.b", "a%2eb");
        check("*.x", "%2a.x");
        let long = |last: &str| stem(&format!("{}{last}", format!("{}.", "ü".repeat(30)).repeat(3)).parse().unwrap());
        assert!(long("a").len() < 200 && long("a") != long("b"));
    }

    #[test]
    fn what_failed_leaves_the_journal_as_it_was() {
        let dir = std::env::temp_dir().join(format!("dnslb-disk-{}", std::process::id()));
        let (disk, apex) = (Disk::below(&dir), "example.com".parse().unwrap());
        assert!(disk.read(&apex).unwrap().checkpoint.is_none());
        assert!(disk.append(&apex, 1, 0, b"x").is_err(), "no directory yet");
        disk.checkpoint_write(&apex, 1, b"12345678\0\0\0\0\0\0\0\x01").unwrap();
        disk.append(&apex, 1, 0, b"one").unwrap();
        disk.append(&apex, 1, 3, b"two").unwrap();
        assert_eq!(disk.read(&apex).unwrap().journal.unwrap(), b"onetwo");
        // What was torn behind the third octet goes.
        disk.append(&apex, 1, 3, b"2").unwrap();
        assert_eq!(disk.read(&apex).unwrap().journal.unwrap(), b"one2");
        disk.checkpoint_write(&apex, 2, b"12345678\0\0\0\0\0\0\0\x02").unwrap();
        assert_eq!(disk.read(&apex).unwrap().journal, None);
        assert!(disk.generations(&apex).unwrap().is_empty());
        fs::remove_dir_all(dir).unwrap();
    }
}
