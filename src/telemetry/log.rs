//! Logging: writes events of `tracing` as lines to stderr. Logging never delays or ends anything.
//!
//! ```text
//!   any task ── event ──▶ queue (bounded, lossy) ──▶ writer thread ──▶ stderr
//! ```
//!
//! If the reader of the log stops reading or goes away, or the disk is full, lines are dropped and counted. The subscriber's
//! own error messages are off, because they are printed by a call that panics when stderr is gone. Panics are logged like
//! other events.

mod writer;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal},
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow};
use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;

use writer::LineWriter;

/// How long the process waits at its end for queued lines to be written. A reader that works takes them in milliseconds; one
/// that does not must not delay the end.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A filter of `tracing`, such as `info` or `headcount=debug,warn`.
    pub filter: String,
    /// Whether lines are JSON rather than text.
    pub json: bool,
}

/// The log of this process. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub struct Log {
    writer: Arc<LineWriter>,
}

impl Log {
    /// Starts to log all events and panics of this process to stderr. It can be called once per process.
    ///
    /// # Errors
    /// If the filter cannot be read, the thread cannot be started, or there is a subscriber already.
    pub fn start(config: &LogSettings) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&config.filter).context("failed to read the log filter")?;
        let writer = Arc::new(start_writer().context("failed to start the log's writer")?);
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(Arc::clone(&writer))
            .with_ansi(io::stderr().is_terminal())
            .log_internal_errors(false);
        let installed = if config.json { builder.json().try_init() } else { builder.try_init() };
        installed.map_err(|error| anyhow!("failed to set up logs: {error}"))?;
        panic::set_hook(Box::new(log_panic));
        Ok(Self { writer })
    }

    /// Counts dropped lines in `counter`, also those that were dropped before.
    pub fn count_dropped_lines_in(&self, counter: &IntCounter) {
        self.writer.count_dropped_in(counter);
    }

    /// Waits until all queued lines have been written, but no longer than half a second.
    pub fn flush(&self) {
        self.writer.flush(FLUSH_WITHIN);
    }
}

/// Starts the writer on a copy of the descriptor of stderr, which bypasses the lock of [`io::stderr`]: a stuck write would
/// hold that lock.
fn start_writer() -> io::Result<LineWriter> {
    let stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
    LineWriter::start("log", stderr, |lines| {
        tracing::warn!(lines, "log lines were dropped: stderr was stuck or failed");
    })
}

/// Logs a panic. The default hook would print to stderr, and wait for it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let payload = panic.payload_as_str().unwrap_or("not a text");
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        payload,
        location,
        thread = thread.name(),
        backtrace = backtrace.map(tracing::field::display),
        "panicked"
    );
}
