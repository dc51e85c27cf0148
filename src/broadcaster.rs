//! The task that tells this instance's sockets the count: view → sockets. It is the only one that emits.
//!
//! What it does is, for every client of this instance, what the lesson does in one process:
//!
//! ```text
//! io.emit("user count", currentUsers)
//! ```
//!
//! with `currentUsers` being what the whole cluster counts, emitted at most once an interval however many
//! people come and go. Three rules make it right:
//!
//! - A socket hears nothing until the count includes it. So the first value a client sees includes itself. It comes
//!   behind the acknowledgement of its connect: a websocket of our own has written that already, and is told all
//!   directly, also while an emission is under way; one of the library's is told its first value through its queue.
//! - Every later value goes one of two ways, each of which has one slot that holds the newest value, so that a slow
//!   client skips stale ones, and the last always arrives. A websocket of our own is written to directly, the same frame
//!   to all ([`crate::outlet`]); sockets of the library's are in the room `queued`, to which emissions are volatile.
//!   The queue is written before the slot, so it must never be used again: an older value would come after a newer
//!   one.
//! - Before that a socket is for a moment in the room `young`, to which emissions go through the queue as well.
//!   Whoever carries packets to the client looks at the queue first and then at the slot. Held up between the two,
//!   it would find a slot that was filled meanwhile and pass by the acknowledgement in the queue.
//!
//! Who goes from polling to a websocket of our own is a newcomer there, and is told the newest value first.

mod listeners;

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use socketioxide::{SocketIo, extract::SocketRef, socket::Sid};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Control,
    frame::{CountFrame, USER_COUNT},
    metrics::{Metrics, observe},
    outlet::StayNumber,
    pace::EmissionPace,
    stay::Visitor,
    tally::{Newcomer, Tally},
    view::View,
};
use listeners::Listeners;

/// The room of sockets that have been shown a count and are told further ones by Socket.IO itself.
const QUEUED: &str = "queued";
/// The room of those who will be in [`QUEUED`] in a moment.
const YOUNG: &str = "young";
/// Nobody is held up for so long between looking at the queue and at the slot, unless the whole process is.
const YOUTH: Duration = Duration::from_millis(500);
/// So many counts are left to a queue at most, which has little room: with the default interval, those of a youth.
pub(crate) const YOUNG_EMISSIONS_MAX: u8 = 10;

/// See the module's documentation.
#[derive(Debug)]
pub struct Broadcaster {
    io: SocketIo,
    tally: Arc<Tally<Visitor>>,
    view: watch::Receiver<View>,
    metrics: Metrics,
    pace: EmissionPace,
    listeners: Listeners,
    /// Newcomers who are told their first value when what is being done is done: the library's, and those who may
    /// still be on the list from an earlier stay.
    postponed: Vec<Newcomer<Visitor>>,
    /// What everybody who has been shown a count was last told, or will be by their slot or by the emission under way,
    /// but for those in `provisional`; nothing once somebody was told something else, so that an emission follows.
    told: Option<u64>,
    /// Who was told the estimate because the store was slow to count them. They are told what all others
    /// are as soon as that includes them, or the store counts as away: within [`crate::pace::ANSWER_OVERDUE`], which
    /// bounds this list.
    provisional: Vec<Newcomer<Visitor>>,
    /// Who is in [`YOUNG`], in the order of coming. At most one entry per connection made within [`YOUTH`].
    young: VecDeque<Young>,
    /// Emissions so far.
    emissions: u64,
}

/// A socket in [`YOUNG`], until a moment or an emission, whichever is first.
#[derive(Clone, Copy, Debug)]
struct Young {
    session: Sid,
    until: Instant,
    until_emission: u64,
}

impl Broadcaster {
    /// Sets it up, for emissions with at least `interval` between two; [`Broadcaster::run`] does the work.
    pub fn new(
        io: SocketIo,
        tally: Arc<Tally<Visitor>>,
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
            listeners: Listeners::default(),
            postponed: Vec::new(),
            told: None,
            provisional: Vec::new(),
            young: VecDeque::new(),
            emissions: 0,
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
        self.let_grow_up(now);
        let view = *self.view.borrow_and_update();
        let shown = view.shown(now);
        // Whom an emission reaches; newcomers are counted one by one.
        let reached = self.tally.told();
        let changed = self.told != Some(shown.users);
        let held_back = self.pace.due().filter(|&due| due > now);
        self.welcome(&view, now);
        let includes = |told: &mut Newcomer<Visitor>| view.shown_includes(told.change, now);
        let corrected: Vec<_> = self.provisional.extract_if(.., includes).collect();
        if changed && held_back.is_none() {
            self.emit_to_all(shown.users, reached).await;
        } else {
            self.correct(&corrected, shown.users);
        }
        self.let_in_postponed(now);
        self.listeners.enlist_entering();
        let next_emission = held_back.filter(|_| changed);
        let patience_ends = self.tally.patience_ends().filter(|&at| at > now);
        [next_emission, patience_ends].into_iter().flatten().min()
    }

    /// Takes the newcomers who can be told a first value. An emission takes a while, for which a websocket of our own
    /// need not wait: it is told at once. Whom the emission may still reach waits, or an older value would follow.
    fn welcome(&mut self, view: &View, now: Instant) {
        for newcomer in self.tally.take_newcomers(view.covered(), view.estimated(), now) {
            let is_out_of_reach = match &newcomer.visitor {
                Visitor::Websocket(control, ..) => {
                    control.upgrade().is_none_or(|control| !control.is_listed())
                }
                Visitor::Session(..) => false,
            };
            if is_out_of_reach {
                self.let_in(newcomer, view, now);
            } else {
                self.postponed.push(newcomer);
            }
        }
    }

