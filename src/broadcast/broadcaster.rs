//! The task that tells the connections of this instance the count. Nothing else emits counts.
//!
//! For every client of this instance it does what the lesson does in one process:
//!
//! ```text
//! io.emit("user count", currentUsers)
//! ```
//!
//! Here `currentUsers` is the count of the whole cluster, and it is emitted at most once in every interval, however many people
//! come and go. Two rules make it right:
//!
//! - A client is told nothing until the count includes it. So its first value includes itself. The value follows the
//!   acknowledgement of the join, and does not have to wait for an emission that is under way. Nor is it told a later count that
//!   leaves it out (`broadcast::provisional`).
//! - Every later value is the same frame for all. It goes through the slot for the newest count of each session's outbox
//!   ([`crate::engine::outbox`]): a slow client skips stale values, and the last one always arrives.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    fan_out::{FanOut, SiteListener, tell},
    provisional::Provisional,
};
use crate::{
    core::{
        included::Included,
        pace::EmissionPace,
        prune::Prune,
        tally::{Newcomer, Tally},
        view::View,
    },
    engine::{flusher::Flusher, session::Membership},
    protocol::frame::CountFrame,
    telemetry::metrics::{Metrics, observe},
};

/// The state of the task.
#[derive(Debug)]
pub struct Broadcaster {
    tally: Arc<Tally<Membership>>,
    view: watch::Receiver<View>,
    metrics: Metrics,
    pace: EmissionPace,
    fan_out: FanOut<SiteListener>,
    flusher: Flusher,
    /// Newcomers that get their first value after the present emission, because they may still be on the list from an earlier
    /// membership.
    postponed: Vec<Newcomer<Membership>>,
    /// The count that all connections were last told, or will be told by their slot or by the present emission, except for
    /// newcomers and those that `provisional` keeps counts from. `None` once some were told another count; then an emission must follow.
    told: Option<u64>,
    /// Connections that were told an estimate because the store was slow to count them, or away. They are told what all others are
    /// told as long as that includes them.
    provisional: Provisional<Membership>,
}

impl Broadcaster {
    /// A broadcaster with at least `interval` between two emissions. [`Broadcaster::run`] starts it.
    pub fn new(
        tally: Arc<Tally<Membership>>,
        view: watch::Receiver<View>,
        flusher: Flusher,
        metrics: Metrics,
        interval: Duration,
    ) -> Self {
        Self {
            tally,
            view,
            metrics,
            pace: EmissionPace::new(interval),
            fan_out: FanOut::new(Prune::default()),
            flusher,
            postponed: Vec::new(),
            told: None,
            provisional: Provisional::beside(Included::default()),
        }
    }

    /// Task: emits until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wake = self.act(Instant::now()).await;
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = self.view.changed() => {}
                () = self.tally.newcomer_came() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Does what is due now. Returns when something is due next even if nothing changes.
    async fn act(&mut self, now: Instant) -> Option<Instant> {
        let view = *self.view.borrow_and_update();
        let shown = view.shown(now);
        // The connections that an emission reaches. Newcomers are counted separately.
        let reached = self.tally.told();
        let changed = self.told != Some(shown.users);
        let held_back = self.pace.due().filter(|&due| due > now);
        self.provisional.hear(view.included(now));
        let released = self.provisional.review();
        self.welcome(&view, now);
        if changed && held_back.is_none() {
            self.emit_to_all(shown.users, reached).await;
        } else {
            self.correct(&released, shown.users);
        }
        self.let_in_postponed(now);
        self.fan_out.enlist_entering();
        let next_emission = held_back.filter(|_| changed);
        let patience_ends = self.tally.patience_ends().filter(|&at| at > now);
        [next_emission, patience_ends].into_iter().flatten().min()
    }

    /// Tells newcomers their first value, also while an emission is under way. Only a newcomer that the emission may still
    /// reach has to wait, since the emission would tell it an older value after its first.
    fn welcome(&mut self, view: &View, now: Instant) {
        for newcomer in self.tally.take_newcomers(view.covered(), view.estimated(), now) {
            let session = newcomer.member.session.upgrade();
            if session.is_none_or(|session| !session.is_listed()) {
                self.let_in(newcomer, view, now);
            } else {
                self.postponed.push(newcomer);
            }
        }
    }

    /// Tells the postponed newcomers their first value, from the newest view: an older one may not include them.
    fn let_in_postponed(&mut self, now: Instant) {
        let view = *self.view.borrow();
        for newcomer in std::mem::take(&mut self.postponed) {
            self.let_in(newcomer, &view, now);
        }
    }

    /// Tells a newcomer its first value, and adds it to the list that emissions reach.
    fn let_in(&mut self, newcomer: Newcomer<Membership>, view: &View, now: Instant) {
        let shown = view.shown(now).users;
        let (included, change) = (view.included(now), newcomer.change.0);
        let is_included = !included.leaves_out(change);
        let current_users = if is_included { shown } else { view.estimate() };
        if !self.open(&newcomer.member, current_users) {
            return;
        }
        self.metrics.emitted_packets.inc();
        observe(&self.metrics.join_to_emit_seconds, newcomer.joined_at.elapsed());
        if is_included {
            self.tell_some(shown);
        }
        if !included.counts(change) {
            self.provisional.add(newcomer.member, change);
        }
    }

    /// Records that some connections are told this count. If the others were told another count, an emission must follow, even
    /// if the count is the old one again by then.
    fn tell_some(&mut self, current_users: u64) {
        self.told = self.told.filter(|&told| told == current_users);
    }

    /// Tells a client its first value. Returns false if the client has left.
    fn open(&mut self, member: &Membership, current_users: u64) -> bool {
        let Some(session) = member.session.upgrade() else { return false };
        let Some(is_new) = session.open(member.generation) else { return false };
        let listener = SiteListener(session);
        let is_told = tell(&listener, &CountFrame::new(current_users), &self.flusher);
        if is_new {
            self.fan_out.enter(listener);
        }
        is_told
    }

    /// Tells connections from which counts were kept what all others are told.
    fn correct(&mut self, released: &[Membership], current_users: u64) {
        let frame = CountFrame::new(current_users);
        for member in released {
            let listener = member.session.upgrade().map(SiteListener);
            if listener.is_some_and(|listener| tell(&listener, &frame, &self.flusher)) {
                self.metrics.emitted_packets.inc();
                self.tell_some(current_users);
            }
        }
    }

    /// Emits the count to all connections on the list, `reached` in number.
    async fn emit_to_all(&mut self, current_users: u64, reached: u64) {
        let start = Instant::now();
        self.told = Some(current_users);
        let frame = CountFrame::new(current_users);
        let mut left = self.fan_out.len();
        while left > 0 {
            left = self.fan_out.tell_last_of(left, &frame, &self.flusher);
            // Between the parts of an emission, other tasks and newcomers have their turn.
            yield_now().await;
            let view = *self.view.borrow();
            self.welcome(&view, Instant::now());
        }
        self.pace.emitted(start, Instant::now());
        self.metrics.emissions.inc();
        self.metrics.emitted_packets.inc_by(reached);
        observe(&self.metrics.emission_seconds, start.elapsed());
    }
}

#[cfg(test)]
#[path = "broadcaster/tests.rs"]
mod tests;
