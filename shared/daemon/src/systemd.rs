//! What systemd wants to hear (sd_notify(3)): one datagram each, by hand. Without `NOTIFY_SOCKET` every call does nothing, and
//! no failure here ever stops a daemon.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager's ear.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub fn from_env() -> Self {
        let own = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| own).and_then(|us| us.parse().ok());
        Self::new(std::env::var_os("NOTIFY_SOCKET").as_deref(), watchdog.map(Duration::from_micros))
    }

    fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        let addr = socket.and_then(|name| match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(name).ok(),
            _ => None,
        });
        let open = |addr| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, addr))
        };
        Self { to: addr.and_then(open), watchdog: watchdog.filter(|w| !w.is_zero()) }
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// It reads its configuration anew; [`Self::ready`] must follow, whatever came of it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// It is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// It is alive. Send it from the loop whose life matters, every [`Self::watchdog_period`].
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// Half of what systemd allows between two signs of life; `None` if it does not watch.
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog.map(|w| w / 2)
    }

    fn send(&self, message: &str) {
        if let Some((socket, addr)) = &self.to {
            let _ = socket.send_to_addr(message.as_bytes(), addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn messages_arrive() {
        let dir = TempDir::new();
        let path = dir.path().join("notify");
        let ear = UnixDatagram::bind(&path).expect("socket");
        let notifier = Notifier::new(Some(path.as_os_str()), Some(Duration::from_secs(10)));
        let mut buffer = [0; 128];
        let mut heard = || {
            let n = ear.recv(&mut buffer).expect("datagram");
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        notifier.ready();
        assert_eq!(heard(), "READY=1");
        notifier.reloading();
        assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        notifier.watchdog();
        assert_eq!(heard(), "WATCHDOG=1");
        notifier.status("a\nb");
        assert_eq!(heard(), "STATUS=a b");
        assert_eq!(notifier.watchdog_period(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn silence_without_a_socket() {
        for socket in [None, Some(OsStr::new("")), Some(OsStr::new("relative")), Some(OsStr::new("/nowhere/at/all"))] {
            let notifier = Notifier::new(socket, None);
            notifier.stopping();
            notifier.watchdog();
        }
    }
}
