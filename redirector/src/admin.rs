//! The admin interface's routes: status, journal, operators' words, and the status page with its event stream.
//!
//! Who may ask is farm-daemon's part (loopback or Unix socket, token, no foreign browser origin). Nothing here reaches into the
//! control loop but by [`Ask`], and no listener can make it wait.

use crate::farms::Shown;
use crate::history::RANGES;
use crate::journal;
use crate::page::{self, Look};
use crate::shell::Ask;
use crate::view::View;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use farm_shared::id::Id;
use farm_shared::member::Forced;
use hyper::body::Frame;
use redirector_core::drill::HitRequest;
use redirector_core::farm::{AdminCommand, DrillCommand, InstanceVerb};
use serde::Deserialize;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

const LISTENERS_MAX: usize = 32;
const EVENT_MS: u64 = 1_000;
const JOURNAL_LINES_MAX: usize = 10_000;
const JOURNAL_LINES: usize = 100;
const LAUNCHES_MAX: u32 = 100;
const OPENAPI: &str = include_str!("../../docs/openapi.json");
const TARGET_BYTES_MAX: usize = 64;

/// What the routes share.
#[derive(Clone)]
pub struct Admin {
    /// The last picture.
    pub views: watch::Receiver<Arc<View>>,
    /// The way to the control loop.
    pub asks: mpsc::Sender<Ask>,
    /// Where the journal is.
    pub state_dir: PathBuf,
    /// What stands before all paths: nothing, or `/farms/NAME`.
    pub root: String,
    listeners: Arc<Semaphore>,
    policy: Arc<str>,
}

impl Admin {
    /// Routes that show `views` and ask through `asks`.
    pub fn new(views: watch::Receiver<Arc<View>>, asks: mpsc::Sender<Ask>, state_dir: PathBuf) -> Self {
        let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
        Self { views, asks, state_dir, root: String::new(), listeners, policy: page::content_security_policy().into() }
    }

    /// The routes of all farms, the first one's at the root and each one's below `/farms/NAME`.
    pub fn of_farms(farms: &[Shown]) -> Router {
        let admin = |farm: &Shown, root: String| Self {
            root,
            ..Self::new(farm.views.clone(), farm.asks.clone(), farm.state_dir.clone())
        };
        let first = farms.first().map(|farm| admin(farm, String::new()).router()).unwrap_or_default();
        farms.iter().fold(first, |all, farm| {
            let root = format!("/farms/{}", farm.name);
            let admin = admin(farm, root.clone());
            // A nested root does not stand for the address with a slash at its end, to which the pages lead.
            all.route(&format!("{root}/"), get(show_page).with_state(admin.clone())).nest(&root, admin.router())
        })
    }

    /// HTML, or JSON with HTML in it, whose own addresses stand below [`Admin::root`]. No text from outside has a quote of its own.
    fn rooted(&self, html: String) -> String {
        if self.root.is_empty() {
            return html;
        }
        let root = &self.root;
        let place = |html: String, name: &str| {
            let below = html.replace(&format!("{name}=\"/"), &format!("{name}=\"{root}/"));
            below.replace(&format!("{name}=\\\"/"), &format!("{name}=\\\"{root}/"))
        };
        // The way from farm to farm leads out of here.
        ["href", "action"].into_iter().fold(html, place).replace(&format!("{root}/farms/"), "/farms/")
    }

    /// The routes, for farm-daemon's admin listener.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(show_page))
            .route("/table", get(show_table))
            .route("/server/{id}", get(show_server))
            .route("/server/{id}/{verb}", post(command_by_form))
            .route("/events", get(events))
            .route("/v1/servers", get(servers))
            .route("/v1/openapi.json", get(openapi))
            .route("/v1/history", get(history))
            .route("/v1/notices", get(notices))
            .route("/v1/status", get(status))
            .route("/v1/journal", get(show_journal))
            .route("/v1/admin/{verb}/{id}", post(command))
            .route("/v1/drill/hit", post(drill_hit))
            .route("/v1/drill/heal", post(drill_heal))
            .route("/v1/farm", get(farm))
            .route("/v1/farm/launch", post(launch))
            .route("/v1/farm/{verb}/{target}", post(instance))
            .route("/v1/reload", post(reload))
            .with_state(self)
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }
}

