//! A thread that writes lines to one destination, with a bounded queue in front of it. Adding a line never waits: if the queue
//! is full, or the line cannot be written, the line is dropped.
//!
//! tracing-appender has such a writer too. But it does not count lines that failed to be written, and at the end of the
//! process it prints to stdout if the queue is full, which blocks or panics if stdout is stuck or gone.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use prometheus::IntCounter;

/// The most bytes in the queue: several thousand lines, more than any burst at level `info`.
pub(super) const QUEUED_BYTES_MAX: usize = 1024 * 1024;

/// Called with the number of dropped lines once lines are written again. It may log.
type AfterLoss = fn(lines: u64);

/// Writes lines in a separate thread. The thread ends some time after this is dropped.
pub(super) struct LineWriter {
    shared: Arc<WriterState>,
}

/// The state that the thread shares with the callers.
#[derive(Default)]
struct WriterState {
    /// The lock is never held during a write.
    queue: Mutex<Queue>,
    /// Signalled when a line is added, when one has been written, and at the end.
    changed: Condvar,
    dropped: Dropped,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of all `lines`, at most [`QUEUED_BYTES_MAX`].
    bytes: usize,
    /// Whether the thread is writing a line.
    is_writing: bool,
    is_closed: bool,
}

/// Counts dropped lines, also before there is a metric for them.
#[derive(Default)]
struct Dropped {
    /// Dropped lines that are not in the counter yet.
    uncounted: AtomicU64,
    counter: OnceLock<IntCounter>,
    /// Dropped lines that the log has not mentioned yet.
    untold: AtomicU64,
}

impl LineWriter {
    /// Starts the thread under the given name.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(
        name: &str,
        destination: impl io::Write + Send + 'static,
        after_loss: AfterLoss,
    ) -> io::Result<Self> {
        let shared = Arc::<WriterState>::default();
        let output = Output { destination, is_torn: false };
        let queue = Arc::clone(&shared);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || queue.write_to(output, after_loss))?;
        Ok(Self { shared })
    }

    /// Adds a line, including its newline, or drops it. Never waits for the destination.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.shared.queue();
        if line.len() > QUEUED_BYTES_MAX - queue.bytes {
            drop(queue);
            self.shared.dropped.add_one();
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Waits until all lines have been written or dropped, but at most `within`. Returns false if the time was too short.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        let queue = self.shared.queue();
        let waited = self.shared.changed.wait_timeout_while(queue, within, is_busy);
        let (_queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Counts dropped lines in `counter`, also those that were dropped before.
    pub(super) fn count_dropped_in(&self, counter: &IntCounter) {
        let dropped = &self.shared.dropped;
        // A second counter is ignored: a process has one log and one set of metrics.
        let _ = dropped.counter.set(counter.clone());
        dropped.carry_over();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.changed.notify_all();
    }
}

/// `tracing` writes every event with one call, so each call is a line. It never fails, since the subscriber would print the
/// error.
impl io::Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineWriter").finish_non_exhaustive()
    }
}

impl WriterState {
    /// The thread: writes lines until the writer is dropped.
    fn write_to(&self, mut output: Output<impl io::Write>, after_loss: AfterLoss) {
        while let Some(line) = self.next_line() {
            let written = output.write(&line);
            if !written {
                self.dropped.add_one();
            }
            let mut queue = self.queue();
            queue.is_writing = false;
            let is_idle = queue.lines.is_empty();
            drop(queue);
            self.changed.notify_all();
            if written && is_idle {
                let lines = self.dropped.untold.swap(0, Ordering::Relaxed);
                if lines > 0 {
                    after_loss(lines);
                }
            }
        }
    }

    /// Waits for the next line; `None` at the end.
    fn next_line(&self) -> Option<Vec<u8>> {
        let is_idle = |queue: &mut Queue| queue.lines.is_empty() && !queue.is_closed;
        let waited = self.changed.wait_while(self.queue(), is_idle);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front()?;
        queue.bytes -= line.len();
        queue.is_writing = true;
        Some(line)
    }

    /// Ignores that the lock is poisoned: no critical section can panic half-way.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dropped {
    fn add_one(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        self.uncounted.fetch_add(1, Ordering::SeqCst);
        self.carry_over();
    }

    fn carry_over(&self) {
        if let Some(counter) = self.counter.get() {
            counter.inc_by(self.uncounted.swap(0, Ordering::SeqCst));
        }
    }
}

/// The destination of lines.
struct Output<W> {
    destination: W,
    /// Whether only a part of the last line was written.
    is_torn: bool,
}

impl<W: io::Write> Output<W> {
    /// Writes a line. Returns false if the line, or a part of it, is lost.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.is_torn && self.write_all(b"\n") < 1 {
            return false;
        }
        let written = self.write_all(line);
        self.is_torn = (1..line.len()).contains(&written);
        written == line.len()
    }

    /// Writes bytes. Returns the number of bytes written, which is smaller after an error.
    fn write_all(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.destination.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
