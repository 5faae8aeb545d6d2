//! The short way and hyper, asked the same.
//!
//! Both get the same octets, the same farm and the same draws, so that they must give the same answers to the octet, but for the date
//! and the order of the fields; and the short way must have left what it did not answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a difference is what this is to stop at")]

use super::batch::{self, Next, Scene};
use crate::door::answer::{Desk, Origin};
use crate::door::date::Date;
use crate::door::tally::{Dispatches, Tally, TallySum};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::{Mono, Now, Wall};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use redirector_core::config::Spec;
use redirector_core::door::{CookieKeys, Front, Rules, Server, Snapshot, head};
use redirector_core::farm::Keys;
use redirector_core::route::{Candidate, RoutePolicy, Table};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const NOW: Now = Now { mono: Mono(5_000), wall: Wall(1_000_000) };
const ORIGIN: Origin = Origin { source: IpAddr::V4(Ipv4Addr::LOCALHOST), secure: false };
const SERVERS: u32 = 8;
/// As the door sets it for the longest target that [`front`] allows.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// A farm that takes sessions, at a door that answers to `mail.example.com`.
fn front() -> Front {
    let farm = Id::new("mail").unwrap();
    let mut spec = Spec::new(Id::new("d1").unwrap(), farm.clone());
    spec.hosts = vec!["mail.example.com".into()];
    spec.door.target = "https://{id}.farm.example.com".into();
    let keys = Keys { current: FarmKey::from_hex(&"5a".repeat(32)).unwrap(), former: Vec::new() };
    let server = |slot: u32| Server {
        slot,
        id: Id::new(&format!("b{slot}")).unwrap(),
        location_prefix: format!("https://b{slot}.farm.example.com").into(),
        addrs: Vec::new(),
        standing: Standing::InService,
        takes_new: true,
        heard: Mono(0),
        dispatch_base: 0,
    };
    let candidate =
        |server: u32| Candidate { server, slot: server, queue: f64::from(server), age_ms: 100, ..Candidate::default() };
    let servers: Vec<Server> = (0..SERVERS).map(server).collect();
    let candidates: Vec<Candidate> = (0..SERVERS).map(candidate).collect();
    let snapshot = Snapshot {
        generation: 1,
        built: Mono(0),
        retry_after_s: 5,
        cookies: CookieKeys::new(&farm, &keys, 3_600),
        by_slot: Snapshot::index_slots(&servers),
        servers,
        table: Table::build(RoutePolicy::Weighted, 1.0, 1, &candidates),
        room: None,
    };
    Front::new(Arc::new(Rules::new(&spec)), [Arc::new(snapshot)])
}

/// What one way made of some octets.
struct Outcome {
    responses: Vec<String>,
    counted: TallySum,
}

