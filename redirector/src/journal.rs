//! The decision journal on disk: `state_dir/journal.jsonl`, one JSON record a line, written through before anything it announces.
//!
//! A launch that is not in here must never be called: [`JournalFile::append`] returns only after the record is on disk, and after a
//! failure the file ends as it did before. The file is rotated by size; one older file is kept, and both are read at a start.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Octets after which a file is rotated.
pub const BYTES_MAX: u64 = 16 * 1024 * 1024;

const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The journal, open for appending.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl JournalFile {
    /// Opens or creates it. A last line that a crash cut short is ended, so that it spoils no other.
    pub fn open(state_dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let path = path_of(state_dir);
        let mut file = options().open(&path)?;
        // One that was made by hand or copied back may be open to everybody.
        file.set_permissions(Permissions::from_mode(0o600))?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Self { path, file, bytes, bytes_max })
    }

    /// Writes one record (without its line end) through to the disk.
    pub fn append(&mut self, record: &str) -> io::Result<()> {
        if self.bytes >= self.bytes_max {
            self.rotate()?;
        }
        let line = format!("{record}\n");
        let outcome = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        match outcome {
            Ok(()) => self.bytes += line.len() as u64,
            // What was half written must not run into the next record.
            Err(_) => self.file.set_len(self.bytes)?,
        }
        outcome
    }

    fn rotate(&mut self) -> io::Result<()> {
        match std::fs::rename(&self.path, older(&self.path)) {
            // Renamed by an earlier try that then failed, or taken away by somebody: either way a new file is due.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.file = options().open(&self.path)?;
        self.bytes = 0;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

/// The lines of the older and the current file, oldest first, at most the last `lines_max`. A missing file is empty.
pub fn read(state_dir: &Path, lines_max: usize) -> io::Result<Vec<String>> {
    let path = path_of(state_dir);
    let mut lines = VecDeque::new();
    for path in [older(&path), path] {
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut reader = BufReader::new(file);
        loop {
            let mut line = Vec::new();
            if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if text.is_empty() {
                continue;
            }
            if lines.len() >= lines_max {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    }
    Ok(lines.into())
}

/// Reads what is appended from now on, across a rotation.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    /// What was read of a line that has not ended yet.
    begun: Vec<u8>,
}

impl Follower {
    /// Of the journal as it is; there need not be one yet.
    pub fn new(state_dir: &Path) -> Self {
        let path = path_of(state_dir);
        let file = File::open(&path).ok().and_then(|mut file| file.seek(SeekFrom::End(0)).ok().map(|_| file));
        Self { path, file, begun: Vec::new() }
    }

    /// The lines since the last call.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = self.rest()?;
        let now = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lines),
            other => other?,
        };
        let inode = |file: &File| file.metadata().map(|m| (m.dev(), m.ino()));
        let is_same = self.file.as_ref().is_some_and(|file| inode(file).ok() == inode(&now).ok());
        if !is_same {
            // What came between the two looks stands at the end of the old one.
            lines.extend(self.rest()?);
            (self.file, self.begun) = (Some(now), Vec::new());
            lines.extend(self.rest()?);
        }
        Ok(lines)
    }

    fn rest(&mut self) -> io::Result<Vec<String>> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.take(BYTES_MAX * 2).read_to_end(&mut self.begun)?;
        let Some(end) = self.begun.iter().rposition(|b| *b == b'\n') else { return Ok(Vec::new()) };
        let open = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, open);
        let lines = whole.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }
}

/// Requests may hold a server's key: the file is its owner's alone.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    options
}

/// A record for somebody to read: the bytes of requests, which may hold keys, are replaced by their number.
pub fn masked(line: String) -> String {
    if !line.contains("\"body\":[\"") {
        return line;
    }
    // What cannot be read as a record may hold a key as well.
    let Ok(mut record) = serde_json::from_str::<serde_json::Value>(&line) else {
        return format!("{{\"damaged\":\"{} octets\"}}", line.len());
    };
    for pointer in ["/call/launch/body", "/outcome/call/launch/body"] {
        for part in record.pointer_mut(pointer).and_then(|body| body.as_array_mut()).into_iter().flatten() {
            *part = format!("({} octets)", part.as_str().map_or(0, str::len)).into();
        }
    }
    record.to_string()
}

