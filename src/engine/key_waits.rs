//! The sessions with CONNECTs that wait for the key of their token. It holds neither the CONNECTs nor their tokens.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The keys of sessions that wait.
#[derive(Debug, Default)]
pub struct KeyWaits {
    sessions: Mutex<Vec<u32>>,
    came: Notify,
}

impl KeyWaits {
    /// Adds a session, which has begun to wait.
    pub(super) fn add(&self, session: u32) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        self.came.notify_one();
    }

    /// Resolves when a session has been added since the last call. Only one task may wait.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }

    /// Takes out all sessions.
    pub(super) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
