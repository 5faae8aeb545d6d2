//! A whole farm of real binaries: dnslb, front doors, and backends with their agents that the scaler starts as processes.
//!
//! Every farm lives on loopback addresses of its own (127.A.B.0/24), so tests run side by side with fixed ports and can restart a
//! daemon where it was. It must never leave a process behind: the end of a farm stops what the scaler started and looks that nothing
//! with one of its addresses is left. The daemons' configurations are written here and nowhere else.

use crate::daemon::{Daemon, SOON, Scratch, bins};
use crate::{dns, http, wait};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output};

/// The name of the pool of backends.
pub const POOL: &str = "www.lb.example.com.";
/// The front door's name, a pool of doors.
pub const DOOR_NAME: &str = "mail.lb.example.com";
/// The zone of the backends' own names.
pub const MEMBER_ZONE: &str = "farm.lb.example.com.";
/// The farm's secret.
pub const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Time between two heartbeats, in milliseconds; a lease is three.
pub const PERIOD_MS: u64 = 300;
/// The port of the backends' service.
pub const BACKEND_PORT: u16 = 8000;

const HOLD_PORT: u16 = 5399;

/// What a farm may differ in.
#[derive(Debug, Clone)]
pub struct Options {
    /// Fewest servers.
    pub min: u32,
    /// Most servers.
    pub max: u32,
    /// Time between launch and start of a backend, in milliseconds.
    pub boot_delay_ms: u64,
    /// Mean service time of a request, in milliseconds.
    pub service_ms: u32,
    /// A session that does nothing for so long is over, in seconds.
    pub idle_s: u32,
    /// A launch that is not heard after this is given up.
    pub boot_deadline: &'static str,
    /// Further options of `[scaler]`.
    pub scaler: &'static str,
    /// Further words for the first door's `serve`.
    pub door_args: &'static [&'static str],
    /// Further sections of the first door's configuration.
    pub tail: &'static str,
    /// Further words for the agents of provider process, with blanks between.
    pub agent: &'static str,
    /// Front doors that the agents tell; the first one scales.
    pub doors: u8,
}

impl Default for Options {
    fn default() -> Self {
        let scaler = "sessions_per_server = 1000\nstabilisation = \"10m\"";
        Self {
            min: 3,
            max: 8,
            boot_delay_ms: 200,
            service_ms: 20,
            idle_s: 5,
            boot_deadline: "30s",
            scaler,
            door_args: &[],
            tail: "",
            agent: "",
            doors: 1,
        }
    }
}

/// Where servers come from, if not from processes of the door.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The configuration from `[provider]` on.
    pub section: String,
    /// What the doors and the commands need in their environment.
    pub env: Vec<(String, String)>,
}

/// How a backend and its agent are started.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    net: [u8; 3],
    doors: u8,
    service_ms: u32,
    idle_s: u32,
}

/// An instance, as the process provider wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// The member that it runs.
    pub id: String,
    /// Its own address.
    pub addr: IpAddr,
    /// Its processes: farm-backend and farm-agent. Empty before they are started.
    pub pids: Vec<i32>,
}

impl Instance {
    /// A signal to its backend and its agent.
    pub fn signal(&self, signal: Signal) {
        for pid in &self.pids {
            let pid = Pid::from_raw(*pid).expect("a process id");
            kill_process(pid, signal).expect("a process of the farm");
        }
    }
}

/// A session that a door has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The backend's address.
    pub addr: IpAddr,
    /// The cookie that brings it back, `name=value`.
    pub cookie: String,
}

/// The farm.
pub struct Farm {
    /// dnslb, while it runs.
    pub dnslb: Option<Daemon>,
    /// The doors, while they run; the first one scales.
    pub doors: Vec<Option<Daemon>>,
    /// Its folder.
    pub scratch: Scratch,
    options: Options,
    provider: Option<Provider>,
    net: [u8; 3],
    _hold: TcpListener,
}

impl Farm {
    /// Starts dnslb and all doors; whoever needs backends waits for them with [`Farm::wait_for`].
    pub fn start(options: Options) -> Self {
        Self::start_with(options, |_, _| None)
    }

