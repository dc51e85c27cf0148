//! The task that keeps the view true when nobody reports: tally → view, and the end of the lease.
//!
//! A reporter may be held up, by whatever. Then newcomers still have to be told an estimate that includes them, and all
//! readers of the view that the count has become an estimate. A view knows by itself when it is no longer exact, but
//! readers look at it only when it changes: this wakes them when the lease ends without an answered report.
//!
//! It never reports, and nothing it does waits for the store.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::core::{pace::REPORT_GAP_MIN, tally::Local, view::View};

/// The least time between two warnings that nothing was reported: an instance that starves must not fill the log.
const LOG_GAP: Duration = Duration::from_secs(10);

/// Observes the local count and the lease.
#[derive(Debug)]
pub struct Observer {
    tally: watch::Receiver<Local>,
    view: Arc<watch::Sender<View>>,
    /// Looking at the tally has a pace, so that a rush does not wake all readers of the view for every join.
    next_look: Instant,
    /// The end of a lease that readers have been woken for.
    woken_for: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Observer {
    /// Sets it up; [`Observer::run`] does the work.
    pub fn new(tally: watch::Receiver<Local>, view: Arc<watch::Sender<View>>) -> Self {
        Self { tally, view, next_look: Instant::now(), woken_for: None, warned_at: None }
    }

    /// Observes until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.view.subscribe();
        while !stop.is_cancelled() {
            let now = Instant::now();
            self.look(now);
            let view = *changes.borrow_and_update();
            self.check_lease(&view, now);
            let may_look = self.next_look <= now;
            let holds_lease = view.holds_lease(now);
            let look = (!may_look).then_some(self.next_look);
            let lease_ends = view.lease_ends().filter(|_| holds_lease);
            let wake = [look, lease_ends].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = self.tally.changed(), if may_look => self.tally.mark_changed(),
                // Renewals need no attention before the time when the lease would have ended without them.
                Ok(()) = changes.changed(), if !holds_lease => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// Takes in the newest local count, at its pace.
    fn look(&mut self, now: Instant) {
        if self.next_look > now || !self.tally.has_changed().unwrap_or(false) {
            return;
        }
        self.next_look = now + REPORT_GAP_MIN;
        // Read under the view's lock, so that the reporter cannot have brought a newer one meanwhile.
        self.view.send_modify(|view| view.observe(*self.tally.borrow_and_update()));
    }

    /// Wakes the readers of the view when the lease has ended, once.
    fn check_lease(&mut self, view: &View, now: Instant) {
        let ended = view.lease_ends().filter(|&end| end <= now);
        if ended.is_none() || ended == self.woken_for {
            return;
        }
        self.woken_for = ended;
        self.view.send_modify(|_| ());
        if view.answers() && self.warned_at.is_none_or(|at| now - at >= LOG_GAP) {
            self.warned_at = Some(now);
            let age = view.age(now);
            tracing::warn!(
                ?age,
                "no report was made for a lease: this instance was stopped or starved"
            );
        }
    }
}

#[cfg(test)]
#[path = "observer/tests.rs"]
mod tests;
