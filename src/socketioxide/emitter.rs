//! The task that tells an application's sockets the count. Nothing else emits counts.
//!
//! Two rules make it right:
//!
//! - A socket is told nothing until the count includes it. So its first value includes itself.
//! - For the first half second, counts go through the socket's queue, so that they come after the acknowledgement of the
//!   connect. The library's writer reads the queue first and the slot for volatile packets second; a count in the slot could
//!   overtake an acknowledgement that is queued in between. After that, counts go through the slot, which holds only the
//!   newest, so that a slow client skips stale values and the last one always arrives. The queue is never used again, or an
//!   older value could come after a newer one.

use std::{mem, sync::Arc, time::Duration};

use ::socketioxide::{SocketIo, adapter::Adapter};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::roster::{CountedSocket, CountedSockets, Delivery, SITE, Way};
use crate::{
    core::{included::Included, pace::EmissionPace, tally::Newcomer, view::View},
    telemetry::metrics::observe,
};

/// How long a socket is told through its queue: far longer than the library's writer takes between reading the queue and the
/// slot.
const YOUTH: Duration = Duration::from_millis(500);
/// The most counts in a queue, which the application uses too: with the default interval, those of half a second.
const YOUNG_COUNTS_MAX: u8 = 10;
/// The sockets that are told before other tasks have their turn: about a millisecond of work.
pub(super) const EMITS_AT_ONCE: usize = 256;
/// Time between two searches for sockets that are gone, while there are sockets without our disconnect handler.
const LOOK_GAP: Duration = Duration::from_millis(50);
/// The same while all sockets have our disconnect handler. In a rare race the library does not call it.
const LOOK_GAP_WATCHED: Duration = Duration::from_secs(1);
/// Searching takes at most this share of the time: one part in a hundred.
const LOOK_SHARE: u32 = 100;

/// The state of the task.
pub(super) struct Emitter<A: Adapter> {
    io: SocketIo<A>,
    roster: Arc<CountedSockets<A>>,
    view: watch::Receiver<View>,
    pace: EmissionPace,
    /// The sockets that have been told a count, or could not be because of a full queue. Those that left are found when they
    /// are told.
    listeners: Vec<Recipient<A>>,
    /// The count that all listeners but the provisional ones were last told; `None` if they were told different counts. Then an
    /// emission must follow.
    told: Option<u64>,
    /// The newest change by which a socket joined that was told an estimate because the store was slow to count it, or away. Such
    /// sockets are told what all others are told as long as that includes them. `None` once all of them are counted.
    provisional: Option<u64>,
    /// What the shown count included at the last look.
    included: Included,
    next_look: Instant,
}

/// A socket that is told further counts.
struct Recipient<A: Adapter> {
    seat: Arc<CountedSocket<A>>,
    joined_at: Instant,
    /// The change by which it joined, while the store may not have counted it: it must not be told a count that leaves it out.
    provisional: Option<u64>,
    last: Option<u64>,
    /// How many counts went through its queue, and until when they do.
    queued: u8,
    young_until: Option<Instant>,
}

impl<A: Adapter> Emitter<A> {
    /// An emitter with at least `interval` between two emissions. [`Emitter::run`] starts it.
    pub(super) fn new(
        io: SocketIo<A>,
        roster: Arc<CountedSockets<A>>,
        view: watch::Receiver<View>,
        interval: Duration,
    ) -> Self {
        Self {
            io,
            roster,
            view,
            pace: EmissionPace::new(interval),
            listeners: Vec::new(),
            told: None,
            provisional: None,
            included: Included::default(),
            next_look: Instant::now(),
        }
    }

