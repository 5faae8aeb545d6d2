//! What HTTP/1.1 connections may take at the front door of the real binary: bodies, heads, places.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;

use common::{Redirector, Response, Scratch, send, until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

fn count(redirector: &Redirector, outcome: &str) -> u64 {
    redirector.metric(&format!("redirector_connections_total{{outcome=\"{outcome}\"}}")) as u64
}

fn connect(redirector: &Redirector) -> TcpStream {
    let stream = TcpStream::connect(redirector.port("door")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Everything until the server closes.
fn rest(mut stream: TcpStream) -> String {
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    String::from_utf8_lossy(&raw).into_owned()
}

#[test]
fn a_body_is_not_waited_for_and_costs_nobody_the_answer() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let head = "POST / HTTP/1.1\r\nhost: mail.test\r\n";
    // A body that never comes.
    let mut slow = connect(&redirector);
    slow.write_all(format!("{head}content-length: 1000000\r\n\r\nbegin").as_bytes()).unwrap();
    let text = rest(slow);
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("connection: close\r\n"), "{text}");
    // One that is sent whole before the answer is read, as Python's requests do.
    let mut huge = connect(&redirector);
    huge.write_all(format!("{head}content-length: 4000000\r\n\r\n").as_bytes()).unwrap();
    huge.write_all(&vec![b'x'; 4_000_000]).unwrap();
    assert!(rest(huge).starts_with("HTTP/1.1 503"));
    // One that waits to be asked for.
    let mut polite = connect(&redirector);
    polite.write_all(format!("{head}content-length: 10\r\nexpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    let text = rest(polite);
    assert!(text.starts_with("HTTP/1.1 503") && !text.contains(" 100 "), "{text}");
    // What stands in a body is no request.
    for body in
        ["content-length: 46\r\n\r\n", "transfer-encoding: chunked\r\n\r\n2e\r\n"].map(|fields| format!("{head}{fields}"))
    {
        let mut smuggler = connect(&redirector);
        let inner = "GET /smuggled HTTP/1.1\r\nhost: mail.test\r\n\r\n";
        smuggler.write_all(format!("{body}{inner}\r\n").as_bytes()).unwrap();
        smuggler.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(rest(smuggler).matches("HTTP/1.1").count(), 1);
    }
    assert_eq!(count(&redirector, "broken"), 0);
}

#[test]
fn requests_may_come_together() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let mut stream = connect(&redirector);
    let get = "GET / HTTP/1.1\r\nhost: mail.test\r\n\r\n";
    let empty = "POST / HTTP/1.1\r\nhost: mail.test\r\ncontent-length: 0\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n\r\n";
    stream.write_all([get, empty, get, get, last].concat().as_bytes()).unwrap();
    assert_eq!(rest(stream).matches("HTTP/1.1 503").count(), 5);
}

/// More answers than the kernel has room for, before the first is read.
#[test]
fn a_client_that_reads_late_gets_every_answer_in_order() {
    const REQUESTS: usize = 20_000;
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config("[door]\nurl_bytes_max = 64\n"));
    let stream = connect(&redirector);
    let mut to = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        // Every seventh is refused for its length, the others for their host.
        for n in 0..REQUESTS {
            let length = if n % 7 == 0 { 100 } else { 1 };
            write!(to, "GET /{} HTTP/1.1\r\nhost: elsewhere.test\r\n\r\n", "x".repeat(length)).unwrap();
        }
        to.write_all(b"GET / HTTP/1.1\r\nhost: elsewhere.test\r\nconnection: close\r\n\r\n").unwrap();
    });
    until("requests wait", || (redirector.metric("redirector_rejects_total{reason=\"host\"}") > 1_000.0).then_some(()));
    let text = rest(stream);
    sent.join().unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(statuses.len(), REQUESTS + 1);
    for (n, status) in statuses.into_iter().enumerate().take(REQUESTS) {
        assert_eq!(status, if n % 7 == 0 { "414" } else { "421" }, "answer {n}");
    }
}

