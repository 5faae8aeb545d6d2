//! HTTP/1.1 by hand over a plain socket, so that a test can also send what no client library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// GET with nothing special.
pub fn get(addr: SocketAddr, path: &str) -> std::io::Result<Response> {
    send(addr, format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").as_bytes())
}

/// Any method, headers and body.
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text += &[*name, ": ", *value, "\r\n"].concat();
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text = format!("{text}host: {addr}\r\n");
    }
    text.push_str("\r\n");
    send(addr, &[text.as_bytes(), body].concat())
}

/// Bytes as they are; the answer is read until the other side closes or its content length is there.
pub fn send(addr: SocketAddr, bytes: &[u8]) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    // A server may refuse before it has read everything; what it said still counts.
    let written = stream.write_all(bytes);
    let mut raw = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(response) = parse(&raw, false) {
            return Ok(response);
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => raw.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) if raw.is_empty() => return Err(written.err().unwrap_or(e)),
            Err(_) => break,
        }
    }
    parse(&raw, true).ok_or_else(|| std::io::Error::other(format!("no answer: {:?}", String::from_utf8_lossy(&raw))))
}

fn parse(raw: &[u8], closed: bool) -> Option<Response> {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pair = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_string()));
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let body = raw[end + 4..].to_vec();
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse::<usize>().ok());
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v.contains("chunked"));
    let whole = match length {
        Some(length) => body.len() >= length,
        None => closed || (chunked && body.ends_with(b"0\r\n\r\n")),
    };
    let body = if chunked { unchunk(&body) } else { body };
    (whole || closed).then_some(Response { status, headers, body })
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap_or("0").trim(), 16).unwrap_or(0);
        let Some(chunk) = body.get(end + 2..end + 2 + size).filter(|_| size > 0) else { break };
        out.extend_from_slice(chunk);
        body = body.get(end + 4 + size..).unwrap_or_default();
    }
    out
}
