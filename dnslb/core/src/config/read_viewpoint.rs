//! The reader of `[viewpoints]`: other name servers that check the same members.
//!
//! Reads all options before it judges any, and notes problems instead of stopping.

use super::read::Unique;
use super::spec::{PoolSpec, ViewpointSpec, ViewpointsSpec};
use crate::health::ViewpointKey;
use crate::zone::Files;
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::settings::{LABEL, SOCKET};
use std::net::SocketAddr;

/// Most of them, so that a round of questions stays small.
const PEERS_MAX: usize = 32;

/// `own` is our id, which no other may have.
pub(super) fn viewpoints(root: &Section, own: Option<&Id>) -> ViewpointsSpec {
    let s = root.table(
        "viewpoints",
        "Other name servers that check the same members. They tell each other what they measured, and `pool.check.agree` says how many \
         must agree that one is down.",
    );
    let listen: Vec<SocketAddr> =
        s.list("listen", &[], SOCKET, "Where the others ask what was measured here, over HTTP with signatures.");
    let key_file = s.string("key_file", "", "File of the secret that all of them share: `openssl rand -hex 32` makes one.");
    let interval_ms = s.duration_ms("interval", 500, 100..=60_000, "Time between two questions to each of them.");
    let lease_ms =
        s.duration_ms("lease", 3_000, 200..=600_000, "How long a report counts; then its viewpoint counts neither way.");
    let mut peers = Vec::new();
    let mut names = Unique::default();
    let mut addresses = Unique::default();
    for s in s.tables("peer", "One of them.") {
        let name: Option<Id> = s.parsed("name", None, LABEL, "Its `server.id`.");
        let addr: Option<SocketAddr> = s.parsed("addr", None, SOCKET, "One of its `viewpoints.listen`.");
        let (Some(name), Some(addr)) = (name, addr) else { continue };
        names.note(&s, "name", &name);
        addresses.note(&s, "addr", &addr);
        if own == Some(&name) {
            s.problem("name", format!("\"{name}\""), "the id of another server: this is our own");
        }
        peers.push(ViewpointSpec { name, addr });
    }
    if peers.len() > PEERS_MAX {
        s.problem("peer", format!("{} of them", peers.len()), format!("at most {PEERS_MAX}"));
    }
    if lease_ms < interval_ms.saturating_mul(2) {
        let expected = format!("twice the interval or more, {} ms", interval_ms.saturating_mul(2));
        s.problem("lease", format!("{lease_ms} ms"), expected);
    }
    if key_file.is_empty() && !(listen.is_empty() && peers.is_empty()) {
        s.problem("key_file", "nothing", "the file of the secret that all viewpoints share");
    }
    ViewpointsSpec { listen, key_place: s.place("key_file"), key_file, key: None, interval_ms, lease_ms, peers }
}

/// Reads the secret.
pub(super) fn read_key(spec: &mut ViewpointsSpec, root: &Section, files: &dyn Files) {
    if spec.key_file.is_empty() {
        return;
    }
    let s = root.table("viewpoints", "");
    match files.read(&spec.key_file) {
        Err(why) => s.problem("key_file", why, "a file that can be read"),
        Ok(text) => match std::str::from_utf8(&text).map_err(|_| "hexadecimal digits").and_then(ViewpointKey::from_hex) {
            Ok(key) => spec.key = Some(key),
            Err(expected) => s.problem("key_file", format!("the content of {:?}", spec.key_file), expected),
        },
    }
}

/// More cannot agree than there are.
pub(super) fn judge_pool(pool: &PoolSpec, section: &Section, peers: usize) {
    let Some(agree) = pool.check.as_ref().and_then(|check| check.agree) else { return };
    if agree as usize > peers + 1 {
        let expected = format!("at most {}: ourselves and the {peers} [[viewpoints.peer]]", peers + 1);
        section.table("check", "").problem("agree", agree.to_string(), expected);
    }
}
