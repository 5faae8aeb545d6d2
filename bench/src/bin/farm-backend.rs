//! Why: a backend as a process of its own, the way the `process` provider and the demo start it.
//! Never: no behaviour lives here; this file reads options, waits for the boot delay and hands over.
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use farm_bench::backend::{Backend, BackendConfig, Cpu};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// A small web service with sessions: /login, /feature/N, /logout, and its load as JSON.
#[derive(Parser)]
#[command(name = "farm-backend", version)]
struct Options {
    /// Address to serve on.
    #[arg(long)]
    listen: SocketAddr,
    /// Name of this backend; also seeds its service times.
    #[arg(long)]
    id: String,
    /// Cores, virtual or real.
    #[arg(long, default_value_t = 1.0)]
    cores: f64,
    /// Mean service time of a request, milliseconds (exponential).
    #[arg(long, default_value_t = 40.0)]
    service_ms: f64,
    /// How service time is spent: virtual (a processor-sharing queue on a timer) or real (computing).
    #[arg(long, value_enum, default_value_t = CpuOption::Virtual)]
    cpu: CpuOption,
    /// Time between the start and serving, milliseconds.
    #[arg(long, default_value_t = 0)]
    boot_delay_ms: u64,
    /// Idle time after which a session has ended, seconds.
    #[arg(long, default_value_t = 30.0)]
    session_idle_s: f64,
    /// Sessions at once; beyond, a log-in gets 503.
    #[arg(long)]
    session_limit: Option<u32>,
    /// Requests in service or waiting; beyond, 503.
    #[arg(long, default_value_t = 1_000)]
    queue_max: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 4_000)]
    connections_max: usize,
    /// Path of the load report.
    #[arg(long, default_value = "/farm/load")]
    status_path: String,
    /// Session custodian scheme: a file with a line NAME ADDRESS:PORT for each server, read again when it changes.
    #[arg(long)]
    custodians: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum CpuOption {
    Virtual,
    Real,
}

impl Options {
    fn config(&self) -> BackendConfig {
        BackendConfig {
            id: self.id.clone(),
            cores: self.cores,
            service_ms: self.service_ms,
            cpu: match self.cpu {
                CpuOption::Virtual => Cpu::Virtual,
                CpuOption::Real => Cpu::Real,
            },
            // Casts of floats saturate, and what is out of bounds then is refused by the check.
            session_idle_ms: (self.session_idle_s * 1_000.0) as u64,
            session_limit: self.session_limit,
            queue_max: self.queue_max,
            connections_max: self.connections_max,
            status_path: self.status_path.clone(),
            custodians: self.custodians.clone(),
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A backend that is started again must not wait for the last one's connections to fade.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

async fn run(options: Options) -> Result<(), String> {
    let backend = Backend::new(options.config())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    };
    let mut stop = Box::pin(stop);
    tokio::select! {
        () = &mut stop => return Ok(()),
        () = tokio::time::sleep(Duration::from_millis(options.boot_delay_ms)) => (),
    }
    let listener = listen(options.listen).map_err(|error| format!("{}: {error}", options.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    // Whoever started this process may have gone and closed the pipe; serving goes on all the same.
    let _ = writeln!(std::io::stdout(), "farm-backend {} listening on {address}", options.id);
    backend.serve(listener, stop).await;
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    farm_bench::limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let outcome = runtime.block_on(run(options));
        // A real job still computing must not hold the exit up.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "farm-backend: {error}");
            ExitCode::FAILURE
        }
    }
}
