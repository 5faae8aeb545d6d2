//! What the executor asks of a provider, as EC2 calls: paced, counted, bounded in number, and each sent once.
//!
//! It must never answer with half a listing, and never call a launch refused unless EC2 did.

mod drill;

use crate::ask;
use crate::client::{Client, Settings};
use crate::failure::CallError;
use crate::form::value_of;
use crate::meters::Meters;
use crate::pace::Pace;
use crate::read::{self, Fleet, TypeInfo};
use crate::xml::Element;
use farm_shared::id::Id;
use farm_shared::time::Mono;
use redirector_core::scale::{
    AttachRequest, ErrorKind, Instance, InstanceState, LaunchRequest, Offering, ProviderCall, ProviderError,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};

/// A listing of more pages than this is refused.
const PAGES_MAX: usize = 500;
/// `DescribeInstanceStatus` takes so many ids.
const STATUS_IDS_MAX: usize = 100;
/// Reads and writes that may be made at once after a pause.
const READ_BURST: f64 = 10.0;
const WRITE_BURST: f64 = 5.0;
/// A launch template is needed as long as its launch may be sent again. No launch is open for a day. Milliseconds.
const TEMPLATE_AGE_MS: u64 = 24 * 3_600_000;
const SWEEP_MS: u64 = 600_000;
/// A sweep comes between two listings: so many pages and deletions at most, the rest at the next one.
const SWEEP_PAGES_MAX: usize = 10;
const SWEEP_TEMPLATES_MAX: u32 = 20;
const SWEEP_TIME_MAX: Duration = Duration::from_secs(10);

/// How much may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls at a time.
    pub calls_max: usize,
    /// Calls a second that only read.
    pub reads_per_s: f64,
    /// Calls a second that change something.
    pub writes_per_s: f64,
    /// Time between two looks at the status checks, in milliseconds.
    pub status_period_ms: u64,
    /// Items of one page of a listing, 5 to 1,000.
    pub page_items: u16,
}

struct Inner {
    settings: Settings,
    client: OnceCell<Client>,
    farm: Id,
    limits: Limits,
    permits: Semaphore,
    reads: Mutex<Pace>,
    writes: Mutex<Pace>,
    meters: Mutex<Meters>,
    health: Mutex<Health>,
    sweep_at: Mutex<Mono>,
    makes_templates: AtomicBool,
}

/// The newest news of status checks.
#[derive(Default)]
struct Health {
    looked: Option<Mono>,
    impaired: BTreeMap<String, String>,
}

/// The farm's instances in one region. Clones share everything.
#[derive(Clone)]
pub struct Ec2(Arc<Inner>);

impl Ec2 {
    /// Nothing is sent and no credentials are looked for until the first call.
    pub fn new(settings: Settings, farm: Id, limits: Limits) -> Self {
        let now = (settings.clock)().mono;
        Self(Arc::new(Inner {
            client: OnceCell::new(),
            farm,
            limits,
            permits: Semaphore::new(limits.calls_max.max(1)),
            reads: Mutex::new(Pace::new(limits.reads_per_s, READ_BURST, now)),
            writes: Mutex::new(Pace::new(limits.writes_per_s, WRITE_BURST, now)),
            meters: Mutex::default(),
            health: Mutex::default(),
            sweep_at: Mutex::new(now),
            makes_templates: AtomicBool::new(false),
            settings,
        }))
    }

    /// Makes one call of the executor.
    pub async fn call(&self, call: &ProviderCall) -> Result<Option<Instance>, ProviderError> {
        let done = match call {
            ProviderCall::Launch(request) => return self.launch(request).await.map(Some).map_err(Into::into),
            ProviderCall::Terminate(r) => self.change_state("TerminateInstances", &r.instance_id).await,
            ProviderCall::Start(r) => self.change_state("StartInstances", &r.instance_id).await,
            ProviderCall::Stop(r) => self.change_state("StopInstances", &r.instance_id).await,
            ProviderCall::Reboot(r) => self.change_state("RebootInstances", &r.instance_id).await,
            ProviderCall::Keep(r) => self.0.ask("CreateTags", &ask::keep(&r.instance_id, &r.intent)).await.map(drop),
            ProviderCall::Attach(request) => self.attach(request).await,
        };
        done.map(|()| None).map_err(Into::into)
    }

