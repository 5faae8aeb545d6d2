//! The kernel's batch calls: one system call receives up to 32 questions, one sends their answers.
//!
//! This is the only module of the workspace that may hold `unsafe` code, since `recvmmsg`, `sendmmsg` and the control messages of
//! `IP_PKTINFO` have no safe wrapper. It must never know what is in a datagram. Its surface is safe: a [`Batch`] owns every
//! buffer that the kernel is shown, and shows it pointers only for the length of one call.
//!
//! On a socket that is bound to a wildcard address, the address that was asked arrives as a control message and goes back with
//! the answer, so that the answer leaves from there (RFC 3542 6.1 for IPv6, ip(7) for IPv4).
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams in one batch.
pub const BATCH_LEN: usize = 32;
/// Octets of the largest question that is looked at; longer datagrams are flagged as cut.
pub const QUERY_OCTETS_MAX: usize = 4096;
/// Octets of the largest answer over UDP.
pub const ANSWER_OCTETS_MAX: usize = 4096;

/// Room for one `in6_pktinfo` (20 octets) or `in_pktinfo` (12) with its header and padding, and aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// One received datagram and the room for its answer.
struct Slot {
    from: libc::sockaddr_storage,
    from_len: libc::socklen_t,
    control: Control,
    query_len: usize,
    cut: bool,
    asked: Option<Asked>,
    answer_len: usize,
    query: [u8; QUERY_OCTETS_MAX],
    answer: [u8; ANSWER_OCTETS_MAX],
}

/// The local address that a datagram was sent to.
#[derive(Clone, Copy)]
enum Asked {
    V4(libc::in_addr),
    V6(libc::in6_pktinfo),
}

/// One datagram as its handler sees it.
pub struct Exchange<'a> {
    /// The received octets.
    pub query: &'a [u8],
    /// The datagram was longer than [`QUERY_OCTETS_MAX`]: `query` holds its beginning only.
    pub cut: bool,
    /// Who sent it; `None` if the kernel told an address of another family.
    pub from: Option<SocketAddr>,
    /// Where the answer goes.
    pub answer: &'a mut [u8],
    answer_len: &'a mut usize,
    storage: &'a libc::sockaddr_storage,
    storage_len: libc::socklen_t,
    asked: Option<Asked>,
}

/// Whence a datagram came and which address it was sent to: all that a later answer needs.
#[derive(Clone, Copy)]
pub struct Origin {
    from: libc::sockaddr_storage,
    from_len: libc::socklen_t,
    asked: Option<Asked>,
}

impl Origin {
    /// Who sent it.
    pub fn from(&self) -> Option<SocketAddr> {
        socket_addr(&self.from)
    }
}

impl Exchange<'_> {
    /// What an answer outside of the batch needs.
    pub fn origin(&self) -> Origin {
        Origin { from: *self.storage, from_len: self.storage_len, asked: self.asked }
    }

    /// Sends the first `octets` of `answer` with the batch; without this call (or with 0) nothing is sent.
    pub fn reply(&mut self, octets: usize) {
        *self.answer_len = octets.min(self.answer.len());
    }
}

/// What became of the answers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Answers that the kernel took.
    pub sent: usize,
    /// Answers that it refused; each was skipped.
    pub failed: usize,
}

/// Buffers for one batch of datagrams. Made once per thread.
pub struct Batch {
    slots: Box<[Slot]>,
    len: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Allocates all buffers.
    pub fn new() -> Self {
        Self { slots: (0..BATCH_LEN).map(|_| Slot::new()).collect(), len: 0 }
    }