    /// The same with servers from elsewhere, given the farm's network (127.A.B) and its folder.
    pub fn start_with(options: Options, provider: impl FnOnce([u8; 3], &Scratch) -> Option<Provider>) -> Self {
        let (net, hold) = network();
        let scratch = Scratch::new("farm");
        secret(&scratch, "farm.key", KEY);
        scratch.write("lb.zone", ZONE);
        let doors = (0..options.doors).map(|_| None).collect();
        let provider = provider(net, &scratch);
        let mut farm = Self { dnslb: None, doors, scratch, options, provider, net, _hold: hold };
        farm.scratch.write("dnslb.toml", &farm.dnslb_config());
        farm.start_dnslb();
        for number in 0..farm.options.doors {
            farm.scratch.write(&format!("door{number}.toml"), &farm.door_config(number));
            farm.start_door(number.into());
        }
        farm
    }

    /// Starts dnslb, again if it has ended, where it was.
    pub fn start_dnslb(&mut self) {
        let config = self.scratch.path().join("dnslb.toml");
        self.dnslb = Some(Daemon::serve("dnslb", &self.scratch, &config, &[]));
    }

    /// Starts a door, again if it has ended, where it was.
    pub fn start_door(&mut self, number: usize) {
        let config = self.scratch.path().join(format!("door{number}.toml"));
        let more = if number == 0 { self.options.door_args } else { &[] };
        self.doors[number] = Some(Daemon::serve_in("redirector", &self.scratch, &config, more, self.env()));
    }

    fn env(&self) -> &[(String, String)] {
        self.provider.as_ref().map_or(&[], |provider| &provider.env)
    }

    /// How this farm's backends and agents are started.
    pub fn words(&self) -> Words {
        Words { net: self.net, doors: self.options.doors, service_ms: self.options.service_ms, idle_s: self.options.idle_s }
    }

    /// dnslb, which runs.
    pub fn dnslb(&self) -> &Daemon {
        self.dnslb.as_ref().expect("dnslb runs")
    }

    /// A door, which runs.
    pub fn door(&self, number: usize) -> &Daemon {
        self.doors[number].as_ref().expect("the door runs")
    }

