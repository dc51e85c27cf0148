//! SIGTERM and SIGINT: the first one shuts down in order, the second ends the process at once.

use std::{process, task::Poll, time::Duration};

use anyhow::Context;
use futures_util::{
    Stream,
    stream::{self, StreamExt},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Exit code when a second signal cuts the shutdown short: 128 + SIGTERM, as shells show it.
const CUT_SHORT: i32 = 143;
/// A signal so soon after the first one is the same: `timeout`, and others that start programs, pass it on to the program that the
/// terminal, or they themselves, have sent it to as one of a group.
const SAME_WITHIN: Duration = Duration::from_millis(200);

/// Returns a token that the first signal cancels. The second signal ends the process at once, after `last`. What follows the first one
/// within 200 ms does not count.
///
/// # Errors
/// If the system does not deliver signals to this process.
pub fn stop_on_signals(last: impl FnOnce() + Send + 'static) -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let signals = stream::poll_fn(move |context| {
        let is_there =
            terminate.poll_recv(context).is_ready() || interrupt.poll_recv(context).is_ready();
        if is_there { Poll::Ready(Some(())) } else { Poll::Pending }
    });
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "it lives as long as the process, outside the server"
    )]
    tokio::spawn(async move {
        second(signals, &stopping).await;
        tracing::warn!("second signal: ending at once");
        last();
        #[allow(clippy::exit, reason = "ending at once is what the second signal asks for")]
        process::exit(CUT_SHORT);
    });
    Ok(stop)
}

/// Cancels `stopping` at the first signal, and waits for the second.
async fn second(mut signals: impl Stream<Item = ()> + Unpin, stopping: &CancellationToken) {
    signals.next().await;
    stopping.cancel();
    let first_at = Instant::now();
    loop {
        signals.next().await;
        if first_at.elapsed() >= SAME_WITHIN {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep_until, timeout};

    use super::*;

    /// Goal: a signal that arrives twice is one, and a second one counts. Method: signals at these times after the start, in
    /// milliseconds, and the time at which the process ends.
    #[tokio::test(start_paused = true)]
    async fn a_signal_that_arrives_twice_is_one() {
        let cases: [(&[u64], Option<u128>); 4] =
            [(&[5], None), (&[5, 5, 204], None), (&[5, 205], Some(205)), (&[5, 6, 900], Some(900))];
        for (times, ends) in cases {
            let (start, stop) = (Instant::now(), CancellationToken::new());
            let at = stream::iter(times).map(|&at| start + Duration::from_millis(at));
            let signals = Box::pin(at.then(sleep_until).chain(stream::pending()));
            let ended = timeout(Duration::from_secs(2), second(signals, &stop)).await;
            let ended = ended.ok().map(|()| start.elapsed().as_millis());
            assert_eq!((ended, stop.is_cancelled()), (ends, true), "{times:?}");
        }
    }
}
