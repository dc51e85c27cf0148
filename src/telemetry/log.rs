//! Logging: events of `tracing` as lines on stderr, which neither end nor delay anything.
//!
//! ```text
//!   any task ── event ──▶ queue (bounded, lossy) ──▶ writer thread ──▶ stderr
//! ```
//!
//! A reader of the log may stop reading or go away, and a disk may be full. Then lines are dropped and counted. The
//! subscriber's own errors are off, since they are printed to stderr by a call that panics when stderr is gone, and
//! panics are logged like everything else.

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

/// How long the end of the process waits for queued lines: a reader that is alive takes them in milliseconds, and one
/// that is not must not look like an instance that does not end.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A tracing filter.
    pub filter: String,
    /// JSON rather than text.
    pub json: bool,
}

/// The log of this process. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub struct Log {
    writer: Arc<LineWriter>,
}

impl Log {
    /// Directs all events of this process, and the messages of panics, to stderr. Once per process.
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

    /// Counts dropped lines in `counter` from now on, those dropped before included.
    pub fn count_dropped_lines_in(&self, counter: &IntCounter) {
        self.writer.count_dropped_in(counter);
    }

    /// Waits until what was logged has been written, but no longer than half a second.
    pub fn flush(&self) {
        self.writer.flush(FLUSH_WITHIN);
    }
}

/// A descriptor of its own bypasses the lock of [`io::stderr`], which a stuck write would hold.
fn start_writer() -> io::Result<LineWriter> {
    let stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
    LineWriter::start("log", stderr, |lines| {
        tracing::warn!(lines, "log lines were dropped: stderr was stuck or failed");
    })
}

/// The default hook prints to stderr, and waits for it.
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
