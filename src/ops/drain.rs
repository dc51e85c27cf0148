//! Shutting down: clients are sent elsewhere, a few at a time, before this instance goes. This module ends their transports
//! and waits for the tally; the reporter says farewell.
//!
//! ```text
//!  SIGTERM ── delay: serves as before ──▶ window: no handshakes, clients go evenly ──▶ the last ones ── grace ──▶ farewell
//!          └──── ends the sessions of polling clients whose polls do not arrive any more ────┘
//! ```
//!
//! A user with an identity who was sent away is counted here for the grace, so that nobody sees him leave before he is on another
//! instance. The farewell waits for that.
//!
//! A balancer may stop forwarding to this instance as soon as it is not ready, as in Kubernetes, where a pod that ends leaves
//! the endpoints at once. Open connections remain, but a polling client's next poll goes to another instance, which refuses it,
//! and the client begins a new session there. It would be counted twice if its session here were left to time out.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use crate::{
    core::tally::Tally,
    engine::{
        lifecycle::Engine,
        reason::EndReason,
        session::{Membership, Session},
    },
};

/// Time between two batches of clients that are sent away. It is short, so that other servers get an even stream of clients.
const BATCH_GAP: Duration = Duration::from_millis(50);
/// How long the last clients may take after the window, and the grace of users who were sent away. The farewell counts the
/// remaining ones out.
const LAST_ONES: Duration = Duration::from_secs(2);
/// How long a polling client may be without an open poll while this instance shuts down. Its polls arrive elsewhere then, or
/// its network is slow. It is longer than one round trip of nearly all clients, and together with [`LOOK_GAP`] shorter than
/// the shortest delay after which socket.io-client reconnects by default, 500 ms.
const UNPOLLED_MAX: Duration = Duration::from_millis(300);
/// Time between two looks for such clients.
const LOOK_GAP: Duration = Duration::from_millis(100);
const _: () = assert!(UNPOLLED_MAX.as_millis() + LOOK_GAP.as_millis() < 500);
/// How long a client that has just opened its session may take to join. If the session ended before, the client would be refused
/// although it was let in. Once it has joined, it goes like the others.
const JOINS_WITHIN: Duration = UNPOLLED_MAX;

/// Withdraws readiness, waits for balancers to notice, refuses handshakes, and ends all transports evenly
/// over `window`.
pub async fn drain(engine: &Engine, tally: &Tally<Membership>, delay: Duration, window: Duration) {
    engine.admission().leave();
    tracing::info!(
        ?delay,
        ?window,
        connections = engine.sessions().len(),
        "shutting down: not ready any more"
    );
    tokio::select! {
        () = send_elsewhere(engine, tally, delay, window) => {}
        () = end_those_who_poll_elsewhere(engine) => {}
    }
}

async fn send_elsewhere(
    engine: &Engine,
    tally: &Tally<Membership>,
    delay: Duration,
    window: Duration,
) {
    sleep(delay).await;
    engine.admission().close();
    let deadline = Instant::now() + window;
    send_all_away(engine, deadline).await;
    let deadline = deadline + LAST_ONES;
    // A session that was admitted just before may have begun meanwhile, or is about to.
    let emptied = timeout_at(deadline, async {
        let mut ticks = interval(BATCH_GAP);
        while tally.connections() > 0 || engine.admission().permits().taken() > 0 {
            ticks.tick().await;
            send_all_away(engine, Instant::now()).await;
        }
    });
    if emptied.await.is_err() {
        let connections = engine.sessions().len();
        tracing::warn!(connections, "some clients could not be sent away in time");
        return;
    }
    tracing::info!("all clients have been sent elsewhere");
    let lingering = tally.lingering(Instant::now());
    if timeout_at(deadline, until_nobody_lingers(tally)).await.is_err() {
        tracing::info!(
            lingering,
            "the grace of users lasts longer than the shutdown may: it ends now"
        );
    }
}

/// Resolves when the grace of all users is over. They are on other instances by then, or have left.
async fn until_nobody_lingers(tally: &Tally<Membership>) {
    let mut ticks = interval(BATCH_GAP);
    while tally.lingering(Instant::now()) > 0 {
        ticks.tick().await;
    }
}

/// Ends sessions whose clients have polled before and have had no poll open for too long, until it is dropped.
async fn end_those_who_poll_elsewhere(engine: &Engine) {
    let mut looks = interval(LOOK_GAP);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // Most instances have no polling clients.
        if engine.polling_sessions() == 0 {
            continue;
        }
        let now = Instant::now();
        for session in engine.sessions().all() {
            let unpolled = session.unpolled_for(now);
            if unpolled.is_some_and(|unpolled| unpolled >= UNPOLLED_MAX) && !session.is_outside() {
                engine.end(&session, EndReason::Draining);
            }
        }
    }
}

/// Ends the sessions that are open now: at once those that are not counted, and the others evenly until `deadline`. Those that have
/// just begun are left. It ends their transports, never by a disconnect packet: a client that is told to leave the namespace stays
/// away, one that loses its transport reconnects.
async fn send_all_away(engine: &Engine, deadline: Instant) {
    let start = Instant::now();
    let mut sessions = engine.sessions().all();
    sessions.retain(|it| it.outside_for(start).is_none_or(|outside| outside >= JOINS_WITHIN));
    let (uncounted, counted) = in_order(sessions, start);
    for session in uncounted {
        engine.end(&session, EndReason::Draining);
    }
    let window = deadline.saturating_duration_since(start);
    let mut gone = 0;
    while gone < counted.len() {
        let due = due(counted.len(), start.elapsed(), window);
        for session in &counted[gone..due] {
            engine.end(session, EndReason::Draining);
        }
        gone = due;
        if gone < counted.len() {
            sleep(BATCH_GAP).await;
        }
    }
}

/// Divides sessions into those that are not counted and those that are. Of these, polling clients without an open poll are
/// first: their next poll may not arrive here.
fn in_order(sessions: Vec<Arc<Session>>, now: Instant) -> (Vec<Arc<Session>>, Vec<Arc<Session>>) {
    let (uncounted, mut counted): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|session| session.is_outside());
    counted.sort_by_cached_key(|session| session.unpolled_for(now).is_none());
    (uncounted, counted)
}

/// The number of clients that must be gone by now. It depends on the time and not on the number of batches, which may be late.
fn due(clients: usize, elapsed: Duration, window: Duration) -> usize {
    let batches = window.as_millis() / BATCH_GAP.as_millis() + 1;
    let begun = (elapsed.as_millis() / BATCH_GAP.as_millis() + 1).min(batches);
    let due = (clients as u128 * begun).div_ceil(batches);
    usize::try_from(due).unwrap_or(clients)
}

#[cfg(test)]
#[path = "drain/tests.rs"]
mod tests;
