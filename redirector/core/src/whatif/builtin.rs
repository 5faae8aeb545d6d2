//! The scenarios that policies are compared by.
//!
//! All hold 100 sessions a server of 120 s each unless they are about something else; bases are given in servers' worth of sessions.

use super::scenario::{BootTime, Fault, Scenario, Shape};

/// Their names, in the order of the table.
pub const NAMES: [&str; 16] = [
    "ramp",
    "step",
    "slashdot",
    "sawtooth",
    "day",
    "noise",
    "boot-25",
    "boot-240",
    "boot-spread",
    "base-1.3",
    "base-20",
    "base-400",
    "zone-loss",
    "server-loss",
    "steady",
    "figure-1",
];

/// The crowd of most: six times as many within ten minutes, for half an hour, and back.
const RAMP: Shape = Shape::Ramp { at_s: 600.0, over_s: 600.0, factor: 6.0, hold_s: 1_800.0, back_s: 600.0 };

impl Scenario {
    /// A built-in scenario by name, one of [`NAMES`].
    pub fn builtin(name: &str) -> Option<Self> {
        let base = |servers: f64, shapes: Vec<Shape>, about: &str| {
            let d = Self::default();
            let rate_per_s = servers * f64::from(d.sessions_per_server) / d.session_s;
            let scenario = Self { name: name.into(), about: about.into(), rate_per_s, shapes, duration_s: 5_400, ..d };
            Self { servers: scenario.servers_for(scenario.base_sessions()), ..scenario }
        };
        let ramp = |about: &str| base(4.0, vec![RAMP], about);
        let scenario = match name {
            "ramp" => ramp("Six times the sessions within 600 s; servers boot in 120 s."),
            "step" => base(
                4.0,
                vec![Shape::Ramp { at_s: 600.0, over_s: 0.0, factor: 6.0, hold_s: 2_400.0, back_s: 0.0 }],
                "Six times the sessions at once: nobody can launch in time, only waste less.",
            ),
            "slashdot" => base(
                1.3,
                vec![Shape::Slashdot { at_s: 600.0, rise_s: 600.0, factor: 50.0, half_life_s: 900.0 }],
                "Fifty times the sessions within ten minutes, halving every quarter of an hour.",
            ),
            "sawtooth" => base(
                4.0,
                vec![Shape::Sawtooth { period_s: 1_200.0, factor: 4.0 }],
                "Rises to four times in twenty minutes and falls at once, again and again.",
            ),
            "day" => Self {
                duration_s: 2 * 86_400,
                ..base(
                    4.0,
                    vec![Shape::Day { period_s: 86_400.0, factor: 8.0 }],
                    "Two days, eight times as many at noon as at night.",
                )
            },
            "noise" => base(
                10.0,
                vec![Shape::Noise { share: 0.25, over_s: 60.0 }],
                "No trend, much noise: whoever follows it flaps.",
            ),
            "boot-25" => Self { boot: BootTime::Fixed(25.0), ..ramp("The ramp, with servers that boot in 25 s.") },
            "boot-240" => Self { boot: BootTime::Fixed(240.0), ..ramp("The ramp, with servers that boot in 240 s.") },
            "boot-spread" => Self {
                boot: BootTime::LogNormal { median_s: 70.0, p95_s: 180.0 },
                ..ramp("The ramp, with boot times from a minute to four.")
            },
            "base-1.3" => base(1.3, vec![RAMP], "The ramp from little more than one server."),
            "base-20" => base(20.0, vec![RAMP], "The ramp from twenty servers."),
            "base-400" => base(400.0, vec![RAMP], "The ramp from four hundred servers."),
            "zone-loss" => Self {
                faults: vec![Fault::ZoneLoss { at_s: 1_800.0, zone: 1 }],
                ..ramp("The ramp, and at its peak one of three zones is lost for good.")
            },
            "server-loss" => Self {
                faults: vec![Fault::ServerLoss { at_s: 1_800.0, servers: 1 }],
                ..base(4.0, vec![], "Steady, and one server dies.")
            },
            "steady" => base(4.0, vec![], "Nothing happens."),
            "figure-1" => Self {
                duration_s: 5_000,
                ..base(
                    1.0,
                    vec![
                        Shape::Ramp { at_s: 300.0, over_s: 300.0, factor: 3.0, hold_s: 600.0, back_s: 0.0 },
                        Shape::Ramp { at_s: 1_800.0, over_s: 500.0, factor: 10.0, hold_s: 1_000.0, back_s: 600.0 },
                    ],
                    "As figure 1 of the paper: a first hill, then a steep one.",
                )
            },
            _ => return None,
        };
        Some(scenario)
    }
}
