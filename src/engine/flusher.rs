//! The task that serves slow websockets: it waits until the kernel takes more of a session's bytes, and then flushes its
//! outbox. One slow client never delays another.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::session::Session;

/// A handle of the flusher task. A session is handed over at most once at a time, so the task holds at most one entry for
/// each session.
#[derive(Clone, Debug, Default)]
pub struct Flusher {
    shared: Arc<Handovers>,
}

#[derive(Debug, Default)]
struct Handovers {
    handed_over: Mutex<Vec<Weak<Session>>>,
    news: Notify,
}

impl Flusher {
    /// Hands over a session whose bytes wait for the kernel.
    pub fn hand_over(&self, session: &Arc<Session>) {
        let mut sessions = self.shared.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.push(Arc::downgrade(session));
        self.shared.news.notify_one();
    }

    /// Task: flushes the sessions that are handed over, until `stop`.
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

/// Serves one session until nothing waits in its outbox, or the session ends. Meanwhile it keeps the socket from being
/// closed, but the end of the session shuts the socket down, which ends the wait.
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
