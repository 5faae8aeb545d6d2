//! One of our binaries as a child process: started with `--ports-file`, its log kept, killed by its own pid on drop.

use crate::wait;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How long anything that should come soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// The folder of the binaries, built once. `./check` builds them itself and says so with `FARM_BINS_BUILT`.
pub fn bins() -> &'static Path {
    static BINS: OnceLock<PathBuf> = OnceLock::new();
    BINS.get_or_init(|| {
        let exe = std::env::current_exe().expect("this test's path");
        let folder = exe.ancestors().find(|p| p.ends_with("deps")).and_then(Path::parent).expect("target/PROFILE/deps");
        if std::env::var_os("FARM_BINS_BUILT").is_none() {
            let release = folder.ends_with("release").then_some("--release");
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-q", "--workspace", "--bins"]).args(release).current_dir(root());
            assert!(build.status().expect("cargo build").success(), "the binaries do not build");
        }
        folder.to_path_buf()
    })
}

/// The repository's top.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// A folder that goes away with the test, unless the test fails.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new empty folder below the target folder.
    pub fn new(name: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("farm-test-{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a scratch folder");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file in the scratch folder");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A running child.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    ports: BTreeMap<String, SocketAddr>,
}

impl Daemon {
    /// Starts `binary serve --config config` and waits until it has bound its ports and says that it is ready.
    pub fn serve(binary: &str, scratch: &Scratch, config: &Path, more: &[&str]) -> Self {
        Self::serve_in(binary, scratch, config, more, &[])
    }

    /// The same with more in its environment.
    pub fn serve_in(binary: &str, scratch: &Scratch, config: &Path, more: &[&str], env: &[(String, String)]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let ports_file = scratch.path().join(format!("{binary}-{number}.ports"));
        let mut command = Command::new(bins().join(binary));
        command.arg("serve").arg("--config").arg(config).arg("--ports-file").arg(&ports_file).args(more);
        command.envs(env.iter().map(|(k, v)| (k, v)));
        let mut daemon = Self::spawn(command, scratch.path().join(format!("{binary}-{number}.log")));
        let ports = wait::until("the ports file", SOON, || {
            daemon.assert_alive();
            serde_json::from_slice(&std::fs::read(&ports_file).ok()?).ok()
        });
        daemon.ports = ports;
        wait::until("readiness", SOON, || {
            daemon.assert_alive();
            (crate::http::get(daemon.port("admin"), "/readyz").ok()?.status == 200).then_some(())
        });
        daemon
    }

    /// Starts dnslb with zones alone, by name and file: listener `dns` answers for them.
    pub fn serve_dns(scratch: &Scratch, zones: &[(&str, &Path)]) -> Self {
        let token = scratch.path().join("admin.token");
        let head = "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        let zone = |(name, file): &(&str, &Path)| format!("[[zone]]\nname = \"{name}\"\nfile = \"{}\"\n", file.display());
        let zones: Vec<String> = zones.iter().map(zone).collect();
        let config = format!("{head}token_file = \"{}\"\n{}", token.display(), zones.concat());
        let config = scratch.write("dnslb.toml", &config);
        Self::serve("dnslb", scratch, &config, &[])
    }

    /// Starts any command with its output in a log file.
    pub fn spawn(mut command: Command, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).expect("a log file");
        let err = file.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(err).spawn();
        let child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log, ports: BTreeMap::new() }
    }

    /// The address of a listener, by the name it has in the ports file.
    pub fn port(&self, name: &str) -> SocketAddr {
        *self.ports.get(name).unwrap_or_else(|| panic!("no listener {name} among {:?}", self.ports))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Panics with the log if it has ended.
    pub fn assert_alive(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("it ended with {status}:\n{}", self.log());
        }
    }

    /// Whether it is gone.
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGTERM, and SIGKILL if it is still there after a while. Never panics, so a drop may call it.
    pub fn end(&mut self) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let began = std::time::Instant::now();
        while !self.ended() && began.elapsed() < SOON {
            wait::pause();
        }
        self.kill();
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a living process");
    }

    /// SIGTERM, and its exit status.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        wait::until("its end after SIGTERM", SOON, || self.child.try_wait().ok().flatten())
    }

    /// SIGKILL, as a crash would have it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A sample of its `/metrics`: the line that begins with `sample`, as a number.
    pub fn metric(&self, sample: &str) -> Option<f64> {
        let text = crate::http::get(self.port("admin"), "/metrics").ok()?.text();
        let line = text.lines().find(|l| l.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
        self.kill();
    }
}
