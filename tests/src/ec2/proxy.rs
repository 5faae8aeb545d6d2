//! The proxy between the redirector and moto: it records, keeps tokens, shows the past, and breaks things on purpose.
//!
//! A launch with a token passes alone, as EC2 orders calls with one token; everything else passes side by side. It must never change
//! what it forwards, but for the overrides of a fleet that find no capacity: moto sees the bytes that the client sent.

use super::fault::{Fate, Fates, Fault, Faults};
use super::form::{self, Params};
use super::moto::authorization;
use super::record::{Call, Log};
use super::tokens::{Tokens, Verdict};
use super::view::View;
use super::xml::Element;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const BODY_BYTES_MAX: usize = 1 << 20;

/// A running proxy. It stops when dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    moto: SocketAddr,
    /// The zone of each subnet, by its id.
    zones: BTreeMap<String, String>,
    state: Mutex<State>,
    /// Held over a launch with a token, so that no two with one token can pass.
    launching: tokio::sync::Mutex<Tokens>,
}

struct State {
    faults: Faults,
    fates: Fates,
    view: View,
    log: Log,
    idempotent: bool,
}

/// What became of a call: an HTTP status and a body.
struct Answer {
    status: u16,
    body: String,
    replayed: bool,
}

/// The connection is to be reset.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset on purpose")
    }
}

impl std::error::Error for Reset {}

impl Proxy {
    /// Starts one in front of moto. Requests are logged to a file.
    pub fn start(moto: SocketAddr, zones: BTreeMap<String, String>, log: &Path, seed: u64) -> Self {
        let state = State {
            faults: Faults::default(),
            fates: Fates::new(seed),
            view: View::default(),
            log: Log::new(log),
            idempotent: true,
        };
        let shared = Arc::new(Shared { moto, zones, state: Mutex::new(state), launching: tokio::sync::Mutex::default() });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let addr = listener.local_addr().expect("its address");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { addr, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what goes wrong from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.state().faults);
    }

    /// The next call of an action meets a fault.
    pub fn next(&self, action: &str, fault: Fault) {
        self.shared.state().fates.next(action, fault);
    }

    /// Tokens are kept, or ignored as moto does.
    pub fn idempotent(&self, on: bool) {
        self.shared.state().idempotent = on;
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().log.calls.clone()
    }

    /// Where the requests are, as JSON lines.
    pub fn log(&self) -> std::path::PathBuf {
        self.shared.state().log.path().into()
    }

    /// Calls so far of those actions that a word begins.
    pub fn count(&self, prefix: &str) -> usize {
        self.shared.state().log.calls.iter().filter(|c| c.action.starts_with(prefix)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().into_iter().for_each(|thread| _ = thread.join());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let Ok(stream) = stream.into_std() else { continue };
        let (Ok(own), Ok(stream)) = (stream.try_clone(), tokio::net::TcpStream::from_std(stream)) else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &shared, &own));
            // A client that goes away in the middle is no news.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    own: &std::net::TcpStream,
) -> Result<Response<Full<Bytes>>, Reset> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Reset)?.to_bytes();
    // A task of its own: a client that hangs up in the middle must not stop what has begun, as it does not at EC2.
    let outcome = tokio::spawn(take(Arc::clone(shared), at, head, body)).await.map_err(|_| Reset)?;
    let Some(Answer { status, body, .. }) = outcome else {
        // With no time to linger, closing sends RST.
        let _ = rustix::net::sockopt::set_socket_linger(own, Some(Duration::ZERO));
        return Err(Reset);
    };
    let response = Response::builder().status(status).header("content-type", "text/xml;charset=UTF-8");
    response.body(Full::new(Bytes::from(body))).map_err(|_| Reset)
}

