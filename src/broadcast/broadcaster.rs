//! The task that tells this instance's clients the count: view → sessions. It is the only one that emits.
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
//! - A client is told nothing until the count includes it. So the first value that it sees includes itself. It comes
//!   behind the acknowledgement of its join, which has been sent by then, and also while an emission is under way.
//! - Every later value is the same frame for all, in the slot for the newest value of each session's outbox: a slow client
//!   skips stale ones, and the last one always arrives ([`crate::engine::outbox`]).

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::fan_out::FanOut;
use crate::{
    core::{
        pace::EmissionPace,
        tally::{Newcomer, Tally},
        view::View,
    },
    engine::{
        flusher::Flusher,
        session::{Membership, Session},
    },
    protocol::frame::CountFrame,
    telemetry::metrics::{Metrics, observe},
};

/// Tells the count.
#[derive(Debug)]
pub struct Broadcaster {
    tally: Arc<Tally<Membership>>,
    view: watch::Receiver<View>,
    metrics: Metrics,
    pace: EmissionPace,
    fan_out: FanOut,
    /// Newcomers that are told their first value when what is being done is done: those that may still be on the list
    /// from an earlier membership.
    postponed: Vec<Newcomer<Membership>>,
    /// What everybody who has been shown a count was last told, or will be by their slot or by the emission under way,
    /// but for those in `provisional`; nothing once somebody was told something else, so that an emission follows.
    told: Option<u64>,
    /// Those that were told the estimate because the store was slow to count them. They are told what all others
    /// are as soon as that includes them, or the store counts as away: within [`crate::core::pace::ANSWER_OVERDUE`], which
    /// bounds this list.
    provisional: Vec<Newcomer<Membership>>,
}

impl Broadcaster {
    /// Sets it up, for emissions with at least `interval` between two; [`Broadcaster::run`] does the work.
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
            fan_out: FanOut::new(flusher),
            postponed: Vec::new(),
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
        let shown = view.shown(now);
        // Whom an emission reaches; newcomers are counted one by one.
        let reached = self.tally.told();
        let changed = self.told != Some(shown.users);
        let held_back = self.pace.due().filter(|&due| due > now);
        self.welcome(&view, now);
        let includes = |told: &mut Newcomer<Membership>| view.shown_includes(told.change, now);
        let corrected: Vec<_> = self.provisional.extract_if(.., includes).collect();
        if changed && held_back.is_none() {
            self.emit_to_all(shown.users, reached).await;
        } else {
            self.correct(&corrected, shown.users);
        }
        self.let_in_postponed(now);
        self.fan_out.enlist_entering();
        let next_emission = held_back.filter(|_| changed);
        let patience_ends = self.tally.patience_ends().filter(|&at| at > now);
        [next_emission, patience_ends].into_iter().flatten().min()
    }

    /// Takes the newcomers that can be told a first value. An emission takes a while, for which they need not wait: they
    /// are told at once. A newcomer that the emission may still reach waits, or an older value would follow.
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

    /// A newcomer that came during an emission may be in the newest view only.
    fn let_in_postponed(&mut self, now: Instant) {
        let view = *self.view.borrow();
        for newcomer in std::mem::take(&mut self.postponed) {
            self.let_in(newcomer, &view, now);
        }
    }

    /// Gives a newcomer its first value, even when nobody else's number changed; from now on emissions reach it.
    fn let_in(&mut self, newcomer: Newcomer<Membership>, view: &View, now: Instant) {
        let shown = view.shown(now).users;
        let is_included = view.shown_includes(newcomer.change, now);
        let current_users = if is_included { shown } else { view.estimate() };
        if !self.open(&newcomer.member, current_users) {
            return;
        }
        self.metrics.emitted_packets.inc();
        observe(&self.metrics.join_to_emit_seconds, newcomer.joined_at.elapsed());
        if is_included {
            self.tell_some(shown);
        } else {
            self.provisional.push(newcomer);
        }
    }

    /// Some are told this. If all others were told something else, an emission must follow, even if by then the number
    /// is the old one again.
    fn tell_some(&mut self, current_users: u64) {
        self.told = self.told.filter(|&told| told == current_users);
    }

    /// Tells a client its first value. Returns false if it has left.
    fn open(&mut self, member: &Membership, current_users: u64) -> bool {
        let Some(session) = member.session.upgrade() else { return false };
        let Some(is_new) = session.open(member.generation) else { return false };
        if is_new {
            self.fan_out.enter(&session);
        }
        self.fan_out.tell_one(&session, &CountFrame::new(current_users))
    }

    /// Tells those that were told an estimate what all others are told.
    fn correct(&mut self, corrected: &[Newcomer<Membership>], current_users: u64) {
        let frame = CountFrame::new(current_users);
        for told in corrected {
            let session: Option<Arc<Session>> = told.member.session.upgrade();
            if session.is_some_and(|session| self.fan_out.tell_one(&session, &frame)) {
                self.metrics.emitted_packets.inc();
                self.tell_some(current_users);
            }
        }
    }

    /// One emission, which reaches this many clients: everybody who has been let in is told.
    async fn emit_to_all(&mut self, current_users: u64, reached: u64) {
        let start = Instant::now();
        self.told = Some(current_users);
        let frame = CountFrame::new(current_users);
        let mut left = self.fan_out.len();
        while left > 0 {
            left = self.fan_out.tell_last_of(left, &frame);
            // Between the parts of an emission others have their turn, and newcomers.
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
