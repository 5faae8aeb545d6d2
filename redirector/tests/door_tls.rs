//! HTTPS at the front door of the real binary, by real clients: versions of HTTP, certificates by name, resumption, reloads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;

use common::tls::{certificate, curl, installed, s_client, shown_names, until_shown};
use common::{Member, Redirector, Scratch, until};
use std::path::PathBuf;

/// With a listener for HTTPS, and the certificates of `[tls]`.
fn config(scratch: &Scratch, more: &str) -> PathBuf {
    let path = scratch.config(more);
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("workers = 2,", "workers = 2, listen_tls = [\"127.0.0.1:0\"],");
    std::fs::write(&path, text).unwrap();
    path
}

const FRONT: &str = "[tls]\ncert_file = \"front.pem\"\nkey_file = \"front.key\"\n";

fn in_service(redirector: &Redirector, member: &mut Member) {
    until("the member in service", || {
        member.beat(redirector);
        (redirector.metric("redirector_servers{standing=\"in_service\"}") > 0.0).then_some(())
    });
}

#[test]
fn both_versions_of_http_redirect_by_https() {
    if !installed("curl") {
        return;
    }
    let scratch = Scratch::new();
    let ca = certificate(&scratch, "front", &["mail.test"]);
    let redirector = Redirector::start(&scratch, &config(&scratch, FRONT));
    let mut member = Member::new("b1", "127.0.1.11");
    in_service(&redirector, &mut member);
    let addr = redirector.port("door_tls");
    for (version, line) in [("--http1.1", "HTTP/1.1 302"), ("--http2", "HTTP/2 302")] {
        member.beat(&redirector);
        let text = curl(addr, &ca, &[version, "https://mail.test/inbox?x=1"]);
        assert!(text.starts_with(line), "{text}");
        assert!(text.contains("ocation: http://127.0.1.11:9000/inbox?x=1\r\n"), "{text}");
        member.beat(&redirector);
        let text = curl(addr, &ca, &[version, "-d", "a=b", "https://mail.test/login"]);
        assert!(text.starts_with(&line.replace("302", "307")), "{text}");
        let body = scratch.0.join("body");
        std::fs::write(&body, vec![b'x'; 300_000]).unwrap();
        member.beat(&redirector);
        let body = format!("@{}", body.display());
        let text = curl(addr, &ca, &[version, "--data-binary", &body, "https://mail.test/upload"]);
        assert!(text.contains(&line.replace("302", "307")), "{text}");
        // Two requests on one connection.
        member.beat(&redirector);
        let text = curl(addr, &ca, &[version, "https://mail.test/1", "https://mail.test/2", "-w", "%{num_connects}\n"]);
        assert!(text.contains(":9000/1\r\n") && text.contains(":9000/2\r\n") && text.ends_with("0\n"), "{text}");
    }
    let other = curl(addr, &ca, &["--http2", "-H", "host: other.test", "https://mail.test/"]);
    assert!(other.starts_with("HTTP/2 421"), "{other}");
    assert_eq!(redirector.metric("redirector_tls_handshakes_total{outcome=\"full\"}") as u64, 9);
    assert_eq!(redirector.metric("redirector_tls_handshakes_total{outcome=\"failed\"}") as u64, 0);
}

