//! A connection's first request, read before the runtime has seen anything come.
//!
//! Most clients have sent it by the time they are accepted, and many send no other: such a connection needs neither a turn of the event
//! loop nor a timer. Nothing here may wait.

use super::{Begun, Buffers, Client, Owed, Step, keep_little};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;

/// Answers what has come, as far as that goes without waiting.
///
/// The runtime need not know: at worst it finds nothing to read where it expects something.
pub(in crate::door) fn begin(socket: impl AsFd, client: Client<'_>) -> io::Result<Begun> {
    let Buffers { input, out, date } = &mut *client.worker.buffers.borrow_mut();
    let length = match recv(&socket, &mut **input, RecvFlags::DONTWAIT) {
        Ok((0, _)) => return Ok(Begun { owed: Owed::default(), step: Step::End }),
        Ok((length, _)) => length,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Begun::default()),
        Err(error) => return Err(error.into()),
    };
    let octets = input.get(..length).unwrap_or_default();
    out.clear();
    let step = Step::after(client.answer(octets, out, date), octets);
    let sent = match out.as_slice() {
        [] => 0,
        out => match send(&socket, out, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        },
    };
    let rest = out.get(sent..).unwrap_or_default();
    let owed = Owed { any: !rest.is_empty(), octets: rest.to_vec(), sent: 0 };
    keep_little(out);
    Ok(Begun { owed, step })
}
