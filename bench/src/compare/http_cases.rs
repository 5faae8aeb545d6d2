//! Why: which requests, over which connections, the front doors are compared with.
//! Never: no case that one door answers with less work of its client's asking than another.

use super::h2load;
use super::http_servers::Door;
use super::wrk::{self, WrkReport};
use std::io;
use std::path::{Path, PathBuf};

/// How requests reach a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// HTTP/1.1 on connections that stay open.
    Kept,
    /// HTTP/1.1, a connection for each request.
    Once,
    /// HTTP/1.1 over TLS 1.3 on connections that stay open.
    TlsKept,
    /// HTTP/1.1, a connection and a full handshake of TLS 1.3 for each request.
    TlsOnce,
    /// HTTP/2 over TLS 1.3, so many streams at a time on each connection.
    H2(u32),
}

/// One group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Over what.
    pub carrier: Carrier,
    /// Connections at a time.
    pub connections: u32,
    /// Requests bring the cookie of a session.
    pub returning: bool,
}

impl Case {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for carrier in [Carrier::Kept, Carrier::Once, Carrier::TlsKept, Carrier::TlsOnce, Carrier::H2(1), Carrier::H2(10)] {
            for connections in [64, 1_000] {
                cases.push(Self { carrier, connections, returning: false });
                // What a cookie costs does not depend on the carrier: once on a plain connection, once on one of HTTP/2.
                if connections == 64 && matches!(carrier, Carrier::Kept | Carrier::H2(1)) {
                    cases.push(Self { carrier, connections, returning: true });
                }
            }
        }
        cases
    }

    /// As the table's first column says it.
    pub fn name(&self) -> String {
        let carrier = match self.carrier {
            Carrier::Kept => "HTTP/1.1, kept alive".to_string(),
            Carrier::Once => "HTTP/1.1, one request a connection".to_string(),
            Carrier::TlsKept => "TLS, kept alive".to_string(),
            Carrier::TlsOnce => "TLS, a handshake a request".to_string(),
            Carrier::H2(streams) => format!("HTTP/2, {streams} at a time"),
        };
        let returning = if self.returning { ", returning" } else { "" };
        format!("{carrier}, {} connections{returning}", self.connections)
    }
}

/// The programs that make the load.
#[derive(Clone, Debug)]
pub struct Generators {
    /// wrk, by path.
    pub wrk: PathBuf,
    /// h2load, by path, if it is there.
    pub h2load: Option<PathBuf>,
    /// Where h2load may write.
    pub log: PathBuf,
}

impl Generators {
    /// Asks a door for so many seconds.
    pub fn run(&self, case: Case, door: &Door, cookie: Option<&str>, seconds: u64) -> io::Result<WrkReport> {
        let secure = !matches!(case.carrier, Carrier::Kept | Carrier::Once);
        let address = if secure { door.tls.ok_or_else(|| io::Error::other("it speaks no TLS"))? } else { door.plain };
        let url = format!("http{}://{address}/inbox", if secure { "s" } else { "" });
        let close = matches!(case.carrier, Carrier::Once | Carrier::TlsOnce).then_some("Connection: close");
        let headers: Vec<&str> = cookie.into_iter().chain(close).collect();
        match case.carrier {
            Carrier::H2(streams) => {
                let program = self
                    .h2load
                    .as_deref()
                    .ok_or_else(|| io::Error::other("h2load is not there (Debian: nghttp2-client)"))?;
                h2load::run(program, &url, &headers, case.connections, streams, seconds, &self.log)
            }
            _ => wrk::run(&self.wrk, &url, &headers, case.connections, seconds),
        }
    }

    /// Those that are there.
    pub fn find(folder: &Path) -> io::Result<Self> {
        let wrk = super::server::find_program("wrk");
        let wrk = wrk.ok_or_else(|| io::Error::other("wrk is not there (Debian: apt-get install wrk)"))?;
        Ok(Self { wrk, h2load: super::server::find_program("h2load"), log: folder.join("h2load.log") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases = Case::all();
        let mut names: Vec<String> = cases.iter().map(Case::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        assert_eq!(cases.len(), 14);
    }
}
