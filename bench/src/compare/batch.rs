//! Why: a load generator that makes one system call per datagram would be slower than the servers it measures.
//! Never: no allocation per call, and no datagram longer than its buffer; a longer one is cut by the kernel.

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Datagrams in one call.
pub const BATCH: usize = 32;
/// Octets of a datagram.
pub const DATAGRAM_BYTES_MAX: usize = 1_500;

/// Room for datagrams, with lengths and addresses.
pub struct Datagrams {
    bytes: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    lengths: [usize; BATCH],
    addresses: [Option<SockaddrIn>; BATCH],
    count: usize,
}

impl Default for Datagrams {
    fn default() -> Self {
        let bytes = vec![[0; DATAGRAM_BYTES_MAX]; BATCH].into_boxed_slice();
        Self { bytes, lengths: [0; BATCH], addresses: [None; BATCH], count: 0 }
    }
}

impl Datagrams {
    /// Those that are in it.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let pairs = self.bytes.iter().zip(&self.lengths).take(self.count);
        pairs.map(|(bytes, length)| bytes.get(..*length).unwrap_or_default())
    }

    /// The same, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let pairs = self.bytes.iter_mut().zip(&self.lengths).take(self.count);
        pairs.map(|(bytes, length)| bytes.get_mut(..*length).unwrap_or_default())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds one for a connected socket and returns it; none if it is full or the datagram too long.
    pub fn push(&mut self, datagram: &[u8]) -> Option<&mut [u8]> {
        let room = self.bytes.get_mut(self.count)?.get_mut(..datagram.len())?;
        *self.lengths.get_mut(self.count)? = datagram.len();
        *self.addresses.get_mut(self.count)? = None;
        self.count += 1;
        room.copy_from_slice(datagram);
        Some(room)
    }
}

/// The kernel's view of a batch, allocated once.
pub struct Calls {
    receive: MultiHeaders<SockaddrIn>,
    send: MultiHeaders<SockaddrIn>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { receive: MultiHeaders::preallocate(BATCH, None), send: MultiHeaders::preallocate(BATCH, None) }
    }
}

impl Calls {
    /// Receives what is there, up to a batch. With `wait`, blocks for the first one; else none is no error.
    pub fn receive(&mut self, socket: &UdpSocket, into: &mut Datagrams, wait: bool) -> io::Result<()> {
        into.count = 0;
        let flags = if wait { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT };
        let mut rooms = into.bytes.iter_mut();
        let room = |_| [IoSliceMut::new(rooms.next().map_or(&mut [], |room| room.as_mut_slice()))];
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(room);
        match recvmmsg(socket.as_raw_fd(), &mut self.receive, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                for ((message, length), address) in messages.zip(&mut into.lengths).zip(&mut into.addresses) {
                    *length = message.bytes.min(DATAGRAM_BYTES_MAX);
                    *address = message.address;
                    into.count += 1;
                }
                Ok(())
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a batch in one call. What the kernel refuses is lost, as on any network.
    pub fn send(&mut self, socket: &UdpSocket, from: &Datagrams) -> io::Result<()> {
        if from.count == 0 {
            return Ok(());
        }
        let slice_of = |index: usize| {
            let bytes = from.bytes.get(index).map(<[u8; DATAGRAM_BYTES_MAX]>::as_slice).unwrap_or_default();
            [IoSlice::new(bytes.get(..from.lengths.get(index).copied().unwrap_or(0)).unwrap_or_default())]
        };
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(slice_of);
        let used = slices.get(..from.count).unwrap_or_default();
        match sendmmsg(socket.as_raw_fd(), &mut self.send, used, from.addresses, [], MsgFlags::empty()) {
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_go_there_and_back() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let (mut calls, mut out, mut into) = (Calls::default(), Datagrams::default(), Datagrams::default());
        calls.receive(&server, &mut into, false).unwrap();
        assert!(into.is_empty());
        for text in ["one", "", "three"] {
            assert!(out.push(text.as_bytes()).is_some());
        }
        calls.send(&client, &out).unwrap();
        calls.receive(&server, &mut into, true).unwrap();
        assert_eq!(into.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        into.iter_mut().for_each(<[u8]>::reverse);
        calls.send(&server, &into).unwrap();
        calls.receive(&client, &mut out, true).unwrap();
        assert_eq!(out.iter().collect::<Vec<_>>(), [&b"eno"[..], b"", b"eerht"]);
    }

    #[test]
    fn room_is_bounded() {
        let mut out = Datagrams::default();
        assert!(out.push(&[0; DATAGRAM_BYTES_MAX + 1]).is_none());
        assert_eq!((0..2 * BATCH).filter(|_| out.push(b"x").is_some()).count(), BATCH);
        out.clear();
        assert_eq!(out.len(), 0);
    }
}
