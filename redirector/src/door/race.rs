//! A connection and the patience that it is given, in one task.
//!
//! The connection is woken with every request, its patience almost never. So patience has a waker of its own, and waking the task
//! for the connection must never cost a look at timers and channels.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Which of the two ended.
pub(super) enum First<C, P> {
    /// The connection.
    Connection(C),
    /// The patience.
    Patience(P),
}

/// Wakes the task, and says that it was for the patience.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// Runs both until one ends. To be awaited by the task itself, whose waker stays the same.
pub(super) async fn first_of<C: Future, P: Future>(mut connection: Pin<&mut C>, patience: P) -> First<C::Output, P::Output> {
    let mut patience = pin!(patience);
    let task = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let bell = Arc::new(Bell { rung: AtomicBool::new(true), task });
    let waker = Waker::from(Arc::clone(&bell));
    poll_fn(|context| {
        if let Poll::Ready(outcome) = connection.as_mut().poll(context) {
            return Poll::Ready(First::Connection(outcome));
        }
        if bell.rung.load(Ordering::Relaxed)
            && bell.rung.swap(false, Ordering::Acquire)
            && let Poll::Ready(outcome) = patience.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return Poll::Ready(First::Patience(outcome));
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn patience_is_looked_at_when_it_was_woken_only() {
        let (looks, steps, wake) = (Cell::new(0), Cell::new(0), Notify::new());
        let connection = async {
            for _ in 0..100 {
                steps.set(steps.get() + 1);
                tokio::task::yield_now().await;
            }
            wake.notify_one();
            std::future::pending::<()>().await;
        };
        let mut woken = pin!(wake.notified());
        let patience = poll_fn(|context| {
            looks.set(looks.get() + 1);
            woken.as_mut().poll(context)
        });
        let first = first_of(pin!(connection), patience).await;
        assert!(matches!(first, First::Patience(())));
        assert_eq!((steps.get(), looks.get()), (100, 2));
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_told() {
        let first = first_of(pin!(async { 7 }), std::future::pending::<()>()).await;
        assert!(matches!(first, First::Connection(7)));
    }
}