/// Draws the fate of a call, makes it, and notes it.
async fn take(shared: Arc<Shared>, at: Instant, head: hyper::http::request::Parts, body: Bytes) -> Option<Answer> {
    let text = String::from_utf8_lossy(&body).into_owned();
    let params = form::decode(&text);
    let (fate, faults) = {
        let State { faults, fates, .. } = &mut *shared.state();
        (fates.draw(faults, &params), faults.clone())
    };
    tokio::time::sleep(Duration::from_millis(fate.late_ms)).await;
    let outcome = if faults.down { None } else { pass(&shared, &params, body, fate, &faults).await };
    let code = |answer: &Answer| super::moto::read(answer.status, &answer.body).err().map_or(String::new(), |e| e.code);
    let call = Call {
        at,
        action: params.get("Action").cloned().unwrap_or_default(),
        status: outcome.as_ref().map_or(0, |a| a.status),
        code: outcome.as_ref().map_or_else(String::new, code),
        replayed: outcome.as_ref().is_some_and(|a| a.replayed),
        params,
    };
    let headers = head.headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
    shared.state().log.add(call, head.method.as_str(), &head.uri.to_string(), &headers.collect(), &text);
    outcome
}

/// What a call leads to; nothing if the answer is lost.
async fn pass(shared: &Shared, params: &Params, body: Bytes, fate: Fate, faults: &Faults) -> Option<Answer> {
    let action = params.get("Action").map_or("", String::as_str);
    match fate.fault {
        Some(Fault::Throttle) => return Some(refusal(503, "RequestLimitExceeded", "Request limit exceeded.")),
        Some(Fault::InternalBefore) => return Some(internal()),
        Some(Fault::ResetBefore) => return None,
        _ => {}
    }
    if faults.skewed {
        let words = "AWS was not able to validate the provided access credentials: the request's time is too far away";
        return Some(refusal(401, "AuthFailure", words));
    }
    if faults.denied.contains(action) {
        let words = format!(
            "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/scaler is not authorized to \
             perform: ec2:{action} on resource: arn:aws:ec2:*:123456789012:instance/* because no identity-based policy allows the \
             ec2:{action} action"
        );
        return Some(refusal(403, "UnauthorizedOperation", &words));
    }
    let done = match action {
        "RunInstances" | "CreateFleet" | "CreateLaunchTemplate" => launch(shared, params, body, faults).await,
        "DescribeInstances" => list(shared, params, fate, faults).await,
        "DescribeInstanceStatus" => status(shared, body, faults).await,
        _ => forward(shared, body).await,
    };
    if !action.starts_with("Describe") {
        // Without an answer of moto the next list says so.
        let _ = look(shared).await;
    }
    match fate.fault {
        Some(Fault::InternalAfter) => Some(internal()),
        Some(Fault::ResetAfter) => None,
        _ => Some(done),
    }
}

async fn launch(shared: &Shared, params: &Params, body: Bytes, faults: &Faults) -> Answer {
    let mut tokens = shared.launching.lock().await;
    let (idempotent, terminated) = {
        let state = shared.state();
        (state.idempotent, state.view.terminated())
    };
    if idempotent {
        match tokens.look(params, &terminated) {
            Verdict::New => {}
            Verdict::Same(body) => return Answer { status: 200, body, replayed: true },
            Verdict::Mismatch => {
                let words =
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).";
                return refusal(400, "IdempotentParameterMismatch", words);
            }
            Verdict::Terminated => {
                let words = "The instances launched by this client token are terminated.";
                return refusal(400, "IdempotentInstanceTerminated", words);
            }
        }
    }
    let is = |action: &str| params.get("Action").is_some_and(|a| a == action);
    let answer = if is("CreateFleet") && !faults.no_capacity.is_empty() {
        let zone_of = |subnet: &str| shared.zones.get(subnet).cloned().unwrap_or_default();
        match super::fleet::without_short(params, zone_of, |offering| faults.has_capacity(offering)) {
            Ok(body) => forward(shared, Bytes::from(body)).await,
            Err(nothing) => Answer { status: 200, body: nothing.document(), replayed: false },
        }
    } else if let Some(words) = shortage(shared, params, faults).filter(|_| is("RunInstances")) {
        return refusal(500, "InsufficientInstanceCapacity", &words);
    } else {
        forward(shared, body).await
    };
    if answer.status == 200 {
        tokens.done(params, &answer.body);
    }
    answer
}

