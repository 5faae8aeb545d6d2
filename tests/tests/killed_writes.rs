//! The daemon killed in the middle of its writes: at every octet of a journal's next frame.
//!
//! RLIMIT_FSIZE makes the kernel the executioner: the write that crosses the limit is cut there, and SIGXFSZ ends the process at the
//! next octet, with nothing flushed or cleaned up. What was acknowledged before must be served again, and what was not must be there
//! whole or not at all. tests/tests/updates.rs kills by SIGKILL in a storm instead, and dnslb_core::store tries every octet without a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::peer::free_port;
use farm_tests::{dns, wait};
use hickory_proto::rr::RecordType;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ZONE: &str = "$TTL 60\n@ SOA ns host 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n";
/// Octets of text in each record that is there before: the journal is to be longer than the log, which the limit holds for too.
const FILLING: usize = 200;

fn configuration(scratch: &Scratch, listen: SocketAddr) -> PathBuf {
    let path = scratch.path().display();
    scratch.write("example.com.zone", ZONE);
    let text = format!(
        "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate_dir = \"{path}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token_file = \"{path}/admin.token\"\n[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n\
         [[zone.update]]\nprefixes = [\"127.0.0.0/8\"]\ntypes = [\"ANY\"]\n"
    );
    scratch.write("dnslb.toml", &text)
}

/// An UPDATE message (RFC 2136) that adds an A and a TXT record at a host of `example.com`.
fn update(host: &str, text: &[u8]) -> Vec<u8> {
    let mut message = b"\x12\x34\x28\x00\x00\x01\x00\x00\x00\x02\x00\x00\x07example\x03com\x00\x00\x06\x00\x01".to_vec();
    let text = [&[text.len() as u8], text].concat();
    for (rtype, data) in [(1_u16, &[192, 0, 2, 9][..]), (16, &text)] {
        message.push(host.len() as u8);
        message.extend_from_slice(host.as_bytes());
        message.extend_from_slice(b"\xc0\x0c");
        message.extend_from_slice(&[rtype, 1].map(u16::to_be_bytes).concat());
        message.extend_from_slice(&60_u32.to_be_bytes());
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

/// Sends an update; whether it was acknowledged, or else the daemon has ended.
fn send(daemon: &mut Daemon, message: &[u8]) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(daemon.port("dns")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    socket.send(message).unwrap();
    wait::until("an acknowledgement or the end", SOON, || {
        let mut answer = [0; 512];
        match socket.recv(&mut answer) {
            Ok(_) => {
                assert_eq!(answer[3] & 15, 0, "refused: {}", daemon.log());
                Some(true)
            }
            Err(_) => daemon.ended().then_some(false),
        }
    })
}

/// How many of the two records of a host are served.
fn records(daemon: &Daemon, host: &str) -> usize {
    let count =
        |rtype| dns::udp(daemon.port("dns"), &dns::query(&format!("{host}.example.com"), rtype)).unwrap().answers.len();
    count(RecordType::A) + count(RecordType::TXT)
}

/// No file may grow beyond this from now on.
fn limit(daemon: &Daemon, octets: u64) {
    let pid = Pid::from_raw(daemon.pid() as i32);
    prlimit(pid, Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    prlimit(pid, Resource::Fsize, Rlimit { current: Some(octets), maximum: Some(octets) }).unwrap();
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn killed_at_every_octet_of_a_frame() {
    let scratch = Scratch::new("killed-frames");
    let config = configuration(&scratch, free_port());
    let start = || Daemon::serve("dnslb", &scratch, &config, &[]);
    let journal = scratch.path().join("state/zones/example.com+1.journal");
    let mut daemon = start();
    for number in 0..60 {
        assert!(send(&mut daemon, &update(&format!("filling{number}"), &[b'x'; FILLING])));
    }
    let before = length(&journal);
    // How long a frame is: as long as the next one of the same kind.
    assert!(send(&mut daemon, &update("h999", b"x")));
    let frame = length(&journal) - before;
    assert!((40..400).contains(&frame), "{frame}");
    let good = length(&journal);
    let mut killed = 0;
    for octets in 0..=frame {
        let host = format!("h{octets:03}");
        limit(&daemon, good + octets);
        let acknowledged = send(&mut daemon, &update(&host, b"x"));
        assert_eq!(acknowledged, octets == frame, "at {octets} of {frame}: {}", daemon.log());
        if !acknowledged {
            assert_eq!(length(&journal), good + octets, "the journal as the kernel cut it");
            killed += 1;
        }
        daemon.kill();
        daemon = start();
        assert_eq!(records(&daemon, &host), if acknowledged { 2 } else { 0 }, "at {octets} of {frame}");
        assert_eq!((records(&daemon, "filling0"), records(&daemon, "filling59"), records(&daemon, "h999")), (2, 2, 2));
        assert_eq!(daemon.log().contains("cut short"), (1..frame).contains(&octets), "at {octets}: {}", daemon.log());
    }
    println!("killed at {killed} octets of a frame");
    assert!(send(&mut daemon, &update("after", b"x")) && records(&daemon, "after") == 2);
}