/// A connection that takes all that is sent to it, and ends when it is told that nothing more comes.
struct Memory {
    input: Vec<u8>,
    read: usize,
    ended: Rc<Cell<bool>>,
    out: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Memory {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read == self.input.len() && !self.ended.get() {
            return Poll::Pending;
        }
        let end = self.input.len().min(self.read + buffer.remaining());
        buffer.put_slice(&self.input[self.read..end]);
        self.read = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.out.borrow_mut().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn by_hyper(front: &Front, octets: &[u8], methods: &[&str]) -> Outcome {
    let (dispatches, tally) = (Dispatches::new(1), Tally::default());
    let desk = RefCell::new(Desk::new(Draws::from_u64(7), None));
    let out = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request| {
        let response = desk.borrow_mut().respond(&request, ORIGIN, front, &dispatches, &tally, NOW);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let ended = Rc::new(Cell::new(false));
    let io = Memory { input: octets.to_vec(), read: 0, ended: Rc::clone(&ended), out: Rc::clone(&out) };
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .writev(false)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    // It yields to others now and then: only if it has twice done nothing, it waits for more.
    let (mut idle, mut done) = (0, false);
    for _ in 0..10_000 {
        let before = out.borrow().len();
        done = connection.as_mut().poll(&mut context).is_ready();
        if done {
            break;
        }
        idle = if out.borrow().len() == before { idle + 1 } else { 0 };
        ended.set(ended.get() || idle >= 3);
    }
    assert!(done, "hyper waits");
    let mut counted = TallySum::default();
    counted += &tally;
    let responses = responses(&out.borrow(), methods);
    Outcome { responses, counted }
}

fn by_hand(front: &Front, octets: &[u8], methods: &[&str]) -> (Outcome, Next) {
    let (dispatches, tally) = (Dispatches::new(1), Tally::default());
    let scene = Scene {
        front,
        dispatches: &dispatches,
        tally: &tally,
        origin: ORIGIN,
        alt_svc: None,
        header_fields_max: 64,
        now: NOW,
    };
    let mut out = Vec::new();
    let next = batch::answer(octets, &mut out, &mut Date::default(), &mut Desk::new(Draws::from_u64(7), None), &scene);
    let mut counted = TallySum::default();
    counted += &tally;
    (Outcome { responses: responses(&out, methods), counted }, next)
}

/// Takes responses apart: status line, fields in order of their names without the date, content. What follows the answers to
/// requests with these methods is one more, as it is.
fn responses(mut octets: &[u8], methods: &[&str]) -> Vec<String> {
    let mut responses = Vec::new();
    for method in methods {
        if octets.is_empty() {
            break;
        }
        let end = octets.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&octets[..end]).unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        let status = lines.remove(0);
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let dates = lines.len();
        lines.retain(|line| !line.starts_with("date: "));
        assert_eq!(dates - lines.len(), 1, "one date: {head}");
        lines.sort_unstable();
        let (body, rest) = octets[end + 4..].split_at(if *method == "HEAD" { 0 } else { length });
        responses.push(format!("{status}\n{}\n\n{}", lines.join("\n"), String::from_utf8_lossy(body)));
        octets = rest;
    }
    if !octets.is_empty() {
        responses.push(String::from_utf8_lossy(octets).into_owned());
    }
    responses
}

/// Answers octets both ways, and stops at a difference. How many requests the short way answered.
fn both_ways(front: &Front, octets: &[u8]) -> usize {
    let mut methods = Vec::new();
    let mut rest = octets;
    while let Some(head) = head::scan(rest) {
        methods.push(head.method);
        rest = &rest[head.bytes..];
    }
    let (ours, next) = by_hand(front, octets, &methods);
    let answered = ours.responses.len();
    if answered == 0 {
        return 0;
    }
    let theirs = by_hyper(front, octets, &methods);
    let same = theirs.responses.get(..answered).unwrap_or(&theirs.responses);
    assert_eq!(ours.responses, same, "answers");
    if !matches!(next, Next::Decline(_)) {
        assert_eq!(theirs.responses.len(), answered, "answers: {:?}", theirs.responses);
        assert_eq!(ours.counted, theirs.counted, "counters");
    }
    answered
}

const PLAIN: &str = "GET /a?b=c HTTP/1.1\r\nHost: mail.example.com\r\nAccept: */*\r\n\r\n";

fn cookie(front: &Front) -> String {
    front.farm(0).unwrap().set_cookie(3, false, NOW).unwrap().split(';').next().unwrap().to_string()
}

#[test]
fn the_same_answers() {
    let front = front();
    let cookie = cookie(&front);
    let cases = [
        (PLAIN.to_string(), 1),
        (PLAIN.repeat(40), 40),
        (PLAIN.replace("GET", "HEAD"), 1),
        (PLAIN.replace("Accept: */*", &format!("Cookie: a=b; {cookie}\r\nCookie: c=d")), 1),
        (PLAIN.replace("Accept: */*", &format!("Cookie: {cookie}x")), 1),
        (PLAIN.replace("mail.", "elsewhere."), 1),
        (PLAIN.replace("mail.", "elsewhere.").replace("GET", "HEAD") + PLAIN, 2),
        (PLAIN.replace("mail.example.com", "b1.farm.example.com"), 1),
        (PLAIN.replace("/a?b=c", &format!("/{}", "a".repeat(7_000))), 1),
        (PLAIN.replace("/a?b=c", "//evil.test/%0d%0a"), 1),
        (PLAIN.to_string() + "GET / HTTP/1.0\r\n\r\n", 1),
        (PLAIN.replace("Accept: */*", "Connection: close") + PLAIN, 1),
        (PLAIN.replace("Accept: */*", "Connection: keep-alive\r\nConnection: close"), 1),
        (PLAIN.replace("Accept: */*", "Connection: close\r\nConnection: keep-alive"), 1),
        (PLAIN.to_string() + "POST / HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 3\r\n\r\nabc" + PLAIN, 1),
        (PLAIN.to_string() + "\r\n" + PLAIN, 1),
        (PLAIN.to_string() + "\0", 1),
        (PLAIN.replace("Accept: */*", "Transfer-Encoding: chunked") + "0\r\n\r\n" + PLAIN, 0),
    ];
    for (octets, expect) in cases {
        assert_eq!(both_ways(&front, octets.as_bytes()), expect, "{octets:?}");
    }
}

/// A piece of a request, good or bad.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "GET / HTTP/1.1\r\n",
        "HEAD /x HTTP/1.1\r\n",
        "GET /a HTTP/1.0\r\n",
        "GET http://mail.example.com/ HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "Host: mail.example.com\r\n",
        "Host: other\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Content-Length: 4\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n",
        " folded\r\n",
        "Cookie: farm=v1.b1.4600.AAAAAAAAAAAAAAAAAAAAAA\r\n",
        "X: y\r\n",
        "X-Y:\t z\t \r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "0\r\n\r\n",
        "abcd",
        ":",
        " ",
    ];
    prop_oneof![
        6 => prop::sample::select(pieces.to_vec()).prop_map(str::to_string),
        4 => prop::sample::select(vec![PLAIN, "HEAD /b HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n"])
            .prop_map(str::to_string),
        1 => "[ -~\r\n\t]{0,12}",
    ]
}

proptest! {
    #[test]
    fn no_octets_are_answered_differently(pieces in prop::collection::vec(piece(), 1..14)) {
        both_ways(&front(), pieces.concat().as_bytes());
    }

    /// One octet of a good request changed, put in or left out.
    #[test]
    fn nor_is_a_request_with_a_mistake(at in 0..PLAIN.len(), octet in any::<u8>(), kind in 0..3) {
        let mut octets = PLAIN.repeat(2).into_bytes();
        match kind {
            0 => octets[at] = octet,
            1 => octets.insert(at, octet),
            _ => drop(octets.remove(at)),
        }
        both_ways(&front(), &octets);
    }
}
