//! The program's options: from a file, from flags, or both (a flag wins), checked together and turned into what the library runs.
//!
//! A name means the same in both places: `load_stale` in the file is `--load-stale`. Everything that is wrong is said at once.

use clap::Args;
use farm_agent::certificate::CertificateSettings;
use farm_agent::imds::{Endpoint, Identity, Imds};
use farm_agent::load::LoadSpec;
use farm_agent::{Front, HttpUrl, HttpsUrl, OnLoadFailure, Profile, Settings};
use farm_shared::config::{Document, Section, has_errors, parse_duration_ms};
use farm_shared::heartbeat::{FarmKey, MemberKey, Role, is_process_name};
use farm_shared::id::Id;
use farm_shared::settings::LABEL;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
const KEY_BYTES_MAX: u64 = 4 * 1024;
const FRONTS_MAX: usize = 64;
const ADDRS_MAX: usize = 8;
const PERIOD_MS: u64 = 1_000;
const CERTIFICATE_MS: u64 = 600_000;

/// Everything that may be told, as far as it was.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// The farm this member belongs to
    #[arg(long, value_name = "NAME")]
    farm: Option<Id>,
    /// The member's id: also its DNS label
    #[arg(long)]
    id: Option<Id>,
    /// File with the member's key, as `redirector key --id ID` prints it
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
    /// Name of the environment variable that holds the member's key
    #[arg(long, value_name = "NAME")]
    key_hex_env: Option<String>,
    /// File with the farm's own key, from which the member's is derived: for demonstrations, a backend should not hold it
    #[arg(long, value_name = "PATH")]
    farm_key_file: Option<PathBuf>,
    /// A front end to tell: `udp:HOST:PORT` or `http://HOST:PORT/v1/heartbeat` (repeatable)
    #[arg(long = "front", value_name = "FRONT")]
    fronts: Vec<Front>,
    /// An address to announce (repeatable) [default: the source address towards each front end]
    #[arg(long = "address", value_name = "IP")]
    addrs: Vec<IpAddr>,
    /// Port of the service [default: 80]
    #[arg(long)]
    port: Option<u16>,
    /// Source address of everything that is sent
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// Time between two heartbeats [default: 1s]
    #[arg(long = "period", value_name = "DURATION", value_parser = duration_ms)]
    period_ms: Option<u64>,
    /// What to measure: `proc`, `cgroup:PATH`, `pid:N` or `url:http://HOST:PORT/PATH`
    #[arg(long)]
    load: Option<LoadSpec>,
    /// The application's report of its sessions, where they are not its connections
    #[arg(long, value_name = "URL")]
    sessions_url: Option<HttpUrl>,
    /// Cores, in place of what the source finds
    #[arg(long, value_name = "N")]
    cores: Option<f64>,
    /// A load that cannot be read for so long means that the backend is dead [default: three periods]
    #[arg(long = "load-stale", value_name = "DURATION", value_parser = duration_ms)]
    load_stale_ms: Option<u64>,
    /// What is said about a dead backend [default: silent]
    #[arg(long, value_name = "WORD", value_parser = ["silent", "goodbye"])]
    on_load_failure: Option<String>,
    /// Where incarnation and drain wishes outlive a restart
    #[arg(long, value_name = "PATH")]
    state_file: Option<PathBuf>,
    /// The member wants to be drained while this file exists
    #[arg(long, value_name = "PATH")]
    drain_file: Option<PathBuf>,
    /// Failure domain (availability zone, rack)
    #[arg(long)]
    zone: Option<Id>,
    /// The instance metadata service that is watched for notices: `auto` (on EC2), `off`, or `http://HOST[:PORT]` [default: auto]
    #[arg(long, value_name = "WHERE")]
    imds: Option<Imds>,
    /// Take the id from the instance metadata service: the instance's own
    #[arg(long)]
    id_from_imds: bool,
    /// Take the zone from the instance metadata service: the availability zone
    #[arg(long)]
    zone_from_imds: bool,
    /// Name of a process that failure drills may end here, as `ps -o comm` shows it (repeatable) [default: none]
    #[arg(long, value_name = "NAME")]
    drill_allow: Vec<ProcessName>,
    /// A front door to fetch the farm's certificate from: `https://HOST[:PORT]` (repeatable) [default: none, nothing is fetched]
    #[arg(long, value_name = "URL")]
    certificate_from: Vec<HttpsUrl>,
    /// Where `fullchain.pem` and `key.pem` are written
    #[arg(long, value_name = "PATH")]
    certificate_dir: Option<PathBuf>,
    /// Which certificate [default: the first that backends may have]
    #[arg(long, value_name = "ID")]
    certificate_id: Option<Id>,
    /// The name that the door's own certificate must have [default: the host of its address]
    #[arg(long, value_name = "NAME")]
    certificate_name: Option<String>,
    /// Certificates (PEM) that the door's may be signed by, beside those of the system
    #[arg(long, value_name = "PATH")]
    certificate_ca_file: Option<PathBuf>,
    /// One word of the program that runs after a change, without a shell (repeatable)
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    certificate_hook: Vec<String>,
    /// How often it is asked for [default: 10m]
    #[arg(long = "certificate-every", value_name = "DURATION", value_parser = duration_ms)]
    certificate_every_ms: Option<u64>,
    /// No heartbeat before there is a certificate: clients are not sent to a backend that cannot greet them
    #[arg(long)]
    certificate_required: bool,
}

