//! A server to show.

use redirector_core::farm::ServerStatus;

pub(crate) fn server(id: &str, standing: &'static str) -> ServerStatus {
    ServerStatus {
        id: id.into(),
        slot: 0,
        location: format!("http://{id}"),
        standing,
        measured: standing,
        forced: None,
        takes_new: standing == "in_service",
        why_not: None,
        queue: 1.25,
        cores: 2.0,
        busy: 0.95,
        sessions: 12,
        limit: Some(40),
        arrivals: 1,
        completions: 1,
        youngest_ms: None,
        heard_ms_ago: 300,
        in_service_ms: 9_000,
        share: 0.4,
        drain_wish: false,
        ttl_left_ms: Some(4_000),
        twins: false,
        notice: None,
        zone: None,
        new_1m: 7,
        expected_1m: 6.5,
    }
}
