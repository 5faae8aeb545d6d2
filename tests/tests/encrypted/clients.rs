//! Programs that people use: kdig over all three, curl over HTTP/2 and HTTP/1.1.

use crate::setup::{HOST, answers, at, question, server};
use farm_tests::peer::installed;
use std::process::Command;

/// Runs a program and returns what it says on both channels.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn kdig_over_tls_https_and_quic() {
    let Some(_) = installed("kdig") else { return };
    let Some((scratch, daemon)) = server("kdig", "") else { return };
    let ca = format!("+tls-ca={}", scratch.path().join("cert.pem").display());
    let host = format!("+tls-hostname={HOST}");
    for (port, transport, options) in [
        ("dns_tls", "tls", vec!["+tls", &ca, &host]),
        ("dns_https", "https", vec!["+https", &ca, &host]),
        ("dns_https", "https", vec!["+https", "+https-get", &ca, &host]),
        ("dns_quic", "quic", vec![&ca, &host, "+quic"]),
    ] {
        let sample = format!("dnslb_answers_total{{transport=\"{transport}\",rcode=\"NOERROR\"}}");
        let before = daemon.metric(&sample).unwrap_or(0.0);
        let server = at(daemon.port(port));
        let args: Vec<&str> = server.iter().map(String::as_str).chain(options).chain(["ns1.lb.example.com"]).collect();
        let said = run("kdig", &args);
        assert!(said.contains("192.0.2.1") && said.contains("NOERROR"), "{args:?}: {said}");
        assert_eq!(daemon.metric(&sample), Some(before + 1.0), "{transport}");
    }
    // Who asks for another name than the certificate has learns it.
    let server = at(daemon.port("dns_tls"));
    let args = [server[0].as_str(), "-p", &server[2], "+tls", &ca, "+tls-hostname=other.example", "ns1.lb.example.com"];
    assert!(!run("kdig", &args).contains("192.0.2.1"));
}

#[test]
fn curl_over_both_versions_of_http() {
    let Some(_) = installed("curl") else { return };
    let Some((scratch, daemon)) = server("curl", "https_path = \"/q\"") else { return };
    let addr = daemon.port("dns_https");
    let folder = scratch.path();
    std::fs::write(folder.join("question"), question(0)).expect("a file");
    std::fs::write(folder.join("long"), vec![0; 70_000]).expect("a file");
    let file = |name: &str| format!("@{}", folder.join(name).display());
    let out = folder.join("out").display().to_string();
    let ca = folder.join("cert.pem").display().to_string();
    let (host, resolve) = (format!("https://{HOST}:{}", addr.port()), format!("{HOST}:{}:127.0.0.1", addr.port()));
    let url = format!("{host}/q");
    // The same question in base64url, as the RFC has it: no padding.
    let get = format!("{url}?dns=AAAAAAABAAAAAAAAA25zMQJsYgdleGFtcGxlA2NvbQAAAQAB");
    let (question, long) = (file("question"), file("long"));
    let message = ["-H", "content-type: application/dns-message"];
    let post = [&message[..], &["--data-binary", &question, &url]].concat();
    for (version, label) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let ask = |args: &[&str]| {
            let format = "%{http_version} %{http_code} %{content_type} %header{cache-control} %header{allow}";
            let fixed = [version, "-s", "--cacert", &ca, "--resolve", &resolve, "-o", &out, "-w", format];
            run("curl", &[&fixed, args].concat()).trim_end().to_owned()
        };
        for args in [&[get.as_str()][..], &post] {
            let _ = std::fs::remove_file(&out);
            assert_eq!(ask(args), format!("{label} 200 application/dns-message max-age=60"), "{args:?}");
            assert!(answers(&std::fs::read(&out).expect("an answer")), "{args:?}");
        }
        let plain = |status: u16| format!("{label} {status} text/plain");
        let other = format!("{host}/dns-query");
        let broken = format!("{url}?dns=AAAA====");
        assert_eq!(ask(&[&other]), plain(404));
        assert_eq!(ask(&[&broken]), plain(400));
        assert_eq!(ask(&[&url]), plain(400));
        assert_eq!(ask(&["-X", "DELETE", &url]), plain(405) + "  GET, POST");
        assert_eq!(ask(&["--data-binary", &question, &url]), plain(415));
        assert_eq!(ask(&[&message[..], &["--data-binary", "short", &url]].concat()), plain(400));
        let chunked = ["-H", "transfer-encoding: chunked"];
        for more in [&[][..], &chunked] {
            assert_eq!(ask(&[&message[..], more, &["--data-binary", &long, &url]].concat()), plain(413), "{more:?}");
        }
    }
    assert_eq!(daemon.metric("dnslb_https_requests_total{status=\"200\"}"), Some(4.0));
    assert_eq!(daemon.metric("dnslb_https_requests_total{status=\"413\"}"), Some(4.0));
}
