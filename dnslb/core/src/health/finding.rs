//! What a check finds beside success: how long a certificate lasts, how long the run queue is, what a member asks for.
//!
//! Texts come from members and are hostile: each reader is bounded by its input and never panics.

use farm_shared::time::Wall;
use std::collections::BTreeSet;

/// What a check that reached its member found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// When the member's certificate ends.
    pub not_after: Option<Wall>,
    /// Processes that run or wait to run, per core.
    pub run_queue: Option<f64>,
    /// What the member asks for.
    pub advice: Option<Advice>,
}

/// What a member's agent asks for (HAProxy's `agent-check`). What it does not mention stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Advice {
    /// Its weight, relative to what is configured.
    pub weight: Option<f64>,
    /// Whether it takes new clients.
    pub mode: Option<Mode>,
}

/// Whether a member that answers takes new clients, in its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Ready,
    /// It serves those whom it has (`drain`), or nobody (`maint`).
    Drain,
}

/// The highest weight that an agent may ask for: four times what is configured.
const WEIGHT_MAX: f64 = 4.0;

/// Reads an agent's answer: words in any order, up to the end of the line. `Err` is that it is down, in its words.
pub fn parse_agent(text: &[u8]) -> Result<Advice, String> {
    let line = text.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let (words, why) = line.split_once('#').unwrap_or((&line, ""));
    let mut advice = Advice::default();
    let mut down = None;
    let mut understood = false;
    for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "up" => down = None,
            "ready" => advice.mode = Some(Mode::Ready),
            "drain" | "maint" => advice.mode = Some(Mode::Drain),
            "down" | "fail" | "failed" | "stopped" => down = Some(lower.clone()),
            other => match other.strip_suffix('%').map(str::parse::<u32>) {
                Some(Ok(percent)) => advice.weight = Some((f64::from(percent) / 100.0).min(WEIGHT_MAX)),
                // Words for other balancers, such as maxconn:30.
                _ if other.contains(':') => {}
                _ => continue,
            },
        }
        understood = true;
    }
    let why = why.trim();
    match down {
        Some(word) if why.is_empty() => Err(format!("the agent says {word}")),
        Some(word) => Err(format!("the agent says {word}: {why}")),
        None if understood => Ok(advice),
        None => Err("the agent says nothing that is understood".into()),
    }
}

/// Reads the run queue per core from node_exporter's text: processes that run or wait, without the exporter itself, over the number of
/// processors it lists.
pub fn parse_node_exporter(text: &[u8]) -> Result<f64, String> {
    let mut running = None;
    let mut processors = BTreeSet::new();
    for line in text.split(|octet| *octet == b'\n') {
        if let Some(rest) = line.strip_prefix(b"node_procs_running ") {
            running = std::str::from_utf8(rest).ok().and_then(|text| text.trim().parse::<f64>().ok());
        } else if let Some(rest) = line.strip_prefix(b"node_cpu_seconds_total{") {
            let labels = rest.split(|octet| *octet == b'}').next().unwrap_or_default();
            let label = labels.split(|octet| *octet == b',').find_map(|label| label.strip_prefix(b"cpu=\""));
            if let Some(cpu) = label.filter(|_| processors.len() < PROCESSORS_MAX) {
                processors.insert(cpu);
            }
        }
    }
    let running = running.filter(|running| running.is_finite() && *running >= 0.0);
    let running = running.ok_or("no node_procs_running among its metrics")?;
    if processors.is_empty() {
        return Err("no node_cpu_seconds_total among its metrics".into());
    }
    Ok((running - 1.0).max(0.0) / processors.len() as f64)
}

/// Processors that are told apart.
const PROCESSORS_MAX: usize = 4_096;

