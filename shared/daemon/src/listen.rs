//! Listening sockets. A port in use is reported with its owner; port 0 is allowed and what the kernel chose is announced, so
//! that tests never race for a number.
//!
//! Workers share a port by `SO_REUSEPORT`. The first socket is bound without it: otherwise a second daemon of the same user
//! would silently take half of the traffic.

use crate::port_owner::port_owner;
use crate::state_dir::write_atomically;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const BACKLOG: i32 = 4096;

/// Why a listener could not be made. Displayed as `127.0.0.1:53 (udp) is in use by named (pid 812)`.
#[derive(Debug)]
pub struct ListenError {
    what: String,
    owner: Option<String>,
    source: io::Error,
}

impl ListenError {
    pub(crate) fn new(what: impl fmt::Display, source: io::Error) -> Self {
        Self { what: what.to_string(), owner: None, source }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match (&self.owner, self.source.kind()) {
            (Some(owner), _) => write!(f, "{what} is in use by {owner}"),
            (None, io::ErrorKind::AddrInUse) => write!(f, "{what} is in use, by a process that this user may not look at"),
            (None, io::ErrorKind::PermissionDenied) => {
                write!(f, "{what}: permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)")
            }
            (None, io::ErrorKind::AddrNotAvailable) => write!(f, "{what}: this machine has no such address"),
            (None, _) => write!(f, "{what}: {}", self.source),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A TCP listener, non-blocking.
pub fn tcp(addr: SocketAddr) -> Result<TcpListener, ListenError> {
    tcp_socket(addr, false).map(Into::into).map_err(|e| error("tcp", addr, e))
}

/// As many TCP listeners as workers, which share one port. Their addresses are equal; at least one is made.
pub fn tcp_workers(addr: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, ListenError> {
    share(addr, workers, tcp_socket).map_err(|e| error("tcp", addr, e))
}

/// A UDP socket, non-blocking.
pub fn udp(addr: SocketAddr) -> Result<UdpSocket, ListenError> {
    udp_socket(addr, false).map(Into::into).map_err(|e| error("udp", addr, e))
}

/// As many UDP sockets as workers, which share one port. Non-blocking; at least one is made.
pub fn udp_workers(addr: SocketAddr, workers: usize) -> Result<Vec<UdpSocket>, ListenError> {
    share(addr, workers, udp_socket).map_err(|e| error("udp", addr, e))
}

/// UDP sockets for the workers and one TCP listener, all of one port: what a name server listens on. With port 0, a port is
/// looked for that is free in both.
pub fn udp_workers_and_tcp(addr: SocketAddr, workers: usize) -> Result<(Vec<UdpSocket>, TcpListener), ListenError> {
    let mut tries = if addr.port() == 0 { 32 } else { 1 };
    loop {
        let listener = tcp(addr)?;
        let bound = listener.local_addr().map_err(|e| error("tcp", addr, e))?;
        match udp_workers(bound, workers) {
            Err(e) if e.source.kind() == io::ErrorKind::AddrInUse && tries > 1 => tries -= 1,
            result => return result.map(|sockets| (sockets, listener)),
        }
    }
}

/// A Unix listener with the given mode, non-blocking. A socket file that nobody listens on any more is removed first; a file
/// that is no socket never is.
pub fn unix(path: &Path, mode: u32) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::new(path.display(), source);
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(failed(io::Error::other("a file that is no socket stands there")));
        }
        match UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed)?,
            Err(e) => return Err(failed(e)),
            Ok(_) => return Err(failed(io::ErrorKind::AddrInUse.into())),
        }
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn share<T: From<Socket>>(
    addr: SocketAddr,
    workers: usize,
    make: fn(SocketAddr, bool) -> io::Result<Socket>,
) -> io::Result<Vec<T>> {
    let first = make(addr, false)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(addr);
    first.set_reuse_port(true)?;
    let others = (1..workers).map(|_| make(bound, true));
    let sockets = std::iter::once(Ok(first)).chain(others).collect::<io::Result<Vec<_>>>()?;
    Ok(sockets.into_iter().map(T::from).collect())
}

fn tcp_socket(addr: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    bind(&socket, addr, reuse_port)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn udp_socket(addr: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    // No SO_REUSEADDR: on UDP it lets a second process take the port over.
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    bind(&socket, addr, reuse_port)?;
    Ok(socket)
}

fn bind(socket: &Socket, addr: SocketAddr, reuse_port: bool) -> io::Result<()> {
    socket.set_reuse_port(reuse_port)?;
    if addr.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners of one configuration.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())
}

fn error(protocol: &'static str, addr: SocketAddr, source: io::Error) -> ListenError {
    let owner = (source.kind() == io::ErrorKind::AddrInUse).then(|| port_owner(protocol, addr)).flatten();
    ListenError { what: format!("{addr} ({protocol})"), owner, source }
}

/// Tells which addresses were bound: to the log, and to a file of JSON for whoever started us with port 0.
#[derive(Debug, Default)]
pub struct Announcer {
    bound: BTreeMap<String, String>,
    file: Option<PathBuf>,
}

impl Announcer {
    /// `file` is the argument of `--ports-file`.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { bound: BTreeMap::new(), file }
    }

