//! What a seed decides before anything happens: the size of the farm, its periods and limits, its load.
//!
//! Every number here is drawn from the seed alone.

use crate::dice::Die;
use crate::fault::Fault;
use dnslb_core::config::{Loaded, load};
use dnslb_core::zone::Files;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::member::LeasePolicy;
use farm_shared::prefix::Prefix;
use redirector_core::config::{ScalePolicy, Spec};
use redirector_core::farm::Keys;

/// The wall clock at the beginning of every world, milliseconds since the epoch.
pub(crate) const WALL_MS: u64 = 1_800_000_000_000;
/// The longest gap between two ticks of a daemon, in milliseconds. Production ticks ten times as often.
pub(crate) const TICK_MS: u64 = 1_000;
/// Steps further apart count as our own sleep.
const STEP_MS_MAX: u64 = 5_000;
const KEY_HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The farm's name.
pub(crate) const FARM: &str = "mail";
/// The scaling redirector's id.
pub(crate) const DOOR: &str = "door1";
/// The pool's name.
pub(crate) const POOL_NAME: &str = "www.lb.test";
/// Below it each member has its own name.
pub(crate) const MEMBER_ZONE: &str = "farm.lb.test";

/// The world of one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// How long faults go on, in milliseconds.
    pub faults_ms: u64,
    /// The mean time between two faults, in milliseconds.
    pub fault_gap_ms: u64,
    /// Kinds of faults that do not come.
    pub without: Vec<Fault>,
    /// Name servers.
    pub nameservers: usize,
    /// Redirects lead to names of members instead of addresses.
    pub by_name: bool,
    /// Fewest servers.
    pub min: u32,
    /// Most servers.
    pub max: u32,
    /// Sessions that a server holds.
    pub per_server: u32,
    /// Heartbeat period in milliseconds.
    pub period_ms: u64,
    /// Plans and listings, in milliseconds.
    pub poll_ms: u64,
    /// Median boot time in milliseconds.
    pub boot_ms: u64,
    /// A launch not heard of after this is given up, in milliseconds.
    pub boot_deadline_ms: u64,
    /// See [`redirector_core::config::ScalerSpec::stabilisation_ms`].
    pub stabilisation_ms: u64,
    /// See [`redirector_core::config::ScalerSpec::drain_deadline_ms`].
    pub drain_deadline_ms: u64,
    /// The pool's highest TTL in seconds.
    pub ttl_s_max: u32,
    /// The scaling rule.
    pub policy: ScalePolicy,
    /// Availability zones.
    pub zones: usize,
    /// Mean session length in milliseconds.
    pub session_ms: u64,
    /// Sessions at the highest load.
    pub sessions_peak: f64,
    /// Share of sessions that come by DNS and not through the door.
    pub dns_share: f64,
}

impl Setup {
    /// The world of a seed with faults for so many milliseconds.
    pub fn draw(seed: u64, faults_ms: u64) -> Self {
        let mut die = Die::new(seed, "setup");
        let min = die.between(2, 3) as u32;
        let max = die.between(6, 12) as u32;
        let per_server = die.between(6, 16) as u32;
        let boot_ms = die.between(20, 120) * 1_000;
        Self {
            seed,
            faults_ms,
            fault_gap_ms: 60_000,
            without: Vec::new(),
            nameservers: if die.chance(0.3) { 2 } else { 1 },
            by_name: die.chance(0.4),
            min,
            max,
            per_server,
            period_ms: 5_000,
            poll_ms: 10_000,
            boot_ms,
            boot_deadline_ms: 4 * boot_ms + 60_000,
            stabilisation_ms: die.between(60, 300) * 1_000,
            drain_deadline_ms: die.between(300, 900) * 1_000,
            ttl_s_max: die.between(5, 60) as u32,
            policy: if die.chance(0.2) { ScalePolicy::Paper } else { ScalePolicy::Sizing },
            zones: die.between(1, 3) as usize,
            session_ms: die.between(60, 240) * 1_000,
            sessions_peak: f64::from(max * per_server) * (0.4 + 0.5 * die.unit()),
            dns_share: 0.4 * die.unit(),
        }
    }

