//! A connection of which some octets were read already: they are read again before what follows.

use bytes::{Buf as _, Bytes};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets, and the connection that they came from.
#[derive(Debug)]
pub(super) struct Prefix<IO> {
    octets: Bytes,
    io: IO,
}

impl<IO> Prefix<IO> {
    pub(super) fn new(octets: Bytes, io: IO) -> Self {
        Self { octets, io }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Prefix<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.octets.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let octets = self.octets.len().min(buffer.remaining());
        buffer.put_slice(self.octets.get(..octets).unwrap_or_default());
        self.octets.advance(octets);
        if self.octets.is_empty() {
            // Its memory is not to be kept for as long as the connection lives.
            self.octets = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Prefix<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn what_was_read_comes_first() {
        let mut io = Prefix::new(Bytes::from_static(b"hello "), &b"world"[..]);
        let mut four = [0; 4];
        assert_eq!(io.read(&mut four).await.expect("octets"), 4);
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.expect("octets");
        assert_eq!((&four, rest.as_slice()), (b"hell", &b"o world"[..]));
    }
}
