//! The threads that answer over UDP: each has a socket of its own, shares its port by `SO_REUSEPORT`, and answers in batches.
//!
//! A question must never stop a worker, whatever it does to the code that answers it.

use dnslb_core::respond::Transport;
use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::SockRef;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use super::mmsg::{Batch, Exchange, client_ip, ignore_path_mtu, tell_asked_address};
use crate::answering::{Answered, Answerer, Round};
use crate::requests::Lane;
use crate::tally::{Dropped, Tally};

/// How long a worker may take to see that it shall stop.
const STOP_LATENCY: Duration = Duration::from_millis(250);

/// Octets of the socket's receive buffer: some 10 ms of questions at full speed, so that a publish or a context switch drops none.
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;

/// Makes a bound socket fit for a worker: it waits for datagrams, but not for ever, and on a wildcard address it is told which
/// address was asked.
pub fn prepare(socket: &UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(STOP_LATENCY))?;
    socket.set_write_timeout(Some(STOP_LATENCY))?;
    // The kernel may grant less (net.core.rmem_max); that is no reason not to serve.
    let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER_OCTETS);
    ignore_path_mtu(socket.as_fd(), address.is_ipv6())?;
    if address.ip().is_unspecified() {
        tell_asked_address(socket.as_fd(), address.is_ipv6())?;
    }
    Ok(())
}

/// Starts a worker on its socket. It runs until `stop` is set, and is pinned to `cpu` if one is given and the kernel agrees.
pub fn start(
    name: String,
    socket: UdpSocket,
    mut answerer: Answerer,
    lane: Lane,
    cpu: Option<usize>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(cpu) = cpu {
            pin(cpu);
        }
        let socket = Arc::new(socket);
        let mut batch = Batch::new();
        let mut failing = false;
        let special = |exchange: &Exchange<'_>| lane.datagram(&socket, exchange.origin(), exchange.query);
        while !stop.load(Relaxed) {
            match batch.receive(socket.as_fd()) {
                Ok(0) => {}
                Ok(_) => {
                    failing = false;
                    let tally = Arc::clone(answerer.tally());
                    serve(&socket, &mut batch, &tally, |batch| answer_all(batch, answerer.round(), special));
                }
                Err(error) => {
                    // Once per series of failures, and not in a busy loop.
                    if !failing {
                        tracing::error!(%error, "receiving over UDP fails");
                    }
                    failing = true;
                    std::thread::park_timeout(STOP_LATENCY);
                }
            }
        }
    })
}

/// Answers one batch and sends it. What was answered before a panic still goes out; the question that caused it, and those behind
/// it, get nothing.
fn serve(socket: &UdpSocket, batch: &mut Batch, tally: &Tally, answer: impl FnOnce(&mut Batch)) {
    if catch_unwind(AssertUnwindSafe(|| answer(batch))).is_err() {
        tally.dropped(Dropped::Defect);
    }
    let sent = batch.send(socket.as_fd());
    tally.send_failed(sent.failed);
}

fn answer_all(batch: &mut Batch, mut round: Round<'_>, special: impl Fn(&Exchange<'_>)) {
    for mut exchange in batch.exchanges() {
        let from = exchange.from.filter(|from| from.port() != 0);
        match from {
            None => round.drop(Dropped::SourcePort),
            Some(_) if exchange.cut => round.drop(Dropped::TooLong),
            Some(from) => match round.answer(Transport::Udp, client_ip(from), exchange.query, exchange.answer) {
                Answered::Whole(octets) => exchange.reply(octets),
                Answered::Nothing => {}
                Answered::Special => special(&exchange),
            },
        }
    }
}

fn pin(cpu: usize) {
    if cpu >= CpuSet::MAX_CPU {
        return;
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "a worker could not be pinned");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::answering::Answering;
    use crate::query_log::QueryLog;
    use crate::shares::Shares;
    use crate::shell::live;
    use crate::tally::Tallies;
    use arc_swap::ArcSwap;
    use dnslb_core::control::{Control, Effect, Saved};
    use dnslb_core::zone::Files;
    use farm_daemon::clock::Clock;
    use farm_shared::draw::Draws;

    struct Zone;

    impl Files for Zone {
        fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
            Ok(b"@ 60 SOA ns1 host 1 2 3 4 5\n@ 60 NS ns1\nns1 60 A 192.0.2.1\n".to_vec())
        }
    }

    /// An answerer of a zone and a pool of two members.
    fn answerer() -> (Answerer, Tallies) {
        let text = "[[zone]]\nname = 'lb.example.com'\nfile = 'z'\n[[pool]]\nname = 'www'\npublish = ['www.lb.example.com']\n\
                    [[pool.member]]\nname = 'a'\naddresses = ['192.0.2.1']\n[[pool.member]]\nname = 'b'\naddresses = ['192.0.2.2']\n";
        let loaded = dnslb_core::config::load("t", text, &Zone).unwrap();
        let (clock, draws, tallies) = (Clock::start(), Draws::from_u64(1), Tallies::new(1));
        let mut control = Control::new(loaded.spec, loaded.zones, Saved::default(), clock.now(), draws.clone());
        let effects = control.flush(clock.now());
        let published = effects.into_iter().find_map(|effect| match effect {
            Effect::Publish(snapshot) => Some(live(&Shares::new(1), &control, snapshot, None)),
            _ => None,
        });
        let published = Arc::new(ArcSwap::from_pointee(published.unwrap()));
        let answering = Answering { published, clock, tallies: tallies.clone(), log: QueryLog::off(), draws, sent: None };
        (answering.worker(0, 0), tallies)
    }

    #[test]
    fn a_batch_costs_no_allocation() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        prepare(&server).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let (mut answerer, tallies) = answerer();
        let (mut batch, tally) = (Batch::new(), tallies.get(0));
        let head = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00";
        let names = [&b"\x03www"[..], b"\x03ns1", b"\x07nothing", b""];
        // The first round allocates what is allocated once: counters, and the thread's own place for reading snapshots.
        for round in 0..3 {
            for name in names {
                let question = [head, name, b"\x02lb\x07example\x03com\x00\x00\x01\x00\x01"].concat();
                client.send(&question).unwrap();
            }
            client.send(b"no question").unwrap();
            let mut seen = 0;
            while seen <= names.len() {
                let measured = allocation_counter::measure(|| {
                    seen += batch.receive(server.as_fd()).unwrap();
                    serve(&server, &mut batch, &tally, |batch| answer_all(batch, answerer.round(), |_| {}));
                });
                assert!(round == 0 || measured.count_total == 0, "{measured:?}");
            }
        }
        assert_eq!(tallies.answers(), [("udp", 0, 9), ("udp", 3, 3)]);
    }

    #[test]
    fn a_panic_costs_its_own_batch_and_no_more() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        prepare(&server).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (mut batch, tallies) = (Batch::new(), Tallies::new(1));
        let tally = tallies.get(0);
        for panics in [true, false] {
            client.send(b"q").unwrap();
            while batch.receive(server.as_fd()).unwrap() == 0 {}
            serve(&server, &mut batch, &tally, |batch| {
                for mut exchange in batch.exchanges() {
                    exchange.answer[0] = b'a';
                    exchange.reply(1);
                }
                assert!(!panics, "as a defect would");
            });
            assert_eq!(client.recv(&mut [0; 8]).unwrap(), 1);
        }
        assert_eq!(tallies.dropped().map(|(_, count)| count), [0, 0, 0, 1]);
    }
}
