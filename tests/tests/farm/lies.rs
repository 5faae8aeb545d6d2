//! Messages that nobody may believe: each is counted under its reason, on both carriers of both daemons, and changes nothing.

use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Load, Role, State, VERSION};
use farm_shared::id::Id;
use farm_tests::daemon::{Daemon, SOON};
use farm_tests::farm::{Farm, KEY, Options, POOL, takers};
use farm_tests::{http, wait};
use std::net::{SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "heartbeats carry the time, and the daemons look at it")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// What is sent: the name of the key, the MAC, and the octets that it is over.
#[derive(Clone)]
struct Message {
    farm: &'static str,
    id: String,
    mac: String,
    body: Vec<u8>,
}

impl Message {
    fn signed(heartbeat: &Heartbeat, by: &str) -> Self {
        let body = serde_json::to_vec(heartbeat).unwrap();
        let mac = FarmKey::from_hex(KEY).unwrap().member(&id("mail"), &id(by)).sign(&body);
        Self { farm: "mail", id: by.into(), mac, body }
    }

    fn udp(&self, to: SocketAddr) {
        let datagram = Envelope::datagram(&id(self.farm), &id(&self.id), &self.mac, &self.body);
        UdpSocket::bind((to.ip(), 0)).unwrap().send_to(&datagram, to).unwrap();
    }

    fn http(&self, to: SocketAddr) -> u16 {
        let key = format!("{}/{}", self.farm, self.id);
        let headers = [("farm-key", key.as_str()), ("farm-mac", &self.mac)];
        http::request(to, "POST", "/v1/heartbeat", &headers, &self.body).unwrap().status
    }
}

/// A member that beats rarely and is played by this test.
fn member(farm: &Farm, name: &str) -> Heartbeat {
    Heartbeat {
        v: VERSION,
        farm: id("mail"),
        id: id(name),
        role: Role::Backend,
        inc: 1_000,
        seq: 10,
        time_ms: now_ms(),
        period_ms: 60_000,
        addrs: vec![farm.addr(201).into()],
        port: 8000,
        zone: None,
        state: State::Up,
        drain_by: Vec::new(),
        load: Load { cores: 1.0, ..Load::default() },
        heard: Vec::new(),
        notice: None,
        tombstones: Vec::new(),
        killed: None,
    }
}

/// The lies, with the reason each must be counted under. `played` was believed before.
fn lies(played: &Heartbeat, real: &str) -> Vec<(&'static str, Message)> {
    let good = || Message::signed(played, "played");
    let stranger = || Heartbeat { id: id("stranger"), ..played.clone() };
    let goodbye = Heartbeat { id: id(real), state: State::Goodbye, inc: u64::MAX / 2, ..played.clone() };
    let forged = FarmKey::from_hex(&"ff".repeat(32)).unwrap().bury(
        &id("mail"),
        &id(real),
        u64::MAX / 2,
        farm_shared::time::Wall(now_ms()),
    );
    let grave = Heartbeat { seq: 10, tombstones: vec![forged], ..played.clone() };
    vec![
        ("bad_mac", Message { mac: "00".repeat(32), ..good() }),
        ("bad_mac", Message { id: real.into(), ..Message::signed(&goodbye, "played") }),
        ("wrong_identity", Message::signed(&goodbye, "played")),
        ("unknown_farm", Message { farm: "web", ..good() }),
        (
            "malformed",
            Message {
                body: b"{}".to_vec(),
                mac: FarmKey::from_hex(KEY).unwrap().member(&id("mail"), &id("played")).sign(b"{}"),
                ..good()
            },
        ),
        ("unknown_version", Message::signed(&Heartbeat { v: 77, ..stranger() }, "stranger")),
        (
            "foreign_address",
            Message::signed(&Heartbeat { addrs: vec!["198.51.100.1".parse().unwrap()], ..stranger() }, "stranger"),
        ),
        ("stale", Message::signed(&Heartbeat { time_ms: now_ms() - 3_600_000, ..stranger() }, "stranger")),
        ("oversized", Message { body: vec![b' '; 17 * 1024], ..good() }),
        ("replayed", good()),
        ("replayed", Message::signed(&grave, "played")),
        ("reordered", Message::signed(&Heartbeat { seq: 9, ..played.clone() }, "played")),
        ("old_incarnation", Message::signed(&Heartbeat { inc: 999, seq: 99, ..played.clone() }, "played")),
    ]
}

#[test]
fn lies_are_counted_and_change_nothing() {
    let mut farm = Farm::start(Options { min: 2, ..Options::default() });
    let instances = farm.wait_for(2);
    let played = member(&farm, "played");
    for (_, http) in farm.heartbeat_addrs() {
        assert_eq!(Message::signed(&played, "played").http(http), 200);
    }
    farm.wait_for(3);
    let names = |farm: &Farm| {
        let status = farm.dns_status();
        let members = status["pools"][0]["members"].as_array().cloned().unwrap_or_default();
        let member = |m: &serde_json::Value| format!("{} {} {}", m["name"], m["standing"], m["v4"]);
        (members.iter().map(member).collect::<Vec<_>>(), takers(&farm.status(0)), farm.named(POOL))
    };
    let before = names(&farm);

    let lies = lies(&played, &instances[0].id);
    let heartbeats = farm.heartbeat_addrs();
    let daemons: [(&Daemon, (SocketAddr, SocketAddr)); 2] = [(farm.dnslb(), heartbeats[0]), (farm.door(0), heartbeats[1])];
    for (daemon, (udp, http)) in daemons {
        for (reason, lie) in &lies {
            let sample = format!("farm_heartbeats_refused_total{{reason=\"{reason}\"}}");
            let count = || daemon.metric(&sample).unwrap_or_else(|| panic!("no {sample}"));
            let was = count();
            lie.udp(udp);
            wait::until(&format!("{reason} counted"), SOON, || (count() >= was + 1.0).then_some(()));
            let status = lie.http(http);
            assert!((400..500).contains(&status), "{reason}: {status}");
            assert_eq!(count(), was + 2.0, "{reason}");
        }
        // What is no HTTP heartbeat at all.
        assert_eq!(http::get(http, "/v1/heartbeat").unwrap().status, 405);
        assert_eq!(http::get(http, "/v1/status").unwrap().status, 404);
        UdpSocket::bind((udp.ip(), 0)).unwrap().send_to(&[], udp).unwrap();
        UdpSocket::bind((udp.ip(), 0)).unwrap().send_to(&[0xff; 9_000], udp).unwrap();
    }
    assert_eq!(names(&farm), before);
    farm.wait_for(3);
    assert_eq!(farm.instances(), instances);
}
