//! OPT records as octets, written for queries and found in answers: what no client library would send, and what none would show.
//!
//! It must never use our own reader of messages, whose mistakes it helps to find.

/// Option codes.
pub mod option {
    /// RFC 5001.
    pub const NSID: u16 = 3;
    /// RFC 7871.
    pub const CLIENT_SUBNET: u16 = 8;
    /// RFC 7314.
    pub const EXPIRE: u16 = 9;
    /// RFC 7873.
    pub const COOKIE: u16 = 10;
    /// RFC 7828.
    pub const KEEPALIVE: u16 = 11;
    /// RFC 8914.
    pub const EXTENDED_ERROR: u16 = 15;
}

/// An OPT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt {
    /// The sender's longest UDP message, in octets.
    pub size: u16,
    /// The upper eight bits of the response code.
    pub rcode_high: u8,
    /// EDNS version.
    pub version: u8,
    /// DO and the Z bits.
    pub flags: u16,
    /// Code and data of each option.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Default for Opt {
    fn default() -> Self {
        Self { size: 1_232, rcode_high: 0, version: 0, flags: 0, options: Vec::new() }
    }
}

impl Opt {
    /// The record, to be appended to a query.
    pub fn octets(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for (code, octets) in &self.options {
            data.extend_from_slice(&[*code, octets.len() as u16].map(u16::to_be_bytes).concat());
            data.extend_from_slice(octets);
        }
        let mut record = vec![0, 0, 41];
        record.extend_from_slice(&self.size.to_be_bytes());
        record.extend_from_slice(&[self.rcode_high, self.version]);
        record.extend_from_slice(&[self.flags, data.len() as u16].map(u16::to_be_bytes).concat());
        record.extend_from_slice(&data);
        record
    }

    /// The data of the first option with this code.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, data)| data.as_slice())
    }

    /// The OPT record of a message, wherever it stands.
    ///
    /// # Panics
    /// When the message is malformed.
    pub fn of(message: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        let counts = [4, 6, 8, 10].map(u16_at);
        let mut at = 12;
        for _ in 0..counts[0] {
            at = skip_name(message, at) + 4;
        }
        for _ in 0..counts[1..].iter().map(|count| u32::from(*count)).sum::<u32>() {
            let owner = at;
            at = skip_name(message, at);
            let (rtype, size, len) = (u16_at(at), u16_at(at + 2), usize::from(u16_at(at + 8)));
            let data = &message[at + 10..at + 10 + len];
            if rtype == 41 {
                assert_eq!(message[owner], 0, "OPT belongs to the root");
                let flags = u16_at(at + 6);
                return Some(Self {
                    size,
                    rcode_high: message[at + 4],
                    version: message[at + 5],
                    flags,
                    options: options(data),
                });
            }
            at += 10 + len;
        }
        None
    }
}

fn options(mut data: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let (code, len) = (u16::from_be_bytes([data[0], data[1]]), usize::from(u16::from_be_bytes([data[2], data[3]])));
        found.push((code, data[4..4 + len].to_vec()));
        data = &data[4 + len..];
    }
    found
}

fn skip_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            0xc0.. => return at + 2,
            len => at += 1 + usize::from(len),
        }
    }
}