/// A process's name as the kernel keeps it: 1 to 15 octets, no slash.
#[derive(Clone, Debug)]
struct ProcessName(String);

impl std::str::FromStr for ProcessName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_process_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a name of 1 to 15 printable characters without a slash".to_owned())
        }
    }
}

fn duration_ms(text: &str) -> Result<u64, String> {
    parse_duration_ms(text).ok_or_else(|| "expected a duration like 250ms, 3s or 1m30s".to_owned())
}

/// What the program runs: the library's settings, and what to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) load: LoadSpec,
    pub(crate) sessions_url: Option<HttpUrl>,
    pub(crate) cores: Option<f64>,
    pub(crate) warnings: Vec<String>,
    pub(crate) certificate: Option<CertificateSettings>,
    /// Heartbeats wait for the first certificate.
    pub(crate) is_certificate_required: bool,
}

/// Reads every option that a file may hold.
pub(crate) fn read_section(section: &Section) -> Options {
    let path = |text: Option<String>| text.map(PathBuf::from);
    let spec = "\"proc\", \"cgroup:PATH\", \"pid:N\" or \"url:http://HOST:PORT/PATH\"";
    let web = "http://HOST:PORT/PATH";
    let has = |key| section.has(key);
    Options {
        farm: section.optional_parsed("farm", LABEL, "The farm this member belongs to. Required, here or as a flag."),
        id: section.optional_parsed("id", LABEL, "The member's id: also its DNS label. Required, here or as a flag."),
        key_file: path(section.optional_string("key_file", "File with the member's key, as `redirector key --id ID` prints it.")),
        key_hex_env: section.optional_string("key_hex_env", "Name of the environment variable that holds the member's key."),
        farm_key_file: path(section.optional_string(
            "farm_key_file",
            "File with the farm's own key, from which the member's is derived: for demonstrations, a backend should not hold it.",
        )),
        fronts: section.list("front", &[], "udp:HOST:PORT or http://HOST:PORT/v1/heartbeat", "Every front end to tell: each dnslb and each redirector."),
        addrs: section.list("address", &[], "an IP address", "Addresses to announce; none: the source address towards each front end."),
        port: Some(section.integer("port", 80, 1..=65_535, "Port of the service.")).filter(|_| has("port")).and_then(|p| u16::try_from(p).ok()),
        bind: section.optional_parsed("bind", "an IP address", "Source address of everything that is sent."),
        period_ms: Some(section.duration_ms("period", PERIOD_MS, 100..=60_000, "Time between two heartbeats, jittered by 10 %.")).filter(|_| has("period")),
        load: section.optional_parsed("load", spec, "What to measure. Required, here or as a flag."),
        sessions_url: section.optional_parsed("sessions_url", web, "The application's report of its sessions, where they are not its connections."),
        cores: Some(section.float("cores", 1.0, 0.01..=4_096.0, "Cores; if not set, what the source finds.")).filter(|_| has("cores")),
        load_stale_ms: Some(section.duration_ms(
            "load_stale",
            3 * PERIOD_MS,
            200..=3_600_000,
            "A load that cannot be read for so long means that the backend is dead; if not set, three periods.",
        ))
        .filter(|_| has("load_stale")),
        on_load_failure: Some(section.choice("on_load_failure", "silent", &["silent", "goodbye"], "What is said about a dead backend: nothing (its lease runs out, it stays known), or that it is gone."))
            .filter(|_| has("on_load_failure"))
            .map(str::to_owned),
        state_file: path(section.optional_string("state_file", "Where incarnation and drain wishes outlive a restart.")),
        drain_file: path(section.optional_string("drain_file", "The member wants to be drained while this file exists.")),
        zone: section.optional_parsed("zone", LABEL, "Failure domain (availability zone, rack)."),
        imds: section.optional_parsed(
            "imds",
            "\"auto\", \"off\" or http://HOST[:PORT]",
            "The instance metadata service (IMDSv2) that is watched for interruption, rebalance and maintenance notices; `auto`, if not set: on EC2 only.",
        ),
        id_from_imds: section.boolean("id_from_imds", false, "Take the id from the instance metadata service: the instance's own."),
        zone_from_imds: section.boolean("zone_from_imds", false, "Take the zone from the instance metadata service: the availability zone."),
        drill_allow: section.list("drill_allow", &[], "a name of 1 to 15 characters, as `ps -o comm` shows it", "Names of processes that a redirector's failure drills may end here; none: the agent ends nothing, whoever asks."),
        certificate_from: section.list("certificate_from", &[], "https://HOST[:PORT]", "Front doors to fetch the farm's certificate from; none: nothing is fetched."),
        certificate_dir: path(section.optional_string("certificate_dir", "Where `fullchain.pem` and `key.pem` are written.")),
        certificate_id: section.optional_parsed("certificate_id", LABEL, "Which certificate; the first that backends may have, if not set."),
        certificate_name: section.optional_string("certificate_name", "The name that the door's own certificate must have; the host of its address, if not set."),
        certificate_ca_file: path(section.optional_string("certificate_ca_file", "Certificates (PEM) that the door's may be signed by, beside those of the system.")),
        certificate_hook: section.list("certificate_hook", &[], "one word of the command", "Program and arguments that run after a change, without a shell; a minute at most."),
        certificate_every_ms: Some(section.duration_ms("certificate_every", CERTIFICATE_MS, 1_000..=86_400_000, "How often it is asked for.")).filter(|_| has("certificate_every")),
        certificate_required: section.boolean("certificate_required", false, "No heartbeat before there is a certificate: clients are not sent to a backend that cannot greet them."),
    }
}

