//! `[tls]` and the encrypted listeners of `[server]`, whose proxies are believed, and the caps on what a connection may take.
//!
//! Files are named here and never opened.

use farm_shared::config::{Section, parse_duration_ms};
use farm_shared::prefix::Prefix;
use farm_shared::settings::SOCKET;
use std::net::SocketAddr;

const YEAR_MS: u64 = 365 * 86_400_000;
const CERTIFICATES_MAX: usize = 1_000;
const PROXIES_MAX: usize = 1_000;

/// Where clients come in beside `server.listen`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenSpec {
    /// Addresses for HTTPS, by HTTP/1.1 and HTTP/2.
    pub tls: Vec<SocketAddr>,
    /// Addresses for HTTP/3.
    pub http3: Vec<SocketAddr>,
    /// Those who send the PROXY protocol, and must.
    pub proxies: Vec<Prefix>,
}

/// How HTTPS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// The certificates, the default first.
    pub certificates: Vec<CertificateSpec>,
    /// Whether plain requests are sent to HTTPS.
    pub redirect_http: bool,
    /// How long browsers may come by HTTPS alone, in seconds; `None` says nothing to them.
    pub hsts_s: Option<u64>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSpec {
    /// The file of the chain, in PEM form.
    pub cert_file: String,
    /// The file of the key.
    pub key_file: String,
}

/// What a connection may take beside its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapsSpec {
    /// Connections of one source, an IPv4 address or an IPv6 /64; 0 is as many as of all.
    pub connections_per_source_max: usize,
    /// Octets of a request's head beside its target.
    pub header_bytes_max: usize,
    /// Fields of a request.
    pub header_fields_max: usize,
    /// Requests at once on one HTTP/2 or HTTP/3 connection.
    pub streams_max: u32,
}

impl Default for TlsSpec {
    fn default() -> Self {
        Self { certificates: Vec::new(), redirect_http: true, hsts_s: None }
    }
}

impl Default for CapsSpec {
    fn default() -> Self {
        Self { connections_per_source_max: 0, header_bytes_max: 16_384, header_fields_max: 100, streams_max: 100 }
    }
}

impl ListenSpec {
    pub(super) fn read(server: &Section) -> Self {
        let spec = Self {
            tls: server.list("listen_tls", &[], SOCKET, "Addresses of the front door by HTTPS (HTTP/1.1 and HTTP/2)."),
            http3: server.list(
                "listen_http3",
                &[],
                SOCKET,
                "UDP addresses of the front door by HTTP/3; needs a redirector built with the feature `http3`.",
            ),
            proxies: server.list(
                "proxy_protocol_from",
                &[],
                "an address or ADDRESS/BITS",
                "Proxies that send the PROXY protocol, version 1 or 2, before anything else. They must; whoever is not listed may not.",
            ),
        };
        if spec.proxies.len() > PROXIES_MAX {
            let found = format!("{} prefixes", spec.proxies.len());
            server.problem("proxy_protocol_from", found, format!("at most {PROXIES_MAX}"));
        }
        spec
    }
}

