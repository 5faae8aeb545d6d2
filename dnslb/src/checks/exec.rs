//! Checks by a command: a program of the operator's, run without a shell, judged by its exit status.
//!
//! It must never outlive its check: it leads a process group of its own, which is killed when the time is over, with all that it
//! started. Commands run beside each other only up to [`RUNNING_MAX`], and of what they write the first line is read.

use dnslb_core::health::CheckSpec;
use rustix::process::{Pid, Signal, kill_process_group};
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

/// Commands at the same time; more wait, and their time runs.
pub(super) const RUNNING_MAX: usize = 16;

/// Octets that are read of what a command says.
const OUTPUT_OCTETS_MAX: u64 = 1_024;

/// A child that takes its whole group along.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        // While the child is not waited for, its number cannot be somebody else's.
        if let Some(leader) = self.leader.take() {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs the command; success is the exit status 0. Dropping the future kills it.
pub(super) async fn exec(to: SocketAddr, spec: &CheckSpec, turns: &Semaphore) -> Option<Result<(), String>> {
    let _turn = turns.acquire().await.ok()?;
    let (program, arguments) = spec.command.split_first()?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DNSLB_ADDRESS", to.ip().to_string())
        .env("DNSLB_PORT", to.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) if super::is_ours(&error) => return None,
        Err(error) => return Some(Err(format!("{program}: {error}"))),
    };
    let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut group = Group { child, leader };
    let mut output = Vec::new();
    if let Some(stdout) = group.child.stdout.take() {
        // Until it has said enough, or closes its output; then only its end matters. Whoever writes on gets SIGPIPE.
        let _ = stdout.take(OUTPUT_OCTETS_MAX).read_to_end(&mut output).await;
    }
    let status = group.child.wait().await;
    group.leader = None;
    let first = output.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let said: String = String::from_utf8_lossy(first).chars().filter(|c| !c.is_control()).collect();
    Some(match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if said.is_empty() => Err(status.to_string()),
        Ok(status) => Err(format!("{status}: {said}")),
        Err(error) => Err(format!("{program}: {error}")),
    })
}