/// Reads a file. `Err` holds all that is wrong with it, one line each.
pub(crate) fn read_file(path: &Path) -> Result<Options, Vec<String>> {
    let name = path.display().to_string();
    let text = read_text(path, CONFIG_BYTES_MAX).map_err(|error| vec![format!("{name}: {error}")])?;
    let document = Document::parse(&name, &text);
    let options = read_section(&document.root());
    let problems = document.finish();
    if has_errors(&problems) { Err(problems.iter().map(ToString::to_string).collect()) } else { Ok(options) }
}

impl Options {
    /// These, and where they say nothing, the others.
    pub(crate) fn over(self, other: Self) -> Self {
        let list = |mine: bool| !mine;
        let is_key_told = self.key_file.is_some() || self.key_hex_env.is_some() || self.farm_key_file.is_some();
        let key = if is_key_told { Self::default() } else { other.clone() };
        Self {
            farm: self.farm.or(other.farm),
            id: self.id.or(other.id),
            key_file: self.key_file.or(key.key_file),
            key_hex_env: self.key_hex_env.or(key.key_hex_env),
            farm_key_file: self.farm_key_file.or(key.farm_key_file),
            fronts: if list(self.fronts.is_empty()) { self.fronts } else { other.fronts },
            addrs: if list(self.addrs.is_empty()) { self.addrs } else { other.addrs },
            port: self.port.or(other.port),
            bind: self.bind.or(other.bind),
            period_ms: self.period_ms.or(other.period_ms),
            load: self.load.or(other.load),
            sessions_url: self.sessions_url.or(other.sessions_url),
            cores: self.cores.or(other.cores),
            load_stale_ms: self.load_stale_ms.or(other.load_stale_ms),
            on_load_failure: self.on_load_failure.or(other.on_load_failure),
            state_file: self.state_file.or(other.state_file),
            drain_file: self.drain_file.or(other.drain_file),
            zone: self.zone.or(other.zone),
            imds: self.imds.or(other.imds),
            id_from_imds: self.id_from_imds || other.id_from_imds,
            zone_from_imds: self.zone_from_imds || other.zone_from_imds,
            drill_allow: if list(self.drill_allow.is_empty()) { self.drill_allow } else { other.drill_allow },
            certificate_from: if list(self.certificate_from.is_empty()) {
                self.certificate_from
            } else {
                other.certificate_from
            },
            certificate_dir: self.certificate_dir.or(other.certificate_dir),
            certificate_id: self.certificate_id.or(other.certificate_id),
            certificate_name: self.certificate_name.or(other.certificate_name),
            certificate_ca_file: self.certificate_ca_file.or(other.certificate_ca_file),
            certificate_hook: if list(self.certificate_hook.is_empty()) {
                self.certificate_hook
            } else {
                other.certificate_hook
            },
            certificate_every_ms: self.certificate_every_ms.or(other.certificate_every_ms),
            certificate_required: self.certificate_required || other.certificate_required,
        }
    }

