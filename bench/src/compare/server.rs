//! Why: every server of a comparison starts the same way: pinned to one core, its output in a file, gone when the comparison ends.
//! Never: touches no process that it did not start; ends by process id, and nothing it started outlives it.

use super::procfs::{self, CoreTime, CpuTime};
use super::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The core of the servers.
pub const SERVER_CORE: usize = 0;
/// The core of whoever asks them.
pub const LOAD_CORE: usize = 1;

const END_TIME_MAX: Duration = Duration::from_secs(5);
const ORPHAN_TIME_MAX: Duration = Duration::from_secs(1);

/// A folder for configurations and logs that goes away with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one below the system's folder for temporary files.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("farm-bench-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// A folder in it.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A loopback address whose port was free a moment ago, both for UDP and TCP.
pub fn free_address() -> io::Result<SocketAddr> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for _ in 0..100 {
        let tcp = TcpListener::bind((loopback, 0))?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::other("no free port"))
}

/// Keeps the calling thread, and those it starts, on one core.
pub fn pin_self(core: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Where a program is: as given when it has a slash, else in `PATH` or the administrator's folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A command that stays on one core and ends when this process does.
pub fn pinned(core: usize, program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()]).arg(program).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// A running server.
pub struct Server {
    child: Child,
    log: PathBuf,
}

/// What a server and its core had done at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    pids: Vec<u32>,
    cpu: CpuTime,
    core: CoreTime,
}

/// What a server and its core did between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// CPU time of the server.
    pub cpu: CpuTime,
    /// Share of the time that the core was idle, 0 to 1.
    pub idle_share: f64,
    /// Share of the time that the machine below took away, 0 to 1.
    pub steal_share: f64,
}

impl Server {
    /// Starts a program on the servers' core, its output in `folder/log`.
    pub fn start(program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, folder: &Path) -> io::Result<Self> {
        let log = folder.join("log");
        let out = std::fs::File::create(&log)?;
        let error = out.try_clone()?;
        let child = pinned(SERVER_CORE, program, arguments).current_dir(folder).stdout(out).stderr(error).spawn()?;
        Ok(Self { child, log })
    }

    /// Waits until `ready` says so. The error holds the end of the log.
    pub fn wait_ready(&mut self, time_max: Duration, mut ready: impl FnMut() -> bool) -> io::Result<()> {
        let ended = |child: &mut Child| child.try_wait().ok().flatten();
        let child = &mut self.child;
        let outcome = wait::until(time_max, || match ended(child) {
            Some(status) => Some(Err(format!("it ended with {status}"))),
            None => ready().then_some(Ok(())),
        });
        let why = match outcome {
            Some(Ok(())) => return Ok(()),
            Some(Err(why)) => why,
            None => format!("not ready within {} s", time_max.as_secs()),
        };
        Err(io::Error::other(format!("{why}\nIts log ends with:\n{}", self.log_end())))
    }

    fn log_end(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
    }

    /// What it has used so far.
    pub fn read(&self) -> io::Result<Reading> {
        let pids = procfs::family(self.child.id());
        let cpu = procfs::cpu_time(&pids)?;
        Ok(Reading { pids, cpu, core: procfs::core_time(SERVER_CORE)? })
    }

    /// What it has used since. A child that came or went in between would falsify the sum and is an error.
    pub fn spent_since(&self, earlier: &Reading) -> io::Result<Spent> {
        let now = self.read()?;
        if now.pids != earlier.pids {
            return Err(io::Error::other("its processes changed while it was measured"));
        }
        let all = now.core.all_ticks.saturating_sub(earlier.core.all_ticks).max(1) as f64;
        Ok(Spent {
            cpu: now.cpu - earlier.cpu,
            idle_share: now.core.idle_ticks.saturating_sub(earlier.core.idle_ticks) as f64 / all,
            steal_share: now.core.steal_ticks.saturating_sub(earlier.core.steal_ticks) as f64 / all,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let children = procfs::family(self.child.id());
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if wait::until(END_TIME_MAX, || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Workers follow their master within moments; one that does not was still ours when the master was alive.
        let gone = |pid: u32| move || (!procfs::is_running(pid)).then_some(());
        for pid in children.into_iter().skip(1) {
            if wait::until(ORPHAN_TIME_MAX, gone(pid)).is_none() {
                let _ = Pid::from_raw(pid as i32).map(|pid| kill_process(pid, Signal::KILL));
                let _ = wait::until(ORPHAN_TIME_MAX, gone(pid));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_measured_and_ends_with_its_owner() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.folder("sleeper").unwrap();
        let shell = find_program("sh").unwrap();
        let mut server = Server::start(&shell, ["-c", "sleep 600 & wait"], &folder).unwrap();
        let pid = server.child.id();
        server.wait_ready(Duration::from_secs(20), || procfs::family(pid).len() == 2).unwrap();
        let before = server.read().unwrap();
        assert!(server.spent_since(&before).is_ok());
        let both = procfs::family(pid);
        drop(server);
        assert!(both.into_iter().all(|pid| !procfs::is_running(pid)));
    }

    #[test]
    fn a_server_that_ends_says_why() {
        let scratch = std::env::temp_dir().join(format!("farm-bench-end-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        let shell = find_program("sh").unwrap();
        let mut server = Server::start(&shell, ["-c", "echo no such zone; exit 3"], &scratch).unwrap();
        let error = server.wait_ready(Duration::from_secs(20), || false).unwrap_err().to_string();
        assert!(error.contains("no such zone"), "{error}");
        drop(server);
        std::fs::remove_dir_all(&scratch).unwrap();
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
        assert!(find_program("/no/such/program").is_none());
    }
}
