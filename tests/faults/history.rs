//! What the harness itself knows and sees: who visits when, and what each instance shows.
//!
//! It only writes things down; the checker judges them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use headcount_testkit::{
    client::{Client, Transport},
    event_stream::EventStream,
    record::Record,
};
use serde::Deserialize;
use tokio::task::JoinHandle;

/// The place of an instance in the cluster; one that takes over the place of another has its number.
pub(crate) type Place = usize;

/// One person's visit.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// On which instance; `None` if a balancer chooses.
    pub(crate) place: Option<Place>,
    /// What the client saw.
    pub(crate) record: Record,
    /// When it began to connect.
    pub(crate) opened: Instant,
    /// When it began to leave.
    pub(crate) leaving: Option<Instant>,
    /// When it had left, as far as it is concerned.
    pub(crate) gone: Option<Instant>,
}

/// All visits; clones show the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visits(Arc<Mutex<Vec<Visit>>>);

/// A client whose visit is written down.
#[derive(Debug)]
pub(crate) struct Guest {
    client: Client,
    visits: Visits,
    index: usize,
}

impl Visits {
    /// Somebody comes to the instance at this place.
    pub(crate) fn open(&self, place: Place, server: SocketAddr, transport: Transport) -> Guest {
        self.note(Some(place), || Client::open(server, transport))
    }

    /// Somebody comes through a balancer, and returns through it whenever the connection is lost.
    pub(crate) fn open_reconnecting(&self, balancer: SocketAddr, transport: Transport) -> Guest {
        self.note(None, || Client::open_reconnecting(balancer, transport))
    }

    fn note(&self, place: Option<Place>, open: impl FnOnce() -> Client) -> Guest {
        let opened = Instant::now();
        let client = open();
        let record = client.record().clone();
        let mut visits = self.lock();
        visits.push(Visit { place, record, opened, leaving: None, gone: None });
        Guest { client, visits: self.clone(), index: visits.len() - 1 }
    }

    /// All of them so far.
    pub(crate) fn all(&self) -> Vec<Visit> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Visit>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

impl Guest {
    /// What it saw.
    pub(crate) fn record(&self) -> &Record {
        self.client.record()
    }

    /// Says good-bye.
    pub(crate) async fn leave(self) {
        self.visits.lock()[self.index].leaving = Some(Instant::now());
        self.client.leave().await;
        self.visits.lock()[self.index].gone = Some(Instant::now());
    }

    /// Vanishes: the person is gone, the connection stays open and silent.
    pub(crate) fn vanish(&self) {
        let now = Instant::now();
        self.client.stop_reading();
        let mut visits = self.visits.lock();
        visits[self.index].leaving = Some(now);
        visits[self.index].gone = Some(now);
    }
}

/// What one instance showed on one stream of its public API, in order; clones show the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Showings(Arc<Mutex<Vec<Showing>>>);

/// One event of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Showing {
    /// What it said, or what else arrived.
    pub(crate) said: Result<Said, String>,
    /// When this process took note of it.
    pub(crate) at: Instant,
}

/// What an instance says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Said {
    /// Users in the cluster.
    pub(crate) count: u64,
    /// Grows with every change.
    pub(crate) revision: u64,
    /// Whether it vouches for it.
    pub(crate) exact: bool,
}

/// Reads the stream of one instance for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Watcher {
    showings: Showings,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to watch the instance at this address.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let showings = Showings::default();
        let task = tokio::spawn({
            let showings = showings.clone();
            // The stream ends with the instance; there is nothing more to watch then.
            async move { drop(watch(server, &showings).await) }
        });
        Self { showings, task }
    }

    /// All it has seen.
    pub(crate) fn showings(&self) -> Vec<Showing> {
        self.showings.lock().clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Showings {
    fn lock(&self) -> MutexGuard<'_, Vec<Showing>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

async fn watch(server: SocketAddr, showings: &Showings) -> std::io::Result<()> {
    let mut stream = EventStream::open(server).await?;
    while let Some(json) = stream.next().await {
        let said = serde_json::from_str(&json).map_err(|error| format!("{error} in {json}"));
        showings.lock().push(Showing { said, at: Instant::now() });
    }
    Ok(())
}
