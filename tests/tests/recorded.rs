//! Recorded answers, given again by the code alone: what judges mutants of it without a server or a peer.
//!
//! `tests/mutants/run` records them with the differential suite, which holds them against Knot, NSD and BIND first, and runs this once
//! for each mutant. Without a record there is nothing to judge by, so it is ignored otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use dnslb_core::name::Name;
use dnslb_core::overlay::Overlay;
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::{Limits, Snapshot};
use dnslb_core::zone::{self, Files, Zone, Zones};
use farm_shared::time::{Mono, Now, Wall};
use farm_tests::answer::Answer;
use hickory_proto::op::Message;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Master files, as they are on the disk.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|e| e.to_string())
    }
}

fn load(file: &Path) -> Option<Arc<Zone>> {
    let name = file.file_name()?.to_str()?.strip_suffix(".zone")?;
    let apex = Name::from_text(&format!("{name}.")).expect("a zone's name");
    let loaded = zone::load(&apex, &Disk, file.to_str().expect("a path")).expect("a zone");
    Some(Arc::new(loaded.zone))
}

fn snapshot(folder: &Path) -> Snapshot {
    let files = std::fs::read_dir(folder).expect("the record").map(|entry| entry.expect("an entry").path());
    let zones: Vec<Arc<Zone>> = files.filter_map(|file| load(&file)).collect();
    assert!(zones.len() > 100, "{} zones in {}", zones.len(), folder.display());
    Snapshot {
        generation: 1,
        zones: Arc::new(Zones::new(zones).expect("zones")),
        overlay: Arc::new(Overlay::default()),
        pools: Vec::new(),
        clients: Arc::default(),
        signed: Arc::default(),
        limits: Limits::default(),
        service: Arc::default(),
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The first answer that is not the one recorded, if any: the query.
fn first_difference(folder: &Path) -> Option<String> {
    let snapshot = snapshot(folder);
    let record = std::fs::read_to_string(folder.join("answers")).expect("the record");
    let mut out = vec![0; 65_535];
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let now = Now { mono: Mono(0), wall: Wall(0) };
    let mut differs = |line: &&str| {
        let (query, digest) = line.split_once(' ').expect("a query and a digest");
        let reply = respond(&snapshot, Transport::Udp, client, &octets(query), now, 0, &mut out);
        let answer = reply.and_then(|reply| Answer::read(&out[..reply.len]).ok());
        answer.is_none_or(|answer| format!("{:016x}", answer.digest()) != digest)
    };
    let line = record.lines().find(&mut differs)?;
    let message = Message::from_vec(&octets(line.split_once(' ')?.0)).expect("a query");
    message.queries.first().map(ToString::to_string)
}

#[test]
#[ignore = "needs FARM_RECORD, which tests/mutants/run makes"]
fn answers_are_those_recorded() {
    let folder = PathBuf::from(std::env::var_os("FARM_RECORD").expect("FARM_RECORD: the folder of the record"));
    for name in ["plain", "signed"] {
        let difference = first_difference(&folder.join(name));
        assert_eq!(difference, None, "DIFFERS: {name}");
    }
}
