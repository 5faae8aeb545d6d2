//! `[waiting_room]`: what new sessions get while no server has a place.
//!
//! The files of texts that it names are read by the shell, which also says what it finds in them.

use crate::room::Pages;
use farm_shared::config::Section;
use farm_shared::heartbeat::ROOM_LANES_MAX;
use farm_shared::id::Id;
use farm_shared::settings::LABEL;
use std::sync::Arc;

const HOUR: u64 = 3_600_000;

/// The waiting room.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomSpec {
    /// There is one; without it, who finds no place is told to come again, and whoever comes first then is first.
    pub enabled: bool,
    /// Requests a second that those who wait may make at this door, all together.
    pub polls_per_s_max: f64,
    /// Nobody is asked back sooner, in milliseconds.
    pub poll_ms_min: u64,
    /// Whoever is far from his turn is asked back after this, as `polls_per_s_max` allows, in milliseconds.
    pub poll_ms_max: u64,
    /// Who has not come so long after his turn begins again at the end, in milliseconds.
    pub turn_ms: u64,
    /// A ticket older than this is none, in milliseconds.
    pub age_ms_max: u64,
    /// Who wait at this door at most.
    pub waiting_max: usize,
    /// The ordinary lane's weight.
    pub weight: u32,
    /// Other lanes; the first that fits counts.
    pub lanes: Vec<LaneSpec>,
    /// A page in place of the one that is built in.
    pub template_file: Option<String>,
    /// Texts beside those that are built in.
    pub texts_file: Option<String>,
    /// Both of them as read by the shell.
    pub pages: Arc<Pages>,
}

/// One lane of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSpec {
    /// Its name.
    pub name: String,
    /// Who has a cookie of this name.
    pub cookie: Option<String>,
    /// Who asks for this path or one below it.
    pub path: Option<String>,
    /// The cookie must hold a pass, signed with the lane's key.
    pub is_signed: bool,
    /// Of the places that become free while all lanes wait, each gets as many as its weight says.
    pub weight: u32,
}

impl Default for RoomSpec {
    fn default() -> Self {
        Self {
            enabled: false,
            polls_per_s_max: 200.0,
            poll_ms_min: 2_000,
            poll_ms_max: 30_000,
            turn_ms: 120_000,
            age_ms_max: 6 * HOUR,
            waiting_max: 100_000,
            weight: 1,
            lanes: Vec::new(),
            template_file: None,
            texts_file: None,
            pages: Arc::default(),
        }
    }
}

impl RoomSpec {
    pub(super) fn read(room: &Section) -> Self {
        let d = Self::default();
        let spec = Self {
            enabled: room.boolean(
                "enabled",
                d.enabled,
                "New sessions wait in order of their arrival while no server has a place: none below its `limit`, as its heartbeats tell it, or \
                 below `scaler.sessions_per_server`.",
            ),
            polls_per_s_max: room.float(
                "polls_per_s_max",
                d.polls_per_s_max,
                1.0..=100_000.0,
                "Requests a second that those who wait make at this door, all together: the more wait, the more rarely each is asked back.",
            ),
            poll_ms_min: room.duration_ms("poll_min", d.poll_ms_min, 1_000..=60_000, "Whoever is next is asked back after this."),
            poll_ms_max: room.duration_ms(
                "poll_max",
                d.poll_ms_max,
                1_000..=HOUR,
                "Whoever is far from his turn is asked back after this: sooner while `polls_per_s_max` has room for it, later if it has not.",
            ),
            turn_ms: room.duration_ms(
                "turn",
                d.turn_ms,
                10_000..=HOUR,
                "Whoever has not come back so long after his turn begins again at the end.",
            ),
            age_ms_max: room.duration_ms("ticket_max_age", d.age_ms_max, 60_000..=24 * HOUR, "A ticket older than this is none."),
            waiting_max: room.integer(
                "waiting_max",
                d.waiting_max as i64,
                1..=1_000_000,
                "So many wait at this door at most, at about 100 octets each; others are told to come again, without a place.",
            ) as usize,
            weight: weight(room, "The ordinary lane's weight."),
            template_file: room.optional_string(
                "template_file",
                "A page in place of the built-in one: HTML with the placeholders of docs/front-door.md.",
            ),
            texts_file: room
                .optional_string("texts_file", "Texts in further languages, or other words than the built-in ones: TOML, a table a language."),
            pages: Arc::clone(&d.pages),
            lanes: room.tables("lane", "A lane beside the ordinary one. The first that fits counts.").iter().map(read_lane).collect(),
        };
        if spec.lanes.len() >= ROOM_LANES_MAX {
            room.problem("lane", format!("{} lanes", spec.lanes.len()), format!("at most {}", ROOM_LANES_MAX - 1));
        }
        if spec.poll_ms_max < spec.poll_ms_min {
            room.problem("poll_max", format!("{} ms", spec.poll_ms_max), "at least poll_min");
        }
        if spec.turn_ms < 2 * spec.poll_ms_max {
            room.problem("turn", format!("{} ms", spec.turn_ms), "at least twice poll_max, so that nobody misses his turn");
        }
        spec
    }
}

fn weight(section: &Section, about: &'static str) -> u32 {
    section.integer("weight", 1, 1..=1_000, about) as u32
}

fn read_lane(lane: &Section) -> LaneSpec {
    let name = lane.parsed::<Id>("name", None, LABEL, "Its name.");
    let spec = LaneSpec {
        name: name.map_or_else(String::new, |name| name.to_string()),
        cookie: lane.optional_string("cookie", "Who has a cookie of this name. Anybody can send one: see `signed`."),
        path: lane.optional_string("path", "Who asks for this path or one below it."),
        is_signed: lane.boolean(
            "signed",
            false,
            "The cookie must hold a pass that the application has signed with the lane's key (`redirector key --lane NAME`).",
        ),
        weight: weight(lane, "Of places that become free while all lanes wait, a lane gets as many as its weight says."),
    };
    if !lane.is_present() {
        return spec;
    }
    if spec.cookie.is_none() && spec.path.is_none() {
        lane.problem("", "neither cookie nor path", "one of them at least: the lane would be everybody's");
    }
    if spec.is_signed && spec.cookie.is_none() {
        lane.problem("signed", "no cookie", "the cookie that holds the pass");
    }
    if let Some(path) = spec.path.as_ref().filter(|path| !path.starts_with('/')) {
        lane.problem("path", format!("{path:?}"), "a path that begins with /");
    }
    let is_token =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if let Some(cookie) = spec.cookie.as_ref().filter(|name| !is_token(name)) {
        lane.problem("cookie", format!("{cookie:?}"), "the name of a cookie");
    }
    spec
}
