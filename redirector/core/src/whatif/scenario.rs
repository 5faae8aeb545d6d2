//! A scenario: what comes to a farm, how its servers are, and what befalls it. Read from a file, or one of the built-in ones.
//!
//! It says nothing of how the farm is scaled: that is what scenarios are there to compare.

use super::shape::normal;
use farm_shared::config::{Document, Problem, Section};
use farm_shared::draw::Draws;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// Shapes and faults of one scenario, each.
const ITEMS_MAX: usize = 50;
/// The 95th percentile of a standard normal variable.
const NORMAL_P95: f64 = 1.644_853_6;
/// Sessions of one run at most: what a machine can hold.
const SESSIONS_MAX: f64 = 50e6;

/// What happens to a farm.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in one sentence.
    pub about: String,
    /// How long it lasts, in seconds.
    pub duration_s: u64,
    /// Sessions a second that begin, before any shape.
    pub rate_per_s: f64,
    /// What the rate is multiplied by over time; several shapes multiply.
    pub shapes: Vec<Shape>,
    /// Mean length of a session, in seconds; lengths are exponential.
    pub session_s: f64,
    /// Sessions that a server holds.
    pub sessions_per_server: u32,
    /// Cores of a server.
    pub cores: f64,
    /// Busy share of a full server's cores, 0 to 1.
    pub busy_full: f64,
    /// From a launch call to the first heartbeat.
    pub boot: BootTime,
    /// Servers at the start.
    pub servers: u32,
    /// Fewest servers a policy may have.
    pub min: u32,
    /// Most servers.
    pub max: u32,
    /// Zones that servers are spread over.
    pub zones: u32,
    /// A session that waited so long to begin gives up, in seconds.
    pub patience_s: f64,
    /// What befalls the farm, by time.
    pub faults: Vec<Fault>,
}

/// How the rate changes. Times in seconds from the start.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Rises evenly to `factor`, stays for `hold_s`, and falls back over `back_s`.
    Ramp {
        /// When it begins.
        at_s: f64,
        /// How long the rise takes; 0 is a step.
        over_s: f64,
        /// To how much.
        factor: f64,
        /// How long it stays there.
        hold_s: f64,
        /// How long the way back takes.
        back_s: f64,
    },
    /// A flash crowd: rises over `rise_s` and decays with a half-life.
    Slashdot {
        /// When it begins.
        at_s: f64,
        /// How long the rise takes.
        rise_s: f64,
        /// The peak.
        factor: f64,
        /// What is above 1 halves in this time.
        half_life_s: f64,
    },
    /// Rises evenly from 1 to `factor` over each period, and falls back at once.
    Sawtooth {
        /// The period.
        period_s: f64,
        /// The peak.
        factor: f64,
    },
    /// A sine between 1 and `factor`, lowest at the start.
    Day {
        /// The period; a day, or less to see more of them.
        period_s: f64,
        /// The peak.
        factor: f64,
    },
    /// Multiplies by a log-normal factor of mean 1 that wanders: another one comes about every `over_s`.
    Noise {
        /// Standard deviation of its logarithm.
        share: f64,
        /// How long it takes to forget.
        over_s: f64,
    },
}

/// How long servers boot, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BootTime {
    /// Always the same.
    Fixed(f64),
    /// Evenly between two times.
    Uniform(f64, f64),
    /// Log-normal by median and 95th percentile.
    LogNormal {
        /// The median.
        median_s: f64,
        /// The 95th percentile.
        p95_s: f64,
    },
}

/// What befalls a farm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// All servers of a zone die at once, and nothing can be launched there any more.
    ZoneLoss {
        /// When, in seconds from the start.
        at_s: f64,
        /// Which, counted from 0.
        zone: u32,
    },
    /// So many servers die at once, the lowest ids first.
    ServerLoss {
        /// When, in seconds from the start.
        at_s: f64,
        /// How many.
        servers: u32,
    },
}

impl Fault {
    /// When, in seconds from the start.
    pub fn at_s(&self) -> f64 {
        match self {
            Self::ZoneLoss { at_s, .. } | Self::ServerLoss { at_s, .. } => *at_s,
        }
    }
}

impl BootTime {
    /// The mean, in seconds.
    pub fn mean_s(&self) -> f64 {
        match *self {
            Self::Fixed(s) => s,
            Self::Uniform(from, to) => f64::midpoint(from, to),
            Self::LogNormal { median_s, p95_s } => {
                let sigma = (p95_s / median_s.max(1e-3)).max(1.0).ln() / NORMAL_P95;
                median_s * (sigma * sigma / 2.0).exp()
            }
        }
    }

    /// One boot, in milliseconds.
    pub fn draw_ms(&self, draws: &mut Draws) -> u64 {
        let s = match *self {
            Self::Fixed(s) => s,
            Self::Uniform(from, to) => from + (to - from) * draws.unit(),
            Self::LogNormal { median_s, p95_s } => {
                let sigma = (p95_s / median_s.max(1e-3)).max(1.0).ln() / NORMAL_P95;
                median_s * (sigma * normal(draws)).exp()
            }
        };
        (s * 1_000.0) as u64
    }