    /// An address of this farm.
    pub fn addr(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, host)
    }

    /// Where dnslb answers.
    pub fn dns(&self) -> SocketAddr {
        (self.addr(1), 5300).into()
    }

    /// Where a door answers.
    pub fn door_addr(&self, number: usize) -> SocketAddr {
        (self.addr(2 + number as u8), 8080).into()
    }

    /// Where heartbeats come in by datagram and by HTTP: those of dnslb, then those of the doors.
    pub fn heartbeat_addrs(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.words().heartbeat_addrs()
    }

    /// Starts a backend that the scaler does not know of, on an address of its own.
    pub fn backend_by_hand(&self, id: &str, ip: Ipv4Addr) -> Daemon {
        let mut command = Command::new(bins().join("farm-backend"));
        command.args(self.words().backend(id, &ip.to_string()));
        Daemon::spawn(command, self.scratch.path().join(format!("{id}-backend.log")))
    }

    /// Starts its agent, with the key that the redirector prints; again, if it has ended.
    pub fn agent_by_hand(&self, id: &str, ip: Ipv4Addr) -> Daemon {
        let key = self.commanded("redirector", &["key", "--id", id], "door0.toml");
        secret(&self.scratch, &format!("{id}.key"), &key);
        let file = |what: &str| self.scratch.path().join(format!("{id}{what}")).display().to_string();
        let mut command = Command::new(bins().join("farm-agent"));
        command.args(self.words().agent(id, &ip.to_string(), &file(".key"), &file("-agent.json")));
        Daemon::spawn(command, self.scratch.path().join(format!("{id}-agent.log")))
    }

    /// One question, answered.
    pub fn ask(&self, name: &str) -> Message {
        dns::udp(self.dns(), &dns::query(name, RecordType::A)).expect("an answer")
    }

    /// The addresses of a name now.
    pub fn lookup(&self, name: &str) -> Vec<IpAddr> {
        dns::addresses(&self.ask(name)).0
    }

    /// Everybody whom some answers for a name give: many enough that nobody is missed for lack of luck.
    pub fn named(&self, name: &str) -> BTreeSet<IpAddr> {
        (0..60).flat_map(|_| self.lookup(name)).collect()
    }

    /// A request at a door, with a cookie.
    pub fn knock(&self, number: usize, cookie: &str) -> std::io::Result<http::Response> {
        knock(self.door_addr(number), cookie)
    }

    /// A new session at a door.
    pub fn session(&self, number: usize) -> Session {
        let response = self.knock(number, "").expect("an answer of the door");
        session(&response).unwrap_or_else(|| panic!("no redirect: {response:?}"))
    }

    /// Everybody to whom some new sessions are sent.
    pub fn entered(&self, number: usize) -> BTreeSet<IpAddr> {
        (0..60).map(|_| self.session(number).addr).collect()
    }

    /// Where a door sends a session that has a cookie.
    pub fn returning(&self, number: usize, cookie: &str) -> Option<IpAddr> {
        target(&self.knock(number, cookie).ok()?)
    }

    /// A door's status.
    pub fn status(&self, number: usize) -> Value {
        self.admin(self.door(number), &format!("door{number}-state/admin.token"), "/v1/status")
    }

    /// dnslb's status.
    pub fn dns_status(&self) -> Value {
        self.admin(self.dnslb(), "dnslb-state/admin.token", "/v1/status")
    }

    fn admin(&self, daemon: &Daemon, token: &str, path: &str) -> Value {
        let token = std::fs::read_to_string(self.scratch.path().join(token)).expect("a token");
        let bearer = format!("Bearer {}", token.trim());
        let answer = http::request(daemon.port("admin"), "GET", path, &[("authorization", &bearer)], b"");
        answer.expect("an answer of the admin interface").json()
    }

    /// Runs a command on a daemon's configuration: `dnslb.toml`, `door0.toml`.
    pub fn command(&self, binary: &str, words: &[&str], config: &str) -> Output {
        let mut command = Command::new(bins().join(binary));
        command.args(words).arg("--config").arg(config).current_dir(self.scratch.path());
        command.envs(self.env().iter().map(|(k, v)| (k, v)));
        command.output().expect("a command")
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn commanded(&self, binary: &str, words: &[&str], config: &str) -> String {
        let output = self.command(binary, words, config);
        assert!(output.status.success(), "{binary} {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The instances that the provider has written down, by id.
    pub fn instances(&self) -> Vec<Instance> {
        let folder = self.scratch.path().join("door0-state/instances");
        let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
        let records = entries.filter(|path| path.extension().is_some_and(|e| e == "json"));
        // One that is gone between the two looks is no instance any more.
        let texts = records.filter_map(|path| std::fs::read(path).ok());
        let mut instances: Vec<Instance> = texts.map(|text| instance(&text)).collect();
        instances.sort();
        instances
    }

    /// The journal's records.
    pub fn journal(&self) -> Vec<Value> {
        let text = self.commanded("redirector", &["journal", "--json", "--last", "10000"], "door0.toml");
        text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
    }

    /// Waits until dnslb and every door that runs give work to exactly `count` backends, and returns those.
    pub fn wait_for(&mut self, count: usize) -> Vec<Instance> {
        wait::until(&format!("{count} backends in service"), SOON, || {
            self.dnslb.iter_mut().chain(self.doors.iter_mut().flatten()).for_each(Daemon::assert_alive);
            let up = self.dns_status()["pools"][0]["up"] == count;
            let serves = |n: usize| self.doors[n].is_none() || takers(&self.status(n)).len() == count;
            (up && (0..self.doors.len()).all(serves)).then_some(())
        });
        self.instances()
    }

    /// Our processes that are not ended: those with an address of this farm in their words.
    pub fn left(&self) -> Vec<(i32, String)> {
        let [a, b, c] = self.net;
        let prefix = format!("{a}.{b}.{c}.");
        let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let words = |pid: i32| {
            let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words = String::from_utf8_lossy(&bytes).replace('\0', " ");
            (words.contains(&prefix) && words.contains("farm-")).then_some((pid, words))
        };
        pids.filter_map(words).collect()
    }

    fn dnslb_config(&self) -> String {
        let (dns, prefix) = (self.dns(), self.addr(0));
        let heartbeat = listen(self.addr(1));
        let pool = |name: &str, publish: &str, role: &str| {
            format!(
                "[[pool]]\nname = \"{name}\"\npublish = [\"{publish}\"]\nk = 2\nttl_min = \"1s\"\nttl_max = \"2s\"\nslow_start = \"0ms\"\n\
                 farm = \"mail\"\nrole = \"{role}\"\n"
            )
        };
        format!(
            "[server]\nid = \"ns1\"\nlisten = [\"{dns}\"]\nworkers = 2\nstate_dir = \"dnslb-state\"\n{heartbeat}\
             [admin]\nlisten = \"{}:5312\"\ntoken_file = \"dnslb-state/admin.token\"\n[lease]\ngrace = \"5s\"\n\
             [[farm]]\nname = \"mail\"\nkey_file = \"farm.key\"\nallowed_prefixes = [\"{prefix}/24\"]\n\
             member_zone = \"farm.lb.example.com\"\nmember_ttl = \"1s\"\n\
             [[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n{}{}",
            self.addr(1),
            pool("www", "www.lb.example.com", "backend"),
            pool("doors", DOOR_NAME, "door"),
        )
    }

    fn door_config(&self, number: u8) -> String {
        let ip = self.addr(2 + number);
        let id = number + 1;
        let door = self.door_addr(number.into());
        let prefix = self.addr(0);
        let heartbeat = listen(ip);
        let dnslb = self.heartbeat_addrs()[0].0;
        let head = format!(
            "hosts = [\"{DOOR_NAME}\"]\n\
             [server]\nid = \"door{id}\"\nlisten = [\"{door}\"]\nworkers = 1\nstate_dir = \"door{number}-state\"\n\
             [farm]\nname = \"mail\"\nkey_file = \"farm.key\"\nallowed_prefixes = [\"{prefix}/24\"]\n{heartbeat}\
             [admin]\nlisten = \"{ip}:5312\"\n[door]\ntarget = \"http://{{ip}}:{{port}}\"\nramp = \"0ms\"\n[lease]\ngrace = \"5s\"\n\
             [announce]\nfronts = [\"udp:{dnslb}\"]\naddresses = [\"{ip}\"]\nperiod = \"{PERIOD_MS}ms\"\n"
        );
        if number > 0 {
            return head;
        }
        let Options { min, max, boot_delay_ms, boot_deadline, scaler, tail, .. } = &self.options;
        let words = |words: &[String]| words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
        let backend = [vec!["{bin}/farm-backend".to_owned()], self.words().backend("{id}", "{ip}")].concat();
        let agent =
            [vec!["{bin}/farm-agent".to_owned()], self.words().agent("{id}", "{ip}", "{key_file}", "{dir}/agent.json")]
                .concat();
        let agent: Vec<String> = agent.into_iter().chain(self.options.agent.split_whitespace().map(String::from)).collect();
        let process = format!(
            "[provider]\nkind = \"process\"\n[provider.process]\nfirst_address = \"{}\"\ncount_max = 24\nport = {BACKEND_PORT}\n\
             boot_delay = \"{boot_delay_ms}ms\"\n[[provider.process.command]]\nargv = [{}]\n[[provider.process.command]]\nargv = [{}]\n",
            self.addr(11),
            words(&backend),
            words(&agent),
        );
        let provider = self.provider.as_ref().map_or(process, |provider| provider.section.clone());
        format!(
            "{head}[scaler]\nenabled = true\npolicy = \"sizing\"\nmin = {min}\nmax = {max}\npoll = \"300ms\"\nwindow = \"3s\"\n\
             session_prior = \"3s\"\ndrain_deadline = \"60s\"\nboot_prior = \"1s\"\nboot_deadline = \"{boot_deadline}\"\ndns_ttl_max = \"2s\"\n{scaler}\n\
             {provider}{tail}",
        )
    }
}

impl Words {
    fn heartbeat_addrs(self) -> Vec<(SocketAddr, SocketAddr)> {
        let [a, b, c] = self.net;
        let at = |host| Ipv4Addr::new(a, b, c, host);
        (1..=1 + self.doors).map(|host| ((at(host), 5310).into(), (at(host), 5311).into())).collect()
    }

    /// The arguments of farm-backend.
    pub fn backend(self, id: &str, ip: &str) -> Vec<String> {
        let words = format!(
            "--listen {ip}:{BACKEND_PORT} --id {id} --session-idle-s {} --service-ms {}",
            self.idle_s, self.service_ms
        );
        words.split(' ').map(String::from).collect()
    }

    /// The arguments of farm-agent.
    pub fn agent(self, id: &str, ip: &str, key_file: &str, state_file: &str) -> Vec<String> {
        let load = format!("url:http://{ip}:{BACKEND_PORT}/farm/load");
        let words = format!(
            "run --farm mail --id {id} --key-file {key_file} --state-file {state_file} --address {ip} --bind {ip} --port {BACKEND_PORT} \
             --period {PERIOD_MS}ms --load {load} --load-stale 1500ms"
        );
        let fronts = self.heartbeat_addrs().into_iter().flat_map(|(udp, _)| ["--front".into(), format!("udp:{udp}")]);
        words.split(' ').map(String::from).chain(fronts).collect()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        for daemon in self.doors.iter_mut().flatten() {
            daemon.end();
        }
        // Servers from elsewhere are stopped by whoever plays them.
        let stopped = self.provider.is_none().then(|| self.command("redirector", &["stop-farm"], "door0.toml"));
        if let Some(daemon) = &mut self.dnslb {
            daemon.end();
        }
        let left = self.left();
        for (pid, words) in &left {
            eprintln!("left: {pid} {words}");
            let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        if !std::thread::panicking() {
            assert!(stopped.is_none_or(|output| output.status.success()), "stop-farm failed");
            assert!(left.is_empty(), "processes are left: {left:?}");
            assert!(self.instances().is_empty(), "instances are left: {:?}", self.instances());
        }
    }
}

const ZONE: &str = "$ORIGIN lb.example.com.\n$TTL 1h\n@ SOA ns1 hostmaster 1 1h 15m 2w 5s\n@ NS ns1\nns1 A 192.0.2.53\n";

/// The section of heartbeats, the same in both daemons.
fn listen(ip: Ipv4Addr) -> String {
    format!("[heartbeat]\nlisten_udp = [\"{ip}:5310\"]\nlisten_http = [\"{ip}:5311\"]\n")
}

/// A network of loopback addresses that no other farm of this machine has, and the socket that says so.
fn network() -> ([u8; 3], TcpListener) {
    let first = std::process::id() as u16;
    for step in 0..=u16::MAX {
        let [b, c] = first.wrapping_mul(31).wrapping_add(step).to_be_bytes();
        // 127.0.0.0/16 and 127.1.0.0/16 are where people try things by hand.
        if b >= 2
            && let Ok(hold) = TcpListener::bind((Ipv4Addr::new(127, b, c, 254), HOLD_PORT))
        {
            return ([127, b, c], hold);
        }
    }
    panic!("no loopback network is free")
}

/// Writes a file that only its owner reads.
pub fn secret(scratch: &Scratch, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = scratch.write(name, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

fn instance(text: &[u8]) -> Instance {
    let record: Value = serde_json::from_slice(text).expect("an instance's record");
    let pids = record["processes"].as_array().into_iter().flatten();
    Instance {
        id: record["member_id"].as_str().expect("an id").into(),
        addr: record["address"].as_str().and_then(|a| a.parse().ok()).expect("an address"),
        pids: pids.filter_map(|p| i32::try_from(p["pid"].as_i64()?).ok()).collect(),
    }
}

/// The ids of the servers that get new sessions, by a door's status.
pub fn takers(status: &Value) -> BTreeSet<String> {
    let servers = status["servers"].as_array().into_iter().flatten();
    let takes = servers.filter(|server| server["takes_new"] == true);
    takes.filter_map(|server| Some(server["id"].as_str()?.to_owned())).collect()
}

/// A request at a front door, with a cookie.
pub fn knock(door: SocketAddr, cookie: &str) -> std::io::Result<http::Response> {
    http::request(door, "GET", "/inbox?folder=1", &[("host", DOOR_NAME), ("cookie", cookie)], b"")
}

/// The backend that an answer of a door leads to.
pub fn target(response: &http::Response) -> Option<IpAddr> {
    let authority = response.header("location")?.strip_prefix("http://")?.strip_suffix("/inbox?folder=1")?;
    (response.status == 302).then_some(authority.parse::<SocketAddr>().ok()?.ip())
}

/// The session that an answer of a door begins.
pub fn session(response: &http::Response) -> Option<Session> {
    let cookie = response.header("set-cookie")?.split(';').next()?.to_owned();
    Some(Session { addr: target(response)?, cookie })
}

/// The addresses of an answer that has some; what else it is otherwise.
pub fn full_answer(message: &Message) -> Result<Vec<IpAddr>, String> {
    let (addresses, _) = dns::addresses(message);
    let rcode = message.metadata.response_code;
    if rcode == ResponseCode::NoError && !addresses.is_empty() {
        Ok(addresses)
    } else {
        Err(format!("{rcode} with {} addresses", addresses.len()))
    }
}
