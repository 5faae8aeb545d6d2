//! From a configuration file's sections to a [`Spec`], noting every problem on the way.
//!
//! Each reader asks for all its options whatever is wrong with some, so that one run shows all problems. It must never touch a
//! file that the configuration names; the shell does, and says what it finds.

use super::role::read_roles;
use super::{
    AccessLogSpec, AcmeSpec, AnnounceSpec, CapsSpec, DoorSpec, DrillSpec, Ec2Spec, ListenSpec, NoticeSpec, ProcessSpec,
    ProviderSpec, Published, STATE_DIR, ScalerSpec, Spec, TlsSpec, read_scaler::read_scaler,
};
use crate::route::RoutePolicy;
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::settings::{AdminListen, FarmTrust, HeartbeatListen, LABEL, SOCKET, read_lease};
use std::net::{IpAddr, Ipv4Addr};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const HOSTS_MAX: usize = 64;

impl Spec {
    /// Reads the whole configuration. `None` if it cannot stand for one; what is wrong is noted in the section's document, which
    /// the caller must ask before it uses the result.
    pub fn read(root: &Section) -> Option<Self> {
        let server = root.table("server", "This redirector.");
        let id = server.parsed::<Id>("id", None, LABEL, "Its id, unique among all front ends of the farm.");
        let listen = server.list("listen", &["127.0.0.1:8080"], SOCKET, "Addresses of the front door.");
        let listeners = ListenSpec::read(&server);
        if server.is_empty_list("listen") && listeners.tls.is_empty() {
            server.problem("listen", "no address", "one address at least, here or in `listen_tls`");
        }
        let workers = integer(&server, "workers", 0, 0, 256, "Front-door threads; 0 is one per core.");
        let state_dir = server.string("state_dir", STATE_DIR, "Directory of what survives a restart.");
        let farm = root.table("farm", "The farm of servers behind it.");
        let trust = FarmTrust::read(&farm);
        let former =
            farm.list("key_files_former", &[], "a path", "Files of former secrets, whose cookies are honoured still.");
        let hosts: Vec<String> = root.list(
            "hosts",
            &[],
            "a host name without port, or \"*\"",
            "Host names that the front door answers to; one at least.",
        );
        check_hosts(root, &hosts);
        let heartbeat = HeartbeatListen::read(root);
        if HeartbeatListen::is_absent(root) {
            let found = "neither heartbeat.listen_udp nor heartbeat.listen_http";
            root.problem("heartbeat", found, "one of them: without heartbeats there are no servers");
        }
        let admin = AdminListen::read(root, Some(&state_dir));
        let door = read_door(&root.table("door", "The front door."));
        let encrypted = !listeners.tls.is_empty() || !listeners.http3.is_empty();
        let acme = AcmeSpec::read(&root.table("acme", "Certificates that the front door gets by itself."));
        let tls = TlsSpec::read(&root.table("tls", "HTTPS at the front door."), encrypted, !acme.certificates.is_empty());
        let lease = read_lease(root);
        let announce = read_announce(&root.table("announce", "How this door makes itself known to dnslb."));
        let scaler = read_scaler(&root.table("scaler", "How many servers there are."));
        let notices = NoticeSpec::read(&root.table("notices", "What is done when a server's machine is to go."));
        let provider = read_provider(&root.table("provider", "Where servers come from."), &scaler);
        let roles = read_roles(root);
        let drill = DrillSpec::read(&root.table("drill", "Failure drills."));
        let access_log = AccessLogSpec::read(&root.table("access_log", "One line a request."));
        let FarmTrust { name, key_file, allowed_prefixes, .. } = trust?;
        Some(Self {
            id: id?,
            listen,
            listeners,
            tls,
            workers: workers as usize,
            state_dir,
            farm: name,
            key_file,
            key_files_former: former,
            allowed_prefixes,
            hosts,
            heartbeat,
            admin,
            door,
            lease,
            announce,
            scaler,
            notices,
            provider,
            roles,
            drill,
            access_log,
            acme,
        })
    }
}

