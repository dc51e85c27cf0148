//! The task that keeps the view right even while the reporter is held up. It puts the local count and the users of the site into
//! the view, so that newcomers can be told an estimate that includes them. And it wakes the readers of the view when the lease ends without an
//! answered report, since the count is no longer exact then, and readers look at the view only when it changes.
//!
//! It never reports, and never waits for the store.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::core::{pace::REPORT_GAP_MIN, rooms::RoomLedger, tally::Local, view::View};

/// The least time between two warnings that nothing was reported. A starved instance must not fill the log.
const LOG_GAP: Duration = Duration::from_secs(10);

/// The state of the task.
#[derive(Debug)]
pub struct Observer {
    tally: watch::Receiver<Local>,
    rooms: Arc<dyn RoomLedger>,
    view: Arc<watch::Sender<View>>,
    /// When the tally may be read next. A pace keeps a rush from waking the readers of the view for every join.
    next_look: Instant,
    /// The end of the lease for which the readers were woken last.
    woken_for: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Observer {
    /// An observer of the tally. [`Observer::run`] starts it.
    pub fn new(
        tally: watch::Receiver<Local>,
        rooms: Arc<dyn RoomLedger>,
        view: Arc<watch::Sender<View>>,
    ) -> Self {
        let next_look = Instant::now();
        Self { tally, rooms, view, next_look, woken_for: None, warned_at: None }
    }

    /// Task: observes until `stop`.
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
                // A renewed lease needs no attention before the time at which the old one would have ended.
                Ok(()) = changes.changed(), if !holds_lease => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// Puts the newest local count into the view, if the pace allows it.
    fn look(&mut self, now: Instant) {
        // A tally that has ended may have a change that was not read.
        if self.next_look > now || !self.tally.borrow().has_changed() {
            return;
        }
        self.next_look = now + REPORT_GAP_MIN;
        // It is read under the view's lock, so that the reporter cannot put in a newer one in between.
        self.view.send_modify(|view| {
            view.observe(*self.tally.borrow_and_update());
            view.observe_users(self.rooms.site_users());
        });
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
