//! An application's own word on its load, as JSON over HTTP: what it knows of sessions, the kernel does not.

use super::{LoadError, Reading};
use crate::http::exchange;
use crate::settings::HttpUrl;
use bytes::Bytes;
use farm_shared::heartbeat::Load;
use http_body_util::Full;
use hyper::Request;
use serde::Deserialize;

const BODY_BYTES_MAX: usize = 64 * 1024;

/// The report. What it does not name, it does not know; names that we do not know are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    queue: Option<f64>,
    cores: Option<f64>,
    busy: Option<f64>,
    sessions: Option<u32>,
    limit: Option<u32>,
    arrivals: Option<u64>,
    completions: Option<u64>,
    youngest_ms: Option<u64>,
    draining: Option<bool>,
}

impl Report {
    pub(super) fn parse(body: &[u8]) -> Result<Self, LoadError> {
        serde_json::from_slice(body).map_err(|error| LoadError(format!("not a load report: {error}")))
    }

    /// As the only source: it must name the run queue.
    pub(super) fn reading(self) -> Result<Reading, LoadError> {
        let queue = self.queue.ok_or_else(|| LoadError("the report names no queue".to_owned()))?;
        let machine = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        let load = Load { queue, cores: self.cores.unwrap_or(machine), busy: self.busy.unwrap_or(0.0), ..Load::default() };
        let mut reading = Reading { load, draining: false };
        self.tell_sessions(&mut reading);
        Ok(reading)
    }

    /// As the source of sessions beside the kernel's numbers.
    pub(super) fn tell_sessions(self, reading: &mut Reading) {
        let load = &mut reading.load;
        load.sessions = self.sessions.unwrap_or(0);
        load.limit = self.limit;
        load.arrivals = self.arrivals.unwrap_or(0);
        load.completions = self.completions.unwrap_or(0);
        load.youngest_ms = self.youngest_ms;
        reading.draining = self.draining.unwrap_or(false);
    }
}

/// Asks once. The caller bounds the time.
pub(super) async fn ask(url: &HttpUrl) -> Result<Report, LoadError> {
    let named = |error: String| LoadError(format!("{url}: {error}"));
    let mut addresses = tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(|e| named(e.to_string()))?;
    let address = addresses.next().ok_or_else(|| named("has no address".to_owned()))?;
    let request = Request::get(&url.path)
        .header("host", url.authority())
        .header("accept", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::new()))
        .map_err(|e| named(e.to_string()))?;
    let response = exchange(address, None, request, BODY_BYTES_MAX).await.map_err(|e| named(e.to_string()))?;
    if response.status() != hyper::StatusCode::OK {
        return Err(named(format!("found status {}, expected 200", response.status().as_u16())));
    }
    Report::parse(response.body()).map_err(|e| named(e.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reports() {
        let full = r#"{"queue":2.5,"cores":4,"busy":0.5,"sessions":7,"arrivals":20,"completions":13,"youngest_ms":12,"limit":null,"draining":true,"more":[1]}"#;
        let load = Load {
            queue: 2.5,
            cores: 4.0,
            busy: 0.5,
            sessions: 7,
            limit: None,
            arrivals: 20,
            completions: 13,
            youngest_ms: Some(12),
            reported: true,
        };
        assert_eq!(Report::parse(full.as_bytes()).unwrap().reading(), Ok(Reading { load, draining: true }));
        assert_eq!(Report::parse(br#"{"queue":1}"#).unwrap().reading().unwrap().load.sessions, 0);
        for bad in
            ["", "[]x", "{}", r#"{"queue":"1"}"#, r#"{"sessions":1}"#, r#"{"queue":1,"sessions":-1}"#, r#"{"queue":1e999}"#]
        {
            assert!(Report::parse(bad.as_bytes()).and_then(Report::reading).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Report::parse(&body).and_then(Report::reading);
        }
    }
}