    /// Task: emits until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = Instant::now();
            if self.next_look <= now {
                self.look(now);
            }
            let wake = self.act(now).await;
            let wake = wake.map_or(self.next_look, |at| at.min(self.next_look));
            tokio::select! {
                () = stop.cancelled() => {}
                changed = self.view.changed() => if changed.is_err() { return },
                () = self.roster.tally().newcomer_came() => {}
                () = self.roster.unwatched() => {
                    self.next_look = self.next_look.min(Instant::now() + LOOK_GAP);
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Counts out the sockets that are gone.
    fn look(&mut self, now: Instant) {
        let unwatched = self.roster.look(self.io.of(SITE).as_ref());
        self.listeners.retain(|listener| listener.seat.is_taken());
        let end = Instant::now();
        let rest = end.saturating_duration_since(now) * LOOK_SHARE;
        let gap =
            if unwatched > 0 { rest.clamp(LOOK_GAP, LOOK_GAP_WATCHED) } else { LOOK_GAP_WATCHED };
        self.next_look = end + gap;
    }

    /// Does what is due now. Returns when something is due next even if nothing changes.
    async fn act(&mut self, now: Instant) -> Option<Instant> {
        let view = *self.view.borrow_and_update();
        let included = view.included(now);
        if mem::replace(&mut self.included, included) != included && self.provisional.is_some() {
            self.told = None;
            self.provisional = self.provisional.filter(|&change| !included.counts(change));
        }
        let newcomers = self.roster.tally().take_newcomers(view.covered(), view.estimated(), now);
        let is_held_back = self.pace.due().is_some_and(|due| due > now);
        if self.told != Some(view.shown(now).users) && !is_held_back {
            self.emit_to_all(&view, now).await;
        }
        // Changes during an emission are in the newest view only.
        let view = *self.view.borrow();
        for newcomer in newcomers {
            self.let_in(newcomer, &view, now);
        }
        let next_emission = self.pace.due().filter(|_| self.told != Some(view.shown(now).users));
        let patience_ends = self.roster.tally().patience_ends().filter(|&at| at > now);
        [next_emission, patience_ends].into_iter().flatten().min()
    }

    /// Tells a newcomer its first value, and makes it a listener, which emissions reach.
    fn let_in(&mut self, newcomer: Newcomer<Arc<CountedSocket<A>>>, view: &View, now: Instant) {
        let (included, change) = (view.included(now), newcomer.change.0);
        let is_included = !included.leaves_out(change);
        let current_users = if is_included { view.shown(now).users } else { view.estimate() };
        let mut listener = Recipient {
            seat: newcomer.member,
            joined_at: newcomer.joined_at,
            provisional: (!included.counts(change)).then_some(change),
            last: None,
            queued: 0,
            young_until: None,
        };
        let told = listener.tell(current_users, now, &self.roster);
        if told == Delivery::Gone {
            return;
        }
        self.provisional = self.provisional.max(listener.provisional);
        self.listeners.push(listener);
        if told == Delivery::Full || (is_included && self.told != Some(current_users)) {
            self.told = None;
        }
    }

    /// Emits the count to all listeners that were told another one last.
    async fn emit_to_all(&mut self, view: &View, now: Instant) {
        let start = Instant::now();
        let current_users = view.shown(now).users;
        let mut all_told = true;
        let mut left = self.listeners.len();
        while left > 0 {
            let end = left;
            left = left.saturating_sub(EMITS_AT_ONCE);
            // Backwards, so that the listener that takes the place of a removed one has been told already.
            for index in (left..end).rev() {
                match self.listeners[index].hear(current_users, view, now, &self.roster) {
                    Delivery::Yes => {}
                    Delivery::Full => all_told = false,
                    Delivery::Gone => drop(self.listeners.swap_remove(index)),
                }
            }
            yield_now().await;
        }
        self.told = all_told.then_some(current_users);
        self.pace.emitted(now, now + start.elapsed());
        let metrics = self.roster.metrics();
        metrics.emissions.inc();
        observe(&metrics.emission_seconds, start.elapsed());
    }
}

impl<A: Adapter> Recipient<A> {
    /// Tells the listener the count, unless the count does not include it, or it was told the same last.
    fn hear(
        &mut self,
        current_users: u64,
        view: &View,
        now: Instant,
        roster: &CountedSockets<A>,
    ) -> Delivery {
        let included = view.included(now);
        if self.provisional.is_some_and(|change| included.leaves_out(change)) {
            return Delivery::Yes;
        }
        self.provisional = self.provisional.filter(|&change| !included.counts(change));
        if self.last == Some(current_users) {
            return Delivery::Yes;
        }
        self.tell(current_users, now, roster)
    }

    fn tell(&mut self, current_users: u64, now: Instant, roster: &CountedSockets<A>) -> Delivery {
        let way = self.way(now);
        let told = self.seat.tell(current_users, way);
        if told == Delivery::Gone {
            roster.found_gone(&self.seat);
        }
        if told != Delivery::Yes {
            return told;
        }
        let metrics = roster.metrics();
        metrics.emitted_packets.inc();
        if self.last.replace(current_users).is_none() {
            observe(&metrics.join_to_emit_seconds, self.joined_at.elapsed());
        }
        if way == Way::Queue {
            self.queued += 1;
            self.young_until.get_or_insert(now + YOUTH);
        }
        told
    }

    fn way(&self, now: Instant) -> Way {
        let is_young = self.young_until.is_none_or(|until| now < until);
        if is_young && self.queued < YOUNG_COUNTS_MAX { Way::Queue } else { Way::Slot }
    }
}

#[cfg(test)]
#[path = "emitter/tests.rs"]
mod tests;
