//! The decision itself.

use super::host::{HostClass, is_same};
use super::{Decision, Dispatched, Front, Pickers, Request, Server, Wait, target};
use farm_shared::time::Now;

/// Where certificate authorities ask (RFC 8555 8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// What a request gets. Allocates nothing but what `pickers` need for a larger farm than any before.
///
/// RFC 9110 15.4 (302, 307), 15.5.20 (421), RFC 9112 3.2 (request targets).
pub fn decide<'a>(
    front: &'a Front,
    dispatched: &(impl Dispatched + ?Sized),
    request: &Request<'a>,
    now: Now,
    pickers: &mut Pickers,
) -> Decision<'a> {
    let reject = |status, reason| Decision::Reject { status, reason };
    let rules = &*front.rules;
    if matches!(request.method, "CONNECT" | "TRACE") {
        return reject(405, "method");
    }
    if request.target.len() > rules.url_bytes_max {
        return reject(414, "target_length");
    }
    let Some(target) = target::parse(request.target) else { return reject(400, "target") };
    if !front.challenges.is_empty()
        && let Some(token) = target.path_and_query.strip_prefix(CHALLENGE_PATH)
        && let Some(body) = front.challenges.get(token)
    {
        return Decision::Challenge { body };
    }
    let Some(host) = target.authority.or(request.host) else { return reject(400, "host_missing") };
    match rules.hosts.classify(host) {
        HostClass::Served => {}
        HostClass::Farm => return reject(421, "host_loop"),
        HostClass::Foreign => return reject(421, "host"),
    }
    let farm = 0;
    let Some(snapshot) = front.farm(farm) else { return reject(421, "host") };
    let returning = snapshot
        .cookies
        .backend(request.cookies, now.wall)
        .and_then(|id| snapshot.server(id))
        .filter(|s| s.standing.keeps_sessions());
    let server = match returning {
        Some(server) => server,
        None => match pickers.pick(farm, snapshot, dispatched).and_then(|at| snapshot.servers.get(at)) {
            Some(server) => server,
            None => return Decision::Wait(Wait { farm, retry_after_s: snapshot.retry_after_s }),
        },
    };
    if is_same(&server.location_prefix, host) {
        return reject(421, "host_loop");
    }
    redirect(server, farm, request.method, target.path_and_query, returning.is_some())
}

fn redirect<'a>(server: &'a Server, farm: u16, method: &str, path_and_query: &'a str, returning: bool) -> Decision<'a> {
    Decision::Redirect {
        status: if matches!(method, "GET" | "HEAD") { 302 } else { 307 },
        farm,
        slot: server.slot,
        location_prefix: &server.location_prefix,
        path_and_query,
        set_cookie: !returning,
        returning,
    }
}
