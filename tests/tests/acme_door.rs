//! Certificates of the front door: ordered from Pebble, proved through our own name server, served, renewed, handed to backends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::acme::{Faults, Pebble, name_server, openssl};
use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::farm::secret;
use farm_tests::peer::free_port;
use farm_tests::{dns, wait};
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// An order is a few dozen requests; a busy machine takes its time for each.
const ORDERED: Duration = Duration::from_mins(1);

const TWO: &str = "[[acme.certificate]]\nid = \"door\"\nnames = [\"mail.example.com\"]\n\
                   [[acme.certificate]]\nid = \"farm\"\nnames = [\"*.farm.example.com\", \"farm.example.com\"]\nagents = true\n";

#[expect(clippy::disallowed_methods, reason = "the end of a certificate is told in wall time")]
fn unix_s() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The configuration of a door that gets its certificates from `pebble`.
fn door(scratch: &Scratch, dns: SocketAddr, pebble: &Pebble, more: &str, certificates: &str) -> PathBuf {
    door_at(scratch, "127.0.0.1:0", &[dns], dns, pebble, more, certificates)
}

/// The same at an address, with the name servers that must serve a challenge.
fn door_at(
    scratch: &Scratch,
    listen: &str,
    servers: &[SocketAddr],
    dns: SocketAddr,
    pebble: &Pebble,
    more: &str,
    certificates: &str,
) -> PathBuf {
    let path = scratch.path().display().to_string();
    secret(scratch, "farm.key", &"5a".repeat(32));
    scratch.write(
        "door.toml",
        &format!(
            "hosts = [\"*\"]\n[server]\nid = \"door1\"\nlisten = [\"{listen}\"]\nlisten_tls = [\"127.0.0.1:0\"]\nworkers = 1\nstate_dir = \"{path}/door\"\n\
             [farm]\nname = \"mail\"\nkey_file = \"farm.key\"\n[heartbeat]\nlisten_udp = [\"127.0.0.1:0\"]\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{path}/door.token\"\n\
             [acme]\ndirectory = \"{}\"\nca_file = \"{}\"\nupdate_server = \"{dns}\"\nupdate_key_file = \"acme.key\"\n\
             servers = [{}]\nretry = \"1s\"\n{more}\n{certificates}",
            pebble.directory(),
            pebble.ca_file.display(),
            servers.iter().map(|server| format!("\"{server}\"")).collect::<Vec<_>>().join(", "),
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

fn assert_private(file: &Path) {
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
}

fn orders(pebble: &Pebble) -> usize {
    pebble.log().matches("POST /order-plz").count()
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
        assert_private(&file);
        let file = file.display().to_string();
        let text = openssl(&["x509", "-in", &file, "-noout", "-ext", "subjectAltName", "-issuer"]);
        assert!(text.contains(name) && text.contains("Pebble"), "{text}");
        openssl(&["verify", "-CAfile", &root, "-untrusted", &file, &file]);
        // It is what the listener shows to whoever asks for that name, without a restart.
        let server = if id == "door" { "mail.example.com" } else { "b1.farm.example.com" };
        let output = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &root, "--resolve"])
            .arg(format!("{server}:{}:127.0.0.1", door.port("door_tls").port()))
            .arg(format!("https://{server}:{}/", door.port("door_tls").port()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let end = format!("redirector_certificate_not_after_timestamp_seconds{{certificate=\"{id}\"}}");
        let left = door.metric(&end).unwrap() - unix_s();
        assert!(left > 86_400.0, "{left}");
    }
    // Three challenges came and went: nothing is left in the zone.
    assert!(server.metric("dnslb_updates_total{rcode=\"NOERROR\"}").unwrap() >= 6.0);
    wait::until("an empty zone", ORDERED, || {
        (challenges(listen, "mail.example.com") + challenges(listen, "farm.example.com") == 0).then_some(())
    });
    // A restart finds what is there, and asks for nothing.
    let before = orders(&pebble);
    assert!(door.stop().success());
    let door = Daemon::serve("redirector", &scratch, &config, &[]);
    wait::until("what is on the disk", ORDERED, || {
        let end = "redirector_certificate_not_after_timestamp_seconds{certificate=\"farm\"}";
        (door.metric(end)? - unix_s() > 86_400.0).then_some(())
    });
    assert_eq!(orders(&pebble), before);
    assert_eq!(door.metric("redirector_acme_attempts_total{outcome=\"issued\"}"), Some(0.0));
}

#[test]
fn a_name_is_proved_by_http_where_no_zone_takes_updates() {
    let scratch = Scratch::new("acme-http");
    let (listen, front) = (free_port(), free_port());
    let faults = Faults { http_port: front.port(), ..Faults::default() };
    let Some(pebble) = Pebble::start(&scratch, "pebble", listen, faults) else { return };
    let _server = name_server(&scratch, listen);
    // The update server is a port where nobody listens: the record cannot be put anywhere, and the file is the fallback.
    let one = "[[acme.certificate]]\nid = \"door\"\nnames = [\"mail.example.com\"]\n";
    let more = "challenges = [\"dns-01\", \"http-01\"]";
    let config = door_at(&scratch, &front.to_string(), &[listen], free_port(), &pebble, more, one);
    let mut door = Daemon::serve("redirector", &scratch, &config, &[]);
    issued(&mut door, 1.0);
    assert!(door.log().contains("falling back to http-01"), "{}", door.log());
    assert_private(&scratch.path().join("door/acme-door.pem"));
}

#[test]
fn a_door_that_is_killed_goes_on_with_its_order() {
    let scratch = Scratch::new("acme-kill");
    let (listen, nobody) = (free_port(), free_port());
    let Some(pebble) = Pebble::start(&scratch, "pebble", listen, Faults::default()) else { return };
    let _server = name_server(&scratch, listen);
    // A name server that does not answer holds the order up, with its records in the zone.
    let config = door_at(&scratch, "127.0.0.1:0", &[listen, nobody], listen, &pebble, "", TWO);
    let mut door = Daemon::serve("redirector", &scratch, &config, &[]);
    wait::until("a record", ORDERED, || (challenges(listen, "mail.example.com") == 1).then_some(()));
    door.kill();
    assert_eq!((challenges(listen, "mail.example.com"), orders(&pebble)), (1, 1));
    let config = door_at(&scratch, "127.0.0.1:0", &[listen], listen, &pebble, "", TWO);
    let mut door = Daemon::serve("redirector", &scratch, &config, &[]);
    issued(&mut door, 2.0);
    assert_eq!(orders(&pebble), 2, "the first order was gone on with: {}", pebble.log());
    wait::until("an empty zone", ORDERED, || {
        (challenges(listen, "mail.example.com") + challenges(listen, "farm.example.com") == 0).then_some(())
    });
}

#[test]
fn a_backend_fetches_the_farms_certificate_and_a_client_follows_to_it() {
    let scratch = Scratch::new("acme-agent");
    let (listen, service) = (free_port(), free_port());
    let Some(pebble) = Pebble::start(&scratch, "pebble", listen, Faults::default()) else { return };
    let _server = name_server(&scratch, listen);
    let more = "listen_agents = [\"127.0.0.1:0\"]";
    let tail = format!(
        "{TWO}[door]\ntarget = \"https://{{id}}.farm.example.com:{{port}}\"\npublished = \"ignore\"\n[lease]\ngrace = \"2s\"\n"
    );
    let config = door(&scratch, listen, &pebble, more, &tail);
    let mut door = Daemon::serve("redirector", &scratch, &config, &[]);
    let root = scratch.write("root.pem", &pebble.root()).display().to_string();
    let (dir, hooked) = (scratch.path().join("tls"), scratch.path().join("hooked"));
    let mut agent = Command::new(farm_tests::daemon::bins().join("farm-agent"));
    agent.args(
        "run --farm mail --id b1 --address 127.0.0.1 --bind 127.0.0.1 --load proc --period 200ms --imds off".split(' '),
    );
    agent.arg("--farm-key-file").arg(scratch.path().join("farm.key"));
    agent.arg("--state-file").arg(scratch.path().join("agent.json")).args(["--port", &service.port().to_string()]);
    agent.args(["--front", &format!("udp:{}", door.port("heartbeat_udp")), "--certificate-required"]);
    agent.args([
        "--certificate-from",
        &format!("https://{}", door.port("agents")),
        "--certificate-name",
        "mail.example.com",
    ]);
    agent.args(["--certificate-ca-file", &root]).arg("--certificate-dir").arg(&dir);
    agent.args(["--certificate-hook", "touch", "--certificate-hook"]).arg(&hooked);
    // The agent begins before there is anything to fetch: it says nothing of its backend until there is.
    let agent = Daemon::spawn(agent, scratch.path().join("agent.log"));
    issued(&mut door, 2.0);
    wait::until("the hook", ORDERED, || hooked.exists().then_some(()));
    for name in ["fullchain.pem", "key.pem"] {
        assert_private(&dir.join(name));
    }
    let mut backend = Command::new("openssl");
    backend.args(["s_server", "-quiet", "-www", "-accept", &service.to_string()]);
    backend.arg("-cert").arg(dir.join("fullchain.pem")).arg("-cert_chain").arg(dir.join("fullchain.pem"));
    backend.arg("-key").arg(dir.join("key.pem"));
    let mut backend = Daemon::spawn(backend, scratch.path().join("backend.log"));
    let tls = door.port("door_tls").port();
    let mut said = String::new();
    let follow = || {
        backend.assert_alive();
        let output = Command::new("curl")
            .args(["-sSL", "-o", "/dev/null", "-w", "%{http_code} %{url_effective}", "--cacert", &root])
            .args(["--resolve", &format!("mail.example.com:{tls}:127.0.0.1")])
            .args(["--resolve", &format!("b1.farm.example.com:{}:127.0.0.1", service.port())])
            .arg(format!("https://mail.example.com:{tls}/inbox"))
            .output()
            .unwrap();
        said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        said.contains("://b1.farm.example.com").then_some(said.clone())
    };
    let outcome = wait::until("a redirect to the backend", ORDERED, follow);
    assert_eq!(outcome, format!("200 https://b1.farm.example.com:{}/inbox", service.port()), "{}", agent.log());
    assert!(door.log().contains("a certificate is handed out"));
    // Whoever has no key of the farm gets nothing, whatever it says.
    let output = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &root, "-d", "{}"])
        .args(["-H", "farm-key: mail/b1", "-H", &format!("farm-mac: {}", "00".repeat(32)), "--resolve"])
        .arg(format!("mail.example.com:{}:127.0.0.1", door.port("agents").port()))
        .arg(format!("https://mail.example.com:{}/v1/certificate", door.port("agents").port()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "403");
}
