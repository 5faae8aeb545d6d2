//! The decision itself.

use super::host::{HostClass, bare, is_same};
use super::reentry::{self, HOPS_MAX, OWN_PATH};
use super::routes::{To, climbs};
use super::{Decision, Dispatched, Front, Pickers, Request, Rules, Server, Snapshot, Wait, target};
use crate::config::{Maintenance, RedirectStatus};
use crate::room::{self, Admission, Asker, admit};
use farm_shared::time::Now;

/// Where certificate authorities ask (RFC 8555 8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
/// Draws for a server other than the one that is left.
const OTHERS_MAX: usize = 8;

/// What a request gets. Allocates nothing but what `pickers` need for a larger farm than any before.
///
/// RFC 9110 15.4 (redirects), 15.5.20 (421), RFC 9112 3.2 (request targets).
pub fn decide<'a>(
    front: &'a Front,
    dispatched: &(impl Dispatched + ?Sized),
    request: &Request<'a>,
    now: Now,
    pickers: &mut Pickers,
) -> Decision<'a> {
    let rules = &*front.rules;
    if let Some(limit) = &rules.limit
        && let Some(debts) = dispatched.debts()
        && let Err(retry_after_s) = limit.pay(debts, request.source, now.mono, || has_session(front, request, now))
    {
        return Decision::Limited { retry_after_s };
    }
    if matches!(request.method, "CONNECT" | "TRACE") {
        return reject(405, "method");
    }
    if request.target.len() > rules.url_bytes_max {
        return reject(414, "target_length");
    }
    let Some(target) = target::parse(request.target) else { return reject(400, "target") };
    let path = target.path_and_query;
    if !front.challenges.is_empty()
        && let Some(token) = path.strip_prefix(CHALLENGE_PATH)
        && let Some(body) = front.challenges.get(token)
    {
        return Decision::Challenge { body };
    }
    let Some(authority) = target.authority.or(request.host) else { return reject(400, "host_missing") };
    let host = bare(authority);
    let class = rules.hosts.classify(host);
    if class == HostClass::Foreign {
        return reject(421, "host");
    }
    if !request.secure
        && let Some(decision) = secured(rules, class, request.method, path)
    {
        return decision;
    }
    if let Some(decision) = no_redirect(request) {
        return decision;
    }
    if let HostClass::Farm(from) = class {
        return home(rules, from, request.method, path);
    }
    let mut order = Order { farm: 0, path, status: rules.status, left: None, assign: false };
    if let Some(own) = path.strip_prefix(OWN_PATH) {
        if let Some((from, to)) = reentry::parse(own) {
            (order.left, order.path) = (Some(from), to);
        } else if own.split('?').next() == Some(reentry::ASSIGN) {
            order.assign = true;
        } else {
            return reject(404, "not_found");
        }
    } else if let Some(assign) = &rules.assign {
        order.assign = path.split('?').next() == Some(assign);
    }
    if order.assign {
        if !matches!(request.method, "GET" | "HEAD") {
            return reject(405, "read_only");
        }
        order.path = "/";
    }
    if !rules.routes.is_empty()
        && let Some(route) = rules.routes.find(host, order.path)
    {
        match &route.to {
            To::Farm(farm) => {
                order.farm = *farm;
                order.path = route.rest(order.path);
                if route.status != RedirectStatus::Auto {
                    order.status = route.status;
                }
            }
            _ if order.assign => return reject(404, "not_found"),
            To::Away { location, has_path, read_only } => {
                if *read_only && !matches!(request.method, "GET" | "HEAD" | "OPTIONS") {
                    return reject(405, "read_only");
                }
                if *has_path && climbs(order.path) {
                    return reject(400, "target");
                }
                let path_and_query = route.rest(order.path);
                return Decision::Moved {
                    status: route.status.of(request.method),
                    location_prefix: location,
                    path_and_query,
                };
            }
            To::Maintenance { retry_after_s } => return Decision::Maintenance { retry_after_s: *retry_after_s },
        }
        if order.path.is_empty() {
            order.path = "/";
        }
    }
    order.carry_out(front, dispatched, request, authority, now, pickers)
}

/// What a request that is for a farm asks of it.
struct Order<'a> {
    farm: u16,
    path: &'a str,
    status: RedirectStatus,
    /// The server that it comes from, by the re-entry address.
    left: Option<&'a str>,
    /// The answer is to be JSON.
    assign: bool,
}

