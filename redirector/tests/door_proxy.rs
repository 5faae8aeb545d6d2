//! The PROXY protocol at the front door of the real binary: by hand, and from HAProxy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;

use common::tls::{certificate, curl, installed};
use common::{Redirector, Scratch, send, until};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn config(scratch: &Scratch, proxies: &str, more: &str) -> PathBuf {
    let path = scratch.config(more);
    let text = std::fs::read_to_string(&path).unwrap();
    let server = format!("workers = 2, listen_tls = [\"127.0.0.1:0\"], proxy_protocol_from = [\"{proxies}\"],");
    let tls = "[tls]\ncert_file = \"front.pem\"\nkey_file = \"front.key\"\nredirect_http = false\n";
    std::fs::write(&path, text.replace("workers = 2,", &server) + tls).unwrap();
    path
}

#[test]
fn a_listed_proxy_must_say_whom_it_speaks_for() {
    let scratch = Scratch::new();
    certificate(&scratch, "front", &["mail.test"]);
    let redirector = Redirector::start(&scratch, &config(&scratch, "127.0.0.0/8", "[door]\nheader_timeout = \"2s\"\n"));
    let door = redirector.port("door");
    let v2 = |command: u8, family: u8, body: &[u8]| {
        [V2, &[0x20 | command, family], &(body.len() as u16).to_be_bytes(), body].concat()
    };
    let v4 = [192, 0, 2, 1, 127, 0, 0, 1, 0, 80, 1, 187];
    // No server is there: 503 is an answer.
    for (header, status) in [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 1234 80\r\n".to_vec(), 503),
        (b"PROXY TCP6 2001:db8::1 ::1 1234 80\r\n".to_vec(), 503),
        (b"PROXY UNKNOWN\r\n".to_vec(), 503),
        (v2(1, 0x11, &v4), 503),
        (v2(0, 0, &[]), 503),
        (v2(1, 0x11, &[&v4[..], &[4, 0, 1, 7]].concat()), 503),
        (b"PROXY TCP4 elsewhere 127.0.0.1 1234 80\r\n".to_vec(), 0),
        (v2(1, 0x11, &v4[..8]), 0),
        (Vec::new(), 0),
    ] {
        let shown = String::from_utf8_lossy(&header).into_owned();
        assert_eq!(send(door, &[&header, GET].concat()).status, status, "{shown:?}");
    }
    // In pieces, and then not at all.
    let mut slow = TcpStream::connect(door).unwrap();
    slow.set_nodelay(true).unwrap();
    for octet in b"PROXY TCP4 192.0.2.1 127.0.0.1 1234 80\r\n".iter().chain(GET) {
        slow.write_all(&[*octet]).unwrap();
    }
    let mut text = String::new();
    slow.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    let silent = TcpStream::connect(door).unwrap();
    until("four without a header", || {
        (redirector.metric("redirector_connections_total{outcome=\"no_proxy_header\"}") >= 4.0).then_some(())
    });
    drop(silent);
}

#[test]
fn nobody_else_may() {
    let scratch = Scratch::new();
    certificate(&scratch, "front", &["mail.test"]);
    let redirector = Redirector::start(&scratch, &config(&scratch, "192.0.2.0/24", ""));
    let door = redirector.port("door");
    let first = send(door, &[b"PROXY TCP4 192.0.2.1 127.0.0.1 1234 80\r\n", GET].concat());
    assert_eq!(first.status, 400, "{}", first.head);
    assert_eq!(send(door, &[V2, &[0x20, 0, 0, 0], GET].concat()).status, 400);
    assert_eq!(send(door, GET).status, 503);
    assert!(redirector.metric("redirector_rejects_total{reason=\"syntax\"}") >= 2.0);
}

#[test]
fn a_source_s_share_is_the_client_s_and_not_the_proxy_s() {
    let scratch = Scratch::new();
    certificate(&scratch, "front", &["mail.test"]);
    let more = "[door]\nconnections_per_source_max = 2\n";
    let redirector = Redirector::start(&scratch, &config(&scratch, "127.0.0.0/8", more));
    let door = redirector.port("door");
    let from = |source: &str| {
        let mut stream = TcpStream::connect(door).unwrap();
        let header = format!("PROXY TCP6 {source} ::1 1234 80\r\n");
        let request = "GET / HTTP/1.1\r\nhost: mail.test\r\n\r\n";
        stream.write_all(format!("{header}{request}").as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).is_ok().then_some(stream)
    };
    let held = [from("2001:db8::1").unwrap(), from("2001:db8::2").unwrap()];
    assert!(from("2001:db8::3").is_none(), "one /64 has its two");
    let other = from("2001:db8:0:1::1");
    assert!(other.is_some(), "another has its own");
    assert_eq!(redirector.metric("redirector_connections_total{outcome=\"over_source_cap\"}") as u64, 1);
    drop(held);
    until("the share is given back", || from("2001:db8::3"));
}

struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy before the door: plain HTTP to port 0 and 1 of the result by version 1 and 2, TLS as it comes to port 2 and 3.
fn haproxy(scratch: &Scratch, redirector: &Redirector) -> (Haproxy, Vec<SocketAddr>) {
    // Free a moment ago: HAProxy takes no port 0 that it would tell us.
    let free: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addrs: Vec<SocketAddr> = free.iter().map(|l| l.local_addr().unwrap()).collect();
    drop(free);
    let mut text = "defaults\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n mode tcp\n".to_owned();
    for (n, addr) in addrs.iter().enumerate() {
        let to = redirector.port(if n < 2 { "door" } else { "door_tls" });
        let send = ["send-proxy", "send-proxy-v2"][n % 2];
        text.extend([format!("listen l{n}\n bind {addr}\n server door {to} {send}\n")]);
    }
    let file = scratch.0.join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    let child = Command::new("haproxy").arg("-db").arg("-f").arg(&file).spawn().unwrap();
    let running = Haproxy(child);
    for addr in &addrs {
        until("HAProxy", || TcpStream::connect(addr).ok());
    }
    (running, addrs)
}

#[test]
fn haproxy_stands_before_it() {
    if !installed("haproxy") || !installed("curl") {
        return;
    }
    let scratch = Scratch::new();
    let ca = certificate(&scratch, "front", &["mail.test"]);
    let redirector = Redirector::start(&scratch, &config(&scratch, "127.0.0.0/8", ""));
    let (_haproxy, addrs) = haproxy(&scratch, &redirector);
    for addr in &addrs[..2] {
        assert_eq!(send(*addr, GET).status, 503);
    }
    for addr in &addrs[2..] {
        let text = curl(*addr, &ca, &["--http2", "https://mail.test/"]);
        assert!(text.starts_with("HTTP/2 503"), "{text}");
    }
    assert_eq!(redirector.metric("redirector_tls_handshakes_total{outcome=\"full\"}") as u64, 2);
}