    /// Waits for at least one datagram, then takes those that are there. 0 when the socket's receive timeout ran out or a signal
    /// came in between.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.len = 0;
        let mut vectors = [EMPTY_VECTOR; BATCH_LEN];
        let mut headers = [EMPTY_HEADER; BATCH_LEN];
        for ((slot, vector), header) in self.slots.iter_mut().zip(&mut vectors).zip(&mut headers) {
            *vector = libc::iovec { iov_base: slot.query.as_mut_ptr().cast(), iov_len: slot.query.len() };
            header.msg_hdr.msg_name = ptr::from_mut(&mut slot.from).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = slot.control.0.len();
        }
        // SAFETY: `headers` holds BATCH_LEN headers; each points at a vector, a name and a control buffer that live in this frame
        // or in `self`, are not touched elsewhere during the call, and have the lengths given. A null timeout is allowed.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_LEN as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        let Ok(got) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => Ok(0),
                _ => Err(error),
            };
        };
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(got) {
            slot.query_len = (header.msg_len as usize).min(slot.query.len());
            slot.cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            slot.from_len = header.msg_hdr.msg_namelen.min(mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t);
            slot.asked = asked(&header.msg_hdr);
            slot.answer_len = 0;
        }
        self.len = got.min(self.slots.len());
        Ok(self.len)
    }

    /// The datagrams of the last [`Batch::receive`].
    pub fn exchanges(&mut self) -> impl Iterator<Item = Exchange<'_>> {
        self.slots.iter_mut().take(self.len).map(|slot| Exchange {
            from: socket_addr(&slot.from),
            query: slot.query.get(..slot.query_len).unwrap_or_default(),
            cut: slot.cut,
            answer: &mut slot.answer,
            answer_len: &mut slot.answer_len,
            storage: &slot.from,
            storage_len: slot.from_len,
            asked: slot.asked,
        })
    }

    /// Sends what was replied to. The kernel stops at the first datagram that it refuses: that one is skipped and counted, the rest
    /// still goes out.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> Sent {
        let mut vectors = [EMPTY_VECTOR; BATCH_LEN];
        let mut headers = [EMPTY_HEADER; BATCH_LEN];
        let mut count = 0;
        let replied = self.slots.iter_mut().take(self.len).filter(|slot| slot.answer_len > 0);
        for ((slot, vector), header) in replied.zip(&mut vectors).zip(&mut headers) {
            *vector = libc::iovec { iov_base: slot.answer.as_mut_ptr().cast(), iov_len: slot.answer_len };
            header.msg_hdr.msg_name = ptr::from_mut(&mut slot.from).cast();
            header.msg_hdr.msg_namelen = slot.from_len;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if let Some(asked) = slot.asked {
                header.msg_hdr.msg_control = slot.control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = slot.control.0.len();
                header.msg_hdr.msg_controllen = write_asked(&header.msg_hdr, asked);
            }
            count += 1;
        }
        let mut outcome = Sent::default();
        let mut at = 0;
        while let Some(rest) = headers.get_mut(at..count).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` is a live slice of headers; each points at an answer, a name and control octets that live in this frame
            // or in `self` for the whole call, with lengths within their buffers.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
            match usize::try_from(sent) {
                Ok(0) => {
                    outcome.failed += 1;
                    at += 1;
                }
                Ok(sent) => {
                    outcome.sent += sent;
                    at += sent;
                }
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    outcome.failed += 1;
                    at += 1;
                }
            }
        }
        self.len = 0;
        outcome
    }
}

/// Sends one answer, from the address that was asked, outside of a batch.
pub fn send_to(socket: BorrowedFd<'_>, origin: &Origin, answer: &[u8]) -> io::Result<()> {
    let (mut from, mut control) = (origin.from, Control([0; 64]));
    let mut vector = libc::iovec { iov_base: answer.as_ptr().cast_mut().cast(), iov_len: answer.len() };
    let mut header = EMPTY_HEADER.msg_hdr;
    header.msg_name = ptr::from_mut(&mut from).cast();
    header.msg_namelen = origin.from_len;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if let Some(asked) = origin.asked {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len();
        header.msg_controllen = write_asked(&header, asked);
    }
    // SAFETY: `header` points at a name, a vector and control octets that live in this frame, and at the answer, which the kernel only
    // reads; all have the lengths given.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks the kernel to tell, with each datagram, the local address that it was sent to.
pub fn tell_asked_address(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Tells the kernel not to believe what ICMP says of the path's MTU, and never to fragment for it: a forged "too big" must not make
/// it send answers in fragments, into which others could mix theirs (RFC 9715 on avoiding fragmentation).
pub fn ignore_path_mtu(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
    }
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is a live c_int and its size is given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Slot {
    fn new() -> Self {
        Self {
            // SAFETY: `sockaddr_storage` is plain data for which all zeros is a value (family AF_UNSPEC).
            from: unsafe { mem::zeroed() },
            from_len: 0,
            control: Control([0; 64]),
            query_len: 0,
            cut: false,
            asked: None,
            answer_len: 0,
            query: [0; QUERY_OCTETS_MAX],
            answer: [0; ANSWER_OCTETS_MAX],
        }
    }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
// SAFETY: `mmsghdr` is plain data; null pointers with zero lengths are a valid, empty header.
const EMPTY_HEADER: libc::mmsghdr = unsafe { mem::zeroed() };

/// Reads the address that was asked from the control messages of a received datagram.
fn asked(header: &libc::msghdr) -> Option<Asked> {
    // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`, which CMSG_FIRSTHDR and CMSG_NXTHDR stay within.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the macros return null or a header that lies wholly in the control buffer, which is aligned for it.
        let (level, kind, len) = unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        // SAFETY: CMSG_DATA only adds the header's size; the data is read below only if `cmsg_len` says that it is there.
        let data = unsafe { libc::CMSG_DATA(message) };
        if level == libc::IPPROTO_IP && kind == libc::IP_PKTINFO && len >= cmsg_len::<libc::in_pktinfo>() {
            // SAFETY: `cmsg_len` covers a whole `in_pktinfo`; it may be unaligned.
            let info = unsafe { ptr::read_unaligned(data.cast::<libc::in_pktinfo>()) };
            return Some(Asked::V4(info.ipi_spec_dst));
        }
        if level == libc::IPPROTO_IPV6 && kind == libc::IPV6_PKTINFO && len >= cmsg_len::<libc::in6_pktinfo>() {
            // SAFETY: as above, for `in6_pktinfo`.
            return Some(Asked::V6(unsafe { ptr::read_unaligned(data.cast::<libc::in6_pktinfo>()) }));
        }
        // SAFETY: `message` came from the same header's control buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