    /// All instances that carry the farm's tag: complete, or an error.
    pub async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        let mut found = BTreeMap::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let body = ask::describe_instances(&self.0.farm, self.0.limits.page_items, token.as_deref());
            let page = self.0.ask("DescribeInstances", &body).await?;
            let instances = read::instances(&page, &self.0.farm).map_err(unreadable("DescribeInstances"))?;
            found.extend(instances.into_iter().map(|i| (i.instance_id.clone(), i)));
            let next = read::next_token(&page).map(str::to_owned);
            if next.is_none() {
                self.look_at_health(&mut found).await;
                self.sweep().await;
                return Ok(found.into_values().collect());
            }
            if next == token {
                return Err(CallError::unknown("DescribeInstances: the same page for ever").into());
            }
            token = next;
        }
        Err(CallError::unknown(format!("DescribeInstances: more than {PAGES_MAX} pages")).into())
    }

    /// Cores and memory of instance types.
    pub async fn instance_types(&self, types: &[String]) -> Result<Vec<TypeInfo>, CallError> {
        let mut found = Vec::new();
        for some in types.chunks(100) {
            let answer = self.0.ask("DescribeInstanceTypes", &ask::describe_instance_types(some)).await?;
            found.extend(read::instance_types(&answer).map_err(unreadable("DescribeInstanceTypes"))?);
        }
        Ok(found)
    }

    /// Zone names by subnet id.
    pub async fn subnet_zones(&self, subnet_ids: &[String]) -> Result<BTreeMap<String, String>, CallError> {
        Ok(read::subnet_zones(&self.0.ask("DescribeSubnets", &ask::describe_subnets(subnet_ids)).await?))
    }

    /// Those of the images that exist and are ready.
    pub async fn images(&self, image_ids: &[String]) -> Result<Vec<String>, CallError> {
        Ok(read::images(&self.0.ask("DescribeImages", &ask::describe_images(image_ids)).await?))
    }

    /// The security groups of an instance.
    pub async fn security_groups(&self, instance_id: &str) -> Result<Vec<String>, CallError> {
        let page = self.0.ask("DescribeInstances", &ask::describe_instance(instance_id)).await?;
        read::security_groups(&page).ok_or_else(|| CallError::unknown(format!("{instance_id} is not listed")))
    }

    /// Other security groups for an instance: what a network drill does, and undoes.
    pub async fn set_security_groups(&self, instance_id: &str, groups: &[String]) -> Result<(), CallError> {
        self.0.ask("ModifyInstanceAttribute", &ask::set_security_groups(instance_id, groups)).await.map(drop)
    }

    /// Calls so far, and how fast they may be made.
    pub fn meters(&self) -> Meters {
        let mut meters = lock(&self.0.meters).clone();
        meters.reads_per_s = lock(&self.0.reads).rate_per_s();
        meters.writes_per_s = lock(&self.0.writes).rate_per_s();
        meters
    }

    async fn change_state(&self, action: &'static str, instance_id: &str) -> Result<(), CallError> {
        self.0.ask(action, &ask::change_state(action, instance_id)).await.map(drop)
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Instance, CallError> {
        let mut launched = None;
        for body in &request.body {
            let action = launch_action(body).ok_or_else(|| refused("a launch body that is none of the known actions"))?;
            match (action, self.0.ask(action, body).await) {
                ("CreateLaunchTemplate", answer) => {
                    self.0.makes_templates.store(true, Ordering::Relaxed);
                    // Its name holds the token: whoever took it was an earlier sending of these very octets.
                    if let Err(error) = answer
                        && !error.code.starts_with("InvalidLaunchTemplateName.AlreadyExists")
                    {
                        return Err(error);
                    }
                }
                ("CreateFleet", answer) => launched = Some(self.of_fleet(request, &answer?)?),
                (_, answer) => launched = Some(read::launched(&answer?, &request.farm).map_err(unreadable(action))?),
            }
        }
        let instance = launched.ok_or_else(|| refused("a launch without a body that launches"))?;
        // The answer may come before the tags do; what was asked for is known.
        Ok(Instance {
            member_id: Some(request.member_id.clone()),
            intent: Some(request.intent.clone()),
            role: request.role.clone(),
            offering: instance.offering.or_else(|| request.offering.clone()),
            ..instance
        })
    }

    fn of_fleet(&self, request: &LaunchRequest, answer: &Element) -> Result<Instance, CallError> {
        let wall = (self.0.settings.clock)().wall;
        match read::fleet(answer) {
            Fleet::Launched { instance_id, instance_type, market } => {
                let offering = request.offering.as_ref().map(|asked| Offering {
                    instance_type: instance_type.unwrap_or_else(|| asked.instance_type.clone()),
                    zone: asked.zone.clone(),
                    market,
                });
                let new = Instance::new(instance_id, request.farm.clone(), InstanceState::Pending, wall.0);
                Ok(Instance { offering, ..new })
            }
            Fleet::Refused(code, message) => {
                let error = CallError::of_code("CreateFleet", 400, &code, &message, None, wall);
                // Said in a success, so that nobody has slowed down yet.
                if error.kind == ErrorKind::Throttled {
                    lock(&self.0.writes).throttled((self.0.settings.clock)().mono);
                }
                Err(error)
            }
            Fleet::Nothing => Err(CallError::unknown("CreateFleet: neither an instance nor a refusal")),
        }
    }

    /// Addresses and volumes of a role. What is there already is left alone, so that a repetition costs nothing.
    async fn attach(&self, request: &AttachRequest) -> Result<(), CallError> {
        let instance = request.instance_id.as_str();
        for address in &request.addresses {
            let answer = self.0.ask("DescribeAddresses", &ask::describe_address(address)).await?;
            if read::address_holder(&answer) != Some(instance) {
                self.0.ask("AssociateAddress", &ask::associate_address(address, instance)).await?;
            }
        }
        for volume in &request.volumes {
            let answer = self.0.ask("DescribeVolumes", &ask::describe_volume(&volume.volume_id)).await?;
            match read::volume_holder(&answer) {
                Some(holder) if holder == instance => {}
                Some(holder) => {
                    let message = format!("AttachVolume: {} is still attached to {holder}", volume.volume_id);
                    return Err(CallError::unknown(message));
                }
                None => {
                    let body = ask::attach_volume(&volume.volume_id, instance, &volume.device);
                    self.0.ask("AttachVolume", &body).await?;
                }
            }
        }
        Ok(())
    }

    /// Adds the newest known status checks to a listing. If they cannot be asked for, the last known ones stand: what is unknown is
    /// not impaired, and a listing is worth more than they are.
    async fn look_at_health(&self, found: &mut BTreeMap<String, Instance>) {
        let now = (self.0.settings.clock)().mono;
        let is_due = lock(&self.0.health).looked.is_none_or(|at| now.since_ms(at) >= self.0.limits.status_period_ms);
        if is_due {
            lock(&self.0.health).looked = Some(now);
            let running = found.values().filter(|i| i.state == InstanceState::Running);
            let ids: Vec<&str> = running.map(|i| i.instance_id.as_str()).collect();
            match self.impaired(&ids).await {
                Ok(impaired) => lock(&self.0.health).impaired = impaired,
                Err(error) => tracing::warn!(%error, "status checks are unknown; the last known ones stand"),
            }
        }
        for (id, why) in &lock(&self.0.health).impaired {
            if let Some(instance) = found.get_mut(id) {
                instance.impaired = Some(why.clone());
            }
        }
    }

    async fn impaired(&self, ids: &[&str]) -> Result<BTreeMap<String, String>, CallError> {
        let mut found = BTreeMap::new();
        for some in ids.chunks(STATUS_IDS_MAX) {
            let answer = self.0.ask("DescribeInstanceStatus", &ask::describe_instance_status(some)).await?;
            found.extend(read::impaired(&answer));
        }
        Ok(found)
    }

    /// Deletes launch templates of old launches. A failure is tried again at the next sweep.
    async fn sweep(&self) {
        let now = (self.0.settings.clock)();
        {
            let mut at = lock(&self.0.sweep_at);
            if !self.0.makes_templates.load(Ordering::Relaxed) || now.mono < *at {
                return;
            }
            *at = now.mono.plus_ms(SWEEP_MS);
        }
        let outcome = async {
            let (mut token, mut deleted) = (None::<String>, 0);
            for _ in 0..SWEEP_PAGES_MAX {
                let body = ask::describe_launch_templates(&self.0.farm, self.0.limits.page_items, token.as_deref());
                let page = self.0.ask("DescribeLaunchTemplates", &body).await?;
                let is_old = |t: &read::Template| t.created.0.saturating_add(TEMPLATE_AGE_MS) < now.wall.0;
                for template in read::templates(&page, &self.0.farm).into_iter().filter(is_old) {
                    if deleted >= SWEEP_TEMPLATES_MAX {
                        return Ok(());
                    }
                    deleted += 1;
                    let body = ask::delete_launch_template(&template.template_id);
                    match self.0.ask("DeleteLaunchTemplate", &body).await {
                        // One that stays, or that another took away, must not keep the others.
                        Ok(_) => {}
                        Err(error) if error.kind == ErrorKind::Throttled => return Err(error),
                        Err(error) => tracing::warn!(%error, id = template.template_id, "a launch template stays for now"),
                    }
                }
                token = read::next_token(&page).map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
            Ok::<(), CallError>(())
        };
        // The listing waits for it, and a farm without a listing stands still.
        let outcome = tokio::time::timeout(SWEEP_TIME_MAX, outcome).await;
        match outcome.unwrap_or_else(|_| Err(CallError::unknown("the sweep took too long"))) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "launch templates of old launches stay for now"),
        }
    }
}

