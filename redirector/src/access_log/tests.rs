#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]
use super::*;
use redirector_core::config::AccessFormat;
use redirector_core::door::Fields;

const WALL: Wall = Wall(1_700_000_000_123);

fn request<'a>(target: &'a str, fields: &'a dyn Fields) -> Request<'a> {
    let source = "192.0.2.77".parse().unwrap();
    Request { method: "GET", target, host: Some("mail.example.com"), cookies: &[], secure: true, source, fields }
}

fn line(spec: &AccessLogSpec, request: &Request<'_>, status: u16) -> String {
    let mut out = Vec::new();
    line::write(&mut out, spec, request, status, Some("https://b1.example.com"), WALL);
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_read_as_their_format_says() {
    let fields = [("user-agent", "curl/8 \"x\""), ("referer", "https://a.example/")];
    let mut spec = AccessLogSpec { ipv4_bits: 24, ..AccessLogSpec::default() };
    let request = request("/inbox?token=secret", &fields);
    assert_eq!(
        line(&spec, &request, 302),
        "192.0.2.0 - - [14/Nov/2023:22:13:20 +0000] \"GET /inbox HTTP\" 302 - \"https://a.example/\" \"curl/8 \\\"x\\\"\"\n"
    );
    (spec.format, spec.query) = (AccessFormat::Json, true);
    let value: serde_json::Value = serde_json::from_str(&line(&spec, &request, 302)).unwrap();
    assert_eq!(value["time"], "2023-11-14T22:13:20.123Z");
    assert_eq!((&value["target"], &value["user_agent"]), (&"/inbox?token=secret".into(), &"curl/8 \"x\"".into()));
    assert_eq!(
        (&value["server"], &value["status"], &value["secure"]),
        (&"https://b1.example.com".into(), &302.into(), &true.into())
    );
}

#[test]
fn nothing_that_a_client_sends_begins_a_line() {
    let evil = "/\r\n127.0.0.1 - - [x] \u{1b}]0;\u{7}\"\\\u{85}\u{2028}\u{1f600}";
    let long = "x".repeat(100_000);
    for format in [AccessFormat::Combined, AccessFormat::Json] {
        let spec = AccessLogSpec { format, query: true, ..AccessLogSpec::default() };
        for text in [evil, &long] {
            let fields = [("user-agent", text), ("referer", text)];
            let line = line(&spec, &request(text, &fields), 400);
            assert!(line.len() < LINE_BYTES, "{}", line.len());
            let body = line.strip_suffix('\n').expect("one line");
            assert!(body.bytes().all(|b| (b' '..=b'~').contains(&b)), "{body}");
            if format == AccessFormat::Json {
                let value: serde_json::Value = serde_json::from_str(body).unwrap();
                assert!(text.starts_with(value["target"].as_str().unwrap().trim_end_matches('.')));
            }
        }
    }
}

#[test]
fn what_is_sampled_is_written_and_what_does_not_fit_is_counted() {
    let path = std::env::temp_dir().join(format!("redirector-access-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let spec = AccessLogSpec { file: Some(path.display().to_string()), sample: 0.25, ..AccessLogSpec::default() };
    let writer = AccessLog::start(&spec, 1).unwrap().expect("a log");
    let log = Arc::clone(writer.log());
    let mut pen = log.pen(0, Draws::from_u64(7));
    for _ in 0..800 {
        pen.note(&request("/", &()), 302, None, WALL);
    }
    for _ in 0..50 {
        pen.note(&request("/", &()), 404, None, WALL);
    }
    drop(writer);
    let text = std::fs::read_to_string(&path).unwrap();
    let (found, errors) = (text.lines().count(), text.matches(" 404 ").count());
    assert_eq!(errors, 50, "errors always");
    assert!((120..=280).contains(&(found - errors)), "{found}");
    assert_eq!(log.counts(), AccessCounts { written: found as u64, dropped: 0, failed: 0 });
    // Nobody writes any more: the buffer fills and the rest is counted, at no cost but that.
    for _ in 0..5_000 {
        pen.note(&request("/", &()), 404, None, WALL);
    }
    let dropped = log.counts().dropped;
    assert!((1_000..5_000).contains(&dropped), "{dropped}");
    assert!(log.buffers[0].lines.lock().unwrap().capacity() == BUFFER_BYTES, "bounded");
    let _ = std::fs::remove_file(&path);
}

#[test]
fn no_file_is_no_log() {
    assert!(AccessLog::start(&AccessLogSpec::default(), 2).unwrap().is_none());
    let spec = AccessLogSpec { file: Some("/no/such/place/log".into()), ..AccessLogSpec::default() };
    assert!(AccessLog::start(&spec, 2).is_err());
}
