//! From a configuration file's sections to a [`Spec`], noting every problem on the way.
//!
//! Each reader asks for all its options whatever is wrong with some, so that one run shows all problems. It must never touch a
//! file that the configuration names; the shell does, and says what it finds.

use super::farms::read_others;
use super::read_door::{check_hosts, read_door};
use super::read_routes::{read_assign, read_cors, read_routes};
use super::role::read_roles;
use super::{
    AccessLogSpec, AcmeSpec, AnnounceSpec, DrillSpec, Ec2Spec, LimitSpec, ListenSpec, NoticeSpec, ProcessSpec, ProviderSpec,
    RoleSpec, RoomSpec, STATE_DIR, ScalerSpec, Spec, TlsSpec, read_scaler::read_scaler,
};
use crate::door::COOKIE_NAME;
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::member::LeasePolicy;
use farm_shared::settings::{AdminListen, FarmTrust, HeartbeatListen, LABEL, SOCKET, read_lease};
use std::net::{IpAddr, Ipv4Addr};

const DAY: u64 = 24 * 3_600_000;

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
        let former = former_keys(&farm);
        let others = read_others(root, trust.as_ref().map(|t| &t.name));
        let hosts: Vec<String> = root.list(
            "hosts",
            &[],
            "a host name without port, \"*.SUFFIX\", or \"*\"",
            "Host names that the front door answers to; one at least.",
        );
        check_hosts(root, &hosts);
        let heartbeat = HeartbeatListen::read(root);
        if HeartbeatListen::is_absent(root) {
            let found = "neither heartbeat.listen_udp nor heartbeat.listen_http";
            root.problem("heartbeat", found, "one of them: without heartbeats there are no servers");
        }
        let admin = AdminListen::read(root, Some(&state_dir));
        let door = read_door(&root.table("door", "The front door."), &hosts);
        let encrypted = !listeners.tls.is_empty() || !listeners.http3.is_empty();
        let acme = AcmeSpec::read(&root.table("acme", "Certificates that the front door gets by itself."));
        let tls = TlsSpec::read(&root.table("tls", "HTTPS at the front door."), encrypted, !acme.certificates.is_empty());
        let limit = LimitSpec::read(&root.table("limit", "How many requests one source may make."));
        let announce = read_announce(&root.table("announce", "How this door makes itself known to dnslb."));
        let parts = FarmParts::read(root);
        let access_log = AccessLogSpec::read(&root.table("access_log", "One line a request."));
        let farms: Vec<&Id> = trust.iter().map(|t| &t.name).chain(others.iter().map(|o| &o.name)).collect();
        let routes = read_routes(root, &hosts, &farms);
        let cors = read_cors(&root.table("cors", "Pages of other origins; preflights are answered at the door."));
        let assign = read_assign(&root.table("assign", "Clients that follow no redirect: native ones, WebSocket, gRPC."));
        let FarmTrust { name, key_file, allowed_prefixes, .. } = trust?;
        let FarmParts { lease, scaler, notices, provider, roles, drill, room } = parts;
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
            limit,
            room,
            lease,
            announce,
            scaler,
            notices,
            provider,
            roles,
            drill,
            access_log,
            acme,
            routes,
            cors,
            assign,
            others,
            others_place: root.place("farms"),
            cookie_name: COOKIE_NAME.into(),
        })
    }
}

/// The sections that each farm has of its own.
pub(super) struct FarmParts {
    pub(super) lease: LeasePolicy,
    pub(super) scaler: ScalerSpec,
    pub(super) notices: NoticeSpec,
    pub(super) provider: ProviderSpec,
    pub(super) roles: Vec<RoleSpec>,
    pub(super) drill: DrillSpec,
    pub(super) room: RoomSpec,
}

impl FarmParts {
    pub(super) fn read(root: &Section) -> Self {
        let lease = read_lease(root);
        let scaler = read_scaler(&root.table("scaler", "How many servers there are."));
        let notices = NoticeSpec::read(&root.table("notices", "What is done when a server's machine is to go."));
        let provider = read_provider(&root.table("provider", "Where servers come from."), &scaler);
        let roles = read_roles(root);
        let drill = DrillSpec::read(&root.table("drill", "Failure drills."));
        let room = RoomSpec::read(&root.table("waiting_room", "What new sessions get while no server has a place."));
        Self { lease, scaler, notices, provider, roles, drill, room }
    }
}

pub(super) fn former_keys(farm: &Section) -> Vec<String> {
    farm.list("key_files_former", &[], "a path", "Files of former secrets, whose cookies are honoured still.")
}

pub(super) fn integer(section: &Section, key: &str, default: u64, min: u64, max: u64, about: &'static str) -> u64 {
    section.integer(key, default as i64, min as i64..=max as i64, about).max(0) as u64
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
