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
    let mut buffer = [0; 65_535];
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