impl<'a> Order<'a> {
    fn carry_out(
        self,
        front: &'a Front,
        dispatched: &(impl Dispatched + ?Sized),
        request: &Request<'a>,
        authority: &str,
        now: Now,
        pickers: &mut Pickers,
    ) -> Decision<'a> {
        let farm = self.farm;
        let Some(snapshot) = front.farm(farm) else { return reject(404, "not_found") };
        let closed = front.rules.maintenance;
        if closed == Maintenance::All {
            return Decision::Maintenance { retry_after_s: snapshot.retry_after_s };
        }
        let reentries = match self.left {
            None => 0,
            Some(_) => snapshot.cookies.hops(request.cookies, request.secure, now.wall).saturating_add(1),
        };
        if reentries > HOPS_MAX {
            return reject(503, "host_loop");
        }
        let returning = snapshot
            .cookies
            .backend(request.cookies, request.secure, now.wall)
            .and_then(|id| snapshot.server(id))
            .filter(|s| s.standing.keeps_sessions() && !is_left(self.left, s) && !s.location_prefix.is_empty());
        let mut called = false;
        let server = match returning {
            Some(server) => server,
            None if closed == Maintenance::New => {
                return Decision::Maintenance { retry_after_s: snapshot.retry_after_s };
            }
            None => match self.begin(snapshot, dispatched, request, now, pickers) {
                Admission::Enter { place, is_called } => {
                    called = is_called;
                    place
                }
                Admission::Wait(told) => return Decision::Wait(Wait { farm, told }),
            },
        };
        let returning = returning.is_some();
        if self.assign {
            return Decision::Assign { farm, slot: server.slot, returning };
        }
        if is_same(&server.location_prefix, authority) {
            return reject(421, "host_loop");
        }
        Decision::Redirect {
            status: self.status.of(request.method),
            farm,
            slot: server.slot,
            location_prefix: &server.location_prefix,
            path_and_query: self.path,
            set_cookie: !returning,
            returning,
            reentries,
            called,
        }
    }

    /// A place for a new session, or a place in the queue.
    fn begin(
        &self,
        snapshot: &'a Snapshot,
        dispatched: &(impl Dispatched + ?Sized),
        request: &Request<'a>,
        now: Now,
        pickers: &mut Pickers,
    ) -> Admission<&'a Server> {
        let mut pick = || pick(pickers, self.farm, snapshot, dispatched, self.left);
        match &snapshot.room {
            None => match pick() {
                Some(place) => Admission::Enter { place, is_called: false },
                None => Admission::Wait(room::Wait::plain(snapshot.retry_after_s)),
            },
            Some(gate) => {
                let asker = Asker { cookies: request.cookies, fields: request.fields, path: self.path };
                admit(gate, dispatched.waiters(self.farm).unwrap_or(&()), &asker, now, pick)
            }
        }
    }
}

fn reject<'a>(status: u16, reason: &'static str) -> Decision<'a> {
    Decision::Reject { status, reason }
}

/// Whether a request shows the cookie of a session that is under way, in whatever farm.
fn has_session(front: &Front, request: &Request<'_>, now: Now) -> bool {
    let is_shown = |farm: &Snapshot| {
        let id = farm.cookies.backend(request.cookies, request.secure, now.wall);
        id.and_then(|id| farm.server(id)).is_some_and(|server| server.standing.keeps_sessions())
    };
    !request.cookies.is_empty() && front.farms.iter().any(|farm| is_shown(farm))
}

fn is_left(left: Option<&str>, server: &Server) -> bool {
    left.is_some_and(|left| left.eq_ignore_ascii_case(server.id.as_str()))
}

/// A server for a new session, if possible not the one that was left.
fn pick<'a>(
    pickers: &mut Pickers,
    farm: u16,
    snapshot: &'a Snapshot,
    dispatched: &(impl Dispatched + ?Sized),
    left: Option<&str>,
) -> Option<&'a Server> {
    let mut draw = || pickers.pick(farm, snapshot, dispatched).and_then(|at| snapshot.servers.get(at));
    let first = draw()?;
    if !is_left(left, first) {
        return Some(first);
    }
    let other = (0..OTHERS_MAX).find_map(|_| draw().filter(|s| !is_left(left, s)));
    Some(other.unwrap_or(first))
}

/// A plain request for a name that is to be asked by HTTPS. It says "for good", which is what it means; nobody keeps it, since all our
/// answers are `no-store`, so an operator can go back (what browsers are to keep, HSTS tells them). 301 may turn other methods into
/// GET, hence 308 for those (RFC 9110 15.4.2, 15.4.9).
fn secured<'a>(rules: &'a Rules, class: HostClass<'_>, method: &str, path: &'a str) -> Option<Decision<'a>> {
    let HostClass::Served(Some(listed)) = class else { return None };
    let location_prefix = rules.https.as_ref()?.get(listed)?;
    if path.starts_with(CHALLENGE_PATH) {
        return None;
    }
    let status = if matches!(method, "GET" | "HEAD") { 301 } else { 308 };
    Some(Decision::Moved { status, location_prefix, path_and_query: path })
}

/// Requests that a redirect would break: preflights (the Fetch standard forbids it), WebSocket and gRPC (clients do not follow).
fn no_redirect(request: &Request<'_>) -> Option<Decision<'static>> {
    let fields = request.fields;
    match request.method {
        "GET" => {
            let websocket = |value: &str| value.split(',').any(|p| p.trim_ascii().eq_ignore_ascii_case("websocket"));
            let asked = fields.upgrades() && fields.get("upgrade").is_some_and(websocket);
            asked.then_some(Decision::Unfollowable { grpc: false })
        }
        "OPTIONS" => {
            let asked = fields.get("origin").is_some() && fields.get("access-control-request-method").is_some();
            asked.then_some(Decision::Preflight)
        }
        "POST" => {
            let kind = fields.get("content-type").unwrap_or_default();
            let rest =
                kind.get(..16).filter(|head| head.eq_ignore_ascii_case("application/grpc")).and_then(|_| kind.get(16..));
            let grpc = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';', ' ']));
            grpc.then_some(Decision::Unfollowable { grpc: true })
        }
        _ => None,
    }
}

/// A server's own name led here: the front door finds another one.
fn home<'a>(rules: &'a Rules, from: &'a str, method: &str, path_and_query: &'a str) -> Decision<'a> {
    match &rules.url {
        Some(front) if reentry::is_label(from) => {
            Decision::Home { status: RedirectStatus::Auto.of(method), front, from, path_and_query }
        }
        _ => reject(421, "host_loop"),
    }
}
