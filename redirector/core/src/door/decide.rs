//! The decision itself.

use super::host::{HostClass, is_same};
use super::{Decision, Dispatched, Request, Server, Snapshot, target};
use crate::route::Picker;
use farm_shared::time::Now;

/// What a request gets. Allocates nothing but what `picker` needs for a larger farm than any before.
///
/// RFC 9110 15.4 (302, 307), 15.5.20 (421), RFC 9112 3.2 (request targets).
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    dispatched: &(impl Dispatched + ?Sized),
    request: &Request<'a>,
    now: Now,
    picker: &mut Picker,
) -> Decision<'a> {
    let reject = |status, reason| Decision::Reject { status, reason };
    if matches!(request.method, "CONNECT" | "TRACE") {
        return reject(405, "method");
    }
    if request.target.len() > snapshot.url_bytes_max {
        return reject(414, "target_length");
    }
    let Some(target) = target::parse(request.target) else { return reject(400, "target") };
    let Some(host) = target.authority.or(request.host) else { return reject(400, "host_missing") };
    match snapshot.hosts.classify(host) {
        HostClass::Served => {}
        HostClass::Farm => return reject(421, "host_loop"),
        HostClass::Foreign => return reject(421, "host"),
    }
    let returning = snapshot
        .cookies
        .backend(request.cookies, now.wall)
        .and_then(|id| snapshot.server(id))
        .filter(|s| s.standing.keeps_sessions());
    let server = match returning {
        Some(server) => server,
        None => {
            match picker.pick(&snapshot.table, snapshot.generation, dispatched).and_then(|at| snapshot.servers.get(at)) {
                Some(server) => server,
                None => return Decision::Wait { retry_after_s: snapshot.retry_after_s },
            }
        }
    };
    if is_same(&server.location_prefix, host) {
        return reject(421, "host_loop");
    }
    redirect(server, request.method, target.path_and_query, returning.is_some())
}

fn redirect<'a>(server: &'a Server, method: &str, path_and_query: &'a str, returning: bool) -> Decision<'a> {
    Decision::Redirect {
        status: if matches!(method, "GET" | "HEAD") { 302 } else { 307 },
        slot: server.slot,
        location_prefix: &server.location_prefix,
        path_and_query,
        set_cookie: !returning,
        returning,
    }
}
