//! When each instance began to show what it shows now, by its event stream.
//!
//! To ask everybody takes a dozen connections, one after the other: on a busy machine a second, which would count as the
//! product's. An event is stamped when it arrives.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use headcount_testkit::{
    event_stream::EventStream,
    instance::{Instance, Shown},
};
use tokio::{task::JoinHandle, time::sleep};

/// Before the stream is opened again, which ends only if the machine is in trouble.
const REOPEN_AFTER: Duration = Duration::from_millis(50);

/// Reads the event stream of one instance until it is dropped.
#[derive(Debug)]
pub(super) struct Onlooker {
    server: SocketAddr,
    /// What it shows, and since when.
    latest: Arc<Mutex<Option<(Shown, Instant)>>>,
    task: JoinHandle<()>,
}

impl Onlooker {
    pub(super) fn of(instance: &Instance) -> Self {
        let (server, latest) = (instance.public, Arc::<Mutex<_>>::default());
        let noted = Arc::clone(&latest);
        let task = tokio::spawn(async move {
            loop {
                // An error says that the stream ended.
                let _ = look_on(server, &noted).await;
                *noted.lock().expect("nobody panics with it") = None;
                sleep(REOPEN_AFTER).await;
            }
        });
        Self { server, latest, task }
    }

    /// Since when the instance has shown this without a break; what else it shows if it does not.
    pub(super) fn since(&self, wanted: Shown) -> Result<Instant, String> {
        let latest = *self.latest.lock().expect("nobody panics with it");
        match latest {
            Some((shown, since)) if shown == wanted => Ok(since),
            other => Err(format!("the stream of {}: {other:?}", self.server)),
        }
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Notes what the stream of this server says, until it ends.
async fn look_on(
    server: SocketAddr,
    latest: &Mutex<Option<(Shown, Instant)>>,
) -> std::io::Result<()> {
    let mut stream = EventStream::open(server).await?;
    while let Some(json) = stream.next().await {
        let (shown, now) = (serde_json::from_str(&json).expect("an event is JSON"), Instant::now());
        let mut latest = latest.lock().expect("nobody panics with it");
        // An event may also say that there are more or fewer instances.
        if latest.is_none_or(|(before, _)| before != shown) {
            *latest = Some((shown, now));
        }
    }
    Ok(())
}
