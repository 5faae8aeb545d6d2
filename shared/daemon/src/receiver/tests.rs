//! Heartbeats over real sockets, good and hostile: what is handed on, what is refused and counted, what is answered.

use super::*;
use crate::admin::AdminAddr;
use crate::listen;
use farm_shared::heartbeat::{FarmKey, Load, Role, State, VERSION};
use hyper_util::rt::TokioIo;
use std::net::IpAddr;

fn id(text: &str) -> Id {
    Id::new(text).expect("id")
}

fn farm_key() -> FarmKey {
    FarmKey::from_hex(&"5a".repeat(32)).expect("key")
}

fn member_key() -> MemberKey {
    farm_key().member(&id("mail"), &id("b17"))
}

struct Stand {
    receiver: Receiver,
    keyring: Arc<ArcSwap<Keyring>>,
    udp: SocketAddr,
    http: SocketAddr,
    clock: Clock,
}

fn stand(queue_max: usize) -> Stand {
    let mut keyring = Keyring::default();
    keyring.insert(id("mail"), farm_key(), Vec::new());
    let keyring = Arc::new(ArcSwap::from_pointee(keyring));
    let clock = Clock::start();
    let loopback = "127.0.0.1:0".parse().expect("address");
    let udp = listen::udp(loopback).expect("udp");
    let http = listen::tcp(loopback).expect("http");
    let (udp_addr, http_addr) = (udp.local_addr().expect("address"), http.local_addr().expect("address"));
    let options = ReceiverOptions {
        id: id("ns1"),
        kind: Kind::Dnslb,
        keyring: Arc::clone(&keyring),
        clock,
        queue_max,
        connections_max: 8,
    };
    let receiver = Receiver::start(options, vec![udp], vec![http]).expect("receiver");
    Stand { receiver, keyring, udp: udp_addr, http: http_addr, clock }
}

fn body(stand: &Stand, change: impl FnOnce(&mut Heartbeat)) -> Vec<u8> {
    let mut heartbeat = Heartbeat {
        v: VERSION,
        farm: id("mail"),
        id: id("b17"),
        role: Role::Backend,
        inc: 5,
        seq: 9,
        time_ms: stand.clock.now().wall.0,
        period_ms: 1_000,
        addrs: vec![IpAddr::from([127, 0, 0, 1])],
        port: 80,
        zone: None,
        state: State::Up,
        drain_by: Vec::new(),
        load: Load::default(),
        heard: Vec::new(),
        notice: None,
        tombstones: Vec::new(),
        killed: None,
    };
    change(&mut heartbeat);
    serde_json::to_vec(&heartbeat).expect("json")
}

fn datagram(body: &[u8]) -> Vec<u8> {
    Envelope::datagram(&id("mail"), &id("b17"), &member_key().sign(body), body)
}

async fn agent(stand: &Stand) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("socket");
    socket.connect(stand.udp).await.expect("connected");
    socket
}

async fn reply(socket: &UdpSocket) -> Reply {
    let mut buffer = vec![0; UDP_BYTES_MAX];
    let length = socket.recv(&mut buffer).await.expect("reply");
    let envelope = Envelope::from_datagram(&buffer[..length]).expect("envelope");
    member_key().open_reply(&envelope.mac, envelope.body).expect("signed")
}

/// Posts a body with the given headers; the status, the answer's headers and body.
async fn post(to: SocketAddr, path: &str, key: &str, mac: &str, body: Vec<u8>) -> (u16, HeaderMap, Bytes) {
    let stream = tokio::net::TcpStream::connect(to).await.expect("connected");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let request = Request::post(path).header("host", "x").header("farm-key", key).header("farm-mac", mac);
    let request = request.body(Full::new(Bytes::from(body))).expect("request");
    let (head, body) = sender.send_request(request).await.expect("response").into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.expect("body").to_bytes())
}

#[tokio::test]
async fn a_datagram_is_answered_by_the_control_loop() {
    let mut stand = stand(4);
    let socket = agent(&stand).await;
    socket.send(&datagram(&body(&stand, |_| {}))).await.expect("sent");
    let received = stand.receiver.queue.recv().await.expect("received");
    assert_eq!(received.source, socket.local_addr().expect("address"));
    let answer = Reply { drain: true, ..Reply::new(&id("ns1"), Kind::Dnslb, &received.heartbeat, stand.clock.now().wall) };
    received.reply.send(&answer);
    assert_eq!(reply(&socket).await, answer);
    assert_eq!(stand.receiver.refusals.taken(), 1);
}

