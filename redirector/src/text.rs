//! What the command line prints: the status document as a table for a terminal.
//!
//! It reads the same JSON as anybody else; a field that is missing prints as a dash.

use serde_json::Value;
use std::fmt::Write as _;

const DECISIONS_SHOWN: usize = 5;
const SERVERS_SHOWN_MAX: usize = 50;

/// The document of `/v1/status` for people.
pub fn status(document: &str) -> String {
    let Ok(status) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "farm {} at {}: generation {}, policy {}, {} door(s); redirects {} new, {} returning; waits {}",
        word(&status["farm"]),
        word(&status["id"]),
        word(&status["generation"]),
        word(&status["policy"]),
        word(&status["doors"]),
        word(&status["door"]["redirects_new"]),
        word(&status["door"]["redirects_returning"]),
        word(&status["door"]["waits"]),
    );
    for alarm in list(&status["alarms"]) {
        let _ = writeln!(out, "ALARM {}", word(alarm));
    }
    waiting_room(&mut out, &status["room"]);
    let servers = list(&status["servers"]);
    server_table(&mut out, servers.get(..SERVERS_SHOWN_MAX).unwrap_or(servers));
    if servers.len() > SERVERS_SHOWN_MAX {
        let _ = writeln!(out, "and {} more: `redirector servers`", servers.len() - SERVERS_SHOWN_MAX);
    }
    let scaler = &status["scaler"];
    if scaler["enabled"] == Value::Bool(true) {
        let _ = writeln!(
            out,
            "scaler {}: wants {}, live {}, booting {}, draining {}, bounds {} to {}; {}{}",
            word(&scaler["policy"]),
            word(&scaler["desired"]),
            word(&scaler["live"]),
            word(&scaler["pending"]),
            word(&scaler["draining"]),
            word(&scaler["min"]),
            word(&scaler["max"]),
            boot(scaler),
            scaler["frozen"].as_str().map(|why| format!("; frozen: {why}")).unwrap_or_default(),
        );
        for (key, says) in [("provider_error", "the provider"), ("problem", "the executor")] {
            if let Some(text) = scaler[key].as_str() {
                let _ = writeln!(out, "  {says} says: {}", word(&text.into()));
            }
        }
        if let Some(failures) = scaler["journal_failures"].as_u64().filter(|n| *n > 0) {
            let _ = writeln!(out, "  {failures} records could not be journalled: what they were about was not done");
        }
        let decisions = list(&scaler["decisions"]);
        for decision in decisions.iter().skip(decisions.len().saturating_sub(DECISIONS_SHOWN)) {
            let report = &decision["report"];
            let _ = writeln!(out, "  {}: {}", word(&report["action"]), word(&report["reason"]));
        }
    }
    out
}

fn waiting_room(out: &mut String, room: &Value) {
    if room["enabled"] != Value::Bool(true) {
        return;
    }
    let state = if room["closed"] == true { "closed" } else { "open" };
    let ends = room["ends_per_s"].as_f64().unwrap_or_default();
    let _ = writeln!(out, "waiting room {state}: {} places free, {ends:.1} sessions end a second", word(&room["room"]));
    for lane in list(&room["lanes"]) {
        let estimate = &lane["estimate_s"];
        let estimate = if estimate.is_null() {
            "nobody knows how long".to_owned()
        } else {
            format!("{} to {} s", word(&estimate[0]), word(&estimate[1]))
        };
        let _ = writeln!(
            out,
            "  lane {}: {} wait ({} here, the first for {:.0} s), who comes now: {estimate}; may enter who came until {}; admitted {}",
            word(&lane["name"]),
            word(&lane["waiting"]),
            word(&lane["waiting_here"]),
            lane["oldest_ms"].as_f64().unwrap_or_default() / 1_000.0,
            time_of_day(lane["watermark_ms"].as_u64().unwrap_or_default()),
            word(&lane["entered"]),
        );
    }
}

/// The document of `/v1/servers` for people.
pub fn servers(document: &str) -> String {
    let Ok(document) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    let servers = list(&document["servers"]);
    let mut out = String::new();
    server_table(&mut out, servers);
    let _ = writeln!(out, "{} of {} servers", servers.len(), word(&document["total"]));
    out
}

