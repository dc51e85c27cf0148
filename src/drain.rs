//! Shutting down so that nobody notices: clients are sent elsewhere, a few at a time, before this instance
//! goes. It ends transports and waits for the tally; the farewell is the reporter's.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::{sockets::Sockets, tally::Tally};

/// Clients are sent away in batches this far apart: small enough that a balancer's other servers see a
/// steady trickle, large enough to cost nothing.
const BATCH_GAP: Duration = Duration::from_millis(50);
/// How long the last ones may take to be gone, after the window. A client whose network is stuck is not
/// worth more: its place in the count ends with the farewell.
const LAST_ONES: Duration = Duration::from_secs(2);

/// Withdraws readiness, waits for balancers to notice, refuses handshakes, and ends all transports evenly
/// over `window`.
pub async fn drain(sockets: &Sockets, tally: &Tally, delay: Duration, window: Duration) {
    let gate = sockets.gate();
    gate.leave();
    tracing::info!(
        ?delay,
        ?window,
        connections = tally.users(),
        "shutting down: not ready any more"
    );
    sleep(delay).await;
    gate.close();
    let deadline = Instant::now() + window;
    send_all_away(sockets, deadline).await;
    // A session whose handshake was just ahead of the gate may have joined meanwhile.
    let emptied = timeout_at(deadline + LAST_ONES, async {
        let mut ticks = interval(BATCH_GAP);
        while tally.users() > 0 {
            ticks.tick().await;
            send_all_away(sockets, Instant::now()).await;
        }
    });
    match emptied.await {
        Ok(()) => tracing::info!("all clients have been sent elsewhere"),
        Err(_) => tracing::warn!(
            connections = tally.users(),
            "some clients could not be sent away in time"
        ),
    }
}

/// Ends the transports of all sockets that are open now, evenly until `deadline`.
async fn send_all_away(sockets: &Sockets, deadline: Instant) {
    let everybody = sockets.io().sockets();
    let mut left = everybody.as_slice();
    while !left.is_empty() {
        let batch = batch_size(
            left.len(),
            deadline.saturating_duration_since(Instant::now()),
        );
        let (now, later) = left.split_at(batch);
        for socket in now {
            sockets.send_away(socket).await;
        }
        left = later;
        if !left.is_empty() {
            sleep(BATCH_GAP).await;
        }
    }
}

/// How many to send away now, so that all are gone when `left_over` is.
fn batch_size(clients: usize, left_over: Duration) -> usize {
    let batches = left_over.as_millis() / BATCH_GAP.as_millis() + 1;
    clients.div_ceil(usize::try_from(batches).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: everybody is gone in time, in even batches. Method: play the drain for several sizes.
    #[test]
    fn batches_are_even_and_end_in_time() {
        for (clients, window_millis) in [
            (0, 1000),
            (1, 1000),
            (7, 10_000),
            (10_000, 10_000),
            (500, 0),
        ] {
            let window = Duration::from_millis(window_millis);
            let (mut left, mut elapsed, mut sizes) = (clients, Duration::ZERO, Vec::new());
            while left > 0 {
                let batch = batch_size(left, window.saturating_sub(elapsed));
                sizes.push(batch);
                left -= batch;
                elapsed += BATCH_GAP;
            }
            assert!(elapsed <= window + BATCH_GAP, "{clients} {elapsed:?}");
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            assert!(most.copied() <= least.map(|size| size + 1), "{sizes:?}");
        }
    }
}
