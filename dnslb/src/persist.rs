//! Writes what must survive a restart, off the event loop and at most once a second.
//!
//! The latest state wins: an older one that was not written yet is never written. A failure is counted by the directory, logged
//! once until a write succeeds again, and costs no answer.

use farm_daemon::state_dir::StateDir;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The file's name in `state_dir`.
pub const FILE: &str = "state.json";

/// The longest state that is read: 20,000 members of about 1 KiB, with room.
pub const OCTETS_MAX: u64 = 64 << 20;

const REST: Duration = Duration::from_secs(1);

/// The writing end.
pub struct Persister<T> {
    latest: watch::Sender<Option<Arc<T>>>,
    task: JoinHandle<()>,
}

impl<T: Serialize + Send + Sync + 'static> Persister<T> {
    /// A writer into `dir`.
    pub fn start(dir: Arc<StateDir>) -> Self {
        let (latest, mut changes) = watch::channel(None::<Arc<T>>);
        let task = tokio::spawn(async move {
            let mut failing = false;
            // When the daemon stops the channel closes, and this ends once the last word is written.
            while changes.changed().await.is_ok() {
                let Some(state) = changes.borrow_and_update().clone() else { continue };
                let dir = Arc::clone(&dir);
                let written = tokio::task::spawn_blocking(move || {
                    let text = serde_json::to_vec(&*state).map_err(std::io::Error::other)?;
                    dir.write(FILE, &text)
                });
                match written.await.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
                    Ok(()) if failing => {
                        tracing::info!("the state is written again");
                        failing = false;
                    }
                    Ok(()) => {}
                    Err(error) => {
                        if !failing {
                            tracing::error!(%error, "the state cannot be written: a restart would forget what is new");
                        }
                        failing = true;
                    }
                }
                let _ = tokio::time::timeout(REST, closed(&changes)).await;
            }
        });
        Self { latest, task }
    }

    /// Replaces what is to be written.
    pub fn write(&self, state: T) {
        self.latest.send_replace(Some(Arc::new(state)));
    }

    /// Writes what was said last, and ends.
    pub async fn finish(self) {
        drop(self.latest);
        let _ = self.task.await;
    }
}

/// Returns when the writing end is gone. Changes in between stay to be seen.
async fn closed<T>(changes: &watch::Receiver<T>) {
    let mut watcher = changes.clone();
    while watcher.changed().await.is_ok() {}
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