    /// One listener: logged at once.
    pub fn add(&mut self, name: &str, addr: impl fmt::Display) {
        let addr = addr.to_string();
        tracing::info!(listener = name, %addr, "listening");
        self.bound.insert(name.into(), addr);
    }

    /// The `n`th listener of several, counted from 0: the first has the name itself, the second `name_2`.
    pub fn add_nth(&mut self, name: &str, n: usize, addr: impl fmt::Display) {
        if n == 0 { self.add(name, addr) } else { self.add(&format!("{name}_{}", n + 1), addr) }
    }

    /// Writes the file, whole or not at all: `{"dns":"127.0.0.1:34567",…}`. Call it when all listeners are bound.
    pub fn publish(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(&self.bound).map_err(io::Error::other)?;
        text.push(b'\n');
        write_atomically(file, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().expect("address")
    }

    #[test]
    fn a_port_in_use_names_its_owner() {
        let (sockets, listener) = udp_workers_and_tcp(loopback(), 2).expect("sockets");
        let addr = listener.local_addr().expect("address");
        assert!(sockets.iter().all(|s| s.local_addr().expect("address") == addr));
        let ours = format!("(pid {})", std::process::id());
        for failed in [tcp(addr).err(), tcp_workers(addr, 2).err(), udp(addr).err(), udp_workers(addr, 2).err()] {
            let text = failed.expect("in use").to_string();
            assert!(text.starts_with(&addr.to_string()) && text.ends_with(&ours), "{text}");
        }
    }

    #[test]
    fn workers_share_the_traffic() {
        let sockets = udp_workers(loopback(), 2).expect("sockets");
        let addr = sockets[0].local_addr().expect("address");
        for _ in 0..200 {
            let client = UdpSocket::bind(loopback()).expect("client");
            client.send_to(b"x", addr).expect("sent");
        }
        let count = |socket: &UdpSocket| std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count();
        let counts: Vec<_> = sockets.iter().map(count).collect();
        assert!(counts.iter().sum::<usize>() == 200 && counts.iter().all(|c| *c > 20), "{counts:?}");
    }

    #[test]
    fn tcp_workers_share_the_traffic() {
        let listeners = tcp_workers(loopback(), 2).expect("listeners");
        let addr = listeners[0].local_addr().expect("address");
        let clients: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(addr).expect("client")).collect();
        let count = |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let counts: Vec<_> = listeners.iter().map(count).collect();
        assert!(counts.iter().sum::<usize>() == clients.len() && counts.iter().all(|c| *c > 5), "{counts:?}");
    }

    #[test]
    fn both_wildcards_stand_beside_each_other() {
        let v4 = udp("0.0.0.0:0".parse().expect("address")).expect("v4");
        let port = v4.local_addr().expect("address").port();
        assert!(udp(SocketAddr::new("::".parse().expect("address"), port)).is_ok());
    }

    #[test]
    fn unix_sockets_are_taken_over_only_from_the_dead() {
        let dir = TempDir::new();
        let path = dir.path().join("admin.sock");
        let first = unix(&path, 0o660).expect("first");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(unix(&path, 0o660).expect_err("alive").to_string().contains("in use"));
        drop(first);
        let again = unix(&path, 0o660).expect("stale socket removed");
        drop(again);
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").expect("file");
        assert!(unix(&file, 0o660).is_err());
        assert_eq!(std::fs::read(&file).expect("file"), b"precious");
    }

    #[test]
    fn bound_addresses_are_published() {
        let file = TempDir::new();
        let path = file.path().join("ports.json");
        let mut announcer = Announcer::new(Some(path.clone()));
        announcer.add("dns", loopback());
        announcer.publish().expect("published");
        assert_eq!(std::fs::read_to_string(path).expect("file"), "{\"dns\":\"127.0.0.1:0\"}\n");
    }
}
