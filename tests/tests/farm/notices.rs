//! What the cloud says of a machine's end, from its metadata service to the front ends: an interrupted server gets nothing new, its
//! sessions go on, and its replacement is launched at once; one that may be interrupted serves until its replacement does.

use farm_tests::daemon::SOON;
use farm_tests::farm::{BACKEND_PORT, Farm, Instance, Options, POOL, takers};
use farm_tests::imds::Imds;
use farm_tests::{http, wait};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const INTERRUPTION: &str = "spot/instance-action";
const REBALANCE: &str = "events/recommendations/rebalance";

const VISIT_EVERY: Duration = Duration::from_millis(500);

/// A session at a backend itself, kept alive by its requests until it is dropped.
struct Visitor {
    lost: Arc<AtomicBool>,
    /// Held by the visitor alone: the thread ends when it is gone.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Visitor {
    fn log_in(instance: &Instance) -> Self {
        let to: SocketAddr = (instance.addr, BACKEND_PORT).into();
        let response = http::get(to, "/login").expect("an answer of the backend");
        let cookie = response.header("set-cookie").and_then(|c| c.split(';').next()).expect("a session").to_owned();
        let (stop, stopped) = channel();
        let lost = Arc::new(AtomicBool::new(false));
        let is_lost = Arc::clone(&lost);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(VISIT_EVERY) == Err(RecvTimeoutError::Timeout) {
                let answer = http::request(to, "GET", "/feature/1", &[("cookie", &cookie)], b"");
                is_lost.fetch_or(!answer.is_ok_and(|response| response.status == 200), Ordering::Relaxed);
            }
        });
        Self { lost, stop: Some(stop), thread: Some(thread) }
    }

    fn goes_on(&self) -> bool {
        !self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn server(farm: &Farm, id: &str) -> Value {
    let servers = farm.status(0)["servers"].as_array().cloned().unwrap_or_default();
    servers.into_iter().find(|server| server["id"] == id).unwrap_or_default()
}

fn launches(farm: &Farm) -> usize {
    farm.instances().len()
}

#[test]
fn machines_that_are_to_go_are_replaced() {
    let mut farm = Farm::start(Options { min: 2, max: 4, agent: "--imds http://{ip}:5313", ..Options::default() });
    let instances = farm.wait_for(2);
    let [first, second] = instances.as_slice() else { panic!("{instances:?}") };
    let services: Vec<Imds> = instances.iter().map(|i| Imds::start(i.addr)).collect();
    wait::until("both agents ask", SOON, || services.iter().all(|s| s.asked().0 >= 3).then_some(()));
    assert!(services.iter().all(|s| s.asked().1 == 0), "never without a token");
    assert_eq!(farm.named(POOL).len(), 2, "silence and 404 change nothing");

    let visitor = Visitor::log_in(first);
    let session = wait::until("a session at the door", SOON, || Some(farm.session(0)).filter(|s| s.addr == first.addr));
    services[0].tell(INTERRUPTION, Some(r#"{"action": "terminate", "time": "2099-01-01T00:00:00Z"}"#));
    let told = wait::until("the agent hears of it", SOON, || services[0].given(INTERRUPTION));
    let gone = wait::until("nothing new", SOON, || {
        assert!(visitor.goes_on());
        (!farm.entered(0).contains(&first.addr)).then(Instant::now)
    });
    wait::until("not named", SOON, || (!farm.named(POOL).contains(&first.addr)).then_some(()));
    let named_ms = told.elapsed().as_millis();
    wait::until("its replacement's launch", SOON, || (launches(&farm) == 3).then_some(()));
    println!(
        "interrupted: no new sessions {} ms after the agent was told, not named after {named_ms} ms, its replacement launched within {} ms",
        gone.saturating_duration_since(told).as_millis(),
        told.elapsed().as_millis(),
    );
    assert_eq!(farm.returning(0, &session.cookie), Some(first.addr), "its sessions go on");
    // The status document may be half a second old.
    wait::until("status and metrics", SOON, || {
        let status = server(&farm, &first.id);
        let shown = status["notice"][0] == "interruption" && status["standing"] == "draining";
        let noticed = farm.door(0).metric("redirector_servers_noticed{notice=\"interruption\"}");
        (shown && noticed == Some(1.0)).then_some(())
    });
    farm.wait_for(2);
    wait::while_holds("a session keeps it", Duration::from_secs(3), || visitor.goes_on() && launches(&farm) == 3);
    drop(visitor);
    wait::until("it is stopped when it is empty", SOON, || (!farm.instances().contains(first)).then_some(()));

    // Its address is another machine's now, and nobody speaks of that one's end.
    services[0].tell(INTERRUPTION, None);

    services[1].tell(REBALANCE, Some(r#"{"noticeTime": "2026-01-01T00:00:00Z"}"#));
    wait::until("the agent hears of it", SOON, || services[1].given(REBALANCE));
    wait::until("its replacement", SOON, || {
        let takers = takers(&farm.status(0));
        assert!(takers.len() >= 2, "never fewer than before: {takers:?}");
        (launches(&farm) == 3 && !takers.contains(&second.id)).then_some(())
    });
    wait::until("it is stopped when it is empty", SOON, || (!farm.instances().contains(second)).then_some(()));
    farm.wait_for(2);
}
