//! SIGTERM and SIGINT: the first one shuts down in order, the second ends the process at once.

use std::process;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code when a second signal cuts the shutdown short: 128 + SIGTERM, as shells show it.
const CUT_SHORT: i32 = 143;

/// Returns a token that the first signal cancels. The second signal ends the process at once, after `last`.
///
/// # Errors
/// If the system does not deliver signals to this process.
pub fn stop_on_signals(last: impl FnOnce() + Send + 'static) -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "it lives as long as the process, outside the server"
    )]
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        stopping.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("second signal: ending at once");
        last();
        #[allow(clippy::exit, reason = "ending at once is what the second signal asks for")]
        process::exit(CUT_SHORT);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