/// Why there is no capacity for a launch, if so: all of the offerings that it names lack it.
fn shortage(shared: &Shared, params: &Params, faults: &Faults) -> Option<String> {
    let get = |key: &str| params.get(key).map(String::as_str);
    let market = get("InstanceMarketOptions.MarketType").unwrap_or("on-demand");
    let zone_of = |subnet: &str| shared.zones.get(subnet).cloned();
    let zone = get("Placement.AvailabilityZone").map(str::to_owned);
    let zone = zone.or_else(|| get("SubnetId").or_else(|| get("NetworkInterface.1.SubnetId")).and_then(zone_of));
    let kind = get("InstanceType").unwrap_or("m1.small");
    let zone = zone.unwrap_or_default();
    (!faults.has_capacity([kind, &zone, market])).then(|| {
        format!(
            "We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). Our system will be \
             working on provisioning additional capacity."
        )
    })
}

/// DescribeInstances, from moto's list as it was a while ago.
async fn list(shared: &Shared, params: &Params, fate: Fate, faults: &Faults) -> Answer {
    if let Err(answer) = look(shared).await {
        return answer;
    }
    let state = shared.state();
    let shown = state.view.at(Instant::now(), fate.lag_ms, faults.pending_ms);
    match state.view.describe(params, shown, faults.page_max) {
        Ok(tree) => Answer { status: 200, body: tree.document(), replayed: false },
        Err((code, words)) => refusal(400, code, &words),
    }
}

/// moto's whole list, noted.
async fn look(shared: &Shared) -> Result<(), Answer> {
    let answer = forward(shared, Bytes::from(form::encode([("Action", "DescribeInstances")]))).await;
    match super::moto::read(answer.status, &answer.body) {
        Ok(tree) => {
            shared.state().view.note(&tree, Instant::now());
            Ok(())
        }
        Err(_) => Err(answer),
    }
}

/// DescribeInstanceStatus, with the checks that are to fail.
async fn status(shared: &Shared, body: Bytes, faults: &Faults) -> Answer {
    let answer = forward(shared, body).await;
    let Ok(mut tree) = super::moto::read(answer.status, &answer.body) else { return answer };
    if let Some(set) = tree.child_mut("instanceStatusSet") {
        for item in set.children.iter_mut().filter(|i| faults.impaired.contains(i.text_at("instanceId"))) {
            if let Some(status) = item.child_mut("instanceStatus") {
                let details = [Element::leaf("name", "reachability"), Element::leaf("status", "failed")];
                let details = Element::node("details", vec![Element::node("item", details.into())]);
                status.children = vec![Element::leaf("status", "impaired"), details];
            }
        }
    }
    Answer { body: tree.document(), ..answer }
}

/// A body, as it is, to moto.
async fn forward(shared: &Shared, body: Bytes) -> Answer {
    let answer = async {
        let stream = tokio::net::TcpStream::connect(shared.moto).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let request = Request::post("/")
            .header("host", shared.moto.to_string())
            .header("authorization", authorization())
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Full::new(body))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        driver.abort();
        Ok::<_, String>(Answer { status, body: String::from_utf8_lossy(&bytes).into_owned(), replayed: false })
    };
    answer.await.unwrap_or_else(|why| refusal(502, "ProxyError", &format!("moto did not answer: {why}")))
}

fn internal() -> Answer {
    refusal(500, "InternalError", "An internal error has occurred")
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let error = Element::node("Error", vec![Element::leaf("Code", code), Element::leaf("Message", message)]);
    let parts = vec![Element::node("Errors", vec![error]), Element::leaf("RequestID", "proxy")];
    Answer { status, body: Element::node("Response", parts).document(), replayed: false }
}

/// The ids of all instances that an answer names.
pub fn instance_ids(answer: &Element) -> BTreeSet<String> {
    answer.items("instancesSet").map(|i| i.text_at("instanceId").to_owned()).collect()
}
