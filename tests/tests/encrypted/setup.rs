//! A dnslb with every encrypted transport, certificates by the openssl command, and a client of our own for what no program sends.

use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::peer::installed;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) const HOST: &str = "ns1.example";

const ZONE: &str = "$TTL 300\n@ SOA ns1 host 1 2 3 4 7\n@ NS ns1\nns1 60 A 192.0.2.1\n";

/// Makes a certificate that signs itself and its key.
pub(crate) fn certificate(folder: &Path, cert: &str, key: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={HOST}"), "-addext", &format!("subjectAltName=DNS:{HOST}")]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert]);
    let output = command.current_dir(folder).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server with `more` options; none, said loudly, without openssl.
pub(crate) fn server(name: &str, more: &str) -> Option<(Scratch, Daemon)> {
    installed("openssl")?;
    let scratch = Scratch::new(name);
    certificate(scratch.path(), "cert.pem", "key.pem");
    scratch.write("lb.zone", ZONE);
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\nlisten_https = [\"127.0.0.1:0\"]\n\
         listen_quic = [\"127.0.0.1:0\"]\ntls_cert_file = \"cert.pem\"\ntls_key_file = \"key.pem\"\nworkers = 1\n{more}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n[[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n"
    );
    let config = scratch.write("dnslb.toml", &config);
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    Some((scratch, daemon))
}

/// A question for the address of ns1, with this id.
pub(crate) fn question(id: u16) -> Vec<u8> {
    let head = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&id.to_be_bytes()[..], &head, b"\x03ns1\x02lb\x07example\x03com\x00\x00\x01\x00\x01"].concat()
}

/// Whether octets are a good answer to [`question`].
pub(crate) fn answers(message: &[u8]) -> bool {
    message.get(2..4) == Some(&[0x84, 0]) && message.get(6..8) == Some(&[0, 1]) && message.ends_with(&[192, 0, 2, 1])
}

/// What a client needs that trusts these certificates and no other.
pub(crate) fn client_config(certificates: &[&Path], alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for file in certificates {
        roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// A runtime for one test's client.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// The options of the daemon's port as `kdig` takes them.
pub(crate) fn at(addr: SocketAddr) -> [String; 3] {
    [format!("@{}", addr.ip()), "-p".into(), addr.port().to_string()]
}