    /// The 95th percentile, in seconds: what a policy is told until it has measured.
    pub fn p95_s(&self) -> f64 {
        match *self {
            Self::Fixed(s) => s,
            Self::Uniform(from, to) => from + 0.95 * (to - from),
            Self::LogNormal { p95_s, .. } => p95_s,
        }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            about: String::new(),
            duration_s: 3_600,
            rate_per_s: 1.0,
            shapes: Vec::new(),
            session_s: 120.0,
            sessions_per_server: 100,
            cores: 4.0,
            busy_full: 0.9,
            boot: BootTime::Fixed(120.0),
            servers: 2,
            min: 1,
            max: 10_000,
            zones: 3,
            patience_s: 60.0,
            faults: Vec::new(),
        }
    }
}

impl Scenario {
    /// Servers that hold the base load with a reserve: two standard deviations of a Poisson number, and a tenth.
    pub fn servers_for(&self, sessions: f64) -> u32 {
        let servers = (sessions + 2.0 * sessions.max(0.0).sqrt()) / (0.9 * f64::from(self.sessions_per_server.max(1)));
        (servers.ceil().max(1.0) as u32).max(self.min)
    }

    /// Sessions of the base load, by Little's law.
    pub fn base_sessions(&self) -> f64 {
        self.rate_per_s * self.session_s
    }

    /// Reads a scenario from TOML; `file` is its name in problems.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text);
        let scenario = Self::read(&document.root());
        let problems = document.finish();
        if farm_shared::config::has_errors(&problems) { Err(problems) } else { Ok(scenario) }
    }

    /// The reader; what is wrong is noted in the section's document.
    pub fn read(root: &Section) -> Self {
        let d = Self::default();
        let name = root.required_string("name", "Its name.");
        let about = root.string("about", "", "What it shows.");
        let duration_s = root.duration_s("duration", d.duration_s, 60..=30 * DAY / SECOND, "How long it lasts.");
        let session_s = seconds(root, "session", d.session_s, 1, DAY, "Mean length of a session; lengths are exponential.");
        let rate = root.float("rate", 0.0, 0.0..=1e6, "Sessions a second that begin, before any shape; or give `clients`.");
        let clients = root.float("clients", 0.0, 0.0..=1e7, "Sessions at a time, instead of `rate`.");
        if (rate > 0.0) == (clients > 0.0) {
            root.problem("rate", "both or none of rate and clients", "one of them, above 0");
        }
        let boot = read_boot(&root.table("boot", "From a launch to the first heartbeat."));
        let mut scenario = Self {
            name,
            about,
            duration_s,
            rate_per_s: if rate > 0.0 { rate } else { clients / session_s },
            shapes: root.tables("shape", "What the rate is multiplied by.").iter().filter_map(read_shape).collect(),
            session_s,
            sessions_per_server: integer(root, "sessions_per_server", 100, 1, 1_000_000, "Sessions that a server holds."),
            cores: root.float("cores", d.cores, 0.1..=1_024.0, "Cores of a server."),
            busy_full: root.float("busy_full", d.busy_full, 0.01..=1.0, "Busy share of a full server's cores."),
            boot,
            servers: integer(root, "servers", 0, 0, 10_000, "Servers at the start; 0 is what the base load needs."),
            min: integer(root, "min", d.min, 0, 10_000, "Fewest servers."),
            max: integer(root, "max", d.max, 1, 10_000, "Most servers."),
            zones: integer(root, "zones", d.zones, 1, 16, "Zones that servers are spread over."),
            patience_s: seconds(root, "patience", d.patience_s, 0, DAY, "A session that waited so long gives up."),
            faults: root.tables("fault", "What befalls the farm.").iter().filter_map(read_fault).collect(),
        };
        scenario.check(root);
        if scenario.servers == 0 {
            scenario.servers = scenario.servers_for(scenario.base_sessions());
        }
        scenario.faults.sort_by(|a, b| a.at_s().total_cmp(&b.at_s()));
        scenario
    }

    fn check(&self, root: &Section) {
        if self.min > self.max {
            root.problem("min", self.min.to_string(), format!("at most max, {}", self.max));
        }
        for (key, count) in [("shape", self.shapes.len()), ("fault", self.faults.len())] {
            if count > ITEMS_MAX {
                root.problem(key, format!("{count} of them"), format!("at most {ITEMS_MAX}"));
            }
        }
        let peak: f64 = self.shapes.iter().map(Shape::peak).product();
        let sessions = self.rate_per_s * peak * self.duration_s as f64 + self.base_sessions();
        if sessions > SESSIONS_MAX {
            root.problem("rate", format!("up to {sessions:.0} sessions"), format!("at most {SESSIONS_MAX:.0}"));
        }
        for fault in &self.faults {
            if let Fault::ZoneLoss { zone, .. } = fault
                && *zone >= self.zones
            {
                root.problem("fault", format!("zone {zone}"), format!("a zone below {}, counted from 0", self.zones));
            }
        }
    }
}

