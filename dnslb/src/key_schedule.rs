//! The file of a zone's key schedule: `K<zone>.schedule.json` beside the zone's keys.
//!
//! Every change is one read, one step of the pure machine and one atomic write under a lock, so that the daemon and an operator's
//! command never undo each other. A key is on the disk before a schedule names it.

use dnslb_core::dnssec::schedule::{Effect, Event, NewKey, SCHEDULE_LEN_MAX, Schedule, step};
use dnslb_core::dnssec::{DnssecPolicy, KeyTimes, base_name};
use dnslb_core::name::Name;
use farm_daemon::clock::draws_from_os;
use farm_daemon::state_dir::{read_capped, write_atomically};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::key_dir;

/// Steps that one change can take: two keys to make, each with a step of its own, and the event.
const STEPS_MAX: usize = 8;

/// Where a zone's schedule is.
pub fn path(dir: &Path, zone: &Name) -> PathBuf {
    let base = base_name(zone, 0, 0);
    dir.join(format!("{}schedule.json", base.strip_suffix("+000+00000").unwrap_or(&base)))
}

/// Reads a zone's schedule; `None` if it has none.
///
/// # Errors
/// In words, with the file.
pub fn read(dir: &Path, zone: &Name) -> Result<Option<Schedule>, String> {
    let path = path(dir, zone);
    let fail = |text: String| format!("{}: {text}", path.display());
    match read_capped(&path, SCHEDULE_LEN_MAX as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error.to_string())),
        Ok(text) => Schedule::from_json(&text, zone).map(Some).map_err(fail),
    }
}

/// Takes an event in, makes the keys that it calls for and writes what comes of it. Only the one server that manages the keys of
/// a zone may do so. `zone_ttl_s_max` is the highest TTL of the zone's data.
///
/// # Errors
/// In words, with the file; the schedule is as before then.
pub fn change(
    dir: &Path,
    zone: &Name,
    policy: &DnssecPolicy,
    zone_ttl_s_max: u32,
    now_s: u64,
    event: Event,
) -> Result<Schedule, String> {
    let fail = |error: io::Error| format!("{}: {error}", dir.display());
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
    let lock_path = path(dir, zone).with_extension("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path).map_err(fail)?;
    lock.lock().map_err(fail)?;
    let known = read(dir, zone)?;
    let mut schedule = match &known {
        Some(schedule) => schedule.clone(),
        None => Schedule::new(zone, draws_from_os().map_err(fail)?.u64()),
    };
    let timing = policy.timing_of(zone_ttl_s_max);
    let mut events = vec![event];
    for _ in 0..STEPS_MAX {
        let Some(event) = events.pop() else { break };
        let effects = step(&mut schedule, &policy.rules, &timing, now_s, event);
        for effect in effects {
            let Effect::Make(role, algorithm) = effect else { continue };
            let times = KeyTimes { created_s: Some(now_s), ..KeyTimes::default() };
            let taken = |tag: u16| schedule.key(tag).is_some();
            let key = key_dir::make(zone, algorithm, role.flags(), times, &taken).map_err(fail)?;
            key_dir::write(dir, &key).map_err(fail)?;
            tracing::info!(zone = %zone, role = %role, tag = key.key.tag(), "a key was made");
            events.push(Event::Made(NewKey { role, algorithm, dnskey: key.key.dnskey().clone() }));
            // One at a time: the next step says what is still wanted.
            break;
        }
    }
    if known.as_ref() != Some(&schedule) {
        write_atomically(&path(dir, zone), schedule.to_json().as_bytes()).map_err(fail)?;
    }
    Ok(schedule)
}