    /// How long a heartbeat is believed, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        lease().lease_ms(self.period_ms)
    }

    /// The redirector's configuration.
    pub fn spec(&self) -> Spec {
        let mut spec = Spec::new(id(DOOR), id(FARM));
        spec.hosts = vec![POOL_NAME.into()];
        spec.lease = lease();
        // The rule that nobody is sent to a silent server is about silence that is believed.
        spec.door.panic_share = 1.0;
        spec.allowed_prefixes = prefixes();
        if self.by_name {
            spec.door.target = format!("http://{{id}}.{MEMBER_ZONE}:{{port}}");
        }
        let scaler = &mut spec.scaler;
        scaler.enabled = true;
        scaler.policy = self.policy;
        (scaler.min, scaler.max) = (self.min, self.max);
        scaler.sessions_per_server = self.per_server;
        scaler.poll_ms = self.poll_ms;
        scaler.session_prior_ms = self.session_ms;
        scaler.stabilisation_ms = self.stabilisation_ms;
        scaler.drain_deadline_ms = self.drain_deadline_ms;
        scaler.boot_prior_ms = self.boot_ms;
        scaler.boot_deadline_ms = self.boot_deadline_ms;
        scaler.dns_ttl_max_ms = u64::from(self.ttl_s_max) * 1_000;
        spec
    }

    /// The configuration of name server number `n`, through the reader that production uses.
    ///
    /// # Errors
    /// The reader's problems: a mistake in this file.
    pub fn dnslb(&self, n: usize) -> Result<Loaded, String> {
        let text = format!(
            "[server]\nid = \"ns{n}\"\nlisten = [\"127.0.0.1:53\"]\n[heartbeat]\nlisten_udp = [\"127.0.0.1:5310\"]\n\
             [[farm]]\nname = \"{FARM}\"\nkey_file = \"key\"\nallowed_prefixes = [\"10.0.0.0/8\"]\n\
             member_zone = \"{MEMBER_ZONE}\"\nmember_ttl = \"5s\"\n[[zone]]\nname = \"lb.test\"\nfile = \"zone\"\n\
             [[pool]]\nname = \"www\"\npublish = [\"{POOL_NAME}\"]\nk = 2\nttl_min = \"1s\"\nttl_max = \"{}s\"\n\
             slow_start = \"0ms\"\nfarm = \"{FARM}\"\n",
            self.ttl_s_max
        );
        let mut loaded = load("dnslb.toml", &text, &Memory)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        std::sync::Arc::make_mut(&mut loaded.spec).lease = lease();
        Ok(loaded)
    }

    /// The load at a time as a share of the peak: a level for each quarter of an hour, straight lines between them.
    pub fn level(&self, now_ms: u64) -> f64 {
        let piece_ms = 900_000;
        let at = |n: u64| 0.1 + 0.9 * Die::new(self.seed.wrapping_add(n << 40), "level").unit();
        let (n, rest) = (now_ms / piece_ms, (now_ms % piece_ms) as f64 / piece_ms as f64);
        at(n) * (1.0 - rest) + at(n + 1) * rest
    }
}

fn lease() -> LeasePolicy {
    LeasePolicy { step_ms_max: STEP_MS_MAX, ..LeasePolicy::default() }
}

/// Addresses that members may announce.
pub(crate) fn prefixes() -> Vec<Prefix> {
    "10.0.0.0/8".parse().into_iter().collect()
}

/// The farm's secret.
///
/// # Errors
/// Never for the constant that it is made of.
pub(crate) fn keys() -> Result<Keys, String> {
    Ok(Keys { current: FarmKey::from_hex(KEY_HEX)?, former: Vec::new() })
}

/// An id of the simulated world. Text that is none becomes `x`, which nothing here is called.
pub(crate) fn id(text: &str) -> Id {
    match Id::new(text).or_else(|_| Id::new("x")) {
        Ok(id) => id,
        Err(_) => unreachable!("a letter is a label"),
    }
}

struct Memory;

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "key" => Ok(KEY_HEX.into()),
            "zone" => {
                Ok("$ORIGIN lb.test.\n$TTL 1h\n@ SOA ns1 hostmaster 1 1h 15m 2w 5s\n NS ns1\nns1 A 192.0.2.1\n".into())
            }
            other => Err(format!("no file {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_world_can_be_configured() {
        for seed in 0..20 {
            let setup = Setup::draw(seed, 1);
            assert!(setup.dnslb(1).is_ok(), "{:?}", setup.dnslb(1).err());
            assert_eq!(setup, Setup::draw(seed, 1));
            assert!((0..100).all(|n| (0.1..=1.0).contains(&setup.level(n * 100_000))));
        }
    }
}
