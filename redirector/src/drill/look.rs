//! The redirector's status document, as far as a drill needs it.
//!
//! A document that lacks a field that decides anything is an error: a drill must not go on by what it does not know.

use redirector_core::drill::{Counts, DrillStatus, Target};
use serde::Deserialize;

/// The farm at one time.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The farm's name.
    pub farm: String,
    /// Every backend.
    pub servers: Vec<Target>,
    /// Launches under way.
    pub pending: u32,
    /// Hits that the redirector remembers.
    pub hits: Vec<DrillStatus>,
    /// The front door's own counters: requests, and those that were told to come again.
    pub door: Counts,
}

#[derive(Deserialize)]
struct Status {
    farm: String,
    servers: Vec<Server>,
    scaler: Scaler,
    drills: Vec<DrillStatus>,
    door: Door,
}

#[derive(Deserialize)]
struct Server {
    id: String,
    location: String,
    standing: String,
    takes_new: bool,
    zone: Option<String>,
}

#[derive(Deserialize)]
struct Scaler {
    pending: u32,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    instance_id: String,
    member_id: Option<String>,
    state: String,
    #[serde(default)]
    role: Option<String>,
}

#[derive(Deserialize)]
struct Door {
    redirects_new: u64,
    redirects_returning: u64,
    waits: u64,
}

/// From the text of `/v1/status`.
pub fn read_status(text: &str) -> Result<Seen, String> {
    let status: Status = serde_json::from_str(text).map_err(|e| format!("the status cannot be read: {e}"))?;
    let alive = |i: &&Instance| matches!(i.state.as_str(), "pending" | "running");
    let servers = status.servers.into_iter().map(|server| {
        let instance = status.scaler.instances.iter().filter(alive).find(|i| i.member_id.as_ref() == Some(&server.id));
        Target {
            is_healthy: server.takes_new && server.standing == "in_service",
            is_down: matches!(server.standing.as_str(), "silent" | "admin_down"),
            role: instance.and_then(|i| i.role.clone()),
            instance_id: instance.map(|i| i.instance_id.clone()),
            id: server.id,
            zone: server.zone,
            location: server.location,
        }
    });
    let Door { redirects_new, redirects_returning, waits } = status.door;
    Ok(Seen {
        farm: status.farm,
        servers: servers.collect(),
        pending: status.scaler.pending,
        hits: status.drills,
        door: Counts { requests: redirects_new + redirects_returning + waits, errors: waits },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn servers_get_their_instances() {
        let text = r#"{"farm":"mail","servers":[
            {"id":"b1","location":"http://127.0.1.11:8080","standing":"in_service","takes_new":true,"zone":"a"},
            {"id":"b2","location":"http://127.0.1.12:8080","standing":"silent","takes_new":false,"zone":null},
            {"id":"b3","location":"","standing":"unknown","takes_new":true,"zone":null}],
            "scaler":{"pending":1,"instances":[{"instance_id":"i-1","member_id":"b1","state":"running","role":"web-1"},
            {"instance_id":"i-2","member_id":"b2","state":"stopping"}]},"drills":[],
            "door":{"redirects_new":5,"redirects_returning":2,"waits":1}}"#;
        let seen = read_status(text).unwrap();
        let shown: Vec<_> = seen.servers.iter().map(|t| (t.is_healthy, t.is_down, t.instance_id.as_deref())).collect();
        assert_eq!(shown, [(true, false, Some("i-1")), (false, true, None), (false, false, None)]);
        assert_eq!(seen.servers[0].role.as_deref(), Some("web-1"));
        assert_eq!(seen.door, Counts { requests: 8, errors: 1 });
        for bad in ["", "{}", "[]", &text.replace("\"drills\":[],", ""), &text.replace("\"standing\":\"silent\",", "")] {
            assert!(read_status(bad).is_err(), "{bad}");
        }
    }
}