/// Reads a health answer of gRPC: the one field of `grpc.health.v1.HealthCheckResponse`, behind the five octets of its frame.
pub fn parse_grpc_health(body: &[u8]) -> Result<(), String> {
    let (head, message) = body.split_first_chunk::<5>().ok_or("no message")?;
    let [compressed, a, b, c, d] = *head;
    if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err("no plain message of one piece".into());
    }
    // Proto3 leaves out a field of value 0: UNKNOWN.
    let status = match message {
        [] => 0,
        [0x08, status, ..] => *status,
        _ => return Err("no health answer".into()),
    };
    match status {
        1 => Ok(()),
        2 => Err("NOT_SERVING".into()),
        3 => Err("SERVICE_UNKNOWN".into()),
        other => Err(format!("health status {other}")),
    }
}

/// The frame that asks for the health of `service`; empty for the whole server.
pub fn grpc_health_request(service: &str) -> Vec<u8> {
    // A service's name has at most 127 octets, so that its length is one octet: the configuration's reader holds it.
    let name = service.as_bytes().get(..service.len().min(127)).unwrap_or_default();
    let mut message = Vec::new();
    if !name.is_empty() {
        message.extend_from_slice(&[0x0a, name.len() as u8]);
        message.extend_from_slice(name);
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agents_say() {
        let check = |text: &str, weight, mode| {
            assert_eq!(parse_agent(text.as_bytes()), Ok(Advice { weight, mode }), "{text:?}");
        };
        check("up\n", None, None);
        check("up 75%\n", Some(0.75), None);
        check("75%\r\nnonsense", Some(0.75), None);
        check("READY up 100%", Some(1.0), Some(Mode::Ready));
        check("drain", None, Some(Mode::Drain));
        check("maint # upgrade", None, Some(Mode::Drain));
        check("up,maxconn:30", None, None);
        check("4000000000%", Some(4.0), None);
        check("down up", None, None);
        let down = |text: &str, expect: &str| assert_eq!(parse_agent(text.as_bytes()), Err(expect.to_owned()), "{text:?}");
        down("down#disk is full\n", "the agent says down: disk is full");
        down("up stopped", "the agent says stopped");
        down("fail", "the agent says fail");
        for nothing in ["", "\n", "hello", "-5%", "%", "#up"] {
            down(nothing, "the agent says nothing that is understood");
        }
    }

    #[test]
    fn run_queues_of_node_exporters() {
        let cpus = "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 1\nnode_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1\n\
                    node_cpu_seconds_total{cpu=\"1\",mode=\"idle\"} 1\n";
        let check = |running: &str, expect: Option<f64>| {
            let text = format!("# HELP node_procs_running x\n{cpus}{running}\n");
            assert_eq!(parse_node_exporter(text.as_bytes()).ok(), expect, "{running}");
        };
        check("node_procs_running 5", Some(2.0));
        check("node_procs_running 1", Some(0.0));
        check("node_procs_running 0", Some(0.0));
        check("node_procs_running 1e1", Some(4.5));
        check("node_procs_running NaN", None);
        check("node_procs_running -3", None);
        check("node_procs_running_total 5", None);
        assert!(parse_node_exporter(b"node_procs_running 5\n").is_err());
    }

    #[test]
    fn health_of_grpc() {
        assert_eq!(grpc_health_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(grpc_health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let check = |body: &[u8], expect: Result<(), &str>| {
            assert_eq!(parse_grpc_health(body).as_ref().map_err(String::as_str).copied(), expect, "{body:?}");
        };
        check(&[0, 0, 0, 0, 2, 8, 1], Ok(()));
        check(&[0, 0, 0, 0, 2, 8, 2], Err("NOT_SERVING"));
        check(&[0, 0, 0, 0, 2, 8, 3], Err("SERVICE_UNKNOWN"));
        check(&[0, 0, 0, 0, 0], Err("health status 0"));
        check(&[0, 0, 0, 0, 2, 8], Err("no plain message of one piece"));
        check(&[1, 0, 0, 0, 2, 8, 1], Err("no plain message of one piece"));
        check(&[0, 0, 0, 0, 2, 16, 1], Err("no health answer"));
        check(&[], Err("no message"));
    }

    proptest! {
        #[test]
        fn texts_of_strangers(text: Vec<u8>) {
            let _ = (parse_agent(&text), parse_node_exporter(&text), parse_grpc_health(&text));
        }
    }
}