fn server_table(out: &mut String, servers: &[Value]) {
    let head = ["server", "state", "queue", "sessions", "new", "got/due 1m", "busy", "heard", "zone", "location", "notes"];
    let mut rows = vec![head.map(str::to_owned)];
    for server in servers {
        let number = |key: &str| server[key].as_f64();
        let show =
            |value: Option<f64>, unit: &str, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}{unit}"));
        let limit = server["limit"].as_u64().map(|n| format!("/{n}")).unwrap_or_default();
        let forced = &server["forced"];
        let mut notes: Vec<String> = Vec::new();
        notes.extend((!forced.is_null()).then(|| format!("forced {}: {}", word(&forced[0]), word(&forced[1]))));
        let hindered = server["standing"] == "in_service";
        notes.extend(server["why_not"].as_str().filter(|_| hindered).map(|why| word(&why.into())));
        notes.extend((server["twins"] == true).then(|| "two incarnations".to_owned()));
        rows.push([
            word(&server["id"]),
            word(&server["standing"]),
            show(number("queue"), "", 1),
            word(&server["sessions"]) + &limit,
            show(number("share").map(|s| s * 100.0), "%", 0),
            format!("{}/{}", word(&server["new_1m"]), show(number("expected_1m"), "", 1)),
            show(number("busy").map(|s| s * 100.0), "%", 0),
            show(number("heard_ms_ago").map(|s| s / 1_000.0), "s", 1),
            word(&server["zone"]),
            word(&server["location"]),
            notes.join("; "),
        ]);
    }
    table(out, &rows);
}

/// The document of `/v1/status` in one line: what one prints every few seconds to see a farm grow and shrink.
pub fn status_line(document: &str) -> String {
    let Ok(status) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    let scaler = &status["scaler"];
    let servers = list(&status["servers"]);
    let queues = servers.iter().filter(|s| s["takes_new"] == Value::Bool(true)).filter_map(|s| s["queue"].as_f64());
    let (low, high) = queues.fold((f64::MAX, 0.0_f64), |(low, high), q| (low.min(q), high.max(q)));
    let sessions: u64 = servers.iter().filter_map(|s| s["sessions"].as_u64()).sum();
    format!(
        "{} servers: {} live, {} booting, {} draining; wants {}; {sessions} sessions; run queues {:.1} to {high:.1}; {}\n",
        time_of_day(status["wall_ms"].as_u64().unwrap_or_default()),
        word(&scaler["live"]),
        word(&scaler["pending"]),
        word(&scaler["draining"]),
        word(&scaler["desired"]),
        low.min(high),
        boot(scaler),
    )
}

fn boot(scaler: &Value) -> String {
    let seconds = |key: &str| scaler[key].as_f64().unwrap_or_default() / 1_000.0;
    let boots = scaler["boots"].as_u64().unwrap_or_default();
    let delay = if scaler["boot_ms_delay"].is_null() {
        String::new()
    } else {
        format!("{:.1} s configured, ", seconds("boot_ms_delay"))
    };
    let used = if boots < 3 { "assumed" } else { "observed" };
    format!("boot {delay}{:.1} s {used} ({boots} boots)", seconds("boot_ms_p95"))
}

/// One line of the journal for people: when, what, why. What is no record prints as it is.
pub fn record(line: &str) -> String {
    // Damage may be any octets; none of them must command a terminal.
    let raw = || line.chars().filter(|c| !c.is_control()).collect::<String>() + "\n";
    let Ok(record) = serde_json::from_str::<Value>(line) else { return raw() };
    let Some(wall_ms) = record["wall_ms"].as_u64() else { return raw() };
    let call = |call: &Value| match call.as_object().and_then(|c| c.iter().next()) {
        Some((verb, request)) => {
            let whom = if request["member_id"].is_null() { &request["instance_id"] } else { &request["member_id"] };
            format!("{verb} {} ({})", word(whom), word(&request["intent"]))
        }
        None => "-".to_owned(),
    };
    let what = match record["kind"].as_str().unwrap_or_default() {
        "plan" => {
            let report = &record["report"];
            let mut text = format!(
                "{}: {}\n            {}",
                word(&report["action"]),
                word(&report["reason"]),
                word(&report["formula"])
            );
            for refused in list(&report["refused"]).iter().chain(list(&record["violations"])) {
                let _ = write!(text, "\n            not: {}", word(refused));
            }
            text
        }
        "intent" => call(&record["call"]),
        "outcome" => {
            let result = &record["outcome"]["result"];
            let how = match &result["Err"] {
                Value::Null => result["Ok"]["state"].as_str().unwrap_or("done").to_owned(),
                error => format!("{}: {}", word(&error["kind"]), word(&error["message"])),
            };
            format!("{}: {how}", call(&record["outcome"]["call"]))
        }
        "adopt" => word(&record["instance"]["instance_id"]),
        "gone" => word(&record["instance_id"]),
        "drill" => {
            format!("{} {} ({})", word(&record["hit"]["model"]), word(&record["hit"]["member"]), word(&record["hit"]["key"]))
        }
        "healed" => word(&record["key"]),
        "abandon" => format!("{}: {}", word(&record["intent"]), word(&record["why"])),
        _ => record.to_string(),
    };
    format!("{} {:<7} {what}\n", time_of_day(wall_ms), word(&record["kind"]))
}