type Pairs = Query<Vec<(String, String)>>;

fn look(pairs: &[(String, String)]) -> Look {
    Look::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

async fn show_page(State(admin): State<Admin>, Query(pairs): Pairs) -> Response {
    let html = page::page(&admin.view(), &look(&pairs));
    admin.html(html)
}

async fn show_table(State(admin): State<Admin>, Query(pairs): Pairs) -> Response {
    let html = page::table_page(&admin.view(), &look(&pairs));
    admin.html(html)
}

async fn show_server(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    match page::server_page(&admin.view(), &id, None) {
        Some(html) => admin.html(html),
        None => say(StatusCode::NOT_FOUND, "no such server"),
    }
}

/// A button of the page of one server. Answers with that page, so that a reload asks before it does the same again.
async fn command_by_form(State(admin): State<Admin>, Path((id, verb)): Path<(String, String)>, body: Bytes) -> Response {
    let why = form_value(&body, "why");
    let Some(command) = admin_command(&verb, &id, &why) else {
        return say(StatusCode::NOT_FOUND, "no such command or server");
    };
    let (answer, answered) = oneshot::channel();
    if admin.asks.send(Ask::Admin(command, answer)).await.is_err() {
        return say(StatusCode::SERVICE_UNAVAILABLE, "the redirector is stopping");
    }
    let said = match answered.await {
        Ok(Ok(done)) => done,
        Ok(Err(why)) => format!("not done: {why}"),
        Err(_) => return say(StatusCode::SERVICE_UNAVAILABLE, "the redirector is stopping"),
    };
    match page::server_page(&admin.view(), &id, Some(&said)) {
        Some(html) => admin.html(html),
        None => say(StatusCode::NOT_FOUND, &said),
    }
}

/// A value of a form (application/x-www-form-urlencoded, WHATWG URL 5); empty if it is not there.
fn form_value(body: &[u8], name: &str) -> String {
    let decode = |text: &[u8]| {
        let mut out = Vec::with_capacity(text.len());
        let mut left = text.iter().copied();
        while let Some(byte) = left.next() {
            let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            out.push(match byte {
                b'+' => b' ',
                b'%' => match (hex(left.next()), hex(left.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => continue,
                },
                byte => byte,
            });
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = body.split(|b| *b == b'&').filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        Some((pair.get(..at)?, pair.get(at + 1..)?))
    });
    let mut found = pairs.filter(|(key, _)| *key == name.as_bytes());
    found.next().map(|(_, value)| decode(value)).unwrap_or_default()
}

impl Admin {
    fn html(&self, html: String) -> Response {
        let html = self.rooted(html);
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, &*self.policy),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Without any referrer, browsers would send the origin of a form as "null", and the gate would refuse it.
            (header::REFERRER_POLICY, "same-origin"),
        ];
        (headers, html).into_response()
    }
}

/// Servers, found and sorted as on the status page; all that are found, unless `page` stands there.
async fn servers(State(admin): State<Admin>, Query(pairs): Pairs) -> Response {
    let (view, look) = (admin.view(), look(&pairs));
    let mut servers = look.servers(&view.status.servers);
    let found = servers.len();
    if pairs.iter().any(|(name, _)| name == "page") {
        servers = servers.into_iter().skip(look.page * page::SERVERS_PER_PAGE).take(page::SERVERS_PER_PAGE).collect();
    }
    let total = view.status.servers.len();
    json(StatusCode::OK, &serde_json::json!({ "total": total, "found": found, "servers": servers }))
}

