//! TLS for HTTPS checks: whom to trust, made once per reload and not per check.
//!
//! Verification is off only where the configuration says so, member by member of a pool, and for nothing but health checks.

use dnslb_core::config::Spec;
use dnslb_core::health::CheckSpec;
use farm_daemon::settings::resolve;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Whom a check trusts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Anybody,
    System,
    File(String),
}

impl Trust {
    fn of(spec: &CheckSpec) -> Self {
        match &spec.ca_file {
            _ if !spec.tls_verify => Self::Anybody,
            Some(file) => Self::File(file.clone()),
            None => Self::System,
        }
    }
}

/// The TLS configurations that the checks of a specification need.
#[derive(Default)]
pub struct TlsConfigs(BTreeMap<Trust, Arc<ClientConfig>>);

impl TlsConfigs {
    /// Reads the certificates that the checks of `spec` need, relative to the file `config`; all problems at once, in words.
    pub fn load(spec: &Spec, config: &Path) -> Result<Self, Vec<String>> {
        let checks = spec.pools.iter().filter_map(|pool| pool.check.as_deref());
        let mut configs = BTreeMap::new();
        let mut problems = Vec::new();
        for trust in checks.filter(|check| check.kind.is_tls()).map(Trust::of) {
            if configs.contains_key(&trust) {
                continue;
            }
            match client_config(&trust, config) {
                Ok(config) => {
                    configs.insert(trust, Arc::new(config));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Self(configs)) } else { Err(problems) }
    }

    /// Shakes hands as the check says.
    pub async fn connect(
        &self,
        stream: TcpStream,
        to: SocketAddr,
        spec: &CheckSpec,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = self.0.get(&Trust::of(spec)).ok_or("tls: no configuration for this check")?;
        let name = match &spec.host {
            Some(host) => ServerName::try_from(host.clone()).map_err(|_| format!("tls: {host} is no server name"))?,
            None => ServerName::from(to.ip()),
        };
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|e| format!("tls: {e}"))
    }
}

/// A client that trusts the certificates of `ca_file`, relative to the file `config`, or the system's.
pub(crate) fn trusting(ca_file: Option<&str>, config: &Path) -> Result<ClientConfig, String> {
    client_config(&ca_file.map_or(Trust::System, |file| Trust::File(file.to_owned())), config)
}

fn client_config(trust: &Trust, config: &Path) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?;
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Anybody => {
            let verifier = Arc::new(AnyCertificate(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("the system has no root certificates: name a ca_file for the HTTPS check".into());
            }
        }
        Trust::File(file) => {
            let certificates = CertificateDer::pem_file_iter(resolve(config, file)).map_err(|e| format!("{file}: {e}"))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| format!("{file}: {e}"))?;
                roots.add(certificate).map_err(|e| format!("{file}: {e}"))?;
            }
            if roots.is_empty() {
                return Err(format!("{file}: no certificate in PEM form"));
            }
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate, but no wrong signature: a check then measures the server that holds the key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dnslb_core::health::CheckKind;
    use std::path::PathBuf;
    use std::process::Command;
    use tokio::io::AsyncReadExt as _;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    /// A folder with a certificate for b1.example.com that signs itself, and its key; none without the openssl command.
    fn certificate() -> Option<PathBuf> {
        let folder = std::env::temp_dir().join(format!("dnslb-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=b1.example.com", "-addext", "subjectAltName=DNS:b1.example.com"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(&folder)
            .output();
        made.is_ok_and(|output| output.status.success()).then_some(folder)
    }

    fn spec(host: &str, tls_verify: bool, ca_file: &str) -> CheckSpec {
        CheckSpec {
            kind: CheckKind::Https,
            port: 443,
            path: "/".into(),
            host: Some(host.into()),
            expect_status: None,
            interval_ms: 1_000,
            timeout_ms: 1_000,
            rise: 1,
            fall: 1,
            tls_verify,
            ca_file: Some(ca_file.into()),
            ..CheckSpec::default()
        }
    }

    #[tokio::test]
    async fn certificates_are_judged_as_configured() {
        let Some(folder) = certificate() else {
            eprintln!("SKIPPED: no openssl command");
            return;
        };
        let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1]).await;
                }
            }
        });
        let config = folder.join("dnslb.toml");
        for (check, good) in [
            (spec("b1.example.com", true, "cert.pem"), true),
            (spec("b2.example.com", true, "cert.pem"), false),
            (spec("b2.example.com", false, "cert.pem"), true),
        ] {
            let trust = Trust::of(&check);
            let configs = TlsConfigs(BTreeMap::from([(trust.clone(), Arc::new(client_config(&trust, &config).unwrap()))]));
            let stream = TcpStream::connect(to).await.unwrap();
            let outcome = configs.connect(stream, to, &check).await.map(|_| ());
            assert_eq!(outcome.is_ok(), good, "{check:?}: {outcome:?}");
        }
        assert!(client_config(&Trust::File("key.pem".into()), &config).unwrap_err().contains("no certificate"));
        assert!(client_config(&Trust::File("none.pem".into()), &config).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
