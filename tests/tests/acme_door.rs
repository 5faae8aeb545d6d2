//! Certificates of the front door: ordered from Pebble, proved through our own name server, served, renewed, handed to backends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::acme::{Faults, Pebble, name_server, openssl};
use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::farm::secret;
use farm_tests::peer::free_port;
use farm_tests::{dns, wait};
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::time::Duration;

/// An order is a few dozen requests; a busy machine takes its time for each.
const ORDERED: Duration = Duration::from_secs(60);

const TWO: &str = "[[acme.certificate]]\nid = \"door\"\nnames = [\"mail.example.com\"]\n\
                   [[acme.certificate]]\nid = \"farm\"\nnames = [\"*.farm.example.com\", \"farm.example.com\"]\nagents = true\n";

/// The configuration of a door that gets its certificates from `pebble`.
fn door(scratch: &Scratch, dns: SocketAddr, pebble: &Pebble, more: &str, certificates: &str) -> std::path::PathBuf {
    let path = scratch.path().display().to_string();
    secret(scratch, "farm.key", &"5a".repeat(32));
    scratch.write(
        "door.toml",
        &format!(
            "hosts = [\"*\"]\n[server]\nid = \"door1\"\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\nworkers = 1\nstate_dir = \"{path}/door\"\n\
             [farm]\nname = \"mail\"\nkey_file = \"farm.key\"\n[heartbeat]\nlisten_udp = [\"127.0.0.1:0\"]\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{path}/door.token\"\n\
             [acme]\ndirectory = \"{}\"\nca_file = \"{}\"\nupdate_server = \"{dns}\"\nupdate_key_file = \"acme.key\"\n\
             servers = [\"{dns}\"]\nretry = \"1s\"\n{more}\n{certificates}",
            pebble.directory(),
            pebble.ca_file.display(),
        ),
    )
}

/// Waits until a door has had `count` certificates.
fn issued(door: &mut Daemon, count: f64) {
    wait::until("certificates", ORDERED, || {
        door.assert_alive();
        (door.metric("redirector_acme_attempts_total{outcome=\"issued\"}")? >= count).then_some(())
    });
}

fn challenges(server: SocketAddr, name: &str) -> usize {
    let query = dns::query(&format!("_acme-challenge.{name}"), RecordType::TXT);
    dns::udp(server, &query).unwrap().answers.len()
}

#[test]
fn two_certificates_are_proved_through_our_name_server() {
    let scratch = Scratch::new("acme-door");
    let listen = free_port();
    // A fifth of the nonces is refused, as Pebble does to try clients.
    let Some(pebble) = Pebble::start(&scratch, "pebble", listen, Faults { nonces_refused: 20, ..Faults::default() }) else {
        return;
    };
    let server = name_server(&scratch, listen);
    let config = door(&scratch, listen, &pebble, "", TWO);
    let mut door = Daemon::serve("redirector", &scratch, &config, &[]);
    issued(&mut door, 2.0);
    let root = scratch.write("root.pem", &pebble.root()).display().to_string();
    for (id, name) in [("door", "DNS:mail.example.com"), ("farm", "DNS:*.farm.example.com, DNS:farm.example.com")] {
        let file = scratch.path().join(format!("door/acme-{id}.pem"));
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let file = file.display().to_string();
        let text = openssl(&["x509", "-in", &file, "-noout", "-ext", "subjectAltName", "-issuer"]);
        assert!(text.contains(name) && text.contains("Pebble"), "{text}");
        openssl(&["verify", "-CAfile", &root, "-untrusted", &file, &file]);
        let left = door.metric(&format!("redirector_certificate_expiry_seconds{{certificate=\"{id}\"}}")).unwrap();
        assert!(left > 86_400.0, "{left}");
    }
    // Three challenges came and went: nothing is left in the zone.
    assert!(server.metric("dnslb_updates_total{rcode=\"NOERROR\"}").unwrap() >= 6.0);
    wait::until("an empty zone", ORDERED, || {
        (challenges(listen, "mail.example.com") + challenges(listen, "farm.example.com") == 0).then_some(())
    });
    // A restart finds what is there, and asks for nothing.
    let before = pebble.log().matches("POST /order-plz").count();
    assert!(door.stop().success());
    let door = Daemon::serve("redirector", &scratch, &config, &[]);
    wait::until("what is on the disk", ORDERED, || {
        (door.metric("redirector_certificate_expiry_seconds{certificate=\"farm\"}")? > 86_400.0).then_some(())
    });
    assert_eq!(pebble.log().matches("POST /order-plz").count(), before);
    assert_eq!(door.metric("redirector_acme_attempts_total{outcome=\"issued\"}"), Some(0.0));
}