/// A time of day, UTC.
pub fn time_of_day(wall_ms: u64) -> String {
    let seconds = wall_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The sentence in an answer of the admin interface.
pub fn outcome(body: &str) -> String {
    let document: Value = serde_json::from_str(body).unwrap_or_default();
    let text = document["done"].as_str().or_else(|| document["error"].as_str());
    text.unwrap_or_else(|| body.trim()).to_owned()
}

/// A text as a query's value (RFC 3986 2.1).
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Rows in columns as wide as their widest cell.
pub fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let width =
        |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    for row in rows {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(n, cell)| format!("{cell:<width$}", width = width(n))).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_document_prints() {
        for document in ["", "{}", "[]", "null", "{\"servers\":[1,{}],\"scaler\":{\"enabled\":true,\"decisions\":3}}"] {
            let _ = status(document);
        }
        let text = status(r#"{"servers":[{"id":"b1","standing":"in_service","queue":1.25,"sessions":3,"share":0.5}]}"#);
        assert!(text.contains("b1      in_service  1.2    3         50%  -/-         -     -      -"), "{text}");
        let many: Vec<Value> =
            (0..60).map(|n| serde_json::json!({"id": format!("b{n}"), "limit": 8, "sessions": 3})).collect();
        let text = status(&serde_json::json!({ "servers": many }).to_string());
        assert!(text.contains("and 10 more") && text.contains("3/8") && !text.contains("b50 "), "{text}");
        let text = servers(&serde_json::json!({ "servers": many, "total": 70 }).to_string());
        assert!(text.ends_with("60 of 70 servers\n") && text.contains("b59 "), "{text}");
    }

    #[test]
    fn who_waits_is_shown() {
        let lane = r#"{"name":"default","waiting_here":2,"waiting":3,"oldest_ms":7400,"watermark_ms":3723000,"entered":9,"estimate_s":ESTIMATE}"#;
        for (enabled, closed, estimate, expect) in [
            (false, true, "null", ""),
            (
                true,
                false,
                "[4,9]",
                "waiting room open: 5 places free, 0.5 sessions end a second\n  lane default: 3 wait (2 here, the first for 7 s), who comes now: 4 to 9 s; may enter who came until 01:02:03Z; admitted 9\n",
            ),
            (
                true,
                true,
                "null",
                "waiting room closed: 5 places free, 0.5 sessions end a second\n  lane default: 3 wait (2 here, the first for 7 s), who comes now: nobody knows how long; may enter who came until 01:02:03Z; admitted 9\n",
            ),
        ] {
            let lane = lane.replace("ESTIMATE", estimate);
            let room = format!(r#"{{"enabled":{enabled},"closed":{closed},"room":5,"ends_per_s":0.5,"lanes":[{lane}]}}"#);
            let mut out = String::new();
            waiting_room(&mut out, &serde_json::from_str(&room).unwrap());
            assert_eq!(out, expect);
        }
    }

    #[test]
    fn what_the_provider_says_is_shown() {
        let scaler = r#"{"enabled":true,"provider_error":"listing failed: denied","problem":null,"journal_failures":2}"#;
        let text = status(&format!(r#"{{"scaler":{scaler}}}"#));
        assert!(text.contains("the provider says: listing failed: denied") && text.contains("  2 records"), "{text}");
        assert!(!text.contains("executor"), "{text}");
    }

    #[test]
    fn records_read_as_sentences() {
        for line in ["", "{}", "[1]", "{\"wall_ms\":1}", "{\"wall_ms\":1,\"kind\":\"plan\",\"violations\":7}"] {
            let _ = record(line);
        }
        assert_eq!(record("{\u{1b}]0;x\u{7}"), "{]0;x\n");
        let plan = r#"{"seq":1,"wall_ms":3723000,"kind":"plan","report":{"action":"launch 2","reason":"why","formula":"f","refused":["r"]}}"#;
        assert_eq!(record(plan), "01:02:03Z plan    launch 2: why\n            f\n            not: r\n");
        let call = r#"{"launch":{"intent":"i1","attempt":0,"token":"t","farm":"mail","member_id":"b1"}}"#;
        let intent = format!(r#"{{"seq":2,"wall_ms":0,"kind":"intent","call":{call}}}"#);
        assert_eq!(record(&intent), "00:00:00Z intent  launch b1 (i1)\n");
        let outcome =
            |result| format!(r#"{{"seq":2,"wall_ms":0,"kind":"outcome","outcome":{{"call":{call},"result":{result}}}}}"#);
        assert_eq!(record(&outcome(r#"{"Ok":{"state":"pending"}}"#)), "00:00:00Z outcome launch b1 (i1): pending\n");
        assert_eq!(record(&outcome(r#"{"Ok":null}"#)), "00:00:00Z outcome launch b1 (i1): done\n");
        let refused = outcome(r#"{"Err":{"kind":"no-capacity","message":"full"}}"#);
        assert_eq!(record(&refused), "00:00:00Z outcome launch b1 (i1): no-capacity: full\n");
    }

    #[test]
    fn sentences_and_queries() {
        assert_eq!(outcome("{\"done\":\"b1 drains\"}"), "b1 drains");
        assert_eq!(outcome("{\"error\":\"no\"}"), "no");
        assert_eq!(outcome("plain\n"), "plain");
        assert_eq!(percent_encode("a b&c/ü"), "a%20b%26c%2F%C3%BC");
    }
}