fn path_of(state_dir: &Path) -> PathBuf {
    state_dir.join("journal.jsonl")
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("redirector-journal-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let dir = directory("plain");
        let mut journal = JournalFile::open(&dir, BYTES_MAX).unwrap();
        for n in 0..5 {
            journal.append(&format!("{{\"n\":{n}}}")).unwrap();
        }
        assert_eq!(read(&dir, 2).unwrap(), ["{\"n\":3}", "{\"n\":4}"]);
        assert_eq!(read(&dir, 100).unwrap().len(), 5);
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = directory("torn");
        std::fs::write(dir.join("journal.jsonl"), "{\"n\":0}\n{\"n\":").unwrap();
        JournalFile::open(&dir, BYTES_MAX).unwrap().append("{\"n\":2}").unwrap();
        let mode = std::fs::metadata(path_of(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "whoever made it");
        assert_eq!(read(&dir, 9).unwrap(), ["{\"n\":0}", "{\"n\":", "{\"n\":2}"]);
    }

    #[test]
    fn rotation_keeps_one_older_file() {
        let dir = directory("rotate");
        let mut journal = JournalFile::open(&dir, 16).unwrap();
        for n in 0..9 {
            journal.append(&format!("{{\"n\":{n}}}")).unwrap();
        }
        let lines = read(&dir, 100).unwrap();
        assert_eq!(lines.last().unwrap(), "{\"n\":8}");
        assert!((2..=4).contains(&lines.len()), "{lines:?}");
    }

    #[test]
    fn a_rotation_cut_short_is_finished_by_the_next() {
        let dir = directory("half");
        let mut journal = JournalFile::open(&dir, 1).unwrap();
        journal.append("{\"n\":0}").unwrap();
        std::fs::rename(path_of(&dir), older(&path_of(&dir))).unwrap();
        journal.append("{\"n\":1}").unwrap();
        assert_eq!(read(&dir, 9).unwrap(), ["{\"n\":0}", "{\"n\":1}"]);
    }

    #[test]
    fn keys_in_requests_are_shown_to_nobody() {
        let line = r#"{"seq":3,"kind":"intent","call":{"launch":{"token":"t","body":["key=secret","b"]}}}"#;
        let shown = masked(line.into());
        assert!(!shown.contains("secret") && shown.contains("(10 octets)") && shown.contains("\"token\":\"t\""), "{shown}");
        assert!(!masked(line[..line.len() - 9].into()).contains("secret"));
        let plain = r#"{"seq":3,"kind":"gone","instance_id":"i-1"}"#;
        assert_eq!(masked(plain.into()), plain);
    }

    #[test]
    fn a_follower_loses_nothing_at_a_rotation() {
        let dir = directory("follow");
        let mut early = Follower::new(&dir);
        assert!(early.lines().unwrap().is_empty());
        let mut journal = JournalFile::open(&dir, 24).unwrap();
        let mut late = None;
        let mut seen = Vec::new();
        for n in 0..12 {
            journal.append(&format!("{{\"n\":{n}}}")).unwrap();
            seen.extend(early.lines().unwrap());
            if n == 4 {
                late = Some(Follower::new(&dir));
            }
        }
        assert_eq!(seen, (0..12).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>());
        assert!(late.unwrap().lines().unwrap().ends_with(&["{\"n\":11}".to_owned()]));
        std::fs::write(path_of(&dir), "{\"half").unwrap();
        let mut half = Follower::new(&dir);
        std::fs::OpenOptions::new().append(true).open(path_of(&dir)).unwrap().write_all(b"\":1}\n").unwrap();
        assert_eq!(half.lines().unwrap(), ["\":1}"], "from where it began");
    }

    #[test]
    fn nothing_is_an_empty_journal() {
        assert!(read(&directory("none"), 9).unwrap().is_empty());
    }
}
