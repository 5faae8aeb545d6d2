//! An instance metadata service (IMDSv2) on a loopback address: what a cloud would tell one instance.
//!
//! It is as strict as the real one (no document without a session token) and must never say anything that a test did not tell it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Its port on each instance's address: agents are told so by `Options::agent`.
pub const PORT: u16 = 5313;
const TOKEN: &str = "AQAEAGvCq7Yx-token";
const REQUEST_BYTES_MAX: usize = 4_096;

#[derive(Default)]
struct Told {
    documents: BTreeMap<String, String>,
    /// When each document was first given out, and how often anything was asked without a token.
    given: BTreeMap<String, Instant>,
    asked: u32,
    refused: u32,
}

/// The service of one instance, until it is dropped.
pub struct Imds {
    addr: SocketAddr,
    told: Arc<Mutex<Told>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Imds {
    /// A service that knows nothing yet.
    pub fn start(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, PORT)).expect("the port of the metadata service");
        let addr = listener.local_addr().expect("an address");
        let (told, is_over) = (Arc::<Mutex<Told>>::default(), Arc::new(AtomicBool::new(false)));
        let (tells, ends) = (Arc::clone(&told), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // One that breaks off asks again.
                let _ = answer(stream, &tells);
            }
        });
        Self { addr, told, is_over, thread: Some(thread) }
    }

    /// From now on, `/latest/meta-data/{path}` is this text; none: it is not there.
    pub fn tell(&self, path: &str, text: Option<&str>) {
        let mut told = self.told.lock().expect("no other thread panics");
        let path = format!("/latest/meta-data/{path}");
        told.given.remove(&path);
        match text {
            Some(text) => told.documents.insert(path, text.to_owned()),
            None => told.documents.remove(&path),
        };
    }

    /// When a document was first given out since it was told.
    pub fn given(&self, path: &str) -> Option<Instant> {
        self.told.lock().expect("no other thread panics").given.get(&format!("/latest/meta-data/{path}")).copied()
    }

    /// Requests for documents, and those of them without a token.
    pub fn asked(&self) -> (u32, u32) {
        let told = self.told.lock().expect("no other thread panics");
        (told.asked, told.refused)
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, told: &Mutex<Told>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut head = Vec::new();
    let mut buffer = [0; 512];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < REQUEST_BYTES_MAX {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..n]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut first = head.split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default().to_owned());
    let has = |name: &str, value: &str| head.contains(&format!("\r\n{name}: {value}\r\n").to_lowercase());
    let mut told = told.lock().expect("no other thread panics");
    let (status, body) = if method == "put" && path == "/latest/api/token" {
        let asks = has("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        if asks { ("200 OK", TOKEN.to_owned()) } else { ("400 Bad Request", String::new()) }
    } else {
        told.asked += 1;
        if !has("x-aws-ec2-metadata-token", TOKEN) {
            told.refused += 1;
            ("401 Unauthorized", String::new())
        } else if let Some(text) = told.documents.get(&path).cloned() {
            told.given.entry(path).or_insert_with(Instant::now);
            ("200 OK", text)
        } else {
            ("404 Not Found", "<html>404</html>".to_owned())
        }
    };
    drop(told);
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
