//! Why: a redirect names a place; where that is on the network, and whether a client may go there, is decided here.
//! Never: no name is looked up anywhere but in the given map: the experiment's names exist in no resolver.

use hyper::Uri;
use std::net::{IpAddr, SocketAddr};

/// Longest URL that is followed, bytes.
pub const URL_LEN_MAX: usize = 8_192;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address to connect to.
    pub address: SocketAddr,
    /// Host and port as the URL has them: the `Host` header, and the name under which cookies and counts are kept.
    pub authority: String,
    /// Path and query, starting with `/`.
    pub path: String,
}

/// From names to addresses: the longest entry wins that is the name itself or a suffix of whole labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<(String, IpAddr, Option<u16>)>);

impl Names {
    /// Adds `NAME=ADDRESS` or `NAME=ADDRESS:PORT`; a port given here replaces the URL's.
    ///
    /// # Errors
    /// What was expected.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let wrong = || format!("{text:?}: expected NAME=ADDRESS or NAME=ADDRESS:PORT");
        let (name, address) = text.split_once('=').ok_or_else(wrong)?;
        let name = name.trim_matches('.').to_ascii_lowercase();
        let (address, port) = match (address.parse::<IpAddr>(), address.parse::<SocketAddr>()) {
            (Ok(address), _) => (address, None),
            (_, Ok(address)) => (address.ip(), Some(address.port())),
            _ => return Err(wrong()),
        };
        self.0.push((name, address, port));
        Ok(())
    }

    fn find(&self, host: &str) -> Option<(IpAddr, Option<u16>)> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let covers = |name: &str| match host.strip_suffix(name) {
            Some(rest) => rest.is_empty() || name.is_empty() || rest.ends_with('.'),
            None => false,
        };
        let best = self.0.iter().filter(|(name, ..)| covers(name)).max_by_key(|(name, ..)| name.len());
        best.map(|(_, address, port)| (*address, *port))
    }

    /// The place of an absolute `http` URL.
    ///
    /// # Errors
    /// Why the URL cannot be followed.
    pub fn place(&self, url: &str) -> Result<Place, String> {
        if url.len() > URL_LEN_MAX {
            return Err(format!("URL of {} bytes", url.len()));
        }
        let uri: Uri = url.parse().map_err(|error| format!("{url:?}: {error}"))?;
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if !authority.as_str().contains('@') => authority,
            _ => return Err(format!("{url:?}: expected http://HOST[:PORT]/…")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(80);
        let (address, port) = if let Ok(address) = host.parse::<IpAddr>() {
            (address, port)
        } else {
            let (address, other) = self.find(host).ok_or_else(|| format!("{host:?}: no address given for this name"))?;
            (address, other.unwrap_or(port))
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // "http://host?query" has a query and no path.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Place { address: SocketAddr::new(address, port), authority: authority.as_str().to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn names() -> Names {
        let mut names = Names::default();
        for entry in ["farm.example.com=127.0.1.1", "b2.farm.example.com=127.0.1.2:8081", "v6.example=::1"] {
            names.add(entry).unwrap();
        }
        names
    }

    #[test]
    fn urls_lead_to_places() {
        let check = |url: &str, expect: Option<(&str, &str, &str)>| {
            let found = names().place(url).ok().map(|p| (p.address.to_string(), p.authority, p.path));
            let expect =
                expect.map(|(address, authority, path)| (address.to_owned(), authority.to_owned(), path.to_owned()));
            assert_eq!(found, expect, "{url}");
        };
        check("http://127.0.1.11:8080/login?x=1", Some(("127.0.1.11:8080", "127.0.1.11:8080", "/login?x=1")));
        check("http://127.0.1.11", Some(("127.0.1.11:80", "127.0.1.11", "/")));
        check("http://[::1]:8080/", Some(("[::1]:8080", "[::1]:8080", "/")));
        check("http://b1.farm.example.com:8080/a", Some(("127.0.1.1:8080", "b1.farm.example.com:8080", "/a")));
        check("http://B2.Farm.example.com/", Some(("127.0.1.2:8081", "B2.Farm.example.com", "/")));
        check("http://xfarm.example.com/", None);
        check("http://v6.example./", Some(("[::1]:80", "v6.example.", "/")));
        check("https://127.0.0.1/", None);
        check("http://user@127.0.0.1/", None);
        check("/login", None);
        check("//127.0.0.1/", None);
        check("http:///x", None);
        check("", None);
        check(&format!("http://127.0.0.1/{}", "x".repeat(URL_LEN_MAX)), None);
    }

    #[test]
    fn map_entries_are_checked() {
        for text in ["", "x", "x=", "x=y", "x=1.2.3.4:99999"] {
            assert!(Names::default().add(text).is_err(), "{text:?}");
        }
        let mut all = Names::default();
        all.add(".=127.0.0.9").unwrap();
        assert_eq!(all.place("http://any.name:1/").unwrap().address.to_string(), "127.0.0.9:1");
    }

    proptest! {
        #[test]
        fn no_text_panics(url in "(http://)?[ -~]{0,60}", entry in "[ -~]{0,30}") {
            let mut names = names();
            let _ = names.add(&entry);
            let _ = names.place(&url);
        }
    }
}
