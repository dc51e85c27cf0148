//! The task that comes back to slow websockets: what the kernel did not take goes out when it takes more. It never
//! waits in the way of anybody else, and writes nothing but what waits.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::session::Session;

/// The handle by which sessions are handed to the task. Each is handed over once at a time, so that nothing here grows
/// beyond the number of sessions.
#[derive(Clone, Debug, Default)]
pub struct Flusher {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    handed_over: Mutex<Vec<Weak<Session>>>,
    news: Notify,
}

impl Flusher {
    /// Something waits in this session for the kernel to take it.
    pub fn hand_over(&self, session: &Arc<Session>) {
        let mut sessions = self.shared.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.push(Arc::downgrade(session));
        self.shared.news.notify_one();
    }

    /// Writes what waits in all of them, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.news.notified() => waiting.extend(self.take().into_iter().map(finish)),
                Some(()) = waiting.next(), if !waiting.is_empty() => {}
            }
        }
    }

    fn take(&self) -> Vec<Weak<Session>> {
        let mut sessions = self.shared.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut sessions)
    }
}

/// Stays with one session until nothing waits in it or it has ended. Meanwhile it holds the socket open; the end of a
/// session shuts that down, which ends the wait.
async fn finish(session: Weak<Session>) {
    while let Some(stream) = session.upgrade().and_then(|session| session.stream()) {
        if stream.writable().await.is_err() {
            return;
        }
        if session.upgrade().is_none_or(|session| session.flush()) {
            return;
        }
    }
}

#[cfg(test)]
#[path = "flusher/tests.rs"]
mod tests;