fn integer(section: &Section, key: &str, default: u32, min: u32, max: u32, about: &'static str) -> u32 {
    section.integer(key, i64::from(default), i64::from(min)..=i64::from(max), about).max(0) as u32
}

fn seconds(section: &Section, key: &str, default_s: f64, min_s: u64, max_ms: u64, about: &'static str) -> f64 {
    section.duration_ms(key, (default_s * 1_000.0) as u64, min_s * SECOND..=max_ms, about) as f64 / 1_000.0
}

fn read_boot(boot: &Section) -> BootTime {
    let kind = boot.choice("kind", "fixed", &["fixed", "uniform", "lognormal"], "How boot times are distributed.");
    let time = seconds(boot, "time", 120.0, 0, DAY, "`fixed`: the boot time.");
    let (from, to) = (
        seconds(boot, "from", 60.0, 0, DAY, "`uniform`: the shortest."),
        seconds(boot, "to", 180.0, 0, DAY, "`uniform`: the longest."),
    );
    let (median_s, p95_s) = (
        seconds(boot, "median", 60.0, 1, DAY, "`lognormal`: the median."),
        seconds(boot, "p95", 120.0, 1, DAY, "`lognormal`: the 95th percentile."),
    );
    match kind {
        "uniform" => {
            if from > to {
                boot.problem("from", format!("{from} s"), format!("at most `to`, {to} s"));
            }
            BootTime::Uniform(from, to.max(from))
        }
        "lognormal" => {
            if median_s > p95_s {
                boot.problem("median", format!("{median_s} s"), format!("at most p95, {p95_s} s"));
            }
            BootTime::LogNormal { median_s, p95_s: p95_s.max(median_s) }
        }
        _ => BootTime::Fixed(time),
    }
}

fn read_shape(shape: &Section) -> Option<Shape> {
    let kind = shape.choice("kind", "", &["ramp", "step", "slashdot", "sawtooth", "day", "noise"], "Which shape.");
    let factor = shape.float("factor", 6.0, 0.0..=10_000.0, "The peak, as a multiple of the base rate.");
    let at_s = seconds(shape, "at", 600.0, 0, 30 * DAY, "`ramp`, `step`, `slashdot`: when it begins.");
    let over_s =
        seconds(shape, "over", 600.0, 0, 30 * DAY, "`ramp`, `slashdot`: how long the rise takes; `noise`: its memory.");
    let hold_s = seconds(shape, "hold", 1_200.0, 0, 30 * DAY, "`ramp`, `step`: how long it stays.");
    let back_s = seconds(shape, "back", 0.0, 0, 30 * DAY, "`ramp`: how long the way back takes.");
    let half_life_s = seconds(shape, "half_life", 600.0, 1, 30 * DAY, "`slashdot`: what is above 1 halves in this time.");
    let period_s = seconds(shape, "period", 1_800.0, 10, 30 * DAY, "`sawtooth`, `day`: the period.");
    let share = shape.float("share", 0.3, 0.0..=2.0, "`noise`: standard deviation of the logarithm of the factor.");
    match kind {
        "ramp" => Some(Shape::Ramp { at_s, over_s, factor, hold_s, back_s }),
        "step" => Some(Shape::Ramp { at_s, over_s: 0.0, factor, hold_s, back_s: 0.0 }),
        "slashdot" => Some(Shape::Slashdot { at_s, rise_s: over_s, factor, half_life_s }),
        "sawtooth" => Some(Shape::Sawtooth { period_s, factor }),
        "day" => Some(Shape::Day { period_s, factor }),
        "noise" => Some(Shape::Noise { share, over_s: over_s.max(1.0) }),
        _ => {
            if shape.is_present() && !shape.has("kind") {
                shape.problem("kind", "nothing", "a shape");
            }
            None
        }
    }
}

fn read_fault(fault: &Section) -> Option<Fault> {
    let kind = fault.choice("kind", "", &["zone-loss", "server-loss"], "What befalls it.");
    let at_s = seconds(fault, "at", 0.0, 0, 30 * DAY, "When.");
    let zone =
        integer(fault, "zone", 0, 0, 15, "`zone-loss`: which zone, counted from 0; nothing can be launched there later.");
    let servers = integer(fault, "servers", 1, 1, 100_000, "`server-loss`: how many servers die.");
    match kind {
        "zone-loss" => Some(Fault::ZoneLoss { at_s, zone }),
        "server-loss" => Some(Fault::ServerLoss { at_s, servers }),
        _ => {
            if fault.is_present() && !fault.has("kind") {
                fault.problem("kind", "nothing", "what happens");
            }
            None
        }
    }
}
