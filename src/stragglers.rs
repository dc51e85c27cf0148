//! The task that comes back to slow connections: a count that the kernel did not take, or took a part of, goes out
//! when it takes more. It never waits in the way of anybody else, and writes nothing but what waits.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::connection::Control;

/// The handle by which connections ask for it. Each does so once at a time, so that nothing here grows beyond the
/// number of connections.
#[derive(Clone, Debug, Default)]
pub struct Stragglers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reported: Mutex<Vec<Weak<Control>>>,
    news: Notify,
}

impl Stragglers {
    /// Something waits in this connection for the kernel to take it.
    pub fn report(&self, control: &Arc<Control>) {
        let mut reported = self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.push(Arc::downgrade(control));
        self.shared.news.notify_one();
    }

    /// Looks after all that are reported, until `stop`.
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

    fn take(&self) -> Vec<Weak<Control>> {
        let mut reported = self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut reported)
    }
}

/// Stays with one connection until nothing waits in it or it is closed. Meanwhile it holds the socket open, so
/// closing shuts that down.
async fn finish(control: Weak<Control>) {
    while let Some(stream) = control.upgrade().and_then(|control| control.stream()) {
        if stream.writable().await.is_err() {
            return;
        }
        if control.upgrade().is_none_or(|control| control.flush()) {
            return;
        }
    }
}
