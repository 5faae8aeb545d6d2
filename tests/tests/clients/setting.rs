//! A door, servers behind it whose heartbeats the test sends, and a certificate authority of their own.
//!
//! Names are of `.test` and lead to loopback by each client's own means; nothing here asks a name server.

use super::echo::{Echo, Notes, Seen};
use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Load, Role, State, VERSION};
use farm_shared::id::Id;
use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::farm::{KEY, secret};
use farm_tests::{peer, wait};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The door's name.
pub(crate) const DOOR: &str = "mail.test";
/// The names of everything.
pub(crate) const NAMES: [&str; 4] = [DOOR, "b1.farm.test", "b2.farm.test", "app.test"];

/// What a test plays with.
pub(crate) struct Setting {
    pub(crate) scratch: Scratch,
    pub(crate) door: Daemon,
    pub(crate) notes: Notes,
    pub(crate) echoes: Vec<Echo>,
    is_tls: bool,
}

impl Setting {
    /// Two servers in service behind a door that speaks HTTP and HTTPS; the servers speak one of them. None, said loudly, without
    /// openssl.
    pub(crate) fn start(name: &str, is_tls: bool, more: &str) -> Option<Self> {
        peer::installed("openssl")?;
        let scratch = Scratch::new(name);
        certificates(scratch.path());
        secret(&scratch, "farm.key", KEY);
        let notes = Notes::default();
        let tls = is_tls.then_some(scratch.path());
        let echoes: Vec<Echo> = (0..2).map(|server| Echo::start(server, tls, &notes)).collect();
        let target = if is_tls { "https://{id}.farm.test:{port}" } else { "http://{ip}:{port}" };
        let config = format!(
            "hosts = [\"{DOOR}\"]\n\
             [server]\nid = \"door1\"\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\nworkers = 1\nstate_dir = \"state\"\n\
             [tls]\ncert_file = \"leaf.pem\"\nkey_file = \"leaf.key\"\nredirect_http = false\n\
             [farm]\nname = \"mail\"\nkey_file = \"farm.key\"\nallowed_prefixes = [\"127.0.0.0/8\"]\n\
             [heartbeat]\nlisten_udp = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [door]\ntarget = \"{target}\"\nramp = \"0ms\"\npublished = \"ignore\"\n{more}"
        );
        let config = scratch.write("redirector.toml", &config);
        let door = Daemon::serve("redirector", &scratch, &config, &[]);
        let mut members: Vec<Heartbeat> = echoes.iter().enumerate().map(|(n, echo)| member(n, echo.addr.port())).collect();
        let heard = door.port("heartbeat_udp");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        wait::until("both servers in service", SOON, || {
            for member in &mut members {
                socket.send_to(&datagram(member), heard).expect("a heartbeat sent");
            }
            (door.metric("redirector_servers{standing=\"in_service\"}") == Some(2.0)).then_some(())
        });
        Some(Self { scratch, door, notes, echoes, is_tls })
    }

    /// Scheme, name and port of the door, as the servers speak: all by HTTP, or all by HTTPS.
    pub(crate) fn base(&self) -> String {
        if self.is_tls { self.base_tls() } else { format!("http://{DOOR}:{}", self.door.port("door").port()) }
    }

    /// The door by HTTPS.
    pub(crate) fn base_tls(&self) -> String {
        format!("https://{DOOR}:{}", self.door.port("door_tls").port())
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.scratch.path().join("ca.pem")
    }

    /// What the servers have seen of requests whose target has this in it.
    pub(crate) fn seen(&self, part: &str) -> Vec<Seen> {
        self.notes.lock().expect("notes").iter().filter(|seen| seen.target.contains(part)).cloned().collect()
    }

    /// Redirects so far, and those among them of sessions that came back.
    pub(crate) fn redirects(&self) -> (u64, u64) {
        let sum = |session: &str| -> u64 {
            let sample = |status: u16| format!("redirector_redirects_total{{status=\"{status}\",session=\"{session}\"}}");
            [302, 303, 307, 308].map(|status| self.door.metric(&sample(status)).unwrap_or(0.0) as u64).iter().sum()
        };
        let returning = sum("returning");
        (sum("new") + returning, returning)
    }
}

/// A server that has so long a lease that no test outlives it.
fn member(number: usize, port: u16) -> Heartbeat {
    Heartbeat {
        v: VERSION,
        farm: Id::new("mail").expect("an id"),
        id: Id::new(&format!("b{}", number + 1)).expect("an id"),
        role: Role::Backend,
        inc: 1,
        seq: 0,
        time_ms: 0,
        period_ms: 60_000,
        addrs: vec![[127, 0, 0, 1].into()],
        port,
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

#[allow(clippy::disallowed_methods, reason = "a heartbeat says when it was sent")]
fn datagram(heartbeat: &mut Heartbeat) -> Vec<u8> {
    heartbeat.seq += 1;
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    heartbeat.time_ms = wall.as_millis() as u64;
    let body = serde_json::to_vec(heartbeat).expect("JSON");
    let mac = FarmKey::from_hex(KEY).expect("a key").member(&heartbeat.farm, &heartbeat.id).sign(&body);
    Envelope::datagram(&heartbeat.farm, &heartbeat.id, &mac, &body)
}

/// An authority, and one certificate by it for all names; and the hash by which a browser knows that one.
fn certificates(folder: &Path) {
    let names = NAMES.map(|name| format!("DNS:{name}")).join(",");
    let script = format!(
        "set -e\n\
         new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n\
         openssl req -x509 $new -days 2 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem\n\
         openssl req $new -subj /CN={DOOR} -keyout leaf.key -out leaf.csr\n\
         printf 'subjectAltName={names}\\nbasicConstraints=critical,CA:FALSE\\n' > leaf.ext\n\
         openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.pem\n\
         openssl x509 -in leaf.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64 > leaf.spki\n"
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(folder).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
