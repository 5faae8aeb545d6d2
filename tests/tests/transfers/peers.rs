//! Transfers between us and Knot and NSD, in both directions: whole, as changes, and at once when a notification says so; all signed.
//!
//! Nothing but a notification can bring a change here in the time that a test has: the SOA records say to look again after an hour.

use super::{KEY, SECRET, address, configuration, dig, records, secondary, serial_at, zone_text};
use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::peer::{Kind, free_port, installed};
use farm_tests::wait;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const KINDS: [Kind; 2] = [Kind::Knot, Kind::Nsd];

/// A zone that nobody looks at again within an hour. It has no MX record: NSD 4.6.1 names an unchanged one in its differences as added,
/// which we do not take (RFC 1995 section 4), so that the zone comes whole.
fn rare_text(serial: u32, hosts: u32) -> String {
    let text = zone_text(serial, hosts).replacen("@ MX 10 mail\n", "", 1);
    let rare = text.replacen(&format!("{serial} 2 1 20 5"), &format!("{serial} 3600 3600 86400 5"), 1);
    assert_ne!(rare, text);
    rare
}

/// Everything of the zone that `server` gives to who has the key.
fn whole(server: SocketAddr) -> Vec<String> {
    records(&dig(server, &["-y", &format!("hmac-sha256:xfer:{SECRET}"), "example.com", "AXFR"]))
}

