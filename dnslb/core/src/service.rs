//! What the server says of itself, and what protects it: settings of every answer that are no zone's data.
//!
//! Part of the snapshot, so immutable: a reload makes another one. The counters of the rate limit live elsewhere.

use crate::cookie::Secrets;
use crate::rrl::Policy;

/// Most octets of the texts that the server gives about itself: one character-string (RFC 1035 section 3.3).
pub const TEXT_LEN_MAX: usize = 255;

/// Settings of every answer. The default says nothing of itself, makes no cookies and limits nothing.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The name server identifier (RFC 5001), if it is told.
    pub nsid: Option<Box<[u8]>>,
    /// The data of `id.server` and `hostname.bind`, if they are told.
    pub identity: Option<Box<[u8]>>,
    /// The data of `version.server` and `version.bind`, if they are told.
    pub version: Option<Box<[u8]>>,
    /// What server cookies are made with.
    pub cookies: Option<Secrets>,
    /// How long a TCP or TLS connection may be idle, in units of 100 milliseconds (RFC 7828).
    pub keepalive_100ms: u16,
    /// Whether client subnets (RFC 7871) are looked at. Otherwise the option is passed over as an unknown one.
    pub client_subnet: bool,
    /// How many responses over UDP a network may be sent.
    pub rrl: Option<Policy>,
}

impl Service {
    /// The data of a TXT record of one string; longer texts are cut at [`TEXT_LEN_MAX`] octets.
    pub fn text(text: &str) -> Box<[u8]> {
        let text = text.as_bytes().get(..TEXT_LEN_MAX).unwrap_or(text.as_bytes());
        let mut rdata = Vec::with_capacity(1 + text.len());
        rdata.push(text.len() as u8);
        rdata.extend_from_slice(text);
        rdata.into()
    }

    /// The data of a TXT record of class CH at a lowercase name in wire format, if it is one of ours and is told.
    pub(crate) fn chaos(&self, name: &[u8]) -> Option<&[u8]> {
        match name {
            b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => self.identity.as_deref(),
            b"\x07version\x06server\0" | b"\x07version\x04bind\0" => self.version.as_deref(),
            _ => None,
        }
    }
}
