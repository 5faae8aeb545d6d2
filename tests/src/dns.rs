//! A DNS client: hickory-proto's independent reading of the wire format over plain sockets.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

/// A plain query with recursion desired, as a stub resolver sends it.
pub fn query(name: &str, record_type: RecordType) -> Message {
    static ID: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let id = ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).expect("a name"), record_type));
    message
}

/// Over UDP, from any local port.
pub fn udp(server: SocketAddr, message: &Message) -> std::io::Result<Message> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local)?;
    // Connected: an answer that leaves from another address than was asked does not arrive.
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(&message.to_vec().expect("a message"))?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer)?;
    decode(&buffer[..length])
}

/// Over TCP.
pub fn tcp(server: SocketAddr, message: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let bytes = message.to_vec().expect("a message");
    stream.write_all(&(bytes.len() as u16).to_be_bytes())?;
    stream.write_all(&bytes)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut buffer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut buffer)?;
    decode(&buffer)
}

/// One server, asked with octets: what no client library would send can be sent too.
pub struct Octets {
    server: SocketAddr,
    udp: UdpSocket,
    tcp: Option<TcpStream>,
}

impl Octets {
    /// A client of `server` with a UDP port of its own and, once it is needed, one TCP connection.
    pub fn to(server: SocketAddr) -> std::io::Result<Self> {
        let udp = UdpSocket::bind((if server.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
        udp.connect(server)?;
        udp.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Self { server, udp, tcp: None })
    }

    /// The answer with the query's ID; `None` after two seconds of silence.
    pub fn udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.udp.send(query).ok()?;
        let mut buffer = vec![0; 65_535];
        loop {
            let length = self.udp.recv(&mut buffer).ok()?;
            if buffer[..length].get(..2) == query.get(..2) {
                buffer.truncate(length);
                return Some(buffer);
            }
        }
    }

    /// The answer to `query`, if it comes before that to `probe`, which is sent behind it and always answered. So silence needs no
    /// waiting, on a server that answers in order. A query too short for an ID counts as answered by whatever is not the probe's.
    pub fn udp_before(&self, query: &[u8], probe: &[u8]) -> Option<Vec<u8>> {
        assert_ne!(query.get(..2), probe.get(..2), "the probe needs an ID of its own");
        self.udp.send(query).ok()?;
        self.udp.send(probe).ok()?;
        let mut first = None;
        let mut buffer = vec![0; 65_535];
        loop {
            let length = self.udp.recv(&mut buffer).expect("the probe's answer");
            let answer = &buffer[..length];
            if answer.get(..2) == probe.get(..2) {
                return first;
            }
            first = first.or_else(|| Some(answer.to_vec()));
        }
    }

    /// The next answer on the one TCP connection, which is opened anew if the server has closed it.
    pub fn tcp(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let kept = self.tcp.take().and_then(|stream| self.over(stream, query));
        kept.or_else(|| {
            let stream = TcpStream::connect_timeout(&self.server, Duration::from_secs(2)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.set_nodelay(true).ok()?;
            self.over(stream, query)
        })
    }

    fn over(&mut self, mut stream: TcpStream, query: &[u8]) -> Option<Vec<u8>> {
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat()).ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).ok()?;
        self.tcp = Some(stream);
        Some(answer)
    }
}

fn decode(bytes: &[u8]) -> std::io::Result<Message> {
    Message::from_vec(bytes).map_err(|e| std::io::Error::other(format!("{e}: {bytes:02x?}")))
}

/// The addresses of an answer section, in its order, with the TTL of the first (0 without one).
pub fn addresses(message: &Message) -> (Vec<IpAddr>, u32) {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    let ttl = message.answers.first().map_or(0, |r| r.ttl);
    (message.answers.iter().filter_map(|r| address(&r.data)).collect(), ttl)
}

/// The addresses that a name has now, over UDP.
pub fn lookup(server: SocketAddr, name: &str) -> Option<(Vec<IpAddr>, u32)> {
    udp(server, &query(name, RecordType::A)).ok().map(|m| addresses(&m))
}