/// The peer at `addr`, with these settings of its one zone (and, for Knot, of its access lists); in `folder`.
fn start(kind: Kind, folder: &Path, addr: SocketAddr, ours: SocketAddr, zone: &str) -> Option<Daemon> {
    std::fs::create_dir_all(folder).unwrap();
    let (path, ip, port) = (folder.display(), addr.ip(), addr.port());
    let (binary, words, text) = match kind {
        Kind::Knot => (
            "knotd",
            &["-c"][..],
            format!(
                "server:\n  listen: {ip}@{port}\n  rundir: {path}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: {path}\nlog:\n  - target: stderr\n    any: info\n\
                 key:\n  - id: xfer\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
                 remote:\n  - id: ours\n    address: {}@{}\n    key: xfer\n\
                 acl:\n  - id: all\n    key: xfer\n    action: [transfer, notify]\n\
                 zone:\n  - domain: example.com\n    acl: all\n{zone}",
                ours.ip(),
                ours.port()
            ),
        ),
        _ => (
            "nsd",
            &["-d", "-c"][..],
            format!(
                "server:\n  server-count: 1\n  rrl-ratelimit: 0\n  ip-address: {ip}@{port}\n  username: \"\"\n  chroot: \"\"\n  \
                 zonesdir: \"{path}\"\n  database: \"\"\n  pidfile: \"{path}/pid\"\n  xfrdfile: \"{path}/xfrd.state\"\n  \
                 xfrdir: \"{path}\"\n  zonelistfile: \"{path}/zone.list\"\n  verbosity: 2\n\
                 remote-control:\n  control-enable: no\n\
                 key:\n  name: xfer\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\n\
                 zone:\n  name: example.com\n  provide-xfr: 127.0.0.1 xfer\n{zone}"
            ),
        ),
    };
    let binary = installed(binary)?;
    let config = folder.join("server.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(binary);
    command.args(words).arg(&config);
    Some(Daemon::spawn(command, folder.join("log")))
}

#[test]
fn knot_and_nsd_are_our_secondaries() {
    assert!(KEY.contains(SECRET), "the key that everybody has");
    let Some(nsupdate) = installed("nsupdate") else { return };
    for kind in KINDS {
        let scratch = Scratch::new("transfers-peer-secondary");
        let (ours, theirs) = (free_port(), free_port());
        scratch.write("example.com.zone", &rare_text(7, 400));
        let zones = format!(
            "[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n[[zone.transfer]]\nkey = \"xfer\"\n\
             [[zone.update]]\nkey = \"xfer\"\n[[zone.notify]]\naddr = \"{theirs}\"\nkey = \"xfer\"\n"
        );
        let daemon = Daemon::serve("dnslb", &scratch, &configuration(&scratch, ours, &zones), &[]);
        let zone = match kind {
            Kind::Knot => "    master: ours\n    file: copy.zone\n    zonefile-sync: -1\n".to_owned(),
            _ => format!(
                "  request-xfr: {}@{} xfer\n  allow-notify: 127.0.0.1 xfer\n  zonefile: copy.zone\n",
                ours.ip(),
                ours.port()
            ),
        };
        let Some(mut peer) = start(kind, &scratch.path().join("peer"), theirs, ours, &zone) else { continue };
        let sent = |what: &str| daemon.metric(&format!("dnslb_transfers_out_total{{sent=\"{what}\"}}")).unwrap_or_default();
        let expect = |serial: u32| {
            wait::until(&format!("serial {serial} at {kind:?}\n{}", peer.log()), SOON, || {
                (serial_at(theirs) == Some(serial)).then_some(())
            });
            assert_eq!(whole(theirs), whole(ours), "{kind:?}");
        };
        expect(7);
        assert!(sent("whole") >= 1.0 && sent("changes") == 0.0, "{kind:?}");
        let (ip, port) = (ours.ip(), ours.port());
        let script = format!("server {ip} {port}\nzone example.com\nupdate add new.example.com 60 A 192.0.2.77\nsend\n");
        let script = scratch.write("update", &script);
        let status = Command::new(&nsupdate).arg("-k").arg(scratch.path().join("xfer.key")).arg(script).status().unwrap();
        assert!(status.success());
        expect(8);
        assert!(sent("changes") >= 1.0, "{kind:?} asks for changes and gets them:\n{}", peer.log());
        assert_eq!(address(theirs, "new.example.com").as_deref(), Some("192.0.2.77"));
        peer.end();
    }
}

#[test]
fn we_are_the_secondary_of_knot_and_nsd() {
    for kind in KINDS {
        let scratch = Scratch::new("transfers-peer-primary");
        let (ours, theirs) = (free_port(), free_port());
        let file = scratch.write("primary.zone", &rare_text(7, 400));
        let path = file.display();
        let zone = match kind {
            Kind::Knot => format!(
                "    file: {path}\n    notify: ours\n    zonefile-sync: -1\n    zonefile-load: difference\n    journal-content: changes\n"
            ),
            _ => format!(
                "  notify: {}@{} xfer\n  zonefile: {path}\n  store-ixfr: yes\n  create-ixfr: yes\n",
                ours.ip(),
                ours.port()
            ),
        };
        let Some(mut peer) = start(kind, &scratch.path().join("peer"), theirs, ours, &zone) else { continue };
        wait::until(&format!("{kind:?}\n{}", peer.log()), SOON, || (serial_at(theirs) == Some(7)).then_some(()));
        // What we have of theirs, whoever has the key may have of us.
        let zones = secondary(theirs, "").replace("[[zone.primary]]", "[[zone.transfer]]\nkey = \"xfer\"\n[[zone.primary]]");
        let daemon = Daemon::serve("dnslb", &scratch, &configuration(&scratch, ours, &zones), &[]);
        let got =
            |outcome: &str| daemon.metric(&format!("dnslb_transfers_in_total{{outcome=\"{outcome}\"}}")).unwrap_or_default();
        wait::until("the first transfer", SOON, || (serial_at(ours) == Some(7)).then_some(()));
        assert_eq!(whole(ours), whole(theirs), "{kind:?}");
        assert_eq!((got("whole"), got("changes")), (1.0, 0.0), "{kind:?}");
        std::fs::write(&file, rare_text(8, 420)).unwrap();
        peer.signal(rustix::process::Signal::HUP);
        wait::until(&format!("serial 8 of {kind:?}\n{}", peer.log()), SOON, || (serial_at(ours) == Some(8)).then_some(()));
        assert_eq!(whole(ours), whole(theirs), "{kind:?}");
        assert_eq!((got("whole"), got("changes")), (1.0, 1.0), "{kind:?}: a change comes as a change");
        assert_eq!(address(ours, "h419.example.com").as_deref(), Some("10.0.1.163"));
        peer.end();
    }
}