#[tokio::test]
async fn a_bad_clock_is_challenged_at_once_and_a_forger_never() {
    let stand = stand(4);
    let socket = agent(&stand).await;
    let forged = Envelope::datagram(&id("mail"), &id("b17"), &"00".repeat(32), &body(&stand, |h| h.time_ms = 1));
    socket.send(&forged).await.expect("sent");
    socket.send(&vec![b'x'; UDP_BYTES_MAX + 100]).await.expect("sent");
    socket.send(b"").await.expect("sent");
    socket.send(&datagram(&body(&stand, |h| (h.time_ms, h.seq) = (1, 77)))).await.expect("sent");
    // Answers keep the order of the datagrams: had the forgery been answered, that would come first.
    let answer = reply(&socket).await;
    assert!(answer.challenge && answer.re_seq == 77 && answer.time_ms > 1_600_000_000_000);
    let counts = ["bad_mac", "oversized", "malformed", "stale"].map(|r| stand.receiver.refusals.refused(r));
    assert_eq!(counts, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let mut stand = stand(1);
    let first = body(&stand, |_| {});
    let mac = member_key().sign(&first);
    let socket = agent(&stand).await;
    socket.send(&datagram(&first)).await.expect("sent");
    // The datagram is in the queue once the one place is taken.
    while stand.receiver.refusals.taken() == 0 {
        tokio::task::yield_now().await;
    }
    let (status, headers, _) = post(stand.http, HEARTBEAT_PATH, "mail/b17", &mac, first).await;
    assert_eq!((status, headers.contains_key("retry-after")), (503, true));
    assert_eq!(stand.receiver.refusals.refused("queue_full"), 1);
    assert!(stand.receiver.queue.recv().await.is_some());
}

#[tokio::test]
async fn a_post_is_answered_with_a_signed_reply() {
    let mut stand = stand(4);
    let sent = body(&stand, |_| {});
    let mac = member_key().sign(&sent);
    let answering = async {
        let received = stand.receiver.queue.recv().await.expect("received");
        let answer = Reply::new(&id("ns1"), Kind::Dnslb, &received.heartbeat, stand.clock.now().wall);
        received.reply.send(&answer);
        let replayed = stand.receiver.queue.recv().await.expect("received");
        replayed.reply.refuse(&Refusal::Replayed);
        let forgotten = stand.receiver.queue.recv().await.expect("received");
        drop(forgotten);
        answer
    };
    let asking = async {
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(post(stand.http, HEARTBEAT_PATH, "mail/b17", &mac, sent.clone()).await);
        }
        answers
    };
    let (answer, answers) = tokio::join!(answering, asking);
    let (status, headers, text) = &answers[0];
    let mac = headers["farm-mac"].to_str().expect("text");
    let envelope = Envelope::from_parts(headers["farm-key"].to_str().expect("text"), mac, text).expect("envelope");
    assert_eq!((*status, member_key().open_reply(&envelope.mac, envelope.body)), (200, Ok(answer)));
    assert_eq!((answers[1].0, &answers[1].2[..]), (403, &b"replayed"[..]));
    assert_eq!(answers[2].0, 503);
    assert_eq!(stand.receiver.refusals.refused("replayed"), 1);
}

#[tokio::test]
async fn what_a_post_is_refused_with() {
    let stand = stand(4);
    let good = body(&stand, |_| {});
    let mac = member_key().sign(&good);
    let stale = body(&stand, |h| h.time_ms = 1);
    let foreign = body(&stand, |h| h.addrs = vec![IpAddr::from([9, 9, 9, 9])]);
    let sign = |body: &[u8]| member_key().sign(body);
    let zeros = "00".repeat(32);
    for (path, key, mac, body, expect) in [
        ("/", "mail/b17", &mac, good.clone(), 404),
        (HEARTBEAT_PATH, "mail/b17", &zeros, good.clone(), 403),
        (HEARTBEAT_PATH, "web/b17", &mac, good.clone(), 403),
        (HEARTBEAT_PATH, "nonsense", &mac, good.clone(), 400),
        (HEARTBEAT_PATH, "mail/b17", &String::new(), good.clone(), 400),
        (HEARTBEAT_PATH, "mail/b17", &sign(b"{"), b"{".to_vec(), 400),
        (HEARTBEAT_PATH, "mail/b17", &mac, vec![b' '; BODY_BYTES_MAX + 1], 413),
        (HEARTBEAT_PATH, "mail/b17", &sign(&foreign), foreign, 403),
        (HEARTBEAT_PATH, "mail/b17", &sign(&stale), stale, 409),
    ] {
        let (status, headers, text) = post(stand.http, path, key, mac, body).await;
        assert_eq!(status, expect, "{path} {key} {mac}");
        if status == 409 {
            let mac = headers["farm-mac"].to_str().expect("text");
            let envelope = Envelope::from_parts("mail/b17", mac, &text).expect("envelope");
            assert!(member_key().open_reply(&envelope.mac, envelope.body).expect("signed").challenge);
        }
    }
    let other = AdminAddr::Tcp(stand.http);
    let got = crate::admin_client::request(&other, None, "GET", HEARTBEAT_PATH, "").await.expect("answer");
    assert_eq!(got.0, 405);
}

#[tokio::test]
async fn a_reload_changes_who_is_believed() {
    let stand = stand(4);
    stand.keyring.store(Arc::new(Keyring::default()));
    let sent = body(&stand, |_| {});
    let mac = member_key().sign(&sent);
    let (status, _, text) = post(stand.http, HEARTBEAT_PATH, "mail/b17", &mac, sent).await;
    assert_eq!((status, &text[..]), (403, &b"unknown_farm"[..]));
}
