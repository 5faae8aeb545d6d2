//! The shell around [`crate::logic`]: feeds it events, carries out its effects. It decides nothing.

use crate::carrier::{Arrival, Post, Sockets, post_loop, receive, route_loop, url_of};
use crate::clock::Clock;
use crate::imds;
use crate::load::{AsyncLoadSource, LoadError, Reading};
use crate::logic::{Agent, Effect, Event, Notice};
use crate::saved::{Saved, load_saved, store};
use crate::settings::{Front, Settings};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::Envelope;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

const ARRIVALS_MAX: usize = 256;
const PERSIST_TIMEOUT: Duration = Duration::from_secs(1);
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an agent could not begin.
#[derive(Debug)]
pub enum RunError {
    /// There is nobody to tell.
    NoFronts,
    /// No socket could be bound.
    Bind(std::io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFronts => f.write_str("no front end is configured"),
            Self::Bind(error) => write!(f, "no UDP socket could be bound: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Sends heartbeats until `stop` completes, then says goodbye and returns. Needs a tokio runtime with time and I/O; dropping the
/// future ends everything at once, without a goodbye.
pub async fn run<S: AsyncLoadSource>(
    settings: Settings,
    source: S,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    if settings.fronts.is_empty() {
        return Err(RunError::NoFronts);
    }
    let mut shell = Shell::open(&settings, source).await?;
    let clock = Clock::start();
    let saved = Shell::recall(settings.state_file.as_deref());
    let now = clock.now();
    // Draws decide nothing but jitter: they need not be secret, only different from agent to agent.
    let draws = Draws::from_u64(now.wall.0 ^ u64::from(std::process::id()) << 44).child(settings.profile.id.as_str(), 0);
    let mut agent = Agent::new(settings.profile.clone(), settings.key.clone(), settings.fronts.len(), saved, now, draws);
    tracing::info!(id = %settings.profile.id, farm = %settings.profile.farm, inc = agent.incarnation(), "begins");
    let mut stop = pin!(stop);
    let mut is_stopping = false;
    loop {
        let deadline = clock.instant(agent.deadline());
        let event = tokio::select! {
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                Some(Event::Stop)
            }
            arrival = shell.arrivals.recv() => arrival.and_then(|arrival| shell.event_of(arrival)),
            // Should the source panic, its task is gone: the agent must then fall silent, not spin.
            told = shell.told.recv(), if !shell.told.is_closed() => told,
            () = tokio::time::sleep_until(deadline) => Some(Event::Tick),
        };
        let Some(event) = event else { continue };
        for effect in agent.step(clock.now(), event) {
            if shell.carry_out(effect).await {
                shell.end().await;
                return Ok(());
            }
        }
    }
}

struct Shell {
    fronts: Vec<Front>,
    addresses: Vec<Option<SocketAddr>>,
    key: (farm_shared::id::Id, farm_shared::id::Id),
    sockets: Sockets,
    posts: Vec<Option<watch::Sender<Option<Post>>>>,
    arrivals: mpsc::Receiver<Arrival>,
    told: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Event>,
    questions: mpsc::Sender<()>,
    saves: Option<mpsc::Sender<(Saved, oneshot::Sender<()>)>>,
    /// Tasks that end by themselves once their work is done.
    posting: JoinSet<()>,
    /// Tasks that end with the shell.
    tasks: JoinSet<()>,
}

impl Shell {
    async fn open<S: AsyncLoadSource>(settings: &Settings, source: S) -> Result<Self, RunError> {
        let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let (tell, told) = mpsc::channel(8);
        let (questions, asked) = mpsc::channel(1);
        let key = (settings.profile.farm.clone(), settings.profile.id.clone());
        let (mut tasks, mut posting) = (JoinSet::new(), JoinSet::new());
        let sockets = Sockets::open(settings.bind).await.map_err(RunError::Bind)?;
        for socket in sockets.each() {
            tasks.spawn(receive(socket, key.clone(), arrive.clone()));
        }
        let mut posts = Vec::new();
        for (number, front) in settings.fronts.iter().enumerate() {
            tasks.spawn(route_loop(number, front.clone(), settings.bind, arrive.clone()));
            posts.push(url_of(front).map(|url| {
                let (sender, receiver) = watch::channel(None);
                let key_name = format!("{}/{}", key.0, key.1);
                posting.spawn(post_loop(number, url, key_name, settings.bind, receiver, arrive.clone()));
                sender
            }));
        }
        if let Some(endpoint) = settings.imds.clone() {
            tasks.spawn(imds::watch(endpoint, tell.clone()));
        }
        let read_timeout = Duration::from_millis((settings.profile.period_ms / 2).max(1));
        tasks.spawn(read_loop(source, settings.drain_file.clone(), read_timeout, asked, tell.clone()));
        let saves = settings.state_file.clone().map(|path| {
            let (sender, receiver) = mpsc::channel(4);
            tasks.spawn(save_loop(path, receiver));
            sender
        });
        let addresses = vec![None; settings.fronts.len()];
        Ok(Self {
            fronts: settings.fronts.clone(),
            addresses,
            key,
            sockets,
            posts,
            arrivals,
            told,
            tell,
            questions,
            saves,
            posting,
            tasks,
        })
    }

    fn recall(path: Option<&std::path::Path>) -> Saved {
        let Some(path) = path else { return Saved::default() };
        load_saved(path).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the state file is not usable; begins afresh");
            Saved::default()
        })
    }

