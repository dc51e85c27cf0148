//! The task that tells this instance's sockets the count: view → sockets. It is the only one that emits.
//!
//! What it does is, for every client of this instance, what the lesson does in one process:
//!
//! ```text
//! io.emit("user count", currentUsers)
//! ```
//!
//! with `currentUsers` being what the whole cluster counts, emitted at most once an interval however many
//! people come and go. Two rules make it right:
//!
//! - Every emission is volatile: each socket has one slot that holds the newest value, so a slow client
//!   skips stale ones, and the last always arrives. A plain `emit` must never be mixed in, since its queue is
//!   written before the slot and an older value would come after a newer one.
//! - A socket joins the room [`JOINING`] before it can receive anything and leaves it here, once the count
//!   includes it; until then emissions pass it by. So the first value a client sees includes itself.

use std::{sync::Arc, time::Duration};

use socketioxide::SocketIo;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{Metrics, observe},
    pace::EmissionPace,
    tally::{Newcomer, Tally},
    view::View,
};

/// The event's name, as every client of the lesson knows it.
pub const USER_COUNT: &str = "user count";
/// The room of sockets that have not been shown a count.
pub const JOINING: &str = "joining";

/// See the module's documentation.
#[derive(Debug)]
pub struct Broadcaster {
    io: SocketIo,
    tally: Arc<Tally>,
    view: watch::Receiver<View>,
    metrics: Metrics,
    pace: EmissionPace,
    /// What everybody outside [`JOINING`] was last told, or will be by their slot.
    told: Option<u64>,
    /// Who was told the estimate because the store was slow to count them. They are told what all others
    /// are as soon as that includes them, or the store counts as away: within [`crate::pace::ANSWER_OVERDUE`], which
    /// bounds this list.
    provisional: Vec<Newcomer>,
}

impl Broadcaster {
    /// Sets it up; [`Broadcaster::run`] does the work.
    pub fn new(
        io: SocketIo,
        tally: Arc<Tally>,
        view: watch::Receiver<View>,
        metrics: Metrics,
        interval: Duration,
    ) -> Self {
        Self {
            io,
            tally,
            view,
            metrics,
            pace: EmissionPace::new(interval),
            told: None,
            provisional: Vec::new(),
        }
    }

    /// Emits until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wake = self.act(Instant::now()).await;
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = self.view.changed() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Does what is due now; returns when there will be something to do even if nothing changes.
    async fn act(&mut self, now: Instant) -> Option<Instant> {
        let view = *self.view.borrow_and_update();
        let shown = view.shown();
        let newcomers = self.tally.take_newcomers(view.covered(), view.estimated(), now);
        // What is shown includes everybody here while it is the estimate, else those whom the store counts.
        let counts = |newcomer: &Newcomer| !shown.exact || newcomer.change <= view.covered();
        let (included, impatient): (Vec<_>, Vec<_>) = newcomers.into_iter().partition(counts);
        let corrected: Vec<_> = self.provisional.extract_if(.., |told| counts(told)).collect();
        self.let_in(&included);
        let changed = self.told != Some(shown.users);
        let held_back = self.pace.due().filter(|&due| due > now);
        if changed && held_back.is_none() {
            self.emit_to_all(shown.users).await;
        } else {
            self.emit_to(&included, shown.users);
            self.emit_to(&corrected, shown.users);
            if changed && !(included.is_empty() && corrected.is_empty()) {
                // They know a number that all others do not: the emission held back must come, even if by
                // then the number is the old one again.
                self.told = None;
            }
        }
        self.let_in(&impatient);
        self.emit_to(&impatient, view.estimate());
        self.provisional.extend(impatient);
        let next_emission = held_back.filter(|_| changed);
        let patience_ends = self.tally.patience_ends().filter(|&at| at > now);
        [next_emission, patience_ends].into_iter().flatten().min()
    }

    fn let_in(&self, newcomers: &[Newcomer]) {
        for newcomer in newcomers {
            if let Some(socket) = self.io.get_socket(newcomer.session) {
                socket.leave(JOINING);
                observe(&self.metrics.join_to_emit_seconds, newcomer.joined_at.elapsed());
            }
        }
    }

    /// One emission: everybody who has been let in is told.
    async fn emit_to_all(&mut self, current_users: u64) {
        let start = Instant::now();
        let everybody = self.io.volatile().except(JOINING);
        if let Err(error) = everybody.emit(USER_COUNT, &current_users).await {
            tracing::error!(%error, "failed to emit the count");
        }
        self.told = Some(current_users);
        self.pace.emitted(start, Instant::now());
        self.metrics.emissions.inc();
        self.metrics.emitted_packets.inc_by(self.tally.told());
        observe(&self.metrics.emission_seconds, start.elapsed());
    }

    /// Some are told even when nobody else's number changed.
    fn emit_to(&self, newcomers: &[Newcomer], current_users: u64) {
        let sockets = newcomers.iter().filter_map(|newcomer| self.io.get_socket(newcomer.session));
        for socket in sockets {
            if let Err(error) = socket.volatile().emit(USER_COUNT, &current_users) {
                tracing::debug!(%error, "failed to emit a first value");
            }
            self.metrics.emitted_packets.inc();
        }
    }
}

#[cfg(test)]
#[path = "broadcaster/tests.rs"]
mod tests;
