//! Writes what must survive a restart, off the event loop and at most once a second; what somebody waits for, at once.
//!
//! The latest state wins: an older one that was not written yet is never written. A failure is counted by the directory, logged
//! once until a write succeeds again, tried again every second, and costs no answer.

use farm_daemon::state_dir::StateDir;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The file's name in `state_dir`.
pub const FILE: &str = "state.json";

/// The longest state that is read: 20,000 members of about 1 KiB, with room.
pub const OCTETS_MAX: u64 = 64 << 20;

const REST: Duration = Duration::from_secs(1);

/// The writing end.
pub struct Persister<T> {
    wanted: watch::Sender<Wanted<T>>,
    written: watch::Receiver<Written>,
    task: JoinHandle<()>,
}

/// The latest state. States are numbered from 1 in the order in which they were handed over.
struct Wanted<T> {
    number: u64,
    /// The last one that somebody waits for.
    awaited: u64,
    state: Option<Arc<T>>,
}

/// What became of the state that was tried last.
struct Written {
    number: u64,
    result: Result<(), String>,
}

impl<T: Serialize + Send + Sync + 'static> Persister<T> {
    /// A writer into `dir`.
    pub fn start(dir: Arc<StateDir>) -> Self {
        let (wanted, changes) = watch::channel(Wanted { number: 0, awaited: 0, state: None });
        let (outcomes, written) = watch::channel(Written { number: 0, result: Ok(()) });
        Self { wanted, written, task: tokio::spawn(write_all(dir, changes, outcomes)) }
    }

    /// Replaces what is to be written.
    pub fn write(&self, state: T) {
        self.replace(state, false);
    }

    /// Replaces what is to be written, and says when it, or a later state, is on the disk, or why it is not.
    pub fn write_now(&self, state: T) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let number = self.replace(state, true);
        let mut written = self.written.clone();
        async move {
            let outcome = written.wait_for(|written| written.number >= number).await;
            outcome.map_or_else(|_| Err("the daemon is stopping".to_owned()), |written| written.result.clone())
        }
    }

    /// Writes what was said last, and ends.
    pub async fn finish(self) {
        drop(self.wanted);
        let _ = self.task.await;
    }

    fn replace(&self, state: T, awaited: bool) -> u64 {
        let state = Arc::new(state);
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            wanted.number += 1;
            number = wanted.number;
            wanted.awaited = if awaited { number } else { wanted.awaited };
            wanted.state = Some(state);
        });
        number
    }
}

/// Writes until the writing end is gone and its last word was tried.
async fn write_all<T: Serialize + Send + Sync + 'static>(
    dir: Arc<StateDir>,
    mut changes: watch::Receiver<Wanted<T>>,
    outcomes: watch::Sender<Written>,
) {
    let mut tried = 0;
    let mut failing = false;
    loop {
        // What could not be written is tried again, though nothing new may ever come.
        if !failing && changes.wait_for(|wanted| wanted.number > tried).await.is_err() {
            return;
        }
        let (number, state) = {
            let wanted = changes.borrow_and_update();
            (wanted.number, wanted.state.clone())
        };
        let dir = Arc::clone(&dir);
        let writing = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&state.as_deref()).map_err(std::io::Error::other)?;
            dir.write(FILE, &text)
        });
        let result = writing.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        match &result {
            Ok(()) if failing => tracing::info!("the state is written again"),
            Err(error) if !failing => {
                tracing::error!(%error, "the state cannot be written: a restart would forget what is new");
            }
            _ => {}
        }
        (tried, failing) = (number, result.is_err());
        outcomes.send_replace(Written { number, result: result.map_err(|error| error.to_string()) });
        let ended = matches!(timeout(REST, changes.wait_for(|wanted| wanted.awaited > tried)).await, Ok(Err(_)));
        if ended && changes.borrow().number == tried {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_disk_that_refuses_costs_a_count() {
        let path = std::env::temp_dir().join(format!("dnslb-persist-bad-{}", std::process::id()));
        let dir = Arc::new(StateDir::open(&path).unwrap());
        std::fs::create_dir(path.join(FILE)).unwrap();
        let persister = Persister::start(Arc::clone(&dir));
        persister.write(1);
        persister.finish().await;
        assert_eq!(dir.failures(), 1);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_and_whoever_waits_is_told() {
        let path = std::env::temp_dir().join(format!("dnslb-persist-again-{}", std::process::id()));
        let dir = Arc::new(StateDir::open(&path).unwrap());
        std::fs::create_dir(path.join(FILE)).unwrap();
        let persister = Persister::start(Arc::clone(&dir));
        assert!(persister.write_now(1).await.is_err());
        std::fs::remove_dir(path.join(FILE)).unwrap();
        persister.written.clone().wait_for(|written| written.result.is_ok()).await.unwrap();
        assert_eq!(dir.read(FILE, OCTETS_MAX).unwrap().as_deref(), Some(&b"1"[..]));
        persister.write(2);
        assert_eq!(persister.write_now(3).await, Ok(()));
        assert_eq!(dir.read(FILE, OCTETS_MAX).unwrap().as_deref(), Some(&b"3"[..]));
        persister.finish().await;
        std::fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test]
    async fn the_last_word_is_written() {
        let path = std::env::temp_dir().join(format!("dnslb-persist-{}", std::process::id()));
        let dir = Arc::new(StateDir::open(&path).unwrap());
        let persister = Persister::start(Arc::clone(&dir));
        for number in 0..100 {
            persister.write(number);
            tokio::task::yield_now().await;
        }
        persister.finish().await;
        assert_eq!(dir.read(FILE, OCTETS_MAX).unwrap().as_deref(), Some(&b"99"[..]));
        std::fs::remove_dir_all(path).unwrap();
    }
}
