//! What the tests of this crate share: a client with a clock, bodies, and moto as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)]

use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use redirector_core::scale::LaunchRequest;
use redirector_ec2::{Client, Clock, Ec2, Form, Keys, Limits, Settings};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const START_TIME_MAX: Duration = Duration::from_mins(1);

pub fn farm(name: &str) -> Id {
    Id::new(name).unwrap()
}

/// The real time, as far off as a test wants its wall clock to be.
pub fn clock(ahead_ms: i64) -> Clock {
    let begun = Instant::now();
    Arc::new(move || {
        let epoch = wall_ms();
        let mono = begun.elapsed().as_millis() as u64;
        Now { mono: Mono(mono), wall: Wall(epoch.saturating_add_signed(ahead_ms)) }
    })
}

/// Milliseconds since the epoch.
fn wall_ms() -> u64 {
    use aws_smithy_async::time::{SystemTimeSource, TimeSource as _};
    let since = SystemTimeSource::new().now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

pub fn settings(endpoint: &str) -> Settings {
    Settings {
        region: "us-east-1".into(),
        endpoint: Some(endpoint.into()),
        call_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(5),
        clock: clock(0),
        keys: Some(Keys { access_key_id: "test".into(), secret_access_key: "test".into() }),
    }
}

pub fn limits() -> Limits {
    Limits { calls_max: 8, reads_per_s: 1_000.0, writes_per_s: 1_000.0, status_period_ms: 60_000, page_items: 5 }
}

pub fn ec2(endpoint: &str, name: &str) -> Ec2 {
    Ec2::new(settings(endpoint), farm(name), limits())
}

pub async fn client(endpoint: &str) -> Client {
    Client::new(settings(endpoint)).await
}

pub fn request(farm_name: &str, name: &str, body: Vec<String>) -> LaunchRequest {
    LaunchRequest {
        intent: format!("intent-{name}"),
        attempt: 1,
        token: "0123456789abcdef".into(),
        farm: farm(farm_name),
        member_id: Id::new(name).unwrap(),
        role: None,
        offering: None,
        body,
    }
}

pub fn tags(form: Form, kind: &str, farm: &str, name: &str) -> Form {
    let tags = [("farm:name", farm), ("farm:member", name), ("farm:intent", &format!("intent-{name}"))];
    let form = form.with("TagSpecification.1.ResourceType", kind);
    tags.iter().enumerate().fold(form, |form, (n, (key, value))| {
        let tag = format!("TagSpecification.1.Tag.{}", n + 1);
        form.with(&format!("{tag}.Key"), key).with(&format!("{tag}.Value"), value)
    })
}

pub fn run_body(image: &str, farm: &str, name: &str) -> String {
    let form = Form::new("RunInstances")
        .with("ImageId", image)
        .with("InstanceType", "t3.micro")
        .with("MinCount", "1")
        .with("MaxCount", "1")
        .with("ClientToken", format!("token-{name}"));
    tags(form, "instance", farm, name).body()
}

static SHARED: Mutex<Weak<Moto>> = Mutex::const_new(Weak::new());

/// moto as a server, ended with the last test that uses it. Each test has a farm of its own in it.
pub struct Moto {
    _running: Running,
    pub endpoint: String,
    pub image: String,
}

impl Moto {
    /// None, loudly, where moto is not installed.
    pub async fn start() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let started = Arc::new(Self::run().await?);
        *shared = Arc::downgrade(&started);
        Some(started)
    }

    async fn run() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("moto_server")
            .env("MOTO_ENABLE_AMI_VALIDATION", "true")
            .args(["-H", "127.0.0.1", "-p", &free.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            eprintln!(
                "\n*** SKIPPED: moto_server is not installed (pip install 'moto[server]'): EC2 calls are not tested ***\n"
            );
            return None;
        };
        let running = Running(child);
        let endpoint = format!("http://127.0.0.1:{free}");
        let client = client(&endpoint).await;
        let begun = Instant::now();
        let ask = Form::new("DescribeImages").with("MaxResults", "5").body();
        let images = loop {
            match client.send(&ask).await {
                Ok(answer) => break answer,
                Err(error) => assert!(begun.elapsed() < START_TIME_MAX, "moto does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let image = images.items("imagesSet").next().unwrap().text_at("imageId").unwrap().to_owned();
        Some(Self { _running: running, endpoint, image })
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