    /// Where to ask who and where this machine is, if that is wanted. `Err` says why there is nobody to ask.
    pub(crate) fn asks(&self) -> Result<Option<Endpoint>, String> {
        if !self.id_from_imds && !self.zone_from_imds {
            return Ok(None);
        }
        let endpoint = self.imds.clone().unwrap_or_default().endpoint();
        let why = || "imds: found no instance metadata service, expected one for id_from_imds or zone_from_imds".to_owned();
        endpoint.map(Some).ok_or_else(why)
    }

    /// Fills in what the metadata service says; what was told stands.
    pub(crate) fn identified(self, identity: Identity) -> Self {
        let id = if self.id_from_imds { self.id.or(identity.instance_id) } else { self.id };
        let zone = if self.zone_from_imds { self.zone.or(identity.zone) } else { self.zone };
        Self { id, zone, ..self }
    }

    /// Checks all of it together. `Err` holds everything that is wrong, one line each.
    pub(crate) fn plan(self) -> Result<Plan, Vec<String>> {
        let mut wrong = Vec::new();
        let mut warnings = Vec::new();
        let mut fronts = Vec::new();
        for front in &self.fronts {
            if fronts.contains(front) {
                wrong.push(format!("front: found {front} twice, expected it once"));
            } else {
                fronts.push(front.clone());
            }
        }
        if !(1..=FRONTS_MAX).contains(&fronts.len()) {
            wrong.push(format!(
                "front: found {}, expected 1 to {FRONTS_MAX} of udp:HOST:PORT or http://HOST:PORT/v1/heartbeat",
                fronts.len()
            ));
        }
        if self.addrs.len() > ADDRS_MAX {
            wrong.push(format!("address: found {}, expected at most {ADDRS_MAX}", self.addrs.len()));
        }
        for addr in self.addrs.iter().filter(|a| a.is_unspecified() || a.is_multicast() || a.to_canonical() != **a) {
            wrong.push(format!("address: found {addr}, expected an address that clients can reach"));
        }
        if let Some(bind) = self.bind.filter(|b| b.is_unspecified() || b.is_multicast()) {
            wrong.push(format!("bind: found {bind}, expected an address of this machine"));
        }
        let period_ms = self.period_ms.unwrap_or(PERIOD_MS);
        if !(100..=60_000).contains(&period_ms) {
            wrong.push(format!("period: found {period_ms} ms, expected 100ms to 1m"));
        }
        let port = self.port.unwrap_or(80);
        if port == 0 {
            wrong.push("port: found 0, expected 1 to 65535".to_owned());
        }
        let load_stale_ms = self.load_stale_ms.unwrap_or(period_ms.saturating_mul(3));
        if load_stale_ms < period_ms.saturating_mul(2) {
            wrong.push(format!("load_stale: found {load_stale_ms} ms, expected two periods or more"));
        }
        if let Some(cores) = self.cores.filter(|c| !(0.01..=4_096.0).contains(c)) {
            wrong.push(format!("cores: found {cores}, expected 0.01 to 4096"));
        }
        if self.certificate_dir.is_none() && !self.certificate_from.is_empty() {
            wrong.push("certificate_dir: found nothing, expected it beside certificate_from".to_owned());
        }
        if self.certificate_required && self.certificate_from.is_empty() {
            wrong.push("certificate_required: found no certificate_from, expected a door to fetch from".to_owned());
        }
        let every_ms = self.certificate_every_ms.unwrap_or(CERTIFICATE_MS);
        if !(1_000..=86_400_000).contains(&every_ms) {
            wrong.push(format!("certificate_every: found {every_ms} ms, expected 1s to 1d"));
        }
        let certificate = self.certificate_dir.clone().filter(|_| !self.certificate_from.is_empty());
        let certificate = certificate.map(|dir| CertificateSettings {
            from: self.certificate_from.clone(),
            name: self.certificate_name.clone(),
            ca_file: self.certificate_ca_file.clone(),
            certificate: self.certificate_id.clone(),
            dir,
            hook: self.certificate_hook.clone(),
            every_ms,
        });
        if self.state_file.is_none() {
            warnings.push("no state_file: a restart forgets who wanted this member drained".to_owned());
        }
        fn required<T>(value: Option<T>, name: &str, wrong: &mut Vec<String>) -> Option<T> {
            if value.is_none() {
                wrong.push(format!("{name}: found nothing, expected it in the file or as a flag"));
            }
            value
        }
        let farm = required(self.farm.clone(), "farm", &mut wrong);
        let id = required(self.id.clone(), "id", &mut wrong);
        let load = required(self.load.clone(), "load", &mut wrong);
        let key = match (&farm, &id) {
            (Some(farm), Some(id)) => self.key(farm, id, &mut warnings).map_err(|error| wrong.push(error)).ok(),
            _ => None,
        };
        let (Some(farm), Some(id), Some(load), Some(key), true) = (farm, id, load, key, wrong.is_empty()) else {
            return Err(wrong);
        };
        let on_load_failure =
            if self.on_load_failure.as_deref() == Some("goodbye") { OnLoadFailure::Goodbye } else { OnLoadFailure::Silent };
        let profile = Profile {
            farm,
            id,
            role: Role::Backend,
            zone: self.zone,
            addrs: self.addrs,
            port,
            period_ms,
            load_stale_ms,
            on_load_failure,
            drill_allow: self.drill_allow.into_iter().map(|name| name.0).collect(),
        };
        let settings = Settings {
            profile,
            key,
            fronts,
            bind: self.bind,
            state_file: self.state_file,
            drain_file: self.drain_file,
            imds: self.imds.unwrap_or_default().endpoint(),
        };
        Ok(Plan {
            settings,
            load,
            sessions_url: self.sessions_url,
            cores: self.cores,
            warnings,
            certificate,
            is_certificate_required: self.certificate_required,
        })
    }

