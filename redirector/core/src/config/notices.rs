//! `[notices]`: what is done when the cloud says that a server's machine is to go.
//!
//! An interruption is not here: it always counts at once, because two minutes leave nothing to choose.

use farm_shared::config::Section;
use farm_shared::heartbeat::{Notice, NoticeKind};
use farm_shared::time::Wall;

const DAY: u64 = 86_400_000;

/// Which notices make a server one that is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeSpec {
    /// A rebalance recommendation does.
    pub rebalance_replaces: bool,
    /// Scheduled maintenance does so long before it begins, in milliseconds.
    pub maintenance_lead_ms: u64,
}

impl Default for NoticeSpec {
    fn default() -> Self {
        Self { rebalance_replaces: true, maintenance_lead_ms: 3_600_000 }
    }
}

impl NoticeSpec {
    pub(super) fn read(section: &Section) -> Self {
        let d = Self::default();
        let rebalance = section.choice(
            "rebalance",
            "replace",
            &["replace", "ignore"],
            "A spot instance that is likelier than others to be interrupted: replaced first and then drained, or left alone.",
        );
        Self {
            rebalance_replaces: rebalance == "replace",
            maintenance_lead_ms: section.duration_ms(
                "maintenance_lead",
                d.maintenance_lead_ms,
                0..=30 * DAY,
                "A server is replaced so long before scheduled maintenance of its machine.",
            ),
        }
    }

    /// Whether a machine with this notice is to go, as far as the scaler minds.
    pub fn leaves(&self, notice: &Notice, now: Wall) -> bool {
        match notice.kind {
            NoticeKind::Interruption => true,
            NoticeKind::Rebalance => self.rebalance_replaces,
            NoticeKind::Maintenance => notice.at_ms <= now.0.saturating_add(self.maintenance_lead_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_notices_count() {
        let spec = NoticeSpec { rebalance_replaces: false, maintenance_lead_ms: 1_000 };
        let at = |kind, at_ms| Notice { kind, at_ms };
        for (notice, expect) in [
            (at(NoticeKind::Interruption, u64::MAX), true),
            (at(NoticeKind::Rebalance, 0), false),
            (at(NoticeKind::Maintenance, 11_000), true),
            (at(NoticeKind::Maintenance, 11_001), false),
            (at(NoticeKind::Maintenance, 0), true),
        ] {
            assert_eq!(spec.leaves(&notice, Wall(10_000)), expect, "{notice:?}");
        }
        assert!(NoticeSpec::default().leaves(&at(NoticeKind::Rebalance, 0), Wall(0)));
    }
}
