//! Why: the two ways a request's service time can pass, on the virtual queue or on a real core, look the same to the
//! server: ask for service, wait, be told. Both feed the same load meter.
//! Never: a lock is never held across an await, and no request waits for one that was given up.

use super::config::{BackendConfig, Cpu};
use super::load::LoadMeter;
use super::ps_queue::{JobId, PsQueue};
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

/// The queue is full.
#[derive(Debug)]
pub(super) struct Full;

/// The service of one backend.
#[derive(Debug)]
pub(super) struct Work {
    start: Instant,
    queue_max: usize,
    state: Mutex<State>,
    /// Wakes the driver when a completion comes earlier than it expects.
    earlier: Notify,
    /// The real cores; unused in the virtual case.
    real: Option<Arc<Semaphore>>,
}

#[derive(Debug)]
struct State {
    /// In the real case an ever empty queue; `jobs` counts then.
    queue: PsQueue,
    cores: f64,
    waiting: HashMap<JobId, oneshot::Sender<()>>,
    jobs_begun: JobId,
    armed_us: Option<u64>,
    /// Jobs in service or waiting for a real core, and the integrals up to `at_us`.
    jobs: usize,
    at_us: u64,
    queue_integral: f64,
    busy_integral: f64,
    meter: LoadMeter,
}

impl State {
    fn in_progress(&self) -> usize {
        self.jobs + self.queue.len()
    }

    /// Brings the meter up to `now_us`; the virtual queue must have been advanced already.
    fn note(&mut self, now_us: u64) {
        if now_us > self.at_us {
            let span_us = (now_us - self.at_us) as f64;
            let jobs = self.jobs as f64;
            self.queue_integral += jobs * span_us;
            self.busy_integral += (jobs / self.cores).min(1.0) * span_us;
            self.at_us = now_us;
        }
        let queue = self.queue_integral + self.queue.queue_integral();
        let busy = self.busy_integral + self.queue.busy_integral();
        self.meter.note(now_us, queue, busy);
    }

    /// Finishes what is due and tells those who wait.
    fn advance(&mut self, now_us: u64) {
        for job in self.queue.advance(now_us) {
            if let Some(told) = self.waiting.remove(&job) {
                // Nobody listens when the client has gone: the service was spent all the same, as on a real server.
                let _ = told.send(());
            }
        }
        self.note(now_us);
    }
}

/// Counts a real job for as long as it is in progress, also when its client goes away.
struct RealJob<'a>(&'a Work);

impl Drop for RealJob<'_> {
    fn drop(&mut self) {
        let now_us = self.0.now_us();
        let mut state = self.0.state();
        state.note(now_us);
        state.jobs = state.jobs.saturating_sub(1);
    }
}

impl Work {
    pub(super) fn new(config: &BackendConfig, start: Instant) -> Self {
        let real = (config.cpu == Cpu::Real).then(|| Arc::new(Semaphore::new(config.cores.ceil().max(1.0) as usize)));
        let state = State {
            queue: PsQueue::new(config.cores),
            cores: config.cores,
            waiting: HashMap::new(),
            jobs_begun: 0,
            armed_us: None,
            jobs: 0,
            at_us: 0,
            queue_integral: 0.0,
            busy_integral: 0.0,
            meter: LoadMeter::default(),
        };
        Self { start, queue_max: config.queue_max, state: Mutex::new(state), earlier: Notify::new(), real }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not make it unusable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Queue length and busy fraction over the last second.
    pub(super) fn averages(&self) -> (f64, f64) {
        let now_us = self.now_us();
        let mut state = self.state();
        state.advance(now_us);
        state.meter.averages()
    }

    /// Waits until `demand_us` microseconds of a core have been spent for the caller.
    pub(super) async fn serve(&self, demand_us: f64) -> Result<(), Full> {
        match &self.real {
            None => self.serve_virtually(demand_us).await,
            Some(cores) => self.serve_really(cores.clone(), demand_us).await,
        }
    }

    async fn serve_virtually(&self, demand_us: f64) -> Result<(), Full> {
        let told = {
            let now_us = self.now_us();
            let mut state = self.state();
            state.advance(now_us);
            if state.in_progress() >= self.queue_max {
                return Err(Full);
            }
            let job = state.jobs_begun;
            state.jobs_begun += 1;
            let (tell, told) = oneshot::channel();
            state.waiting.insert(job, tell);
            state.queue.arrive(now_us, job, demand_us);
            // An arrival slows all others down; the driver need only know when the new one is the next to finish.
            let next = state.queue.next_completion();
            if state.armed_us.is_none_or(|armed| next.is_some_and(|next| next < armed)) {
                self.earlier.notify_one();
            }
            told
        };
        // The sender is dropped untold only together with the whole backend.
        told.await.map_err(|_| Full)
    }

    async fn serve_really(&self, cores: Arc<Semaphore>, demand_us: f64) -> Result<(), Full> {
        let job = {
            let now_us = self.now_us();
            let mut state = self.state();
            if state.in_progress() >= self.queue_max {
                return Err(Full);
            }
            state.note(now_us);
            state.jobs += 1;
            RealJob(self)
        };
        let core = cores.acquire_owned().await.map_err(|_| Full)?;
        let burnt = tokio::task::spawn_blocking(move || {
            burn(Duration::from_micros(demand_us as u64));
            drop(core);
        });
        let outcome = burnt.await.map_err(|_| Full);
        drop(job);
        outcome
    }

    /// Finishes virtual jobs when they are due. Runs for as long as the backend does.
    pub(super) async fn drive(&self) {
        loop {
            let due_us = {
                let now_us = self.now_us();
                let mut state = self.state();
                state.advance(now_us);
                state.armed_us = state.queue.next_completion();
                state.armed_us
            };
            let due = due_us.and_then(|due_us| self.start.checked_add(Duration::from_micros(due_us)));
            match due {
                None => self.earlier.notified().await,
                Some(due) => tokio::select! {
                    () = sleep_until(due) => (),
                    () = self.earlier.notified() => (),
                },
            }
        }
    }
}

/// Computes until this thread has used `demand` of a core; time spent preempted does not count.
fn burn(demand: Duration) {
    let spent = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    };
    let begun = spent();
    let mut number = 1_u64;
    while spent().saturating_sub(begun) < demand {
        for _ in 0..2_000 {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}