fn integer(section: &Section, key: &str, default: u64, min: u64, max: u64, about: &'static str) -> u64 {
    section.integer(key, default as i64, min as i64..=max as i64, about).max(0) as u64
}

fn check_hosts(root: &Section, hosts: &[String]) {
    let good = |h: &String| {
        h == "*"
            || (!h.is_empty() && h.len() <= 253 && h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[:]".contains(&b)))
    };
    if let Some(bad) = hosts.iter().find(|h| !good(h)) {
        root.problem("hosts", format!("{bad:?}"), "a host name without port, or \"*\"");
    }
    if hosts.len() > HOSTS_MAX {
        root.problem("hosts", format!("{} names", hosts.len()), format!("at most {HOSTS_MAX}; \"*\" serves any"));
    }
    if hosts.is_empty() {
        root.problem("hosts", "none", "the names that people reach the front door by, or \"*\" for any");
    }
}

fn read_door(door: &Section) -> DoorSpec {
    let d = DoorSpec::default();
    let target = door.string(
        "target",
        &d.target,
        "Scheme and authority of a server, with `{ip}` or `{id}`, and `{port}`. Nothing else ever stands in a Location.",
    );
    check_target(door, &target);
    let policy = door.choice(
        "policy",
        RoutePolicy::default().label(),
        &RoutePolicy::LABELS,
        "Which server gets a new session: `weighted` by reported queue, its age and own dispatches; `least-loaded` the best of all by that, `two-choices` the better of two; `sessions` by predicted utilisation, for long sessions; `auto` that or `weighted`, by the length of sessions; `paper` by 1/queue; or `random`.",
    );
    let published = door.choice(
        "published",
        "require",
        &["require", "ignore"],
        "With `{id}` in the target: whether every dnslb must serve a server's name before it gets sessions.",
    );
    DoorSpec {
        policy: RoutePolicy::named(policy).unwrap_or_default(),
        published: if published == "ignore" { Published::Ignore } else { Published::Require },
        cookie_max_age_s: door.duration_s(
            "cookie_max_age",
            3_600,
            1..=30 * DAY / SECOND,
            "How long an affinity cookie brings a session back.",
        ),
        url_bytes_max: integer(door, "url_bytes_max", 8_192, 64, 60_000, "A longer request target gets 414, in octets.")
            as usize,
        caps: CapsSpec::read(door),
        connections_max: integer(door, "connections_max", 10_000, 1, 1_000_000, "Connections of all threads together.")
            as usize,
        header_timeout_ms: door.duration_ms("header_timeout", 10_000, 100..=HOUR, "A request's head must come within this."),
        idle_timeout_ms: door.duration_ms("idle_timeout", 30_000, 100..=HOUR, "An idle connection is closed after this."),
        total_timeout_ms: door.duration_ms("total_timeout", 300_000, 100..=DAY, "Any connection is closed after this."),
        retry_after_s: door.duration_s("retry_after", 5, 1..=3_600, "`Retry-After` when no server takes sessions.") as u32,
        zone: door.optional_parsed::<Id>("zone", "an id, as in heartbeats", "The door's own zone: its servers get the sessions while it is not busy."),
        zone_load_max: door.float(
            "zone_load_max",
            d.zone_load_max,
            0.0..=1.0,
            "Busy share of the cores of `zone` at which half of what other zones could take goes there; nothing 0.1 below, all 0.1 above.",
        ),
        panic_share: door.float(
            "panic_share",
            d.panic_share,
            0.0..=1.0,
            "With more than this share of all servers silent (two at the least), heartbeats are doubted: silent servers get sessions still, unless the provider says that they are gone. 1 is never.",
        ),
        ramp_ms: door.duration_ms("ramp", 5_000, 0..=HOUR, "A new server's share rises to its full value over this time."),
        target,
    }
}

/// The target must be `http[s]://HOST[:PORT]` once its placeholders are filled in.
fn check_target(door: &Section, target: &str) {
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let filled = rest.map(|r| r.replace("{ip}", "").replace("{id}", "x").replace("{port}", "1"));
    let inner = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if !filled.is_some_and(|f| f.bytes().all(inner)) {
        door.problem("target", format!("{target:?}"), "scheme and authority without a path, like \"http://{ip}:{port}\"");
    } else if target.matches("{ip}").count() + target.matches("{id}").count() != 1 {
        door.problem("target", format!("{target:?}"), "one of {ip} and {id}, once: servers must differ in their authority");
    }
}

fn read_announce(announce: &Section) -> AnnounceSpec {
    AnnounceSpec {
        fronts: announce.list(
            "fronts",
            &[],
            "`udp:ADDRESS:PORT` or `http://ADDRESS:PORT`",
            "The dnslb servers that are to name this door; none is off.",
        ),
        id: announce.optional_parsed("id", LABEL, "The id to announce; the redirector's own unless given."),
        addresses: announce.list::<IpAddr>("addresses", &[], "an address", "Where clients reach this door."),
        port: integer(announce, "port", 0, 0, 65_535, "Its port; 0 is that of the first front-door address.") as u16,
        period_ms: announce.duration_ms("period", 1_000, 100..=60_000, "Heartbeat period."),
    }
}

fn read_provider(provider: &Section, scaler: &ScalerSpec) -> ProviderSpec {
    let kind = provider.choice(
        "kind",
        "none",
        &["none", "process", "ec2"],
        "`process` runs servers on this machine, `ec2` in the cloud.",
    );
    let process = provider.table("process", "Servers as local processes, each on a loopback address of its own.");
    let commands = process.tables("command", "One process of an instance; all of them run while it does.");
    let commands: Vec<Vec<String>> = commands.iter().map(read_command).collect();
    let first = process.parsed::<Ipv4Addr>("first_address", Some("127.0.1.11"), "an IPv4 address", "The first address.");
    let spec = ProcessSpec {
        commands,
        first_address: first.unwrap_or(Ipv4Addr::LOCALHOST),
        count_max: integer(&process, "count_max", 200, 1, 10_000, "So many addresses from there on.") as u32,
        port: integer(&process, "port", 8_000, 1, 65_535, "The port of each server.") as u16,
        boot_delay_ms: process.duration_ms("boot_delay", 0, 0..=DAY, "Processes start this long after the launch."),
        boot_delay_jitter: process.float("boot_delay_jitter", 0.0, 0.0..=1.0, "Uniform in this share around the delay."),
    };
    let ec2 =
        Ec2Spec::read(&provider.table("ec2", "Servers as instances of EC2, or of whatever speaks its API."), kind == "ec2");
    if kind == "ec2" {
        return ProviderSpec::Ec2(ec2);
    }
    if kind == "none" {
        if scaler.enabled && !scaler.dry_run {
            provider.problem(
                "kind",
                "\"none\"",
                "a provider that launches servers, since [scaler] is enabled without dry_run",
            );
        }
        return ProviderSpec::None;
    }
    if spec.commands.is_empty() {
        process.problem("", "no [[provider.process.command]]", "at least one");
    }
    if !spec.first_address.is_loopback() {
        process.problem("first_address", spec.first_address.to_string(), "an address in 127.0.0.0/8");
    }
    if spec.count_max < scaler.max {
        process.problem("count_max", spec.count_max.to_string(), format!("at least scaler.max, {}", scaler.max));
    }
    ProviderSpec::Process(spec)
}

fn read_command(command: &Section) -> Vec<String> {
    let argv: Vec<String> = command.list(
        "argv",
        &[],
        "one word of the command",
        "Program and arguments. Filled in: `{id}`, `{ip}` and `{port}` of the instance, `{n}` (its number, from 0), `{key_file}` (its heartbeat \
         key), `{dir}` (a directory of its own) and `{bin}` (the directory of the redirector's program).",
    );
    if argv.is_empty() && command.is_present() {
        command.problem("argv", "nothing", "a program and its arguments");
    }
    argv
}