/// The description of this interface.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// A range of the history, by name.
async fn history(State(admin): State<Admin>, Query(pairs): Pairs) -> Response {
    let wanted = pairs.iter().find(|(name, _)| name == "range").map_or(RANGES[0].name, |(_, value)| value.as_str());
    match RANGES.iter().position(|range| range.name == wanted) {
        Some(n) => json(StatusCode::OK, &admin.view().ranges.json(n)),
        None => say(StatusCode::BAD_REQUEST, "expected a range: 10m, 2h or 24h"),
    }
}

/// What happened, the newest first.
async fn notices(State(admin): State<Admin>, Query(pairs): Pairs) -> Response {
    let topic = look(&pairs).topic;
    if topic.is_none() && pairs.iter().any(|(name, _)| name == "topic") {
        return say(StatusCode::BAD_REQUEST, "that is no topic");
    }
    let view = admin.view();
    let events: Vec<_> = view.events.newest(topic).collect();
    json(StatusCode::OK, &serde_json::json!({ "notices": events }))
}

async fn status(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &admin.view().json())
}

#[derive(Deserialize)]
struct Last {
    last: Option<usize>,
}

async fn show_journal(State(admin): State<Admin>, Query(Last { last }): Query<Last>) -> Response {
    let lines_max = last.unwrap_or(JOURNAL_LINES).min(JOURNAL_LINES_MAX);
    let read = tokio::task::spawn_blocking(move || journal::read(&admin.state_dir, lines_max)).await;
    match read {
        Ok(Ok(lines)) => {
            let text: String = lines.into_iter().map(|line| journal::masked(line) + "\n").collect();
            ([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response()
        }
        Ok(Err(error)) => say(StatusCode::INTERNAL_SERVER_ERROR, &format!("the journal cannot be read: {error}")),
        Err(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "the journal cannot be read"),
    }
}

#[derive(Deserialize)]
struct Why {
    #[serde(default)]
    why: String,
}

async fn command(
    State(admin): State<Admin>,
    Path((verb, id)): Path<(String, String)>,
    Query(Why { why }): Query<Why>,
) -> Response {
    if Id::new(&id).is_err() {
        return say(StatusCode::BAD_REQUEST, "that is no id of a backend");
    }
    let Some(command) = admin_command(&verb, &id, &why) else {
        return say(StatusCode::NOT_FOUND, "expected drain, down, up or clear");
    };
    let (answer, answered) = oneshot::channel();
    ask(&admin, Ask::Admin(command, answer), answered, StatusCode::NOT_FOUND).await
}

fn admin_command(verb: &str, id: &str, why: &str) -> Option<AdminCommand> {
    let id = Id::new(id).ok()?;
    let force = |forced| AdminCommand::Force { id: id.clone(), forced, why: why.to_owned() };
    Some(match verb {
        "drain" => force(Forced::Drain),
        "down" => force(Forced::Down),
        "up" => force(Forced::Up),
        "clear" => AdminCommand::Clear { id: id.clone() },
        _ => return None,
    })
}

async fn drill_hit(State(admin): State<Admin>, body: Bytes) -> Response {
    let hit = match serde_json::from_slice::<HitRequest>(&body) {
        Ok(hit) => hit,
        Err(error) => return say(StatusCode::BAD_REQUEST, &format!("that is no hit: {error}")),
    };
    drill(&admin, DrillCommand::Hit(hit)).await
}

#[derive(Deserialize)]
struct Which {
    drill: Option<String>,
}

async fn drill_heal(State(admin): State<Admin>, Query(Which { drill: name }): Query<Which>) -> Response {
    let Ok(name) = name.map(|name| Id::new(&name)).transpose() else {
        return say(StatusCode::BAD_REQUEST, "that is no name of a drill");
    };
    drill(&admin, DrillCommand::Heal(name)).await
}

async fn drill(admin: &Admin, command: DrillCommand) -> Response {
    let (answer, answered) = oneshot::channel();
    ask(admin, Ask::Admin(AdminCommand::Drill(command), answer), answered, StatusCode::CONFLICT).await
}

/// The provider's instances as last listed.
async fn farm(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &admin.view().farm_json())
}

#[derive(Deserialize)]
struct Launch {
    count: Option<u32>,
    role: Option<String>,
}

async fn launch(State(admin): State<Admin>, Query(Launch { count, role }): Query<Launch>) -> Response {
    let Ok(role) = role.as_deref().map(Id::new).transpose() else {
        return say(StatusCode::BAD_REQUEST, "that is no name of a role");
    };
    let count = count.unwrap_or(1);
    if !(1..=LAUNCHES_MAX).contains(&count) {
        return say(StatusCode::BAD_REQUEST, &format!("expected a count from 1 to {LAUNCHES_MAX}"));
    }
    let (answer, answered) = oneshot::channel();
    ask(&admin, Ask::Admin(AdminCommand::Launch { role, count }, answer), answered, StatusCode::CONFLICT).await
}

#[derive(Deserialize)]
struct Force {
    #[serde(default)]
    force: bool,
}

async fn instance(
    State(admin): State<Admin>,
    Path((verb, target)): Path<(String, String)>,
    Query(Force { force }): Query<Force>,
) -> Response {
    let Some(verb) = InstanceVerb::ALL.into_iter().find(|v| v.label() == verb) else {
        return say(StatusCode::NOT_FOUND, "expected start, stop, reboot, terminate or adopt");
    };
    if target.len() > TARGET_BYTES_MAX {
        return say(StatusCode::BAD_REQUEST, "that is no instance and no server");
    }
    let (answer, answered) = oneshot::channel();
    let command = AdminCommand::Instance { verb, target, force };
    ask(&admin, Ask::Admin(command, answer), answered, StatusCode::CONFLICT).await
}

async fn reload(State(admin): State<Admin>) -> Response {
    let (answer, answered) = oneshot::channel();
    ask(&admin, Ask::Reload(answer), answered, StatusCode::UNPROCESSABLE_ENTITY).await
}

async fn ask(admin: &Admin, ask: Ask, answered: oneshot::Receiver<Result<String, String>>, refused: StatusCode) -> Response {
    if admin.asks.send(ask).await.is_err() {
        return say(StatusCode::SERVICE_UNAVAILABLE, "the redirector is stopping");
    }
    match answered.await {
        Ok(Ok(done)) => say(StatusCode::OK, &done),
        Ok(Err(why)) => say(refused, &why),
        Err(_) => say(StatusCode::SERVICE_UNAVAILABLE, "the redirector is stopping"),
    }
}

fn say(status: StatusCode, text: &str) -> Response {
    let key = if status.is_success() { "done" } else { "error" };
    json(status, &serde_json::json!({ key: text }))
}

fn json(status: StatusCode, document: &serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{document}\n")).into_response()
}

/// Server-sent events (WHATWG HTML 9.2): `status` with the status document and `page` with the page's parts, once a second;
/// with `only=page` or `only=status` one of them.
async fn events(State(admin): State<Admin>, Query(pairs): Pairs) -> Response {
    let Ok(place) = Arc::clone(&admin.listeners).try_acquire_owned() else {
        return say(StatusCode::SERVICE_UNAVAILABLE, "too many listeners");
    };
    let (sender, receiver) = mpsc::channel(1);
    let only = pairs.iter().find(|(name, _)| name == "only").map(|(_, value)| value.clone());
    tokio::spawn(tell(admin.clone(), sender, look(&pairs), only));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::new(EventBody { receiver, _place: place })).into_response()
}

/// Tells one listener until it has gone. A slow one skips pictures.
async fn tell(admin: Admin, listener: mpsc::Sender<Bytes>, look: Look, only: Option<String>) {
    let mut views = admin.views.clone();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let mut text = String::new();
        if only.as_deref() != Some("page") {
            let _ = write!(text, "event: status\ndata: {}\n\n", view.json());
        }
        if only.as_deref() != Some("status") {
            let _ = write!(text, "event: page\ndata: {}\n\n", admin.rooted(page::parts_json(&view, &look)));
        }
        if listener.send(Bytes::from(text)).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(EVENT_MS)).await;
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// A response body that goes on until the sender ends.
struct EventBody {
    receiver: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receiver.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
