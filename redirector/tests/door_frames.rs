//! HTTP/2 at the front door of the real binary as no honest client speaks it: frames made by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;

use common::{Redirector, Scratch, until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// GET http://mail.test/ by HPACK's static table (RFC 7541 A).
const GET: &[u8] = b"\x82\x86\x84\x01\x09mail.test";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error code of a GOAWAY.
    fn code(&self) -> Option<u32> {
        (self.kind == GOAWAY).then(|| u32::from_be_bytes(self.payload[4..8].try_into().unwrap()))
    }
}

/// A connection that speaks HTTP/2 by prior knowledge.
struct Client(TcpStream);

impl Client {
    fn new(redirector: &Redirector) -> Self {
        let mut stream = TcpStream::connect(redirector.port("door")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        Self(stream)
    }

    fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).unwrap();
    }

    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], stream, payload })
    }

    /// All frames until the server closes.
    fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Sends octets over and over while somebody reads what comes back; the frames until the server closes.
    fn flood(&mut self, octets: &[u8], times: usize) -> Vec<Frame> {
        let mut writer = self.0.try_clone().unwrap();
        let octets = octets.repeat(64);
        std::thread::scope(|scope| {
            // The server closes in the midst of it.
            scope.spawn(move || (0..times / 64).all(|_| writer.write_all(&octets).is_ok()));
            self.rest()
        })
    }
}

fn count(redirector: &Redirector, outcome: &str) -> u64 {
    redirector.metric(&format!("redirector_connections_total{{outcome=\"{outcome}\"}}")) as u64
}

/// An honest client is served; without servers 503 is an answer.
fn serves(redirector: &Redirector) {
    assert_eq!(redirector.door("GET", "/", "").status, 503);
}

#[test]
fn requests_are_answered_and_the_caps_are_told() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config("[door]\nstreams_max = 7\n"));
    let mut client = Client::new(&redirector);
    let settings = client.next().unwrap();
    assert_eq!(settings.kind, SETTINGS);
    let told: Vec<(u8, u32)> =
        settings.payload.chunks(6).map(|s| (s[1], u32::from_be_bytes(s[2..].try_into().unwrap()))).collect();
    assert!(told.contains(&(3, 7)), "MAX_CONCURRENT_STREAMS in {told:?}");
    assert!(told.contains(&(4, 65_535)), "INITIAL_WINDOW_SIZE in {told:?}");
    assert!(told.contains(&(6, 8_192 + 16_384)), "MAX_HEADER_LIST_SIZE in {told:?}");
    for stream in [1, 3, 5] {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, GET));
    }
    let mut answered = Vec::new();
    while answered.len() < 3 {
        let frame = client.next().expect("an answer");
        if frame.kind == HEADERS {
            answered.push(frame.stream);
        }
    }
    assert_eq!(answered, [1, 3, 5]);
    assert!(redirector.metric("redirector_waits_total") >= 3.0);
}

#[test]
fn rapid_reset_ends_the_connection() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let mut client = Client::new(&redirector);
    let reset =
        |stream| [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])];
    let all: Vec<u8> = (0..500).flat_map(|n| reset(2 * n + 1).concat()).collect();
    let _ = client.0.write_all(&all);
    let frames = client.rest();
    assert!(frames.iter().any(|f| f.code() == Some(ENHANCE_YOUR_CALM)), "{:?}", frames.last());
    until("the counter", || (count(&redirector, "broken") >= 1).then_some(()));
    serves(&redirector);
}

#[test]
fn headers_without_end_are_cut_off() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    // Fields of which none is ever whole to look at: an unindexed one of a long name goes on and on.
    let mut client = Client::new(&redirector);
    client.send(&frame(HEADERS, END_STREAM, 1, GET));
    let frames = client.flood(&frame(CONTINUATION, 0, 1, &[]), 200_000);
    assert!(frames.iter().any(|f| f.code().is_some()), "{:?}", frames.last());
    let mut client = Client::new(&redirector);
    client.send(&frame(HEADERS, END_STREAM, 1, GET));
    let field = [&b"\x00\x01x\x7f\x81\x0f"[..], &[b'y'; 2_048]].concat();
    let frames = client.flood(&frame(CONTINUATION, 0, 1, &field), 2_000);
    assert!(frames.iter().any(|f| f.code().is_some()), "{:?}", frames.last());
    serves(&redirector);
}

