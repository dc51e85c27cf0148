//! Notices that a background task of a member has ended by itself.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Records that a task has ended, unless it was told to.
pub(super) struct TaskGuard {
    pub(super) name: &'static str,
    pub(super) is_over: CancellationToken,
    pub(super) failed: watch::Sender<Option<&'static str>>,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if self.is_over.is_cancelled() {
            return;
        }
        tracing::error!(task = self.name, "a task of a cluster member ended by itself");
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(self.name);
            is_first
        });
    }
}
