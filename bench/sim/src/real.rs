//! What `bench/crowd-real` wrote down of a run on real processes, as the same rows and totals that the simulator gives.
//!
//! Files are read leniently (a line that is cut off is left out), because a run may be killed; nothing is made up for what is missing.

use crate::figure::{Moment, Row};
use serde_json::Value;
use std::path::Path;

/// Longest file that is read, in octets.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ends {
    /// Sessions that began and were not cut off by the end.
    pub begun: f64,
    /// Share of them that completed, delayed ones included.
    pub completed: f64,
    /// Share of them that waited at the door or for a slow answer.
    pub delayed: f64,
    /// Share of them that aborted.
    pub aborted: f64,
    /// Median and 95th percentile of all requests to servers, in milliseconds.
    pub latency_ms: [f64; 2],
}

/// A run's rows over time, by the files `crowd.jsonl` and `servers.txt` of a folder.
///
/// # Errors
/// A file that cannot be read or holds nothing.
pub fn read(name: &str, folder: &Path) -> Result<(Row, Ends), String> {
    let crowd = text(&folder.join("crowd.jsonl"))?;
    let servers: Vec<(u64, [f64; 3])> = text(&folder.join("servers.txt"))?.lines().filter_map(servers_at).collect();
    let lines: Vec<Value> = crowd.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    let mut before_waits = 0.0;
    let moments: Vec<Moment> = of_kind("interval")
        .filter_map(|line| {
            let wall_ms = line["wall_ms"].as_u64()?;
            let at = servers.partition_point(|(at, _)| *at <= wall_ms).saturating_sub(1);
            let (_, [live, booting, draining]) = *servers.get(at)?;
            let latency = &line["latency_ms"];
            let asked = latency["count"].as_u64()? > 0;
            let waits = line["waits"].as_f64()?;
            let waiting = waits - std::mem::replace(&mut before_waits, waits);
            Some(Moment {
                t_s: line["t_s"].as_f64()?,
                clients: line["live"].as_f64()?,
                waiting,
                servers: live + draining,
                booting,
                aborted: line["aborted"].as_f64()?,
                latency: asked.then(|| ["p5", "p50", "p95"].map(|p| latency[p].as_f64().unwrap_or_default())),
            })
        })
        .collect();
    let summary = of_kind("summary").next().ok_or_else(|| format!("{}: no summary", folder.display()))?;
    let number = |key: &str| summary[key].as_f64().unwrap_or_default();
    let begun = (number("started") - number("unfinished")).max(1.0);
    let latency = |p: &str| summary["latency_ms"][p].as_f64().unwrap_or_default();
    let ends = Ends {
        begun,
        completed: (number("completed") + number("delayed")) / begun,
        delayed: number("delayed") / begun,
        aborted: number("aborted") / begun,
        latency_ms: [latency("p50"), latency("p95")],
    };
    Ok((Row { name: name.into(), moments }, ends))
}

fn text(path: &Path) -> Result<String, String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(named)?.len() > BYTES_MAX {
        return Err(format!("{}: longer than {BYTES_MAX} octets", path.display()));
    }
    std::fs::read_to_string(path).map_err(named)
}

/// `EPOCH_MS TIME servers: 3 live, 0 booting, 0 draining; …`
fn servers_at(line: &str) -> Option<(u64, [f64; 3])> {
    let at = line.split(' ').next()?.parse().ok()?;
    let counts = line.split_once("servers: ")?.1.split(';').next()?;
    let mut found = [0.0; 3];
    for (place, part) in found.iter_mut().zip(counts.split(", ")) {
        *place = part.split(' ').next()?.parse().ok()?;
    }
    Some((at, found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_of_a_run() {
        let folder = std::env::temp_dir().join(format!("farm-sim-real-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let interval = r#"{"kind":"interval","wall_ms":2000,"t_s":1.0,"live":6,"aborted":1,"waits":3,"latency_ms":{"count":2,"p5":1.0,"p50":2.0,"p95":3.0}}"#;
        let summary = r#"{"kind":"summary","started":12,"completed":8,"delayed":1,"aborted":1,"unfinished":2,"latency_ms":{"p50":2.5,"p95":9.0}}"#;
        std::fs::write(folder.join("crowd.jsonl"), format!("{interval}\n{{\"kind\":\"inter\n{summary}\n")).unwrap();
        let servers = "1000 00:00Z servers: 3 live, 2 booting, 1 draining; wants 5\n1500\n3000 00:02Z servers: 9 live, 0 booting, 0 draining; w";
        std::fs::write(folder.join("servers.txt"), servers).unwrap();
        let (row, ends) = read("x", &folder).unwrap();
        let expect = Moment {
            t_s: 1.0,
            clients: 6.0,
            waiting: 3.0,
            servers: 4.0,
            booting: 2.0,
            aborted: 1.0,
            latency: Some([1.0, 2.0, 3.0]),
        };
        assert_eq!(row.moments, [expect]);
        assert_eq!((ends.begun, ends.completed, ends.aborted), (10.0, 0.9, 0.1));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(read("x", &folder).is_err());
    }
}