#[test]
fn heads_have_their_limits() {
    let scratch = Scratch::new();
    let config = scratch.config("[door]\nheader_fields_max = 20\nheader_bytes_max = 4096\nurl_bytes_max = 1024\n");
    let redirector = Redirector::start(&scratch, &config);
    let get = |target: &str, fields: &str| -> Response {
        let text = format!("GET {target} HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n{fields}\r\n");
        send(redirector.port("door"), text.as_bytes())
    };
    for (target, fields, status) in [
        ("/".to_owned(), "x: y\r\n".repeat(18), 503),
        ("/".to_owned(), "x: y\r\n".repeat(19), 431),
        ("/".to_owned(), "x: y\r\n".repeat(200), 431),
        ("/".to_owned(), format!("x: {}\r\n", "y".repeat(64_000)), 431),
        (format!("/{}", "x".repeat(1_023)), String::new(), 503),
        (format!("/{}", "x".repeat(1_024)), String::new(), 414),
    ] {
        assert_eq!(get(&target, &fields).status, status, "{} of target, {} of fields", target.len(), fields.len());
    }
    assert!(redirector.metric("redirector_rejects_total{reason=\"head_length\"}") >= 3.0);
    assert_eq!(get("/", "no colon\r\n").status, 400);
    assert!(redirector.metric("redirector_rejects_total{reason=\"syntax\"}") >= 1.0);
}

#[test]
fn newcomers_get_in_when_idle_ones_hold_all_places() {
    let scratch = Scratch::new();
    let redirector =
        Redirector::start(&scratch, &scratch.config("[door]\nconnections_max = 40\nheader_timeout = \"10m\"\n"));
    // One that is of use, and goes on.
    let mut busy = connect(&redirector);
    let mut ask = move || {
        busy.write_all(b"GET / HTTP/1.1\r\nhost: mail.test\r\naccept: text/html\r\ncontent-length: 0\r\n\r\n").unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"</html>\n") {
            let mut octet = [0];
            busy.read_exact(&mut octet).expect("still there");
            text.push(octet[0]);
        }
    };
    let idle: Vec<TcpStream> = (0..39).map(|_| connect(&redirector)).collect();
    until("a newcomer is served", || {
        ask();
        (redirector.door("GET", "/", "").status == 503).then_some(())
    });
    let newcomers: Vec<TcpStream> = (0..20)
        .map(|n| {
            ask();
            let mut stream = connect(&redirector);
            stream.write_all(b"GET / HTTP/1.1\r\nhost: mail.test\r\n\r\n").unwrap();
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).unwrap_or_else(|error| panic!("newcomer {n}: {error}"));
            assert_eq!(&begin, b"HTTP/1.1 503");
            stream
        })
        .collect();
    ask();
    assert!(count(&redirector, "shed") >= 20);
    drop((idle, newcomers));
}

#[test]
fn a_source_that_asks_too_much_is_told_when_to_come_again() {
    let scratch = Scratch::new();
    let config = scratch.config("[limit]\nrequests_per_s = 0.02\nburst = 5\n");
    let redirector = Redirector::start(&scratch, &config);
    let ask = || redirector.door("GET", "/", "");
    let statuses: Vec<u16> = (0..8).map(|_| ask().status).collect();
    assert_eq!(statuses, [503, 503, 503, 503, 503, 429, 429, 429], "both workers count together");
    let answer = ask();
    let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=50).contains(&wait), "{}", answer.head);
    assert!(answer.text().contains("Too many requests"));
    assert_eq!(redirector.metric("redirector_other_answers_total{kind=\"limited\"}") as u64, 4);
    // Another limit holds at once, and an exempt source has none.
    let exempt = "[limit]\nrequests_per_s = 0.02\nburst = 5\nexempt = [\"127.0.0.0/8\"]\n";
    scratch.config(exempt);
    redirector.signal(rustix::process::Signal::HUP);
    until("the exemption", || (ask().status == 503).then_some(()));
}