    /// Who came during an emission may be in the newest view only.
    fn let_in_postponed(&mut self, now: Instant) {
        let view = *self.view.borrow();
        for newcomer in std::mem::take(&mut self.postponed) {
            self.let_in(newcomer, &view, now);
        }
    }

    /// Gives a newcomer its first value, even when nobody else's number changed; from now on emissions reach it.
    fn let_in(&mut self, newcomer: Newcomer<Visitor>, view: &View, now: Instant) {
        let shown = view.shown(now).users;
        let is_included = view.shown_includes(newcomer.change, now);
        let current_users = if is_included { shown } else { view.estimate() };
        let here = match &newcomer.visitor {
            Visitor::Websocket(control, stay, _) => self.open(control, *stay, current_users),
            Visitor::Session(session, _) => self.let_in_session(*session, current_users),
        };
        if !here {
            return;
        }
        self.metrics.emitted_packets.inc();
        if newcomer.visitor.first().tell() {
            observe(&self.metrics.join_to_emit_seconds, newcomer.joined_at.elapsed());
        }
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

    /// Tells a websocket of our own its first value. Its acknowledgement has been sent, so all goes the direct way.
    /// Returns false if it has left.
    fn open(&mut self, control: &Weak<Control>, stay: StayNumber, current_users: u64) -> bool {
        let Some(control) = control.upgrade() else { return false };
        let Some(new) = control.open(stay) else { return false };
        if new {
            self.listeners.enter(&control);
        }
        control.tell(&CountFrame::new(current_users))
    }

    /// Tells one of the library's sockets its first value, by its queue. Returns false if it has left.
    fn let_in_session(&mut self, session: Sid, current_users: u64) -> bool {
        let Some(socket) = self.io.get_socket(session) else { return false };
        if let Err(error) = socket.emit(USER_COUNT, &current_users) {
            tracing::debug!(%error, "failed to emit a first value");
        }
        enter(&self.io, &socket, YOUNG);
        let (until, until_emission) =
            (Instant::now() + YOUTH, self.emissions + u64::from(YOUNG_EMISSIONS_MAX));
        self.young.push_back(Young { session, until, until_emission });
        true
    }

    /// Those who have been in the one room for long enough go to the other.
    fn let_grow_up(&mut self, now: Instant) {
        let emissions = self.emissions;
        let is_grown_up = |young: &Young| young.until <= now || young.until_emission <= emissions;
        while let Some(young) = self.young.pop_front_if(|young| is_grown_up(young)) {
            let Some(socket) = self.io.get_socket(young.session) else { continue };
            socket.leave(YOUNG);
            enter(&self.io, &socket, QUEUED);
        }
    }

    /// Tells those who were told an estimate what all others are told.
    fn correct(&mut self, corrected: &[Newcomer<Visitor>], current_users: u64) {
        let frame = CountFrame::new(current_users);
        for told in corrected {
            let here = match &told.visitor {
                Visitor::Websocket(control, ..) => {
                    control.upgrade().is_some_and(|control| control.tell(&frame))
                }
                Visitor::Session(session, _) => self.correct_session(*session, current_users),
            };
            if here {
                self.metrics.emitted_packets.inc();
                self.tell_some(current_users);
            }
        }
    }

    /// Returns false if the socket has left.
    fn correct_session(&self, session: Sid, current_users: u64) -> bool {
        let Some(socket) = self.io.get_socket(session) else { return false };
        let emitted = if socket.rooms().iter().any(|room| room == YOUNG) {
            socket.emit(USER_COUNT, &current_users)
        } else {
            socket.volatile().emit(USER_COUNT, &current_users)
        };
        if let Err(error) = emitted {
            tracing::debug!(%error, "failed to correct a first value");
        }
        true
    }

    /// One emission: everybody who has been let in is told, so many sockets.
    async fn emit_to_all(&mut self, current_users: u64, reached: u64) {
        let start = Instant::now();
        self.told = Some(current_users);
        self.tell_listeners(&CountFrame::new(current_users)).await;
        let young = self.io.to(YOUNG).emit(USER_COUNT, &current_users).await;
        let queued = self.io.volatile().to(QUEUED).emit(USER_COUNT, &current_users).await;
        if let Err(error) = young.and(queued) {
            tracing::debug!(%error, "failed to emit the count to a socket that is closing");
        }
        self.emissions += 1;
        self.pace.emitted(start, Instant::now());
        self.metrics.emissions.inc();
        self.metrics.emitted_packets.inc_by(reached);
        observe(&self.metrics.emission_seconds, start.elapsed());
    }

    /// Between its parts others have their turn, and newcomers.
    async fn tell_listeners(&mut self, frame: &CountFrame) {
        let mut left = self.listeners.len();
        while left > 0 {
            left = self.listeners.tell_last_of(left, frame);
            yield_now().await;
            let view = *self.view.borrow();
            self.welcome(&view, Instant::now());
        }
    }
}

/// A socket that ends meanwhile has been taken out of its rooms already, or nobody ever would.
fn enter(io: &SocketIo, socket: &SocketRef, room: &'static str) {
    socket.join(room);
    if io.get_socket(socket.id).is_none() {
        socket.leave_all();
    }
}

#[cfg(test)]
#[path = "broadcaster/tests.rs"]
mod tests;