impl TlsSpec {
    /// Reads `[tls]`. `wanted` is whether anything listens with it, `elsewhere` whether certificates come from elsewhere too.
    pub(super) fn read(tls: &Section, wanted: bool, elsewhere: bool) -> Self {
        let d = Self::default();
        let about_cert = "File of the certificate and its chain, in PEM form. A changed file is noticed within a second.";
        let about_key = "File of its key.";
        let cert_file = tls.optional_string("cert_file", about_cert);
        let key_file = tls.optional_string("key_file", about_key);
        let redirect_http =
            tls.boolean("redirect_http", d.redirect_http, "With HTTPS: plain requests are sent to it, on their own host.");
        let hsts = tls.string(
            "hsts",
            "off",
            "`Strict-Transport-Security` on answers by HTTPS: how long browsers may not come without, as \"365d\"; or \"off\".",
        );
        let hsts_s = match parse_duration_ms(&hsts) {
            _ if hsts == "off" => None,
            Some(ms @ 0..=YEAR_MS) => Some(ms / 1_000),
            _ => {
                tls.problem("hsts", format!("{hsts:?}"), "\"off\" or a duration of at most 365 days, like \"30d\"");
                None
            }
        };
        let mut certificates = Vec::new();
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => certificates.push(CertificateSpec { cert_file, key_file }),
            (Some(_), None) => tls.problem("cert_file", "a certificate without a key", "`key_file` beside it"),
            (None, Some(_)) => tls.problem("key_file", "a key without a certificate", "`cert_file` beside it"),
            (None, None) => {}
        }
        for more in
            tls.tables("certificate", "A further certificate, for the names in it: clients say which they want (SNI).")
        {
            let cert_file = more.required_string("cert_file", about_cert);
            let key_file = more.required_string("key_file", about_key);
            if more.is_present() {
                certificates.push(CertificateSpec { cert_file, key_file });
            }
        }
        if wanted && certificates.is_empty() && !elsewhere {
            tls.problem(
                "cert_file",
                "no certificate",
                "one at least, since `server.listen_tls` or `server.listen_http3` is there",
            );
        }
        if certificates.len() > CERTIFICATES_MAX {
            tls.problem(
                "certificate",
                format!("{} certificates", certificates.len()),
                format!("at most {CERTIFICATES_MAX}"),
            );
        }
        Self { certificates, redirect_http, hsts_s }
    }
}

impl CapsSpec {
    pub(super) fn read(door: &Section) -> Self {
        let d = Self::default();
        let integer = |key, default: usize, range, about| door.integer(key, default as i64, range, about).max(0) as usize;
        Self {
            connections_per_source_max: integer(
                "connections_per_source_max",
                d.connections_per_source_max,
                0..=1_000_000,
                "Connections of one source, which is an IPv4 address or an IPv6 /64; 0 is no limit of its own.",
            ),
            header_bytes_max: integer(
                "header_bytes_max",
                d.header_bytes_max,
                1_024..=262_144,
                "More octets of header fields get 431.",
            ),
            header_fields_max: integer("header_fields_max", d.header_fields_max, 8..=100, "More header fields get 431."),
            streams_max: integer(
                "streams_max",
                d.streams_max as usize,
                1..=10_000,
                "Requests at once on one HTTP/2 or HTTP/3 connection.",
            ) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
    use super::*;
    use farm_shared::config::Document;

    #[test]
    fn what_is_wrong_is_said_all_at_once() {
        let text = "[server]\nproxy_protocol_from = [\"10.0.0.1/8\"]\nlisten_tls = [\"x\"]\n[tls]\ncert_file = \"a\"\n\
                    hsts = \"400d\"\n[[tls.certificate]]\ncert_file = \"b\"\n[door]\nheader_fields_max = 101\n";
        let document = Document::parse("f", text);
        let root = document.root();
        ListenSpec::read(&root.table("server", ""));
        TlsSpec::read(&root.table("tls", ""), true, false);
        CapsSpec::read(&root.table("door", ""));
        let problems: Vec<String> = document.finish().iter().map(ToString::to_string).collect();
        for key in ["proxy_protocol_from", "listen_tls", "tls.cert_file", "tls.hsts", "key_file", "header_fields_max"] {
            assert!(problems.iter().any(|problem| problem.contains(key)), "{key}: {problems:#?}");
        }
    }

    #[test]
    fn certificates_and_hsts() {
        let check = |text: &str, certificates: &[&str], hsts_s: Option<u64>| {
            let document = Document::parse("f", text);
            let spec = TlsSpec::read(&document.root().table("tls", ""), true, false);
            assert_eq!(document.finish().iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0], "{text}");
            let files: Vec<&str> = spec.certificates.iter().map(|c| c.cert_file.as_str()).collect();
            assert_eq!((files.as_slice(), spec.hsts_s), (certificates, hsts_s), "{text}");
        };
        check("[tls]\ncert_file = \"a\"\nkey_file = \"b\"\n", &["a"], None);
        let list = "[[tls.certificate]]\ncert_file = \"c\"\nkey_file = \"d\"\n";
        check(
            &format!("[tls]\ncert_file = \"a\"\nkey_file = \"b\"\nhsts = \"365d\"\n{list}"),
            &["a", "c"],
            Some(31_536_000),
        );
        check(&format!("[tls]\nhsts = \"0s\"\n{list}"), &["c"], Some(0));
    }
}
