//! Octets from anybody at the front door: what its short way takes for a request is one for hyper's parser too, the same one, with the same
//! end, and has no content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redirector_core::door::{Fields as _, head};

const FIELDS_MAX: usize = 100;
/// Whoever names one of them says something about content, or about the connection.
const NOT_PLAIN: [&str; 7] =
    ["content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer", "proxy-connection"];

fuzz_target!(|octets: &[u8]| {
    let Some(head) = head::scan(octets) else { return };
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let status = parsed.parse(octets).expect("a head for one is a head for the other");
    assert_eq!(status, httparse::Status::Complete(head.bytes), "where the head ends");
    assert_eq!((parsed.method, parsed.path, parsed.version), (Some(head.method), Some(head.target), Some(1)));
    assert_eq!(parsed.headers.len(), head.fields, "fields");
    let all = |name: &str| -> Vec<&str> {
        let found = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| std::str::from_utf8(field.value).expect("text")).collect()
    };
    assert_eq!(all("host"), [head.host]);
    assert_eq!(all("cookie"), head.cookies());
    assert!(NOT_PLAIN.iter().all(|name| all(name).is_empty()));
    let connection = all("connection");
    assert_eq!(connection.iter().any(|value| value.eq_ignore_ascii_case("close")), head.close);
    for field in parsed.headers.iter() {
        let name = field.name.to_ascii_lowercase();
        assert_eq!(head.get(&name), all(&name).first().copied(), "{name}");
    }
});
