//! The task that ends sessions whose clients did not join or poll in time, and those whose tokens have expired.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    lifecycle::Engine,
    session::{Check, Session, SessionState},
    settings::{JOIN_TIMEOUT, POLL_GAP_MAX},
};

/// Least time between two checks of sessions that are due: a rush of sessions becomes one batch.
const CHECK_GAP: Duration = Duration::from_millis(50);

impl Engine {
    /// Task: ends sessions whose clients did not join or poll in time, until `stop`.
    pub async fn run_checks(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = Instant::now();
            let (due, next) = self.sessions().due_checks(now);
            for (at, key) in due {
                self.check(key, at, now);
            }
            let next = next.map(|next| next.max(now + CHECK_GAP));
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.sessions().earlier_check() => {}
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
    }

    fn check(&self, key: u32, at: Instant, now: Instant) {
        let Some(session) = self.sessions().by_key(key) else { return };
        let mut state = session.state();
        if state.check_at != Some(at) {
            return;
        }
        state.check_at = None;
        self.look_after(&session, state, now);
    }

    /// Ends the session if its client did not join or poll in time. Otherwise plans the next check.
    pub(super) fn look_after(
        &self,
        session: &Session,
        mut state: MutexGuard<'_, SessionState>,
        now: Instant,
    ) {
        match state.check(now, self.poll_gap()) {
            Check::Wait(None) => {}
            Check::Wait(Some(next)) => self.plan_check(session, &mut state, next, now),
            Check::Over(reason) => self.end_locked(session, state, reason.into()),
        }
    }

    /// Plans a check of the session at `at`, if that is soon. Otherwise one of its next pings will plan it: a token may be valid
    /// for days, and a plan stays in memory until its time, even if its session ends before.
    pub(super) fn plan_check(
        &self,
        session: &Session,
        state: &mut SessionState,
        at: Instant,
        now: Instant,
    ) {
        if at <= now + JOIN_TIMEOUT + 2 * self.settings().ping_interval {
            self.check_by(session, state, at);
        }
    }

    /// Plans a check of the session at `at`, unless an earlier one is planned.
    pub(super) fn check_by(&self, session: &Session, state: &mut SessionState, at: Instant) {
        if state.check_at.is_none_or(|known| at < known) {
            state.check_at = Some(at);
            self.sessions().check_at(at, session.id().key());
        }
    }

    /// The longest time that a client may take between the answer to one poll and its next poll.
    pub(super) fn poll_gap(&self) -> Duration {
        POLL_GAP_MAX.min(self.settings().ping_interval + self.settings().ping_timeout)
    }
}