#[test]
fn a_head_that_is_too_long_is_refused_alone() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config("[door]\nheader_fields_max = 20\n"));
    let mut client = Client::new(&redirector);
    let field = b"\x00\x01x\x01y";
    let many = [GET, &field.repeat(21)].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &many));
    // One field of 4,000 octets, kept in HPACK's table and named eight times more: long when it is unpacked alone.
    let field = [&b"\x40\x01x\x7f\xa1\x1e"[..], &[b'y'; 4_000]].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[GET, &field, &[0xbe; 8]].concat()));
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 5, GET));
    let mut answered = Vec::new();
    while !answered.iter().any(|(stream, _)| *stream == 5) {
        let frame = client.next().expect("an answer");
        if [HEADERS, RST_STREAM].contains(&frame.kind) {
            answered.push((frame.stream, frame.payload));
        }
    }
    let answer = |stream: u32| {
        let (_, payload) = answered.iter().find(|(n, _)| *n == stream).expect("an answer");
        payload.as_slice()
    };
    // `:status: 431` as a literal that is kept (Huffman code for the digits), and then by its place in the table, the first beyond
    // the static one. The library refuses what it cannot take at once, before we do.
    for (stream, expect) in [(3, &[0x48, 0x83, 0x69, 0x90, 0xff][..]), (1, &[0xbe])] {
        assert!(answer(stream).starts_with(expect), "{stream}: {:x?}", answer(stream));
    }
    assert!(redirector.metric("redirector_rejects_total{reason=\"head_length\"}") >= 1.0);
}

#[test]
fn frames_that_ask_for_nothing_have_a_budget() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let floods = [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
    ];
    for (n, (name, octets)) in floods.iter().enumerate() {
        let mut client = Client::new(&redirector);
        client.flood(octets, 1_000_000);
        until(name, || (count(&redirector, "flood") == n as u64 + 1).then_some(()));
    }
    // Empty DATA on a stream that is open.
    let mut client = Client::new(&redirector);
    let post = [&[0x83], &GET[1..]].concat();
    client.send(&frame(HEADERS, END_HEADERS, 1, &post));
    client.flood(&frame(DATA, 0, 1, &[]), 1_000_000);
    until("empty DATA", || (count(&redirector, "flood") + count(&redirector, "broken") == 5).then_some(()));
    serves(&redirector);
}

#[test]
fn a_connection_that_is_late_is_told_to_go() {
    let scratch = Scratch::new();
    let config = scratch.config("[door]\nheader_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n");
    let redirector = Redirector::start(&scratch, &config);
    let mut silent = Client::new(&redirector);
    assert!(silent.rest().iter().any(|f| f.code() == Some(0)));
    let mut idle = Client::new(&redirector);
    idle.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET));
    let frames = idle.rest();
    assert!(frames.iter().any(|f| f.kind == HEADERS) && frames.iter().any(|f| f.code() == Some(0)));
    until("the counter", || (count(&redirector, "no_request") >= 2).then_some(()));
}

#[test]
fn bodies_are_not_waited_for() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let mut client = Client::new(&redirector);
    let post = [&[0x83], &GET[1..]].concat();
    client.send(&frame(HEADERS, END_HEADERS, 1, &post));
    client.send(&frame(DATA, 0, 1, &[b'x'; 16_000]));
    let (mut answered, mut reset) = (false, None);
    while reset.is_none() {
        let frame = client.next().expect("an answer");
        answered |= frame.kind == HEADERS;
        reset = (frame.kind == RST_STREAM).then_some(frame.payload);
    }
    assert!(answered);
    assert_eq!(reset.unwrap(), [0, 0, 0, 0], "NO_ERROR: the answer counts (RFC 9113 8.1)");
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, GET));
    while client.next().expect("the connection goes on").kind != HEADERS {}
}