/// Writes the one control message of an answer and returns the octets that it takes.
fn write_asked(header: &libc::msghdr, asked: Asked) -> usize {
    match asked {
        Asked::V4(address) => {
            // Interface 0: the routing table decides where the answer leaves, the address only says as whom.
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            write_message(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        Asked::V6(mut info) => {
            // A link-local address means nothing without its interface; any other is routed.
            if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                info.ipi6_ifindex = 0;
            }
            write_message(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

fn write_message<T: Copy>(header: &libc::msghdr, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    // SAFETY: CMSG_FIRSTHDR looks at `msg_control` and `msg_controllen` only, both set by the caller.
    let message = unsafe { libc::CMSG_FIRSTHDR(header) };
    if message.is_null() || cmsg_space::<T>() > header.msg_controllen {
        return 0;
    }
    // SAFETY: the control buffer holds at least CMSG_SPACE(T) octets (checked above) and is aligned for `cmsghdr`.
    unsafe {
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = cmsg_len::<T>();
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), value);
    }
    cmsg_space::<T>()
}

fn cmsg_len<T>() -> usize {
    // SAFETY: CMSG_LEN is arithmetic.
    unsafe { libc::CMSG_LEN(mem::size_of::<T>() as libc::c_uint) as usize }
}

fn cmsg_space<T>() -> usize {
    // SAFETY: CMSG_SPACE is arithmetic.
    unsafe { libc::CMSG_SPACE(mem::size_of::<T>() as libc::c_uint) as usize }
}

fn socket_addr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_storage` is as large and as aligned as any address, and the family says which one it holds.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The address without its port, and an IPv4-mapped one as IPv4: what limits and logs count by.
pub fn client_ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn socket(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Echoes one batch in capitals and returns what was sent.
    fn echo(server: &UdpSocket, batch: &mut Batch) -> Sent {
        assert!(batch.receive(server.as_fd()).unwrap() > 0);
        for mut exchange in batch.exchanges() {
            let text = exchange.query.to_ascii_uppercase();
            exchange.answer[..text.len()].copy_from_slice(&text);
            exchange.reply(text.len());
        }
        batch.send(server.as_fd())
    }

    #[test]
    fn a_batch_comes_back_to_its_senders() {
        let server = socket("127.0.0.1:0");
        let mut batch = Batch::new();
        let clients: Vec<UdpSocket> = (0..BATCH_LEN).map(|_| socket("127.0.0.1:0")).collect();
        for (i, client) in clients.iter().enumerate() {
            client.send_to(format!("query {i}").as_bytes(), server.local_addr().unwrap()).unwrap();
        }
        let mut sent = 0;
        while sent < clients.len() {
            sent += echo(&server, &mut batch).sent;
        }
        for (i, client) in clients.iter().enumerate() {
            let mut buffer = [0; 64];
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], format!("QUERY {i}").as_bytes());
            assert_eq!(from, server.local_addr().unwrap());
        }
    }

    #[test]
    fn on_a_wildcard_socket_the_answer_leaves_from_the_address_asked() {
        for (wildcard, asked, v6) in [("0.0.0.0:0", "127.0.0.2", false), ("[::]:0", "::1", true)] {
            let server = socket(wildcard);
            tell_asked_address(server.as_fd(), v6).unwrap();
            let to = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
            let client = socket(if v6 { "[::1]:0" } else { "127.0.0.1:0" });
            client.send_to(b"who", to).unwrap();
            assert_eq!(echo(&server, &mut Batch::new()), Sent { sent: 1, failed: 0 });
            let (_, from) = client.recv_from(&mut [0; 64]).unwrap();
            assert_eq!(from, to, "{wildcard}");
        }
    }

    #[test]
    fn a_long_datagram_is_flagged_and_an_empty_one_is_seen() {
        let server = socket("127.0.0.1:0");
        let client = socket("127.0.0.1:0");
        client.send_to(&[7; QUERY_OCTETS_MAX + 1], server.local_addr().unwrap()).unwrap();
        client.send_to(&[], server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            batch.receive(server.as_fd()).unwrap();
            seen.extend(batch.exchanges().map(|e| (e.query.len(), e.cut)));
            assert_eq!(batch.send(server.as_fd()), Sent::default(), "nothing was replied to");
        }
        assert_eq!(seen, [(QUERY_OCTETS_MAX, true), (0, false)]);
    }

    #[test]
    fn a_refused_answer_does_not_hold_up_the_others() {
        let server = socket("127.0.0.1:0");
        let clients: Vec<UdpSocket> = (0..3).map(|_| socket("127.0.0.1:0")).collect();
        for client in &clients {
            client.send_to(b"q", server.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::new();
        let mut at = 0;
        let mut outcome = Sent::default();
        while at < clients.len() {
            batch.receive(server.as_fd()).unwrap();
            // Port 0 can be sent to by nobody: the kernel refuses it.
            for slot in batch.slots.iter_mut().take(batch.len) {
                slot.answer_len = 1;
                if at == 1 {
                    slot.from = Slot::new().from;
                    slot.from.ss_family = libc::AF_INET as libc::sa_family_t;
                }
                at += 1;
            }
            let sent = batch.send(server.as_fd());
            outcome = Sent { sent: outcome.sent + sent.sent, failed: outcome.failed + sent.failed };
        }
        assert_eq!(outcome, Sent { sent: 2, failed: 1 });
    }

    #[test]
    fn a_timeout_is_no_error() {
        let server = socket("127.0.0.1:0");
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(Batch::new().receive(server.as_fd()).unwrap(), 0);
    }
}
