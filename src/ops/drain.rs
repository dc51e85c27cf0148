//! Shutting down so that nobody notices: clients are sent elsewhere, a few at a time, before this instance
//! goes. It ends transports and waits for the tally; the farewell is the reporter's.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::{
    core::tally::Tally,
    engine::{lifecycle::Engine, reason::EndReason, session::Membership},
};

/// Clients are sent away in batches this far apart: small enough that a balancer's other servers see a
/// steady trickle, large enough to cost nothing.
const BATCH_GAP: Duration = Duration::from_millis(50);
/// How long the last ones may take to be gone, after the window. A client whose network is stuck is not
/// worth more: its place in the count ends with the farewell.
const LAST_ONES: Duration = Duration::from_secs(2);

/// Withdraws readiness, waits for balancers to notice, refuses handshakes, and ends all transports evenly
/// over `window`.
pub async fn drain(engine: &Engine, tally: &Tally<Membership>, delay: Duration, window: Duration) {
    engine.admission().leave();
    tracing::info!(
        ?delay,
        ?window,
        connections = tally.users(),
        "shutting down: not ready any more"
    );
    sleep(delay).await;
    engine.admission().close();
    let deadline = Instant::now() + window;
    send_all_away(engine, deadline).await;
    // A session whose handshake was just ahead of the end of admission may have joined meanwhile.
    let emptied = timeout_at(deadline + LAST_ONES, async {
        let mut ticks = interval(BATCH_GAP);
        while tally.users() > 0 {
            ticks.tick().await;
            send_all_away(engine, Instant::now()).await;
        }
    });
    if emptied.await.is_ok() {
        tracing::info!("all clients have been sent elsewhere");
    } else {
        tracing::warn!(connections = tally.users(), "some clients could not be sent away in time");
    }
}

/// Ends the sessions that are open now, evenly until `deadline`. It ends their transports, never by a disconnect packet: a
/// client that is told to leave the namespace stays away, one that loses its transport reconnects.
async fn send_all_away(engine: &Engine, deadline: Instant) {
    let sessions = engine.sessions().all();
    let start = Instant::now();
    let window = deadline.saturating_duration_since(start);
    let mut gone = 0;
    while gone < sessions.len() {
        let due = due(sessions.len(), start.elapsed(), window);
        for session in &sessions[gone..due] {
            engine.end(session, EndReason::Draining);
        }
        gone = due;
        if gone < sessions.len() {
            sleep(BATCH_GAP).await;
        }
    }
}

/// How many of so many clients are to be gone by now. It goes by the clock rather than by batches, which may
/// take longer than they should.
fn due(clients: usize, elapsed: Duration, window: Duration) -> usize {
    let batches = window.as_millis() / BATCH_GAP.as_millis() + 1;
    let begun = (elapsed.as_millis() / BATCH_GAP.as_millis() + 1).min(batches);
    let due = (clients as u128 * begun).div_ceil(batches);
    usize::try_from(due).unwrap_or(clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: all clients are sent away in time and evenly, even if batches take too long. Method: simulate drains of
    /// several sizes, with normal and slow batches.
    #[test]
    fn clients_go_evenly_and_in_time() {
        let second = Duration::from_secs(1);
        for (clients, window) in [
            (0, second),
            (1, second),
            (7, 10 * second),
            (10_000, 10 * second),
            (500, Duration::ZERO),
        ] {
            for pace in [BATCH_GAP, 3 * BATCH_GAP] {
                let (mut elapsed, mut gone) = (Duration::ZERO, 0);
                while gone < clients {
                    let now = due(clients, elapsed, window);
                    let share = clients as u128 * (elapsed + pace).as_millis();
                    let in_time = now as u128 * window.as_millis() <= share + window.as_millis();
                    assert!(now >= gone && in_time, "{now} of {clients} after {elapsed:?}");
                    gone = now;
                    elapsed += pace;
                }
                assert!(elapsed <= window + 2 * pace, "{clients} {elapsed:?}");
            }
        }
    }
}
