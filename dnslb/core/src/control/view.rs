//! What stands about each member of a pool at one moment, static and by heartbeat alike.
//!
//! Computed anew for each flush that needs it; holds no state of its own.

use farm_shared::id::Id;
use farm_shared::member::{Forced, Standing};
use farm_shared::time::Mono;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// By the pool's own configuration.
    Static(Id),
    /// By heartbeat: farm and id.
    Farm(Id, Id),
    /// By the configuration of a pool inside this one: that pool and the member.
    Of(Id, Id),
}

impl Who {
    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Static(id) | Self::Farm(_, id) | Self::Of(_, id) => id,
        }
    }

    /// The same member to a pool that has `pool`, whose member it is, inside.
    pub(super) fn inside(self, pool: &Id) -> Self {
        match self {
            Self::Static(id) => Self::Of(pool.clone(), id),
            who => who,
        }
    }

    /// What it is called among the members of its pool: fixed members of inner pools may share names.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Static(id) | Self::Farm(_, id) => id.to_string(),
            Self::Of(pool, id) => format!("{pool}-{id}"),
        }
    }
}

/// What stands about a member.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) who: Who,
    pub(super) slot: u32,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    /// Its addresses for clients inside, where those are others.
    pub(super) private: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// The port that it announces, if it sends heartbeats.
    pub(super) port: Option<u16>,
    pub(super) tier: u16,
    /// Index of its site.
    pub(super) site: Option<u16>,
    /// What it could still take, in cores or sessions; none if it does not say.
    pub(super) free: Option<f64>,
    /// That as the weight of an SRV record.
    pub(super) load_weight: u16,
    /// With its ramp.
    pub(super) weight: f64,
    pub(super) zone: Option<Id>,
    pub(super) standing: Standing,
    pub(super) measured: Standing,
    pub(super) forced: Option<(Forced, String)>,
    /// It was last heard draining: silence does not make it one to fall back on.
    pub(super) draining: bool,
    /// When its standing can change first.
    pub(super) change_at: Mono,
}

impl View {
    /// Where clients inside reach it.
    pub(super) fn inside(&self) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        (self.private.0.or(self.v4), self.private.1.or(self.v6))
    }

    /// Any public address, IPv4 first.
    pub(super) fn addr(&self) -> Option<IpAddr> {
        self.v4.map(IpAddr::V4).or(self.v6.map(IpAddr::V6))
    }

    /// Whether it is up: gets clients.
    pub(super) fn up(&self) -> bool {
        self.standing.takes_new()
    }

    /// Whether the fail-open rule counts it, and names it when it holds.
    pub(super) fn counts(&self) -> bool {
        match self.standing {
            Standing::Draining | Standing::AdminDown => false,
            Standing::Silent => !self.draining,
            Standing::InService | Standing::Unknown => true,
        }
    }
}

/// The steps of a slow start: a tenth of the weight at first, then quarters. Returns the factor, and when the next one begins in
/// milliseconds from now.
pub(super) fn ramp(age_ms: u64, slow_start_ms: u64) -> (f64, Option<u64>) {
    if age_ms >= slow_start_ms {
        return (1.0, None);
    }
    let quarter = 4 * age_ms / slow_start_ms;
    let next_ms = ((quarter + 1) * slow_start_ms).div_ceil(4);
    (if quarter == 0 { 0.1 } else { quarter as f64 / 4.0 }, Some(next_ms.saturating_sub(age_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_has_five_steps() {
        let check = |age_ms, expect| assert_eq!(ramp(age_ms, 1_000), expect);
        check(0, (0.1, Some(250)));
        check(249, (0.1, Some(1)));
        check(250, (0.25, Some(250)));
        check(999, (0.75, Some(1)));
        check(1_000, (1.0, None));
        assert_eq!(ramp(0, 0), (1.0, None));
    }
}