    fn event_of(&mut self, arrival: Arrival) -> Option<Event> {
        match arrival {
            Arrival::Datagram { source, mac, body } => {
                let is_from =
                    |front: &Front, address: &Option<SocketAddr>| url_of(front).is_none() && *address == Some(source);
                let front = self.fronts.iter().zip(&self.addresses).position(|(front, address)| is_from(front, address))?;
                Some(Event::Reply { front, mac, body })
            }
            Arrival::Posted { front, mac, body } => Some(Event::Reply { front, mac, body }),
            Arrival::Failed { front, why } => Some(Event::FrontError { front, why }),
            // A name server that is away for a while is no reason to forget where a front end was.
            Arrival::Route { front, way: Err(error) } => Some(Event::FrontError { front, why: error.to_string() }),
            Arrival::Route { front, way: Ok((address, source)) } => {
                *self.addresses.get_mut(front)? = Some(address);
                Some(Event::Route { front, source: Some(source) })
            }
        }
    }

    /// True when the agent is to end.
    async fn carry_out(&mut self, effect: Effect) -> bool {
        match effect {
            // A full channel means that the last question is still open.
            Effect::Read => drop(self.questions.try_send(())),
            Effect::Send { front, mac, body } => self.send(front, mac, body),
            Effect::Persist(saved) => self.persist(saved).await,
            Effect::Notice(notice) => self.log(&notice),
            Effect::Kill { key, process } => self.kill(key, process),
            Effect::Exit => return true,
        }
        false
    }

    fn send(&mut self, front: usize, mac: String, body: Vec<u8>) {
        let Some(Some(address)) = self.addresses.get(front).copied() else { return };
        if let Some(Some(post)) = self.posts.get(front) {
            post.send_replace(Some(Post { address, mac, body }));
            return;
        }
        let datagram = Envelope::datagram(&self.key.0, &self.key.1, &mac, &body);
        if let Err(error) = self.sockets.send(&datagram, address) {
            tracing::debug!(front = %self.name(front), %error, "not sent");
        }
    }

    /// Looks through all processes, off the runtime's threads.
    fn kill(&mut self, key: farm_shared::id::Id, process: String) {
        let tell = self.tell.clone();
        self.posting.spawn_blocking(move || {
            let count = crate::kill::end(&process);
            // A full queue: the word that was given before stands.
            let _ = tell.blocking_send(Event::Killed { key, count });
        });
    }

    /// Waits until it is on disk, but not for ever: a disk that hangs must not make the member look dead.
    async fn persist(&mut self, saved: Saved) {
        let Some(saves) = &self.saves else { return };
        let (done, is_done) = oneshot::channel();
        let written = saves.try_send((saved, done)).is_ok() && tokio::time::timeout(PERSIST_TIMEOUT, is_done).await.is_ok();
        if !written {
            tracing::error!("the state file is not written within a second; goes on without");
        }
    }

    fn name(&self, front: usize) -> String {
        self.fronts.get(front).map(ToString::to_string).unwrap_or_default()
    }

    fn log(&self, notice: &Notice) {
        match notice {
            Notice::FrontHeard { front, .. } => tracing::info!(front = %self.name(*front), "{notice}"),
            Notice::FrontSilent { front, .. }
            | Notice::RepliesRefused { front, .. }
            | Notice::ClockCorrected { front, .. } => {
                tracing::warn!(front = %self.name(*front), "{notice}");
            }
            Notice::Drill { .. } => tracing::warn!("{notice}"),
            Notice::Drain { .. } | Notice::LoadRead => tracing::info!("{notice}"),
            Notice::LoadFailed(_) | Notice::BackendDead | Notice::Machine(_) => tracing::warn!("{notice}"),
        }
    }

    /// Lets the last POSTs go out.
    async fn end(mut self) {
        self.posts.clear();
        self.arrivals.close();
        let all = async { while self.posting.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS_TIMEOUT, all).await;
        self.tasks.abort_all();
        tracing::info!("ends");
    }
}

/// Asks the load source when told to, lets it sample in between, and looks for the operator's drain file.
async fn read_loop<S: AsyncLoadSource>(
    mut source: S,
    drain_file: Option<PathBuf>,
    timeout: Duration,
    mut asked: mpsc::Receiver<()>,
    tell: mpsc::Sender<Event>,
) {
    let every = source.sample_every();
    loop {
        let is_asked = tokio::select! {
            asked = asked.recv() => match asked {
                Some(()) => true,
                None => return,
            },
            () = tokio::time::sleep(every.unwrap_or_default()), if every.is_some() => false,
        };
        if !is_asked {
            source.sample();
            continue;
        }
        if let Some(path) = &drain_file
            && tell.send(Event::OperatorDrain(path.exists())).await.is_err()
        {
            return;
        }
        let reading: Result<Reading, LoadError> = match tokio::time::timeout(timeout, source.read()).await {
            Ok(reading) => reading,
            Err(_) => Err(LoadError(format!("no answer within {} ms", timeout.as_millis()))),
        };
        if tell.send(Event::Load(reading)).await.is_err() {
            return;
        }
    }
}

/// Writes states one after the other, off the runtime's threads. A full disk is told and survived.
async fn save_loop(path: PathBuf, mut saves: mpsc::Receiver<(Saved, oneshot::Sender<()>)>) {
    while let Some((saved, done)) = saves.recv().await {
        let to = path.clone();
        match tokio::task::spawn_blocking(move || store(&to, &saved)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(path = %path.display(), %error, "the state file is not written"),
            Err(error) => tracing::error!(%error, "the state file is not written"),
        }
        // The agent may have stopped waiting.
        let _ = done.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FromChannel;

    /// Compiles only while a program may spawn the agent on a runtime of many threads.
    #[test]
    fn the_agent_can_be_spawned() {
        fn sent<T: Send + 'static>(_: fn(Settings, FromChannel) -> T) {}
        sent(|settings, source| run(settings, source, std::future::pending()));
    }
}
