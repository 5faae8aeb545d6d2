//! Why: the floor under every name server on this machine is to receive a datagram and send one back, in batches.
//! Never: reads nothing of a question; it sets the bit that marks a response, and that is all.

use super::batch::{Calls, Datagrams};
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Echoes until the process ends.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let (mut calls, mut datagrams) = (Calls::default(), Datagrams::default());
    loop {
        calls.receive(&socket, &mut datagrams, true)?;
        for datagram in datagrams.iter_mut() {
            if let Some(flags) = datagram.get_mut(2) {
                *flags |= 0x80;
            }
        }
        calls.send(&socket, &datagrams)?;
    }
}
