//! docs/openapi.json against the running redirector, both ways: what it describes is so, and what there is is described.

use super::schema::problems;
use farm_tests::daemon::{SOON, root};
use farm_tests::farm::{Farm, Options};
use farm_tests::{http, wait};
use serde_json::Value;
use std::collections::BTreeSet;

/// Method, path, body, status. Each operation stands here at least once.
const CALLS: [(&str, &str, &str, u16); 42] = [
    ("GET", "/", "", 200),
    ("GET", "/?range=24h&q=b1&sort=-queue&page=2&state=silent&topic=alarm", "", 200),
    ("GET", "/table?range=2h", "", 200),
    ("GET", "/server/b1", "", 200),
    ("GET", "/server/b77", "", 404),
    ("POST", "/server/b1/drain", "why=a+new%20disk", 200),
    ("POST", "/server/b1/clear", "", 200),
    ("POST", "/server/b77/drain", "", 404),
    ("POST", "/server/b1/explode", "", 404),
    ("GET", "/events?only=status", "", 200),
    ("GET", "/v1/status", "", 200),
    ("GET", "/v1/servers", "", 200),
    ("GET", "/v1/servers?q=b1&sort=-sessions&page=1", "", 200),
    ("GET", "/v1/history", "", 200),
    ("GET", "/v1/history?range=24h", "", 200),
    ("GET", "/v1/history?range=1y", "", 400),
    ("GET", "/v1/notices", "", 200),
    ("GET", "/v1/notices?topic=server", "", 200),
    ("GET", "/v1/notices?topic=weather", "", 400),
    ("GET", "/v1/journal?last=5", "", 200),
    ("POST", "/v1/admin/drain/b1?why=test", "", 200),
    ("POST", "/v1/admin/clear/b1", "", 200),
    ("POST", "/v1/admin/drain/b77", "", 404),
    ("POST", "/v1/admin/explode/b1", "", 404),
    ("POST", "/v1/admin/drain/B1", "", 400),
    ("GET", "/v1/farm", "", 200),
    ("POST", "/v1/farm/launch", "", 200),
    ("POST", "/v1/farm/launch?count=0", "", 400),
    ("POST", "/v1/farm/launch?role=nobody", "", 409),
    ("POST", "/v1/farm/reboot/i-77", "", 409),
    ("POST", "/v1/farm/explode/i-77", "", 404),
    ("POST", "/v1/drill/hit", "{}", 400),
    ("POST", "/v1/drill/hit", r#"{"key":"d1-1","model":"random","fault":"kill","member":"b1","heal_ms":null}"#, 409),
    ("POST", "/v1/drill/heal?drill=d1", "", 200),
    ("POST", "/v1/drill/heal?drill=A%20B", "", 400),
    ("POST", "/v1/reload", "", 200),
    ("GET", "/v1/openapi.json", "", 200),
    ("GET", "/healthz", "", 200),
    ("GET", "/readyz", "", 200),
    ("GET", "/metrics", "", 200),
    ("GET", "/login?token=TOKEN", "", 303),
    ("GET", "/login?token=wrong", "", 401),
];

fn described() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("docs/openapi.json")).unwrap()).unwrap()
}

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = |(path, item): (&String, &Value)| -> Vec<(String, String)> {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect()
    };
    paths.iter().flat_map(operations).collect()
}

#[test]
fn every_route_is_described() {
    let mut routes = BTreeSet::from([("GET".to_owned(), "/login".to_owned())]);
    for file in ["redirector/src/admin.rs", "shared/daemon/src/admin.rs"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for call in text.split(".route(\"").skip(1) {
            let (path, rest) = call.split_once('"').unwrap();
            let rest: String = rest.chars().take(80).collect();
            let methods = [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")];
            let first = methods.iter().filter_map(|(word, method)| Some((rest.find(word)?, method))).min();
            let (_, method) = first.unwrap_or_else(|| panic!("{file}: {path} has no method"));
            routes.insert((method.to_string(), path.to_owned()));
        }
    }
    assert_eq!(operations(&described()), routes);
}

/// Whether a template stands for a path.
fn stands_for(template: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (parts(template), parts(path));
    template.len() == path.len() && template.iter().zip(&path).all(|(t, p)| t.starts_with('{') || t == p)
}

#[test]
fn every_operation_answers_as_described() {
    let mut farm = Farm::start(Options { min: 2, max: 8, ..Options::default() });
    farm.wait_for(2);
    let document = described();
    let admin = farm.door(0).port("admin");
    let token = std::fs::read_to_string(farm.scratch.path().join("door0-state/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let mut left = operations(&document);
    let mut wrong = Vec::new();
    for (method, path, body, status) in CALLS {
        let bare = path.split('?').next().unwrap();
        // A path with fewer variables comes first, as for the router.
        let templates = document["paths"].as_object().unwrap().keys().filter(|t| stands_for(t, bare));
        let template = templates.min_by_key(|t| t.matches('{').count()).unwrap_or_else(|| panic!("{bare} is not described"));
        left.remove(&(method.to_owned(), template.clone()));
        let operation = &document["paths"][template][method.to_lowercase()];
        let kind = if path.starts_with("/server/") { "application/x-www-form-urlencoded" } else { "application/json" };
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let path = path.replace("TOKEN", token.trim());
        let answer = if template == "/events" {
            first_event(admin, &path, &bearer)
        } else {
            http::request(admin, method, &path, &headers, body.as_bytes()).expect("an answer")
        };
        if answer.status != status {
            wrong.push(format!("{method} {path}: {} instead of {status}: {}", answer.status, answer.text()));
            continue;
        }
        let mut response = &operation["responses"][status.to_string()];
        if let Some(pointer) = response["$ref"].as_str() {
            response = document.pointer(&pointer[1..]).unwrap();
        }
        let content =
            response["content"].as_object().unwrap_or_else(|| panic!("{method} {path}: {status} is not described"));
        let (media, what) = content.iter().next().unwrap();
        let sent = answer.header("content-type").unwrap_or("text/plain").to_owned();
        if !sent.starts_with(media.as_str()) {
            wrong.push(format!("{method} {path}: {sent} instead of {media}"));
        }
        let values: Vec<Value> = match media.as_str() {
            "application/json" => vec![serde_json::from_slice(&answer.body).expect("JSON")],
            "application/x-ndjson" => answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(),
            _ => vec![answer.text().into()],
        };
        for value in values {
            wrong.extend(problems(&document, &what["schema"], &value, &format!("{method} {path}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(left.is_empty(), "never called: {left:?}");
    // Without the token there is nothing but what needs none.
    for (method, template) in operations(&document) {
        let open = document["paths"][&template][method.to_lowercase()]["security"].as_array().is_some_and(Vec::is_empty);
        let path = template.replace("{verb}", "drain").replace(['{', '}'], "");
        let status = http::request(admin, &method, &path, &[], b"").expect("an answer").status;
        assert!(open || status == 401, "{method} {template}: {status} without a token");
    }
    wait::until("the launch that was ordered", SOON, || (farm.instances().len() >= 3).then_some(()));
}

/// The head and the first event of a stream that does not end.
fn first_event(admin: std::net::SocketAddr, path: &str, bearer: &str) -> http::Response {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {admin}\r\nauthorization: {bearer}\r\n\r\n").unwrap();
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    wait::until("an event", SOON, || {
        let n = stream.read(&mut chunk).unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk[..n]));
        text.contains("event: status\ndata: {").then_some(())
    });
    let media = text.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    http::Response { status, headers: vec![("content-type".into(), media)], body: Vec::new() }
}
