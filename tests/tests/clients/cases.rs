//! What every client is asked to do, and what the server must then have seen.
//!
//! One request a case, told apart by a number in its path. No case may depend on another.

use super::echo::hash;
use super::setting::Setting;
use farm_tests::http;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Paths and queries as they must arrive, octet for octet.
pub(crate) const TARGETS: [&str; 12] = [
    "",
    "?",
    "?a=1&b=2&a=3",
    "?q=caf%C3%A9+au%20lait&empty=",
    "?next=https%3A%2F%2Fevil.example%2F&x=//evil.example",
    "/caf%C3%A9/%E6%97%A5%E6%9C%AC%E8%AA%9E",
    "/%f0%9f%90%9d?%f0%9f%90%9d=%f0%9f%90%9d",
    "/a%2Fb%2fc%3A%40%20%25%00",
    "//twice///and/",
    "/;v=1,2/(x)!$&'*+=~_-./@:",
    "/?a?b/c",
    "/%2e%2e%2Fx?..=%2e",
];

/// Sizes of bodies; the last is one octet more than curl sends without asking (`Expect: 100-continue`).
const SIZES: [usize; 3] = [0, 1_024, 1_048_577];

/// Routes with a fixed status.
pub(crate) const ROUTES: &str = "[[route]]\npath = \"/s302\"\nto = \"farm\"\nstatus = \"302\"\n\
    [[route]]\npath = \"/s303\"\nto = \"farm\"\nstatus = \"303\"\n\
    [[route]]\npath = \"/s307\"\nto = \"farm\"\nstatus = \"307\"\n\
    [[route]]\npath = \"/s308\"\nto = \"farm\"\nstatus = \"308\"\n";

/// One request and its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) number: usize,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    /// Octets of the body; none is no body at all.
    pub(crate) body: Option<usize>,
    /// The method with which the client goes on, with the body only if that is the same.
    pub(crate) then: &'static str,
}

/// How a client reads RFC 9110 15.4.3, which lets it turn the method of a 302 into GET.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// PUT at a 302.
    pub(crate) put_302: &'static str,
    /// HEAD at a 303.
    pub(crate) head_303: &'static str,
    /// It writes addresses in their normal form (RFC 3986 6.2.2) before it asks.
    pub(crate) normalises: bool,
}

/// All cases for a client. `tag` tells its requests from those of others.
pub(crate) fn cases(tag: &str, manner: Manner) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |method, route: &str, rest: &str, body, then| {
        let number = cases.len();
        let target = format!("{route}/{tag}-{number}{rest}");
        let target = if manner.normalises { normal(&target) } else { target };
        cases.push(Case { number, method, target, body, then });
    };
    for rest in TARGETS {
        add("GET", "", rest, None, "GET");
        add("POST", "", rest, Some(37), "POST");
    }
    let long = format!("?{}", "long=%C3%BC&".repeat(600));
    add("GET", "", &long, None, "GET");
    add("POST", "", &long, Some(37), "POST");
    add("HEAD", "", "?h=1", None, "HEAD");
    for size in SIZES {
        add("POST", "", "", Some(size), "POST");
        add("PUT", "", "", Some(size), "PUT");
    }
    add("DELETE", "", "?all", None, "DELETE");
    add("DELETE", "", "?some", Some(1_024), "DELETE");
    for status in ["302", "303", "307", "308"] {
        let route = format!("/s{status}");
        add("GET", &route, "?a=1", None, "GET");
        add("HEAD", &route, "?a=1", None, if status == "303" { manner.head_303 } else { "HEAD" });
        let keeps = matches!(status, "307" | "308");
        add("POST", &route, "?a=1", Some(1_024), if keeps { "POST" } else { "GET" });
        let put = match status {
            "302" => manner.put_302,
            "303" => "GET",
            _ => "PUT",
        };
        add("PUT", &route, "?a=1", Some(1_024), put);
    }
    cases
}

/// Percent-encodings in upper case, none of what needs none, and no empty query.
fn normal(target: &str) -> String {
    let mut parts = target.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        let octet = u8::from_str_radix(digits, 16).expect("two digits");
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(octet.into());
        } else {
            write!(text, "%{octet:02X}").expect("three characters");
        }
        text.push_str(rest);
    }
    text.strip_suffix('?').map(str::to_owned).unwrap_or(text)
}

/// A body that no text tool leaves as it is.
pub(crate) fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// Writes the list of requests that the programs read, and the bodies beside it.
pub(crate) fn write(setting: &Setting, tag: &str, base: &str, cases: &[Case]) -> PathBuf {
    let mut list = String::new();
    for case in cases {
        let file = match case.body {
            None => "-".to_owned(),
            Some(size) => {
                let file = setting.scratch.path().join(format!("body-{size}"));
                std::fs::write(&file, body(size)).expect("a body");
                file.display().to_string()
            }
        };
        writeln!(list, "{}\t{}\t{base}{}\t{file}", case.number, case.method, case.target).expect("a line");
    }
    setting.scratch.write(&format!("{tag}.list"), &list)
}

/// Holds what a client said and what the servers saw against the cases; what is wrong comes back.
pub(crate) fn wrong(setting: &Setting, base: &str, cases: &[Case], output: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let line = output.lines().find_map(|line| line.strip_prefix(&format!("{}\t", case.number)));
        let (status, url) = line.and_then(|line| line.split_once('\t')).unwrap_or_default();
        // Many clients do not send an empty query; that the door keeps it is tested without them.
        if status != "200"
            || url.starts_with(base)
            || !url.trim_end_matches('?').ends_with(case.target.trim_end_matches('?'))
        {
            wrong.push(format!("{case:?}: it says {line:?}"));
        }
        let keeps = case.then == case.method;
        let sent = case.body.filter(|_| keeps).map(body).unwrap_or_default();
        let is_it = |target: &str| target == case.target || case.target.strip_suffix('?') == Some(target);
        let seen: Vec<_> = setting.seen("-").into_iter().filter(|seen| is_it(&seen.target)).collect();
        let [seen] = &seen[..] else {
            wrong.push(format!("{case:?}: {} requests at the servers", seen.len()));
            continue;
        };
        if (seen.method.as_str(), &seen.body_hash) != (case.then, &hash(&sent)) {
            wrong.push(format!("{case:?}: the server saw {seen:?}"));
        }
    }
    wrong
}

/// The answer of `GET /assign`'s well-known address.
pub(crate) fn assigned(setting: &Setting) -> http::Response {
    let fields = [("host", super::setting::DOOR)];
    http::request(setting.door.port("door"), "GET", "/.well-known/farm/assign", &fields, b"").expect("an answer")
}
