//! Why: keeps the crowd at the size the profile asks for, and reports on the way.
//! Never: the crowd is never above its bounds in size or time, whatever the servers do.

use super::CLIENTS_MAX;
use super::config::{CrowdConfig, Loop};
use super::session::{Session, lock};
use super::stats::{Interval, Stats, Summary};
use crate::draws::Draws;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often the crowd's size is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Sessions begun at one look, so that a step in the profile does not arrive as one burst of connections.
const STARTS_PER_TICK: u32 = 100;

/// Runs the experiment until the profile is over or `stop` resolves; sessions under way then log out at once. `report` gets
/// one call every [`CrowdConfig::every_ms`] and one at the end.
///
/// # Errors
/// An option out of bounds ([`CrowdConfig::check`]).
pub async fn run(
    config: CrowdConfig,
    stop: impl Future<Output = ()>,
    mut report: impl FnMut(&Interval),
) -> Result<Summary, String> {
    config.check()?;
    let config = Arc::new(config);
    let stats = Arc::new(Mutex::new(Stats::default()));
    let (end, over) = watch::channel(false);
    let mut crowd = JoinSet::new();
    let mut arrivals = Arrivals { draws: Draws::new(config.seed, 0), next_s: 0.0 };
    let mut sessions_begun = 0_u64;

    let start = Instant::now();
    let mut stop = pin!(stop);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let every_s = config.every_ms as f64 / 1_000.0;
    let mut report_s = every_s;
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = ticks.tick() => (),
        }
        while crowd.try_join_next().is_some() {}
        let at_s = start.elapsed().as_secs_f64();
        if at_s >= config.profile.duration_s() {
            break;
        }
        let present = crowd.len() as u32;
        let room = CLIENTS_MAX.saturating_sub(present);
        let wanted = match config.kind {
            Loop::Closed => target(&config, at_s).saturating_sub(present),
            Loop::Open => arrivals.until(at_s, &config),
        };
        // The closed loop makes up for it at the next look; the open one has lost an arrival.
        let begun = wanted.min(STARTS_PER_TICK).min(room);
        for _ in 0..begun {
            sessions_begun += 1;
            let draws = Draws::new(config.seed, sessions_begun);
            crowd.spawn(Session::new(config.clone(), stats.clone(), draws, over.clone()).run());
        }
        if config.kind == Loop::Open {
            (begun..wanted).for_each(|_| lock(&stats).skip());
        }
        if at_s >= report_s {
            report(&lock(&stats).interval(at_s, target(&config, at_s)));
            report_s = (at_s / every_s).floor() * every_s + every_s;
        }
    }

    end.send_replace(true);
    // A session needs at most its current request and the log-out.
    let patience = Duration::from_millis(config.timeout_ms.saturating_mul(2).saturating_add(1_000));
    let _ = timeout(patience, async { while crowd.join_next().await.is_some() {} }).await;
    crowd.shutdown().await;
    let duration_s = start.elapsed().as_secs_f64();
    let mut stats = lock(&stats);
    report(&stats.interval(duration_s, 0));
    Ok(stats.summary(duration_s, config.seed))
}

fn target(config: &CrowdConfig, at_s: f64) -> u32 {
    config.profile.clients(at_s).round() as u32
}

/// The open loop's arrivals: Poisson, at the rate that by Little's law keeps as many clients as the profile says.
struct Arrivals {
    draws: Draws,
    next_s: f64,
}

impl Arrivals {
    /// Arrivals up to `at_s` that have not been counted yet.
    fn until(&mut self, at_s: f64, config: &CrowdConfig) -> u32 {
        let mut count = 0;
        while self.next_s <= at_s {
            let rate = config.profile.clients(self.next_s) / (config.session_ms / 1_000.0);
            // Steps of at most 50 ms follow a profile that changes; the exponential does not mind being cut and redrawn.
            let gap_s = if rate > 0.0 { self.draws.exponential(1.0 / rate) } else { f64::INFINITY };
            if gap_s <= 0.05 {
                count += 1;
            }
            self.next_s += gap_s.min(0.05);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crowd::Profile;
    use crate::crowd::place::Names;

    #[test]
    fn open_arrivals_have_the_rate_of_littles_law() {
        let door = Names::default().place("http://127.0.0.1/").unwrap();
        let mut config = CrowdConfig::new(door, Profile::parse("0:0,1000:200").unwrap());
        config.session_ms = 10_000.0;
        let mut arrivals = Arrivals { draws: Draws::new(5, 0), next_s: 0.0 };
        let mut found = 0;
        for step in 0..=10_000 {
            found += arrivals.until(f64::from(step) / 10.0, &config);
        }
        // The mean of 100 clients for 1,000 s with sessions of 10 s: 10,000 arrivals, standard deviation 100.
        assert!((9_600..10_400).contains(&found), "{found}");
    }
}
