//! `dnslb keys`: an operator's words about the key schedules of zones that are signed here.
//!
//! It changes the schedule's file as the daemon does, under the same lock, and only on the server that manages the keys; the daemon
//! sees it within a minute, or at once with `dnslb reload`.

use clap::{Subcommand, ValueEnum};
use dnslb_core::config::{Spec, ZoneDnssec};
use dnslb_core::dnssec::civil::compact;
use dnslb_core::dnssec::schedule::{Event, Role, Schedule};
use dnslb_core::name::Name;
use dnslb_core::zone::{RrSet, Zones};
use farm_daemon::clock::Clock;
use farm_daemon::settings::resolve;
use std::fmt::Write as _;
use std::path::Path;

use crate::{key_dir, key_schedule};

/// What is wanted of a zone's keys.
#[derive(Clone, Debug, Subcommand)]
pub enum Wish {
    /// Prints the schedule: which keys there are, what each does, and when that changes. Times are UTC.
    Status {
        /// The zone.
        zone: Name,
    },
    /// Asks for a new key in the place of the one that serves.
    Roll {
        /// The zone.
        zone: Name,
        /// Which one.
        #[arg(value_enum, default_value_t = RoleArg::Csk)]
        role: RoleArg,
    },
    /// Says that all servers of the parent show the DS record of a key.
    DsSeen {
        /// The zone.
        zone: Name,
        /// The key's tag.
        tag: u16,
    },
    /// Says that no server of the parent shows the DS record of a key any more.
    DsGone {
        /// The zone.
        zone: Name,
        /// The key's tag.
        tag: u16,
    },
}

/// A role on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// The key that signs everything.
    Csk,
    /// The key that signs the DNSKEY set.
    Ksk,
    /// The key that signs the rest.
    Zsk,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Csk => Self::Csk,
            RoleArg::Ksk => Self::Ksk,
            RoleArg::Zsk => Self::Zsk,
        }
    }
}

impl Wish {
    fn zone(&self) -> &Name {
        match self {
            Self::Status { zone } | Self::Roll { zone, .. } | Self::DsSeen { zone, .. } | Self::DsGone { zone, .. } => zone,
        }
    }
}

/// Does what is wanted, and returns what is printed.
///
/// # Errors
/// In words.
pub fn run(wish: &Wish, spec: &Spec, zones: &Zones, config: &Path) -> Result<String, String> {
    let apex = wish.zone();
    let zone = spec.zones.iter().find(|zone| zone.name == *apex);
    let dnssec = zone.and_then(|zone| zone.dnssec.as_ref());
    let dnssec = dnssec.ok_or_else(|| format!("{apex} is no zone that is signed here"))?;
    let dir = resolve(config, &dnssec.policy.key_dir);
    let now_s = Clock::start().now().wall.0 / 1_000;
    let known = key_schedule::read(&dir, apex)?;
    let has_key = |tag: u16| known.as_ref().and_then(|schedule| schedule.key(tag)).is_some_and(|key| key.role.is_entry());
    let event = match *wish {
        Wish::Status { .. } => {
            let schedule = known.ok_or_else(|| format!("{} is not there", key_schedule::path(&dir, apex).display()))?;
            return table(&schedule, apex, &dir, now_s);
        }
        Wish::Roll { role, .. } if (role == RoleArg::Csk) == dnssec.policy.rules.split => {
            let has = if dnssec.policy.rules.split { "ksk and zsk" } else { "csk" };
            return Err(format!("the keys of {apex} are {has}"));
        }
        Wish::DsSeen { tag, .. } | Wish::DsGone { tag, .. } if !has_key(tag) => {
            return Err(format!("{apex} has no KSK or CSK {tag}"));
        }
        Wish::Roll { role, .. } => Event::Roll(role.into()),
        Wish::DsSeen { tag, .. } => Event::Seen(tag),
        Wish::DsGone { tag, .. } => Event::Gone(tag),
    };
    change(dnssec, apex, &dir, zone_ttl_s_max(zones, apex), now_s, event, known)
}

fn change(
    dnssec: &ZoneDnssec,
    apex: &Name,
    dir: &Path,
    ttl_s_max: u32,
    now_s: u64,
    event: Event,
    known: Option<Schedule>,
) -> Result<String, String> {
    if !dnssec.policy.manage_keys {
        return Err(format!("the keys of {apex} are made elsewhere: policy {} has no `manage_keys`", dnssec.policy.name));
    }
    let schedule = key_schedule::change(dir, apex, &dnssec.policy, ttl_s_max, now_s, event)?;
    let same = known.as_ref() == Some(&schedule);
    let note = if same { "nothing changes: it is not yet time for that, or it was said before\n" } else { "" };
    table(&schedule, apex, dir, now_s).map(|table| note.to_owned() + &table)
}

/// The highest TTL of a zone's file.
fn zone_ttl_s_max(zones: &Zones, apex: &Name) -> u32 {
    let ttls =
        zones.get(apex).into_iter().flat_map(|zone| zone.names().flat_map(|name| name.sets().iter().map(RrSet::ttl_s)));
    ttls.max().unwrap_or_default()
}

fn table(schedule: &Schedule, apex: &Name, dir: &Path, now_s: u64) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
    let here: Vec<u16> = key_dir::read(dir, apex).map_err(fail)?.keys.iter().map(|(_, key)| key.key.tag()).collect();
    let mut out = format!("{apex} schedule {} revision {}, now {}\n", schedule.id, schedule.revision, compact(now_s));
    for key in &schedule.keys {
        let missing = if here.contains(&key.tag) { "" } else { ", NOT HERE" };
        let _ = writeln!(out, "{} {:>5} {}{missing}", key.role, key.tag, key.algorithm);
        for (what, time) in [
            ("published", key.publish_s),
            ("signs the zone", key.sign_s),
            ("parent asked for its DS", key.wish_s),
            ("DS seen", key.ds_seen_s),
            ("signs the zone no more", key.unsign_s),
            ("parent asked for it no more", key.unwish_s),
            ("DS gone", key.ds_gone_s),
            ("removed", key.remove_s),
        ] {
            let Some(time) = time else { continue };
            let mark = if time <= now_s { ' ' } else { '>' };
            let _ = writeln!(out, "  {mark} {} {what}", compact(time));
        }
    }
    Ok(out)
}
