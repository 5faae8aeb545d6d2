//! The reader of the options in `[server]` that are about encrypted transports.
//!
//! It opens nothing: whether the certificate fits its key is for whoever reads the files.

use super::spec::EncryptedSpec;
use farm_shared::config::Section;
use farm_shared::settings::SOCKET;

pub(super) fn encrypted(s: &Section) -> EncryptedSpec {
    let spec = EncryptedSpec {
        listen_tls: s.list("listen_tls", &[], SOCKET, "Where questions arrive over TLS (RFC 7858, port 853)."),
        listen_https: s.list("listen_https", &[], SOCKET, "Where they arrive over HTTPS, by GET and POST (RFC 8484)."),
        listen_quic: s.list("listen_quic", &[], SOCKET, "Where they arrive over QUIC (RFC 9250, UDP port 853)."),
        cert_file: s.optional_string(
            "tls_cert_file",
            "The certificate of these transports and its chain, in PEM form. Read again when it changes.",
        ),
        key_file: s.optional_string("tls_key_file", "Its private key, in PEM form. Read again when it changes."),
        https_path: s.string("https_path", "/dns-query", "The path of questions over HTTPS."),
        connections_max: s.integer(
            "encrypted_connections_max",
            1_000,
            1..=1_000_000,
            "Open connections over TLS, HTTPS and QUIC together.",
        ) as usize,
        connections_per_client_max: s.integer(
            "encrypted_connections_per_client_max",
            20,
            1..=1_000_000,
            "Of them, those of one client address.",
        ) as usize,
        handshake_timeout_ms: s.duration_ms(
            "tls_handshake_timeout",
            5_000,
            100..=60_000,
            "How long a client may take to agree on keys. Afterwards `tcp_idle_timeout` and `tcp_total_timeout` hold.",
        ),
    };
    for (key, file) in [("tls_cert_file", &spec.cert_file), ("tls_key_file", &spec.key_file)] {
        if spec.is_wanted() && file.is_none() {
            s.problem(key, "nothing", "a PEM file, since an encrypted transport listens");
        }
        if !spec.is_wanted() && file.is_some() && s.has(key) {
            s.warning(key, "a file that nothing uses", "`listen_tls`, `listen_https` or `listen_quic` with an address");
        }
    }
    let path = &spec.https_path;
    if !path.starts_with('/') || path.len() > 256 || !path.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b)) {
        s.problem("https_path", format!("{path:?}"), "a path that begins with a slash, without a query");
    }
    spec
}