    fn key(&self, farm: &Id, id: &Id, warnings: &mut Vec<String>) -> Result<MemberKey, String> {
        let mut read = |path: &Path| {
            let named = |error: io::Error| format!("{}: {error}", path.display());
            if std::fs::metadata(path).map_err(named)?.permissions().mode() & 0o077 != 0 {
                warnings.push(format!("{} can be read by others than its owner", path.display()));
            }
            read_text(path, KEY_BYTES_MAX).map_err(named)
        };
        let expected = "expected one of key_file, key_hex_env and farm_key_file";
        match (&self.key_file, &self.key_hex_env, &self.farm_key_file) {
            (Some(path), None, None) => {
                MemberKey::from_hex(&read(path)?).map_err(|expected| format!("{}: {expected}", path.display()))
            }
            (None, None, Some(path)) => {
                let key = FarmKey::from_hex(&read(path)?).map_err(|expected| format!("{}: {expected}", path.display()))?;
                Ok(key.member(farm, id))
            }
            (None, Some(name), None) => {
                let text = std::env::var(name).map_err(|error| format!("key_hex_env: {name}: {error}"))?;
                MemberKey::from_hex(&text).map_err(|expected| format!("key_hex_env: {name}: {expected}"))
            }
            (None, None, None) => Err(format!("key_file: found nothing, {expected}")),
            _ => Err(format!("key_file: found more than one source of the key, {expected}")),
        }
    }
}

fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max { Err(io::Error::other(format!("longer than {bytes_max} octets"))) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(text: &str) -> Result<Plan, Vec<String>> {
        let document = Document::parse("agent.toml", text);
        let options = read_section(&document.root());
        let problems = document.finish();
        if has_errors(&problems) {
            return Err(problems.iter().map(ToString::to_string).collect());
        }
        options.plan()
    }

    fn key_file() -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("farm-agent-key-{}-{number}", std::process::id()));
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        path
    }

    #[test]
    fn a_file_says_it_all() {
        let key = key_file();
        let text = format!(
            "farm = \"mail\"\nid = \"b1\"\nkey_file = {key:?}\nfront = [\"udp:127.0.0.1:5310\", \"http://127.0.0.1:8082\"]\n\
             port = 8080\nload = \"proc\"\nperiod = \"500ms\"\nload_stale = \"2s\"\non_load_failure = \"goodbye\"\nzone = \"a\"\n"
        );
        let plan = plan_of(&text).unwrap();
        let profile = plan.settings.profile;
        assert_eq!(
            (profile.period_ms, profile.load_stale_ms, profile.on_load_failure),
            (500, 2_000, OnLoadFailure::Goodbye)
        );
        assert_eq!(plan.settings.fronts.len(), 2);
        assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
        std::fs::remove_file(key).unwrap();
    }

    #[test]
    fn everything_wrong_is_said() {
        for (text, expect) in [
            ("", &["front", "farm", "id", "load"][..]),
            (
                "farm = \"Mail\"\nport = 0\nload = \"x\"\nperiodd = 1\n",
                &["agent.toml:1: farm", "agent.toml:2: port", "agent.toml:3: load", "agent.toml:4: periodd"],
            ),
            (
                "farm = \"mail\"\nid = \"b1\"\nport = 1\nload = \"proc\"\nfront = [\"udp:a:1\", \"udp:a:1\"]\naddress = [\"0.0.0.0\"]\nload_stale = \"1s\"\n",
                &["front: found udp:a:1 twice", "address", "load_stale", "key_file: found nothing"],
            ),
            (
                "farm = \"mail\"\nid = \"b1\"\nport = 1\nload = \"proc\"\nfront = [\"udp:a:1\"]\nkey_file = \"/x\"\nkey_hex_env = \"Y\"\n",
                &["key_file: found more"],
            ),
            (
                "farm = \"mail\"\nid = \"b1\"\nport = 1\nload = \"proc\"\nfront = [\"udp:a:1\"]\nkey_file = \"/does/not/exist\"\n",
                &["/does/not/exist"],
            ),
        ] {
            let wrong = plan_of(text).unwrap_err();
            assert_eq!(wrong.len(), expect.len(), "{wrong:?}");
            assert!(wrong.iter().zip(expect).all(|(wrong, expect)| wrong.starts_with(expect)), "{wrong:?}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let told = Options { port: Some(1), key_hex_env: Some("X".to_owned()), ..Options::default() };
        let file = Options {
            port: Some(2),
            key_file: Some("/x".into()),
            fronts: vec!["udp:a:1".parse().unwrap()],
            zone: Some(Id::new("a").unwrap()),
            ..Options::default()
        };
        let both = told.over(file);
        assert_eq!((both.port, both.key_file, both.fronts.len()), (Some(1), None, 1));
        assert!(both.zone.is_some());
    }
}
