//! HTTP/3 at the front door of the real binary, by a client made from the same libraries: curl here speaks none.
#![cfg(feature = "http3")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;

use common::tls::{certificate, curl, installed};
use common::{Member, Redirector, Scratch, until};
use quinn::crypto::rustls::QuicClientConfig;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn client(ca: &Path) -> quinn::Endpoint {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap())));
    endpoint
}

/// Requests on one connection: status, `Location` and body of each.
async fn ask(ca: &Path, addr: SocketAddr, requests: &[(&str, &str)]) -> Vec<(u16, Option<String>, usize)> {
    let connection = client(ca).connect(addr, "mail.test").unwrap().await.unwrap();
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    let driven = tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    let mut answers = Vec::new();
    for (method, path) in requests {
        let request = hyper::Request::builder().method(*method).uri(format!("https://mail.test{path}")).body(()).unwrap();
        let mut stream = sender.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        let response = stream.recv_response().await.unwrap();
        assert!(response.headers().contains_key("date"));
        let mut octets = 0;
        while let Some(chunk) = stream.recv_data().await.unwrap() {
            octets += bytes::Buf::remaining(&chunk);
        }
        let location = response.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
        answers.push((response.status().as_u16(), location, octets));
    }
    drop(sender);
    let _ = driven.await;
    answers
}

#[test]
fn redirects_come_by_http_3() {
    let scratch = Scratch::new();
    let ca = certificate(&scratch, "front", &["mail.test"]);
    let path = scratch.config("[tls]\ncert_file = \"front.pem\"\nkey_file = \"front.key\"\n");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = "workers = 2, listen_tls = [\"127.0.0.1:0\"], listen_http3 = [\"127.0.0.1:0\"],";
    std::fs::write(&path, text.replace("workers = 2,", more)).unwrap();
    let redirector = Redirector::start(&scratch, &path);
    let addr = redirector.port("door_http3");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let waiting = runtime.block_on(ask(&ca, addr, &[("GET", "/"), ("HEAD", "/")]));
    assert!(waiting[0].0 == 503 && waiting[0].2 > 100, "{waiting:?}");
    assert_eq!((waiting[1].0, waiting[1].2), (503, 0), "HEAD has no body");
    let mut member = Member::new("b1", "127.0.1.11");
    until("the member in service", || {
        member.beat(&redirector);
        (redirector.metric("redirector_servers{standing=\"in_service\"}") > 0.0).then_some(())
    });
    let answers = runtime.block_on(ask(&ca, addr, &[("GET", "/a?b=c"), ("POST", "/login"), ("GET", "//x")]));
    let location = |path: &str| Some(format!("http://127.0.1.11:9000{path}"));
    assert_eq!(answers, [(302, location("/a?b=c"), 0), (307, location("/login"), 0), (302, location("//x"), 0)]);
    assert!(redirector.metric("redirector_redirects_total{status=\"302\",session=\"new\"}") >= 2.0);
    if installed("curl") {
        let text = curl(redirector.port("door_tls"), &ca, &["--http2", "https://mail.test/"]);
        assert!(text.contains(&format!("alt-svc: h3=\":{}\"; ma=86400\r\n", addr.port())), "{text}");
    }
    redirector.stop();
}