impl Inner {
    /// One call: in its turn, within the limits, counted.
    async fn ask(&self, action: &'static str, body: &str) -> Result<Element, CallError> {
        let pace = if action.starts_with("Describe") { &self.reads } else { &self.writes };
        let begun = (self.settings.clock)().mono;
        let result = self.ask_in_turn(action, body, pace, begun).await;
        let ended = (self.settings.clock)().mono;
        if let Err(CallError { kind: ErrorKind::Throttled, code, .. }) = &result
            && code != NOT_MADE
        {
            lock(pace).throttled(ended);
        }
        let outcome = result.as_ref().map_or_else(|e| e.kind.label(), |_| "ok");
        lock(&self.meters).count(action, outcome, ended.since_ms(begun));
        result
    }

    async fn ask_in_turn(
        &self,
        action: &'static str,
        body: &str,
        pace: &Mutex<Pace>,
        begun: Mono,
    ) -> Result<Element, CallError> {
        let patience = self.settings.call_timeout;
        let wait_ms = lock(pace).reserve(begun, patience.as_millis() as u64);
        let wait_ms = wait_ms.ok_or_else(|| not_made(action))?;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let permit = tokio::time::timeout(patience, self.permits.acquire()).await;
        let _permit = permit.ok().and_then(Result::ok).ok_or_else(|| not_made(action))?;
        let client = self.client.get_or_init(|| Client::new(self.settings.clone())).await;
        client.send(body).await
    }
}

/// The code of a call that we did not make: EC2 has no such code.
const NOT_MADE: &str = "NotMade";

fn not_made(action: &str) -> CallError {
    CallError {
        kind: ErrorKind::Throttled,
        code: NOT_MADE.into(),
        message: format!("{action}: not sent, since too many calls wait for their turn"),
    }
}

fn unreadable(action: &'static str) -> impl Fn(String) -> CallError {
    move |why| CallError::unknown(format!("{action}: {why}"))
}

fn refused(message: &str) -> CallError {
    CallError { kind: ErrorKind::Denied, code: String::new(), message: message.to_owned() }
}

fn launch_action(body: &str) -> Option<&'static str> {
    let action = value_of(body, "Action")?;
    ["RunInstances", "CreateLaunchTemplate", "CreateFleet"].into_iter().find(|known| *known == action)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ec2({} in {})", self.0.farm, self.0.settings.region)
    }
}