#[test]
fn http_2_goes_without_tls_too() {
    if !installed("curl") {
        return;
    }
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let mut member = Member::new("b1", "127.0.1.11");
    in_service(&redirector, &mut member);
    let to = format!("mail.test:80:{}", redirector.port("door"));
    let arguments = ["-s", "-i", "--http2-prior-knowledge", "--connect-to", &to, "http://mail.test/x"];
    let output = std::process::Command::new("curl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("HTTP/2 302") && text.contains("location: http://127.0.1.11:9000/x\r\n"), "{text}");
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    if !installed("openssl") {
        return;
    }
    let scratch = Scratch::new();
    certificate(&scratch, "front", &["mail.test"]);
    certificate(&scratch, "wild", &["*.farm.test"]);
    let more = "[[tls.certificate]]\ncert_file = \"wild.pem\"\nkey_file = \"wild.key\"\n";
    let redirector = Redirector::start(&scratch, &config(&scratch, &format!("{FRONT}{more}")));
    let addr = redirector.port("door_tls");
    for (asked, expect) in
        [("mail.test", "DNS:mail.test"), ("b1.farm.test", "DNS:*.farm.test"), ("elsewhere.test", "DNS:mail.test")]
    {
        assert!(shown_names(addr, asked).contains(expect), "{asked}: {}", shown_names(addr, asked));
    }
    let refused = s_client(addr, &["-servername", "mail.test", "-alpn", "spdy/1"]);
    assert!(refused.contains("no application protocol"), "{refused}");
    let old = s_client(addr, &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]);
    assert!(old.contains("Cipher is (NONE)"), "{old}");
    until("a failed handshake", || {
        (redirector.metric("redirector_tls_handshakes_total{outcome=\"failed\"}") >= 1.0).then_some(())
    });
}

#[test]
fn a_session_is_resumed_at_every_worker() {
    if !installed("openssl") {
        return;
    }
    let scratch = Scratch::new();
    certificate(&scratch, "front", &["mail.test"]);
    let redirector = Redirector::start(&scratch, &config(&scratch, FRONT));
    let addr = redirector.port("door_tls");
    let session = scratch.0.join("session");
    let file = session.to_str().unwrap();
    let first = s_client(addr, &["-tls1_2", "-servername", "mail.test", "-sess_out", file]);
    assert!(first.contains("New, TLSv1.2"), "{first}");
    // Enough for either of two workers to have had some.
    for _ in 0..12 {
        let again = s_client(addr, &["-tls1_2", "-servername", "mail.test", "-sess_in", file]);
        assert!(again.contains("Reused, TLSv1.2"), "{again}");
    }
    assert_eq!(redirector.metric("redirector_tls_handshakes_total{outcome=\"resumed\"}") as u64, 12);
}

#[test]
fn certificates_are_replaced_while_it_runs() {
    if !installed("openssl") {
        return;
    }
    let scratch = Scratch::new();
    certificate(&scratch, "front", &["mail.test"]);
    let path = config(&scratch, FRONT);
    let redirector = Redirector::start(&scratch, &path);
    let addr = redirector.port("door_tls");
    assert!(shown_names(addr, "mail.test").contains("DNS:mail.test"));
    certificate(&scratch, "front", &["mail.test", "second.test"]);
    until_shown(addr, "mail.test", "DNS:second.test");
    std::fs::write(scratch.0.join("front.pem"), "nothing").unwrap();
    until("the refusal in the log", || redirector.log().contains("the old one is served on").then_some(()));
    assert!(shown_names(addr, "mail.test").contains("DNS:second.test"));
    // A reload with a bad file is refused whole; with a good one and another beside it, both are shown.
    assert_ne!(redirector.admin("POST", "/v1/reload").status, 200);
    certificate(&scratch, "front", &["mail.test", "third.test"]);
    certificate(&scratch, "wild", &["*.farm.test"]);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("[[tls.certificate]]\ncert_file = \"wild.pem\"\nkey_file = \"wild.key\"\n");
    std::fs::write(&path, text.replace("workers = 2,", "workers = 2, listen_http3 = [],")).unwrap();
    let reloaded = redirector.admin("POST", "/v1/reload");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert!(shown_names(addr, "mail.test").contains("DNS:third.test"));
    assert!(shown_names(addr, "b7.farm.test").contains("DNS:*.farm.test"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("listen_tls = [\"127.0.0.1:0\"]", "listen_tls = [\"127.0.0.1:0\", \"127.0.0.1:1\"]"))
        .unwrap();
    let reloaded = redirector.admin("POST", "/v1/reload");
    assert!(reloaded.text().contains("at the next start: server.listen_tls"), "{}", reloaded.text());
}
