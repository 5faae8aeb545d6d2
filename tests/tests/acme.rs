//! A certificate client that knows only RFC 2136: certbot's dns-rfc2136 gets a wildcard certificate from Pebble, which validates by
//! asking us.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::peer::{free_port, installed, skipped};
use farm_tests::wait;
use std::net::TcpStream;
use std::process::Command;

const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG9yIHNv";

const ZONE: &str = "$TTL 60\n@ SOA ns host 7 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\nwww A 127.0.0.1\n";

fn openssl(words: &[&str]) -> String {
    let output = Command::new("openssl").args(words).output().expect("openssl runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn certbot_gets_a_wildcard_certificate_from_pebble() {
    let (Some(certbot), Some(pebble), Some(_)) = (installed("certbot"), installed("pebble"), installed("openssl")) else {
        return;
    };
    let scratch = Scratch::new("acme");
    let path = scratch.path().display().to_string();
    // A list of plugins needs folders of its own as well.
    let mut plugins = Command::new(&certbot);
    plugins.arg("plugins");
    for folder in ["config", "work", "logs"] {
        plugins.arg(format!("--{folder}-dir")).arg(scratch.path().join(folder));
    }
    let plugins = plugins.output().expect("certbot runs");
    if !String::from_utf8_lossy(&plugins.stdout).contains("dns-rfc2136") {
        skipped("certbot's dns-rfc2136 plugin is not installed");
        return;
    }

    let listen = free_port();
    scratch.write("acme.key", &format!("key \"acme\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n"));
    scratch.write("zone", ZONE);
    let config = scratch.write(
        "dnslb.toml",
        &format!(
            "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate_dir = \"{path}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             token_file = \"{path}/admin.token\"\n[[key]]\nname = \"acme\"\nsecret_file = \"acme.key\"\n\
             [[zone]]\nname = \"example.com\"\nfile = \"zone\"\n\
             [[zone.update]]\nkey = \"acme\"\nnames = [\"_acme-challenge.**.example.com\"]\ntypes = [\"TXT\"]\n"
        ),
    );
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);

    let (cert, private) = (format!("{path}/pebble.pem"), format!("{path}/pebble.key"));
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        &private,
        "-out",
        &cert,
    ]);
    let (acme, manage) = (free_port(), free_port());
    let settings = scratch.write(
        "pebble.json",
        &format!(
            "{{\"pebble\":{{\"listenAddress\":\"{acme}\",\"managementListenAddress\":\"{manage}\",\"certificate\":\"{cert}\",\
             \"privateKey\":\"{private}\",\"httpPort\":5002,\"tlsPort\":5001,\"ocspResponderURL\":\"\",\"externalAccountBindingRequired\":false}}}}"
        ),
    );
    let mut command = Command::new(pebble);
    command.arg("-config").arg(settings).args(["-strict", "-dnsserver", &listen.to_string()]);
    // Pebble waits and refuses nonces at random otherwise, to exercise clients; certbot's patience is not what is tried here.
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
    let mut ca = Daemon::spawn(command, scratch.path().join("pebble.log"));
    wait::until("Pebble", SOON, || {
        ca.assert_alive();
        TcpStream::connect(acme).ok()
    });

    let credentials = scratch.write(
        "rfc2136.ini",
        &format!(
            "dns_rfc2136_server = 127.0.0.1\ndns_rfc2136_port = {}\ndns_rfc2136_name = acme.\ndns_rfc2136_secret = {SECRET}\n\
             dns_rfc2136_algorithm = HMAC-SHA256\n",
            listen.port()
        ),
    );
    let certbot = |domains: &[&str]| {
        let mut command = Command::new(&certbot);
        command.args([
            "certonly",
            "--non-interactive",
            "--agree-tos",
            "--register-unsafely-without-email",
            "--no-verify-ssl",
        ]);
        command.args(["--server", &format!("https://127.0.0.1:{}/dir", acme.port()), "--dns-rfc2136"]);
        command.arg("--dns-rfc2136-credentials").arg(&credentials).args(["--dns-rfc2136-propagation-seconds", "0"]);
        for folder in ["config", "work", "logs"] {
            command.arg(format!("--{folder}-dir")).arg(scratch.path().join(folder));
        }
        for domain in domains {
            command.args(["-d", domain]);
        }
        command.output().expect("certbot runs")
    };
    let output = certbot(&["*.example.com", "example.com"]);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{}\n{}", String::from_utf8_lossy(&said), ca.log(), daemon.log());
    let live = format!("{path}/config/live/example.com/cert.pem");
    let text = openssl(&["x509", "-in", &live, "-noout", "-ext", "subjectAltName", "-issuer"]);
    assert!(text.contains("DNS:*.example.com") && text.contains("Pebble"), "{text}");
    // Two challenges at one name came and went.
    assert!(daemon.metric("dnslb_updates_total{rcode=\"NOERROR\"}").unwrap() >= 4.0);
    let journal = std::fs::metadata(scratch.path().join("state/zones/example.com+1.journal")).unwrap().len();
    assert!(journal > 500, "{journal}");
    // The key may do this and no more.
    assert!(!certbot(&["else.test"]).status.success());
}
