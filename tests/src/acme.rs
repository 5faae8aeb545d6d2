//! Pebble, the certificate authority that tests clients, as a child process; and the zone and the key that our clients prove names with.

use crate::daemon::{Daemon, SOON, Scratch};
use crate::peer::{free_port, installed};
use crate::wait;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

/// The secret of the key `acme`.
pub const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG9yIHNv";

/// A running authority.
pub struct Pebble {
    /// Where its directory is, at `/dir`.
    pub addr: SocketAddr,
    manage: SocketAddr,
    /// The file of the certificate that its own interface shows.
    pub ca_file: PathBuf,
    daemon: Daemon,
}

/// How an authority is to behave.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Good nonces that are refused, in percent.
    pub nonces_refused: u32,
    /// How often a valid authorization is used again, in percent.
    pub reused: u32,
    /// Where http-01 is looked for.
    pub http_port: u16,
}

impl Default for Faults {
    fn default() -> Self {
        Self { nonces_refused: 0, reused: 0, http_port: 5002 }
    }
}

/// Runs openssl, which must succeed, and returns what it prints.
pub fn openssl(words: &[&str]) -> String {
    let output = Command::new("openssl").args(words).output().expect("openssl runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Pebble {
    /// Starts one that asks `dns` for every name; `None`, said loudly, if it, openssl or curl is not installed.
    pub fn start(scratch: &Scratch, name: &str, dns: SocketAddr, faults: Faults) -> Option<Self> {
        let (pebble, _, _) = (installed("pebble")?, installed("openssl")?, installed("curl")?);
        let path = |file: &str| scratch.path().join(format!("{name}-{file}"));
        let (ca_file, key) = (path("interface.pem"), path("interface.key"));
        let (cert, private) = (ca_file.display().to_string(), key.display().to_string());
        let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost";
        let mut words: Vec<&str> = request.split(' ').collect();
        words.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        words.extend(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", &private, "-out", &cert]);
        openssl(&words);
        let (addr, manage) = (free_port(), free_port());
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": addr.to_string(), "managementListenAddress": manage.to_string(), "certificate": cert,
            "privateKey": private, "httpPort": faults.http_port, "tlsPort": 5001, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        } });
        let settings = scratch.write(&format!("{name}.json"), &settings.to_string());
        let mut command = Command::new(pebble);
        command.arg("-config").arg(settings).args(["-strict", "-dnsserver", &dns.to_string()]);
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", faults.nonces_refused.to_string());
        command.env("PEBBLE_AUTHZREUSE", faults.reused.to_string());
        let mut daemon = Daemon::spawn(command, path("log"));
        wait::until("Pebble", SOON, || {
            daemon.assert_alive();
            TcpStream::connect(addr).and(TcpStream::connect(manage)).ok()
        });
        Some(Self { addr, manage, ca_file, daemon })
    }

    /// The address of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.addr)
    }

    /// Its root certificate in PEM form: what a client of its customers believes.
    pub fn root(&self) -> String {
        let output = Command::new("curl").args(["-sk", &format!("https://{}/roots/0", self.manage)]).output();
        String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Ends it, without a word to its clients.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }
}

/// A dnslb at `listen` that is the name server of example.com and takes updates of its challenges with the key in `acme.key`.
pub fn name_server(scratch: &Scratch, listen: SocketAddr) -> Daemon {
    let path = scratch.path().display().to_string();
    crate::farm::secret(scratch, "acme.key", &format!("key \"acme\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n"));
    let zone = "$TTL 60\n@ SOA ns host 7 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\nmail A 127.0.0.1\n*.farm A 127.0.0.1\n";
    scratch.write("zone", zone);
    let config = scratch.write(
        "dnslb.toml",
        &format!(
            "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate_dir = \"{path}/dnslb\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             token_file = \"{path}/dnslb.token\"\n[[key]]\nname = \"acme\"\nsecret_file = \"acme.key\"\n\
             [[zone]]\nname = \"example.com\"\nfile = \"zone\"\n\
             [[zone.update]]\nkey = \"acme\"\nnames = [\"_acme-challenge.**.example.com\"]\ntypes = [\"TXT\"]\n"
        ),
    );
    Daemon::serve("dnslb", scratch, &config, &[])
}
