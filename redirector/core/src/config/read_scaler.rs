//! The options of `[scaler]`.
//!
//! As with all readers: everything is asked for, whatever is wrong with some of it.

use super::{ScalePolicy, ScalerSpec};
use crate::scale::{Floor, TimeOfDay, Weekday};
use farm_shared::config::Section;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const FLOORS_MAX: usize = 100;
const USD_MAX: f64 = 1e6;

pub(super) fn read_scaler(scaler: &Section) -> ScalerSpec {
    let d = ScalerSpec::default();
    let labels = ScalePolicy::LABELS;
    let policy = scaler.choice(
        "policy",
        d.policy.label(),
        &labels,
        "`sizing` launches for the sessions expected when a launch is ready; `paper` one server at a time; `target-tracking` and `step` \
         follow alarms on the processors as an auto scaling group does; `hpa` as a Kubernetes horizontal autoscaler does.",
    );
    let shadow = scaler.optional_parsed::<ScalePolicy>(
        "shadow",
        "a policy",
        "Another policy that runs beside: what it would do is journalled and shown, and never done.",
    );
    let spec = ScalerSpec {
        enabled: scaler.boolean("enabled", false, "Whether this redirector launches and stops servers. One per farm."),
        dry_run: scaler.boolean("dry_run", false, "Plans are made and journalled, but nothing is done."),
        policy: policy.parse().unwrap_or_default(),
        shadow,
        min: number(scaler, "min", d.min, 0, 10_000, "Fewest servers."),
        max: number(scaler, "max", d.max, 1, 10_000, "Most servers, draining and starting ones included."),
        spare: number(
            scaler,
            "spare",
            d.spare,
            0,
            1_000,
            "So many servers more than the policy wants: 1 survives the loss of one.",
        ),
        min_per_zone: number(scaler, "min_per_zone", d.min_per_zone, 0, 1_000, "Fewest servers in each zone."),
        warm: number(
            scaler,
            "warm",
            d.warm,
            0,
            1_000,
            "Stopped instances kept ready: they start faster than new ones boot.",
        ),
        sessions_per_server: number(
            scaler,
            "sessions_per_server",
            d.sessions_per_server,
            1,
            1_000_000,
            "Sessions that a server holds, unless its heartbeats say.",
        ),
        q_short: scaler.float("q_short", d.q_short, 0.0..=1_000.0, "Rule `paper`: a run queue up to this is short."),
        target: scaler.float(
            "target",
            d.target,
            0.05..=1.0,
            "Rules `target-tracking`, `step` and `hpa`: the busy share of processors to aim at.",
        ),
        poll_ms: scaler.duration_ms("poll", d.poll_ms, 100..=HOUR, "Time between two plans."),
        window_ms: scaler.duration_ms("window", d.window_ms, SECOND..=HOUR, "Arrivals are counted over this window."),
        session_prior_ms: scaler.duration_ms(
            "session_prior",
            d.session_prior_ms,
            100..=7 * DAY,
            "Session length until enough sessions were seen to end.",
        ),
        stabilisation_ms: scaler.duration_ms(
            "stabilisation",
            d.stabilisation_ms,
            0..=DAY,
            "Rules `sizing` and `hpa`: there must have been too many servers for this long before one is drained.",
        ),
        stabilisation_up_ms: scaler.duration_ms(
            "stabilisation_up",
            d.stabilisation_up_ms,
            0..=HOUR,
            "There must have been too few servers for this long before one is launched.",
        ),
        drain_deadline_ms: scaler.duration_ms(
            "drain_deadline",
            d.drain_deadline_ms,
            SECOND..=30 * DAY,
            "A draining server is stopped after this, even if sessions remain; how many is reported.",
        ),
        boot_prior_ms: scaler.duration_ms("boot_prior", d.boot_prior_ms, 100..=DAY, "Boot time until three were measured."),
        boot_deadline_ms: scaler.duration_ms(
            "boot_deadline",
            d.boot_deadline_ms,
            SECOND..=DAY,
            "A launched server that was not heard after this is stopped and replaced.",
        ),
        keep_failed_max: number(
            scaler,
            "keep_failed_max",
            d.keep_failed_max,
            0,
            100,
            "So many launched servers that were never heard are kept for inspection; they count towards `max`.",
        ),
        dns_ttl_max_ms: scaler.duration_ms(
            "dns_ttl_max",
            d.dns_ttl_max_ms,
            0..=DAY,
            "The longest TTL that dnslb serves servers with: nothing is stopped while a cache may name it.",
        ),
        usd_h_max: money(
            scaler,
            "usd_h_max",
            "Nothing is launched that would cost more than this, in US dollars an hour; 0 is no cap.",
        ),
        usd_month_max: money(
            scaler,
            "usd_month_max",
            "Nothing is launched once this was spent in a calendar month (UTC), in US dollars; what `min` costs until its end is kept \
             back. 0 is no cap.",
        ),
        floors: read_floors(scaler),
    };
    check(scaler, &spec);
    spec
}

fn check(scaler: &Section, spec: &ScalerSpec) {
    if spec.min > spec.max {
        scaler.problem("min", spec.min.to_string(), format!("at most max, {}", spec.max));
    }
    if spec.boot_deadline_ms <= spec.boot_prior_ms {
        scaler.problem("boot_deadline", format!("{} ms", spec.boot_deadline_ms), "more than boot_prior");
    }
    if spec.min_per_zone > spec.max {
        scaler.problem("min_per_zone", spec.min_per_zone.to_string(), format!("at most max, {}", spec.max));
    }
    if spec.shadow == Some(spec.policy) {
        scaler.warning("shadow", format!("{:?}", spec.policy.label()), "another policy than the one that runs");
    }
}

fn money(scaler: &Section, key: &str, about: &'static str) -> Option<f64> {
    let usd = scaler.float(key, 0.0, 0.0..=USD_MAX, about);
    (usd > 0.0).then_some(usd)
}

fn number(section: &Section, key: &str, default: u32, min: u32, max: u32, about: &'static str) -> u32 {
    section.integer(key, i64::from(default), i64::from(min)..=i64::from(max), about).max(0) as u32
}

fn read_floors(scaler: &Section) -> Vec<Floor> {
    let floors = scaler.tables("floor", "At least so many servers at certain times. They are launched one boot earlier.");
    if floors.len() > FLOORS_MAX {
        scaler.problem("floor", format!("{} floors", floors.len()), format!("at most {FLOORS_MAX}"));
    }
    floors.iter().take(FLOORS_MAX).map(read_floor).collect()
}

fn read_floor(floor: &Section) -> Floor {
    let all = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let mut days = [false; 7];
    let named = floor.list::<Weekday>("days", &all, "one of mon, tue, wed, thu, fri, sat, sun", "Days on which it begins.");
    for day in named {
        if let Some(day) = days.get_mut(day.0) {
            *day = true;
        }
    }
    let time = "a time of day like \"07:30\"";
    let from = floor.parsed::<TimeOfDay>("from", Some("00:00"), time, "When it begins, UTC.");
    let to =
        floor.parsed::<TimeOfDay>("to", Some("24:00"), time, "When it ends, UTC; at or before `from`, on the next day.");
    let servers = number(floor, "min", 0, 0, 10_000, "Fewest servers meanwhile; `max` stands above it.");
    Floor { days, from_min: from.map_or(0, |t| t.0), to_min: to.map_or(1_440, |t| t.0), servers }
}
